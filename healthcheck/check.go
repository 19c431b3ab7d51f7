package healthcheck

import (
	"container/heap"
	"context"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"time"

	"usher/config"
	"usher/routetable"
)

const (
	// checksAtOnce bounds the probes under way.
	checksAtOnce = 128
	// fastPart is the part of the interval after which the next probe comes when the last
	// one, or a request, speaks against what is believed.
	fastPart = 5
	// fastLeast bounds that from below.
	fastLeast = 100 * time.Millisecond
)

// prober asks one endpoint in one way, for all clusters that want to know. It is guarded
// by Monitor.mu.
type prober struct {
	record *record
	target *target
	// users are the members it probes for; without one it rests, and keeps what it knows.
	users int
	// due is when the next probe begins; place is where it stands in the heap, -1 when it
	// is not there.
	due   int64
	place int
	// running says that a probe is under way, again that the next one is wanted at once.
	running, again bool
	// begun is when the last probe began; n counts them.
	begun int64
	n     uint64

	// known says that there has been a result, up what is believed; against are the results
	// in a row that speak against it. Unsure is set while what is believed comes from
	// another way of asking: the first result decides.
	known, up, unsure bool
	against           int
	last              result
}

// result is what one probe found.
type result struct {
	// problem says what is wrong; empty: nothing.
	problem  string
	draining bool
	at       int64
	took     time.Duration
}

// saysDown says whether the endpoint is down for all that is known.
func (p *prober) saysDown() bool { return p != nil && p.known && !p.up }

// probedDown says whether one of the probers in use says so.
func (r *record) probedDown() bool {
	return slices.ContainsFunc(r.probers, func(p *prober) bool { return p.users > 0 && p.saysDown() })
}

// failingProbe is what is wrong by the last probe.
func (r *record) failingProbe() string {
	for _, p := range r.probers {
		if p.users > 0 && p.saysDown() && p.last.problem != "" {
			return p.last.problem
		}
	}
	return "not well for long enough yet"
}

// checks are the probers, by when they are due.
type checks struct {
	seed maphash.Seed
	// wake holds a token when one is due sooner than was known.
	wake chan struct{}
	// list is guarded by Monitor.mu.
	list proberHeap
	// probe asks an endpoint, by default asker does; tests put another in its place.
	probe func(context.Context, *target) result
	asker *asker
}

func newChecks() *checks {
	c := &checks{seed: maphash.MakeSeed(), wake: make(chan struct{}, 1), asker: newAsker()}
	c.probe = c.asker.ask
	return c
}

// proberFor returns the prober of an endpoint in a cluster, for one more user: the one
// there is for the same settings, whoever uses it, or a new one. Nil: none is wanted.
func (m *Monitor) proberFor(r *record, e *routetable.Endpoint, now int64) *prober {
	check := &m.healthOf(e).HealthCheck
	if check.Kind() == "none" {
		return nil
	}
	drain := m.healthOf(e).DrainHeader
	var p *prober
	for _, old := range r.probers {
		if old.target.same(check, e, drain) {
			p = old
		}
	}
	if p == nil {
		p = m.newProber(r, newTarget(e, check, drain))
	}
	p.users++
	if p.users == 1 {
		if p.due == 0 {
			p.due = now + m.offset(p)
		}
		p.due = max(p.due, now) // one that has rested for a moment goes on as if it had not
		m.schedule(p)
	}
	return p
}

// newProber makes a prober. What another one knows of the endpoint is believed until
// the first result; those that nobody uses go.
func (m *Monitor) newProber(r *record, t *target) *prober {
	p := &prober{record: r, target: t, place: -1}
	for _, old := range r.probers {
		if old.known {
			p.known, p.up, p.unsure, p.last = true, old.up, true, old.last
		}
	}
	r.probers = slices.DeleteFunc(r.probers, func(old *prober) bool { return old.users == 0 })
	r.probers = append(r.probers, p)
	return p
}

// offset is how long after it is wanted a prober begins. The probes of the start are
// spread over an interval; whoever comes later is asked soon.
func (m *Monitor) offset(p *prober) int64 {
	within := int64(fastLeast)
	if m.first {
		within = int64(p.target.check.Interval)
	}
	return int64(m.dice(p) % uint64(max(1, within)))
}

// dice is a number that differs from prober to prober and from probe to probe.
func (m *Monitor) dice(p *prober) uint64 {
	var h maphash.Hash
	h.SetSeed(m.checks.seed)
	maphash.WriteComparable(&h, p.record.identity)
	maphash.WriteComparable(&h, p.n)
	return h.Sum64()
}

// dismiss takes a user's hold on a prober away; nil is none.
func (m *Monitor) dismiss(p *prober) {
	if p == nil {
		return
	}
	if p.users--; p.users == 0 && p.place >= 0 {
		heap.Remove(&m.checks.list, p.place)
	}
}

// confirm has an endpoint probed soon, since something speaks against it.
func (m *Monitor) confirm(r *record, now int64) {
	for _, p := range r.probers {
		at := max(now, p.begun+p.fast())
		switch {
		case p.users == 0:
		case p.running:
			p.again = true
		case p.due > at:
			p.due = at
			m.schedule(p)
		}
	}
}

// fast is the time between two probes of an endpoint that is in doubt.
func (p *prober) fast() int64 {
	interval := int64(p.target.check.Interval)
	return min(interval, max(interval/fastPart, int64(fastLeast)))
}

// schedule puts a prober in its place in the heap.
func (m *Monitor) schedule(p *prober) {
	if p.running {
		return
	}
	if p.place >= 0 {
		heap.Fix(&m.checks.list, p.place)
	} else {
		heap.Push(&m.checks.list, p)
	}
	if p.place == 0 {
		select {
		case m.checks.wake <- struct{}{}:
		default:
		}
	}
}

// runChecks begins the probes that are due until ctx ends, and waits for those under way.
func (m *Monitor) runChecks(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	places := make(chan struct{}, checksAtOnce)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		p, wait := m.takeDue()
		if p != nil {
			running.Go(func() {
				defer func() { <-places }()
				m.probeOnce(ctx, p)
			})
			continue
		}
		<-places
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-m.checks.wake:
		case <-ctx.Done():
			return
		}
	}
}

// takeDue takes the prober that is due, or says how long none is.
func (m *Monitor) takeDue() (p *prober, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := &m.checks.list
	if len(*list) == 0 {
		return nil, time.Hour
	}
	now := m.now()
	if at := (*list)[0].due; at > now {
		return nil, time.Duration(at - now)
	}
	p, _ = heap.Pop(list).(*prober)
	p.running, p.again, p.begun = true, false, now
	p.n++
	return p, 0
}

// probeOnce probes an endpoint and takes in what comes of it.
func (m *Monitor) probeOnce(ctx context.Context, p *prober) {
	ctx, cancel := context.WithTimeout(ctx, p.target.check.Timeout)
	defer cancel()
	begin := time.Now()
	res := m.checks.probe(ctx, p.target)
	res.took = time.Since(begin)
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	p.running = false
	if p.users == 0 || context.Cause(ctx) == context.Canceled { //nolint:errorlint // it is never wrapped
		return
	}
	p.record.group.series.Probed(res.problem == "", res.took)
	res.at = now
	m.probed(p, &res, now)
	p.due = now + p.pause(m.dice(p))
	if p.again {
		p.due = min(p.due, max(now, p.begun+p.fast()))
	}
	m.schedule(p)
	m.poke()
}

// pause is the time to the next probe.
func (p *prober) pause(dice uint64) int64 {
	r := p.record
	if p.against > 0 || r.ejection.phase == ejected && r.ejection.reason.silent() {
		return p.fast()
	}
	check := &p.target.check
	spread := uint64(float64(check.Interval) * check.Jitter)
	return int64(check.Interval) + int64(dice%(spread+1))
}

// probed takes in the result of a probe. The caller holds m.mu.
func (m *Monitor) probed(p *prober, res *result, now int64) {
	r, ok := p.record, res.problem == ""
	before := p.saysDown()
	p.take(ok)
	p.last = *res
	if p.saysDown() != before {
		m.turned(p, now)
	}
	j := &r.ejection
	if !ok {
		j.passes = 0
	} else if j.phase == ejected && j.reason.silent() && p.begun >= j.begun {
		if j.passes++; j.passes >= p.target.check.Rise && p.up {
			m.onProbation(r)
		}
	}
	switch {
	case ok && res.draining:
		m.drains(r, now)
	case ok && r.drainUntil > 0:
		r.drainUntil = 0
		m.ramp(r, now)
	}
	m.changed(r)
}

// take counts a result.
func (p *prober) take(ok bool) {
	switch {
	case !p.known || p.unsure:
		p.known, p.up, p.unsure, p.against = true, ok, false, 0
	case ok == p.up:
		p.against = 0
	default:
		p.against++
		if ok && p.against >= p.target.check.Rise || !ok && p.against >= p.target.check.Fall {
			p.up, p.against = ok, 0
		}
	}
}

// turned notes that an endpoint is taken out by its probes, or back.
func (m *Monitor) turned(p *prober, now int64) {
	r := p.record
	if p.saysDown() {
		m.log.Warn("endpoint is down by its probes", "service", r.service, "instance", r.id,
			"address", r.address, "problem", p.last.problem, "registry", r.endpoint.Status.String())
		return
	}
	m.log.Info("endpoint is up by its probes", "service", r.service, "instance", r.id, "address", r.address)
	m.ramp(r, now)
}

// target is whom and what a prober asks. It is immutable.
type target struct {
	check    config.HealthCheck
	tls      *routetable.TLS
	endpoint *routetable.Endpoint
	drain    string
	statuses config.Statuses
}

func newTarget(e *routetable.Endpoint, check *config.HealthCheck, drain string) *target {
	t := &target{check: *check, tls: e.ProbeTLS(), endpoint: e, drain: drain}
	// What config has checked can be read.
	t.statuses, _ = config.ParseStatuses(check.ExpectedStatus)
	return t
}

// same says whether a target is asked in this way.
func (t *target) same(check *config.HealthCheck, e *routetable.Endpoint, drain string) bool {
	a, b, tls := &t.check, check, e.ProbeTLS()
	return a.Kind() == b.Kind() && a.Path == b.Path && a.Method == b.Method && a.Host == b.Host &&
		maps.Equal(a.Headers, b.Headers) && a.Service == b.Service && a.Port == b.Port &&
		a.Interval == b.Interval && a.Jitter == b.Jitter && a.Timeout == b.Timeout &&
		a.Rise == b.Rise && a.Fall == b.Fall &&
		a.ExpectedStatus == b.ExpectedStatus && a.ExpectedBody == b.ExpectedBody &&
		(t.tls == nil) == (tls == nil) && (tls == nil || *t.tls == *tls) &&
		t.endpoint.HTTP2 == e.HTTP2 && t.drain == drain &&
		t.endpoint.ProxyProtocol == e.ProxyProtocol
}

// proberHeap is a heap by when they are due.
type proberHeap []*prober

func (h proberHeap) Len() int           { return len(h) }
func (h proberHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h proberHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements heap.Interface.
func (h *proberHeap) Push(x any) {
	p, _ := x.(*prober)
	p.place = len(*h)
	*h = append(*h, p)
}

// Pop implements heap.Interface.
func (h *proberHeap) Pop() any {
	list := *h
	p := list[len(list)-1]
	list[len(list)-1] = nil
	*h, p.place = list[:len(list)-1], -1
	return p
}

package healthcheck

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"usher/config"
	"usher/metrics"
	"usher/routetable"
)

const (
	// refreshPause bounds how often the views are gone over: an endpoint that flaps would
	// ask for it at every request.
	refreshPause = 20 * time.Millisecond
	// rampStep is how often weights are set that grow.
	rampStep = 250 * time.Millisecond
	// decayTime is the time in service that makes up for one ejection; maxTimes is where
	// the count of ejections ends.
	decayTime = 10 * time.Second
	maxTimes  = 1000
	// drainHold is how long an endpoint is left alone that says it is draining.
	drainHold = 30 * time.Second
	// flapGrace is the longest absence that is put down to the registry: an endpoint that
	// comes back later may have begun again, and starts slowly.
	flapGrace = 5 * time.Second
	// keepGone is how long an endpoint is remembered that is in no table.
	keepGone = 10 * time.Minute
	// housekeeping is how often what is gone is forgotten and peers are compared.
	housekeeping = time.Second
)

// Monitor keeps the views of the table in use.
type Monitor struct {
	log   *slog.Logger
	start time.Time
	// wake holds a token while something is to be looked at.
	wake chan struct{}

	held *held
	// gone is told of held endpoints that do not answer.
	gone   func(*routetable.Endpoint)
	checks *checks
	// nothing are the settings of endpoints that have none.
	nothing config.Health
	series  *metrics.Health
	// watcher is set once, before the first table.
	watcher Watcher

	// queue are the records with events.
	queueMu sync.Mutex
	queue   []*record

	mu       sync.Mutex
	table    *routetable.Table
	first    bool
	clusters map[*routetable.Cluster]*cluster
	dirty    []*cluster
	records  map[identity]*record
	groups   map[groupKey]*group
	// timed are the records for which time matters.
	timed map[*record]struct{}
	// panicking counts the clusters that try all of their endpoints.
	panicking int
	kept      int64
}

// New returns a Monitor without a table. It probes the endpoints that are held, and
// gone is told, from a goroutine of Run, of each that does not answer; nil: nobody
// is.
func New(log *slog.Logger, gone func(*routetable.Endpoint)) *Monitor {
	if gone == nil {
		gone = func(*routetable.Endpoint) {}
	}
	return &Monitor{
		log: log, start: time.Now(), wake: make(chan struct{}, 1), held: newHeld(), gone: gone,
		checks: newChecks(), series: metrics.NewHealth(), first: true,
		clusters: map[*routetable.Cluster]*cluster{}, records: map[identity]*record{},
		groups: map[groupKey]*group{}, timed: map[*record]struct{}{},
	}
}

// Report makes the Monitor count in h; without it what is counted is shown nowhere. It
// comes before the first Adopt.
func (m *Monitor) Report(h *metrics.Health) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.series = h
	h.StandingFrom(m.standing)
}

// ProbeMesh makes the probes of endpoints in a service mesh use f; without it those fail.
// It comes before the first Adopt.
func (m *Monitor) ProbeMesh(f MeshConfig) { m.checks.asker.mesh = f }

// now is the time since the Monitor's start, which never goes backwards. Zero is
// kept for "never".
func (m *Monitor) now() int64 { return max(1, int64(time.Since(m.start))) }

// at is the time of day of a moment on the Monitor's clock.
func (m *Monitor) at(t int64) time.Time { return m.start.Add(time.Duration(t)) }

// healthOf returns the settings of an endpoint.
func (m *Monitor) healthOf(e *routetable.Endpoint) *config.Health {
	if e.Health == nil {
		return &m.nothing
	}
	return e.Health
}

// Adopt makes t the table the Monitor looks after and writes the views of the
// clusters that are new in it. It is called before t is published, for each table
// that is, in order.
func (m *Monitor) Adopt(t *routetable.Table) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.pass(now)
	m.drain(now)
	for _, c := range t.Delta().AddedClusters {
		m.join(c, now)
	}
	for _, c := range t.Delta().RemovedClusters {
		m.leave(c, now)
	}
	m.table, m.first = t, false
	m.pass(now)
	for _, c := range t.Delta().AddedClusters {
		m.review(m.clusters[c], now)
	}
	m.settle(now)
	m.held.adopt(t.Delta())
	m.poke()
}

func (m *Monitor) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Run keeps the views up to date, and probes the endpoints that are to be, until ctx
// ends.
func (m *Monitor) Run(ctx context.Context) {
	var probing sync.WaitGroup
	defer probing.Wait()
	probing.Go(func() { m.held.run(ctx, m.gone) })
	probing.Go(func() { m.runChecks(ctx) })
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		case <-timer.C:
		}
		if next := m.refresh(); next > 0 {
			timer.Reset(next)
		}
		select {
		case <-ctx.Done():
		case <-time.After(refreshPause):
		}
	}
}

// refresh draws the conclusions from what was seen and what time it is, rewrites the
// views that change by it, and returns the time until it is to be called again, 0 for
// whenever there is something.
func (m *Monitor) refresh() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.table == nil {
		return 0
	}
	now := m.now()
	m.pass(now) // what was seen came after the end of what is over by now
	m.drain(now)
	m.keepHouse(now)
	next := m.pass(now)
	m.settle(now)
	if len(m.records) > 0 {
		if at := m.kept + int64(housekeeping); next == 0 || at < next {
			next = at
		}
	}
	if next == 0 {
		return 0
	}
	return max(time.Duration(next-now), time.Millisecond)
}

// pass lets time pass for the records for which it matters and returns when to do that
// again, 0 for never.
func (m *Monitor) pass(now int64) (next int64) {
	for r := range m.timed {
		at := m.advance(r, now)
		if at == 0 {
			delete(m.timed, r)
		} else if next == 0 || at < next {
			next = at
		}
	}
	return next
}

// keepHouse compares peers and forgets what is gone, now and then.
func (m *Monitor) keepHouse(now int64) {
	if now-m.kept < int64(housekeeping) {
		return
	}
	m.kept = now
	m.forget(now)
	for _, g := range m.groups {
		if g.window <= now {
			m.compare(g, now)
		}
	}
}

// changed marks the views in which an endpoint may count differently now.
func (m *Monitor) changed(r *record) {
	for _, mb := range r.members {
		if !mb.cluster.dirty {
			mb.cluster.dirty = true
			m.dirty = append(m.dirty, mb.cluster)
		}
	}
	m.restate(r, m.now())
}

// settle rewrites the views that are marked.
func (m *Monitor) settle(now int64) {
	for _, c := range m.dirty {
		if m.clusters[c.Cluster] == c {
			m.review(c, now)
		}
	}
	clear(m.dirty)
	m.dirty = m.dirty[:0]
}

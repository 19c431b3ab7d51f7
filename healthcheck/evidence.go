package healthcheck

import (
	"time"

	"usher/config"
	"usher/routetable"
)

// Kind is how a try at an endpoint ended.
type Kind uint8

// The kinds.
const (
	// Answered: a response head came.
	Answered Kind = iota
	// ConnectFailed: there was no connection.
	ConnectFailed
	// Broken: the connection ended, or what came is no response. A used connection that
	// an endpoint closes as a request comes says nothing: it is not reported.
	Broken
	// TimedOut: no response came in time.
	TimedOut
	// Began: a response head came, and only its end says how it went, which is told as
	// another Outcome.
	Began
)

// Outcome is how a try at an endpoint ended.
type Outcome struct {
	Kind Kind
	// Status is that of the answer.
	Status int
	// Took is the time to the answer; 0: it tells nothing of the endpoint.
	Took time.Duration
	// Draining says that the endpoint asks for no new requests.
	Draining bool
}

// The word trouble of a record: four counts in a row and what the Monitor wants to hear.
const (
	connects = uint64(1)
	timeouts = uint64(1) << 8
	gateways = uint64(1) << 16
	fives    = uint64(1) << 24
	count    = uint64(0xff)
	streaks  = uint64(1)<<32 - 1
	// watching: a request hangs, and the endpoint has not answered since.
	watching = uint64(1) << 32
	// wanted: the next answer is of interest.
	wanted = uint64(1) << 33
	// suspect: the endpoint is on probation, so that any failure is of interest too.
	suspect = uint64(1) << 34
)

// The events of a record.
const (
	sawAnswer = uint32(1) << iota
	sawConnects
	sawTimeouts
	sawGateways
	sawFives
	sawStall
	sawSilence
	sawDrain
	// sawFailure is any failure: a reason to probe.
	sawFailure
)

// Observe takes in how a try at the endpoint ended. It may be called from any goroutine
// and does not block. After a good answer it is a few loads, and two additions where
// peers are compared, unless the endpoint was in trouble.
func (m *Monitor) Observe(e *routetable.Endpoint, o Outcome) {
	r := attached(e)
	if r == nil {
		return
	}
	if o.Draining {
		m.note(r, sawDrain)
	}
	if o.Kind == Began {
		m.began(r, &o)
		return
	}
	rules := &m.healthOf(e).Outlier
	if o.Kind == Answered && o.Status < 500 {
		if rules.Enabled {
			r.count(rules, &o)
		}
		if r.trouble.Load() != 0 {
			m.good(r)
		}
		return
	}
	m.bad(r, rules, &o)
}

// count adds an answer, good or bad, to what peers are compared by.
func (r *record) count(rules *config.Outlier, o *Outcome) {
	if o.Kind == Answered && int64(o.Took) > r.slowest.Load() {
		r.slower(int64(o.Took))
	}
	if !rules.SuccessRate.Enabled && !rules.Latency.Enabled {
		return
	}
	r.requests.Add(1)
	if rules.Latency.Enabled && o.Took > 0 {
		r.timed.Add(1)
		r.nanos.Add(uint64(o.Took))
	}
	if o.Kind != Answered || o.Status >= 500 {
		r.failures.Add(1)
	}
}

func (r *record) slower(took int64) {
	for {
		old := r.slowest.Load()
		if took <= old || r.slowest.CompareAndSwap(old, took) {
			return
		}
	}
}

// good ends what an answer speaks against.
func (m *Monitor) good(r *record) {
	if old := r.trouble.Swap(0); old&(wanted|connects*count) != 0 {
		m.note(r, sawAnswer)
	}
}

// began ends what speaks for a silent endpoint. Whether its answers are good it does not
// tell, so that one on probation has not stood it.
func (m *Monitor) began(r *record, o *Outcome) {
	if int64(o.Took) > r.slowest.Load() {
		r.slower(int64(o.Took))
	}
	if r.trouble.Load() == 0 {
		return
	}
	ends := (connects|timeouts)*count | watching
	if r.trouble.Load()&suspect == 0 {
		ends |= wanted
	}
	if old := r.trouble.And(^ends); old&ends&(wanted|connects*count) != 0 {
		m.note(r, sawAnswer)
	}
}

// bad counts a failure and tells the Monitor of those that matter.
func (m *Monitor) bad(r *record, rules *config.Outlier, o *Outcome) {
	events := sawFailure
	if rules.Enabled {
		r.count(rules, o)
		events |= r.add(rules, o)
	}
	m.note(r, events)
}

// add counts a failure in a row and returns the events it makes.
func (r *record) add(rules *config.Outlier, o *Outcome) uint32 {
	for {
		old := r.trouble.Load()
		now := bump(old, o)
		if !r.trouble.CompareAndSwap(old, now) {
			continue
		}
		events := reached(now, rules)
		if old&suspect != 0 {
			events |= reached(now, &config.Outlier{
				ConnectFailures: 1, Timeouts: 1, ConsecutiveGatewayErrors: 1, Consecutive5xx: 1,
			})
		}
		if o.Kind == Answered && old&wanted != 0 {
			events |= sawAnswer
		}
		return events
	}
}

// bump is the word after a failure.
func bump(w uint64, o *Outcome) uint64 {
	switch o.Kind {
	case ConnectFailed:
		return plus(w, connects)
	case TimedOut:
		return plus(plus(w, timeouts), gateways)
	case Broken:
		return plus(w&^(timeouts*count), gateways)
	default: // it answers: it is there
		w &^= (connects | timeouts) * count
		w &^= watching
		if o.Status < 502 || o.Status > 504 {
			w &^= gateways * count
		} else {
			w = plus(w, gateways)
		}
		return plus(w, fives)
	}
}

// plus adds one to a count, which stays at its end when it has come there.
func plus(w, unit uint64) uint64 {
	if (w/unit)&count == count {
		return w
	}
	return w + unit
}

// reached are the events of the counts that have come to what the rules say.
func reached(w uint64, rules *config.Outlier) (events uint32) {
	for _, c := range [...]struct {
		unit  uint64
		least int
		event uint32
	}{
		{connects, rules.ConnectFailures, sawConnects},
		{timeouts, rules.Timeouts, sawTimeouts},
		{gateways, rules.ConsecutiveGatewayErrors, sawGateways},
		{fives, rules.Consecutive5xx, sawFives},
	} {
		if c.least > 0 && int((w/c.unit)&count) >= c.least {
			events |= c.event
		}
	}
	return events
}

// Hanging takes in that a request has been waiting for the endpoint's response head: since
// a moment that is the same at each call, for so long by now. It may be called from any
// goroutine and does not block. Requests that wait less than stallAfter need not be told
// of, nor those whose own body is still on its way.
func (m *Monitor) Hanging(e *routetable.Endpoint, since int64, waited time.Duration) {
	r := attached(e)
	if r == nil {
		return
	}
	// The endpoint may be that of an old table: a connection keeps the one it was made for.
	rules := &r.settings.Load().Outlier
	if !rules.Enabled || rules.StallTimeout <= 0 || e.State.Out() {
		return
	}
	if events := r.hang(m.now(), since, waited, rules.StallTimeout); events != 0 {
		m.note(r, events)
	}
}

// hang notes a waiting request and returns the events it makes.
func (r *record) hang(now, since int64, waited, limit time.Duration) (events uint32) {
	h := &r.hanging
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.trouble.Load()&watching == 0 {
		// It has answered since, or this is the first: the silence begins now.
		r.trouble.Or(watching)
		h.begun, h.n, h.told = now, 0, 0
	}
	if waited < limit || now-h.begun < int64(limit) {
		return 0
	}
	for _, known := range h.requests[:h.n] {
		if known == since {
			since = 0
		}
	}
	if since != 0 && h.n < len(h.requests) {
		h.requests[h.n] = since
		h.n++
	} else if now-h.told < int64(stallPause) {
		return 0
	}
	h.told = now
	events = sawSilence
	if h.n == len(h.requests) || r.trouble.Load()&suspect != 0 {
		events |= sawStall
	}
	return events
}

// note queues a record for the Monitor, with what it has seen.
func (m *Monitor) note(r *record, events uint32) {
	r.events.Or(events)
	if !r.queued.CompareAndSwap(false, true) {
		return
	}
	m.queueMu.Lock()
	m.queue = append(m.queue, r)
	m.queueMu.Unlock()
	m.poke()
}

package core

import (
	"usher/healthcheck"
	"usher/metrics"
	"usher/metrics/tracing"
	"usher/proxy/upstream"
	"usher/routetable"
)

// Hedged is a second try beside one that waits for the head of its response. It is made
// by Hedge and ends with Overtaken or Leave. Once made it needs nothing of its Exchange,
// but Target and Host are valid only until that goes on.
type Hedged struct {
	Attempt
	index    int
	endpoint *routetable.Endpoint
	series   *metrics.Endpoint
	guard    *guard
	core     *Core
	began    int64
	// try is its span; nil: the request is not recorded.
	try *tracing.Try
}

// Hedge picks and acquires another endpoint for a request that waits, and takes a retry
// from the budget for it; ok is false when the request is not to be sent a second time.
// Nobody else uses x meanwhile.
func (c *Core) Hedge(x *Exchange) (h Hedged, ok bool) {
	if !x.Repeatable() || !x.mayTry() || x.cluster.Restricted || !x.elsewhere() || !c.affords(x) {
		return h, false
	}
	for {
		i, err := x.cluster.Picker.Pick(x.view(), &x.pick)
		if err != nil {
			return h, false
		}
		if !x.hedgesTo(c, i) {
			if !x.passOver(i) {
				return h, false
			}
			continue
		}
		x.pick.Try(i)
		x.retrial.hedged = true
		e := x.cluster.Endpoints[i]
		h = Hedged{
			index: i, endpoint: e, series: clusterOf(x.cluster).series[i], guard: x.stay.guard, core: c,
			began: c.Sweeper.Now(),
		}
		h.Attempt = Attempt{
			Pool: x.source(i), Timeout: x.policy.Timeout,
			Deadline: x.deadline(), Policy: x.policy,
		}
		h.Target, h.Host = x.rewrite(e)
		if x.recording != nil {
			h.try = c.recordTry(x, e, h.Target)
			h.try.Hedge = true
		}
		return h, true
	}
}

// hedgesTo says whether endpoint i takes the request beside the one that has it; it is
// acquired then.
func (x *Exchange) hedgesTo(c *Core, i int) bool {
	e := x.cluster.Endpoints[i]
	busy := e.State.BusyUntil.Load() > c.Sweeper.Now() || poolsOf(x.cluster)[i].Full()
	if e.Redirect != nil || e.State.Out() || busy {
		return false
	}
	if limit := int64(x.policy.MaxEndpointRequests); limit > 0 {
		return addBelow(&e.State.InFlight, limit)
	}
	e.State.InFlight.Add(1)
	return true
}

// Overtaken makes the second try the one of the exchange: its response has begun first.
// began is when the first one did, whose endpoint is released.
func (c *Core) Overtaken(x *Exchange, h *Hedged, began int64) {
	if clusterOf(x.cluster).wants.timed {
		now := c.Sweeper.Now()
		x.cluster.Endpoints[x.endpoint].State.Latency.Raise(now-began, now)
	}
	x.release()
	if x.recording != nil {
		c.recordOvertaking(x, h)
	}
	x.endpoint, x.held, x.attempt = h.index, true, h.Attempt
	x.waited += h.began - began
	h.guard.series.Hedged(metrics.HedgeWon)
}

// Leave releases the endpoint of a second try that is not the one of its exchange. It may
// be called from any goroutine.
func (h *Hedged) Leave(outcome metrics.HedgeOutcome) {
	h.endpoint.State.InFlight.Add(-1)
	h.guard.series.Hedged(outcome)
	if outcome == metrics.HedgeFailed {
		h.series.Unanswered()
	}
	if h.try != nil {
		h.recordLeaving(outcome)
	}
}

// Connected tells what the second try is sent on. Its own goroutine calls it.
func (h *Hedged) Connected(up *upstream.Conn) {
	if h.try != nil {
		h.try.Connection(up.Reused)
	}
}

// Unconnected tells of a second try that made no connection. It may be called from any
// goroutine.
func (h *Hedged) Unconnected(err *upstream.Error) {
	if h.try != nil {
		h.try.Error = reasonOf(err).String()
	}
	if err.Kind == upstream.Connect {
		h.core.health.Observe(h.endpoint, healthcheck.Outcome{Kind: healthcheck.ConnectFailed})
	}
}

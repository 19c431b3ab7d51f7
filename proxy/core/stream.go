package core

import (
	"math/rand/v2"
	"net/http"

	"usher/healthcheck"
	"usher/routetable"
)

// BeginStream makes the exchange a connection that is carried as a whole, to where route,
// found in table, leads; nil is nowhere. The adapter has set Listener, Peer, Shard and
// Start, and nothing else. Any Reason but None ends it: End records it then. Otherwise Next
// and Failed follow, as for a request, and OpenStream when a connection to an endpoint is
// there.
func (c *Core) BeginStream(x *Exchange, table *routetable.Table, route *routetable.Route) Reason {
	x.table, x.route, x.stream = table, route, true
	if route == nil {
		return NoRoute
	}
	if len(route.Arms) > 1 {
		x.arm = route.Arm(rand.Float64())
	}
	x.enterArm()
	return x.crowded()
}

// StreamStatus is what the connections that were carried are counted as, whatever became
// of them.
const StreamStatus = http.StatusOK

// OpenStream makes the exchange, whose endpoint is connected to, a tunnel, as Open does. It
// needs no place. x.Upstream is how long the connection took to make.
func (ts *Tunnels) OpenStream(x *Exchange) *Tunnel {
	x.measure(ts.core, nil)
	x.tried(true)
	ts.core.sampled(x)
	ts.taken.Add(1)
	t := ts.open(x)
	if d := x.Listener.IdleTimeout; d > 0 {
		t.idle = d
	}
	return t
}

// Answered tells that something has come from the endpoint of a stream. It is called once,
// by any goroutine, before EndStream.
func (t *Tunnel) Answered() { t.observe(healthcheck.Answered) }

// EndStream is End for a stream. An endpoint that broke off before it has said anything is
// not well.
func (t *Tunnel) EndStream(received, sent uint64, reason Reason, now int64) {
	switch {
	case sent > 0: // Answered was called
	case reason == UpstreamReset:
		t.observe(healthcheck.Broken)
	default:
		t.observe(healthcheck.Answered)
	}
	t.End(StreamStatus, received, sent, reason, now)
}

func (t *Tunnel) observe(kind healthcheck.Kind) {
	o := healthcheck.Outcome{Kind: kind}
	if kind == healthcheck.Answered {
		o.Status = StreamStatus
		t.tries.Answered(t.sample.Shard, StreamStatus, 0)
	} else {
		t.tries.Unanswered()
	}
	t.owner.core.health.Observe(t.endpoint, o)
}

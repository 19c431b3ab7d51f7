package core

import (
	"sync/atomic"
	"time"

	"usher/metrics"
	"usher/metrics/accesslog"
	"usher/proxy/wire"
	"usher/routetable"
)

// Upgrade appends to dst the protocol the request asks to change to (RFC 9110 §7.8), as
// the client wrote it, if the service lets that one through; of several the first. dst
// comes back as it was when there is none, and the request is an ordinary one then. It is
// called between Begin and the first Next, by adapters that can carry a tunnel.
func (c *Core) Upgrade(x *Exchange, dst []byte) []byte {
	from := len(dst)
	for _, v := range x.head().PeekAll("Upgrade") {
		wire.Tokens(v, func(t []byte) {
			if len(dst) == from && listed(x.policy.Upgrades, t) {
				dst = append(dst, t...)
			}
		})
	}
	return dst
}

// listed says whether the list, which is in lower case, has the token.
func listed(list []string, token []byte) bool {
	for _, s := range list {
		if wire.EqualFold(token, s) {
			return true
		}
	}
	return false
}

// Tunnels are the tunnels of one listener. Its methods may be called from any goroutine.
type Tunnels struct {
	core *Core
	// limit bounds them; 0: no bound.
	limit int64
	taken atomic.Int64

	// present lists the endpoints of a table, for Over; at is when. Both belong to the
	// goroutine that calls Over. Nobody pays for them without a tunnel_drain.
	present map[*routetable.State]struct{}
	table   *routetable.Table
	at      int64
}

// NewTunnels returns Tunnels without any.
func NewTunnels(c *Core, l *Listener) *Tunnels {
	return &Tunnels{core: c, limit: int64(l.MaxTunnels)}
}

// Reserve takes a place for the tunnel that a request may become, and says whether there
// was one. It must be given back by Cancel, or by the End of the tunnel.
func (ts *Tunnels) Reserve() bool {
	if n := ts.taken.Add(1); ts.limit > 0 && n > ts.limit {
		ts.taken.Add(-1)
		return false
	}
	return true
}

// Cancel gives a place back that has become no tunnel.
func (ts *Tunnels) Cancel() { ts.taken.Add(-1) }

// Open makes the exchange a tunnel, in the place reserved. Its endpoint stays acquired
// until the tunnel's End, which also records the request: the caller does not call the
// Core's.
func (ts *Tunnels) Open(x *Exchange) *Tunnel {
	t := ts.open(x)
	t.upgraded = true
	ts.core.metrics.TunnelOpened(t.service)
	return t
}

func (ts *Tunnels) open(x *Exchange) *Tunnel {
	e := x.cluster.Endpoints[x.endpoint]
	service := x.cluster.Services[e.ServiceIndex]
	t := &Tunnel{
		owner: ts, endpoint: e, tries: x.endpointSeries(), service: service, start: x.Start,
		// The route may be gone from the table by the time the tunnel ends.
		series: ts.core.metrics.Acquire(x.route.ID, service),
		sample: metrics.Sample{
			Listener: x.Listener.Metrics, Shard: x.Shard, Method: metrics.MethodOf(x.Method),
			Received: x.Received, Sent: x.Sent,
		},
		idle: x.policy.TunnelIdleTimeout, drain: x.policy.TunnelDrain, record: ts.core.remember(x),
	}
	x.held = false
	if x.recording != nil {
		x.recordRoute(service)
		t.sample.Trace, t.recording, x.recording = x.TraceID(), x.recording, nil
	}
	if t.sampled, x.sampled = x.sampled, nil; t.sampled != nil {
		t.sampled.Route, t.sampled.Service = x.route.ID, service
	}
	t.stay, x.stay = x.stay, stay{}
	t.stay.change(x.Shard)
	return t
}

// Tunnel is a request whose endpoint has agreed to another protocol: from then on it is
// bytes both ways. It takes the place of the Exchange, whose buffers others need while
// the tunnel, which may live for days, is idle. End must be called once.
type Tunnel struct {
	owner    *Tunnels
	endpoint *routetable.Endpoint
	tries    *metrics.Endpoint
	series   *metrics.Route
	sample   metrics.Sample
	// upgraded says that it is counted among the connections that changed their protocol.
	upgraded bool
	// sampled is the request as it is remembered; nil: it is not.
	sampled *Sampled
	// service is the label of the gauge.
	service string
	start   int64
	stay    stay
	// recording is what is recorded of it; nil: nothing is.
	recording *recording
	// record is what the access log is told; nil: nothing.
	record *accesslog.Entry

	idle, drain time.Duration
	// left is since when the endpoint is known to be in no table; 0: it is in one.
	left int64
}

// End releases the endpoint and records the request: code is the status it was answered
// with, received and sent are the bytes carried from and to the client, and reason is
// None for an end that nobody is to blame for.
func (t *Tunnel) End(code int, received, sent uint64, reason Reason, now int64) {
	t.endpoint.State.InFlight.Add(-1)
	t.stay.leave(t.sample.Shard)
	s := t.sample
	s.Code, s.Reason, s.Duration = code, reason.sampleIndex(), duration(now-t.start)
	s.Received += received
	s.Sent += sent
	m := t.owner.core.metrics
	t.series.Count(&s)
	t.log(&s, reason)
	m.Release(t.series)
	if t.upgraded {
		m.TunnelClosed(t.service)
	}
	t.owner.taken.Add(-1)
	if t.recording != nil {
		t.recording.finish(&s, code, reason, now)
	}
	if t.sampled != nil {
		t.owner.core.tell(t.sampled, code, reason)
	}
}

// Over says whether a tunnel that carried its last byte at the given time has lived long
// enough: it was idle for too long, or its endpoint left the table too long ago. One
// goroutine calls it for all tunnels of a listener, every now and then.
func (t *Tunnel) Over(last, now int64) (over, idle bool) {
	switch {
	case t.idle > 0 && now-last >= int64(t.idle):
		return true, true
	case t.drain <= 0:
		return false, false
	case t.owner.has(t.endpoint.State, now):
		t.left = 0
	case t.left == 0:
		t.left = now
	}
	return t.left > 0 && now-t.left >= int64(t.drain), false
}

// presentEvery is how often the endpoints of a new table are listed at most.
const presentEvery = time.Second

// has says whether the endpoint is in the table, as of presentEvery ago or less.
func (ts *Tunnels) has(s *routetable.State, now int64) bool {
	if table := ts.core.Table(); ts.present == nil || (ts.table != table && now-ts.at >= int64(presentEvery)) {
		ts.present, ts.table, ts.at = map[*routetable.State]struct{}{}, table, now
		for cl := range table.AllClusters() {
			for _, e := range cl.Endpoints {
				ts.present[e.State] = struct{}{}
			}
		}
	}
	_, yes := ts.present[s]
	return yes
}

package core

import (
	"math"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"usher/config/redact"
	"usher/metrics"
)

// Recent remembers a sample of the requests that came of late: all of them while there are
// few, one every now and then when there are many, so that it covers minutes under any
// load. A request that is not taken costs a load and a comparison. Any goroutine may use
// it.
type Recent struct {
	gates []recentGate
	// pause is the time between two samples of a shard, save how many it may take at once
	// after it was quiet, in nanoseconds of pauses.
	pause, save int64
	ring        []atomic.Pointer[Sampled]
	taken       atomic.Uint64
	secrets     *redact.Rules
}

// recentGate says when its shard takes a sample again, alone on its cache line.
type recentGate struct {
	next atomic.Int64
	_    [56]byte
}

// recentSpan is how long the ring should cover under load. Half of it is what bursts may
// take, the other half is dealt out over that time.
const recentSpan = 5 * time.Minute

// maxSampled bounds the target of a sampled request, and each of its header fields: longer
// ones are not remembered.
const maxSampled = 4096

// Sampled is a recent request as far as it decides where it goes, and where it went. What
// is secret is redacted. It is immutable once it is in the ring.
type Sampled struct {
	At                             time.Time
	Listener, Method, Host, Target string
	// Headers are the first values of the fields that a route of the table matches on.
	Headers map[string]string
	GRPC    bool
	// Route and Service are where it went; empty: nowhere.
	Route, Service string
	Status         int
	// Reason is None when the upstream's answer was relayed, or a route's own was sent.
	Reason Reason
	// Generation is the table's version.
	Generation uint64
}

// NewRecent returns one that remembers n requests, at least one.
func NewRecent(n int) *Recent {
	shards := 1
	for shards < runtime.GOMAXPROCS(0) {
		shards *= 2
	}
	r := &Recent{
		gates: make([]recentGate, shards), ring: make([]atomic.Pointer[Sampled], max(n, 1)),
		secrets: redact.New(nil, nil),
	}
	r.pause = int64(recentSpan) * int64(2*shards) / int64(len(r.ring))
	r.save = r.pause * int64(max(len(r.ring)/(2*shards), 1)-1)
	for i := range r.gates {
		r.gates[i].next.Store(math.MinInt64 / 2)
	}
	return r
}

// due says whether a request that came in at now is taken.
func (r *Recent) due(s metrics.Shard, now int64) bool {
	g := &r.gates[int(s)&(len(r.gates)-1)]
	next := g.next.Load()
	return next <= now && g.next.CompareAndSwap(next, max(next, now-r.save)+r.pause)
}

// add puts a request into the ring, in the place of the oldest.
func (r *Recent) add(s *Sampled) {
	r.ring[(r.taken.Add(1)-1)%uint64(len(r.ring))].Store(s)
}

// Requests returns the requests that are remembered, the oldest first.
func (r *Recent) Requests() (out []*Sampled) {
	for i := range r.ring {
		if s := r.ring[i].Load(); s != nil {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b *Sampled) int { return a.At.Compare(b.At) })
	return out
}

// Remember has n recent requests remembered from now on; 0: none.
func (c *Core) Remember(n int) {
	now := c.recent.Load()
	switch {
	case n <= 0:
		c.recent.Store(nil)
	case now == nil || len(now.ring) != n:
		c.recent.Store(NewRecent(n))
	}
}

// Requests returns those that are remembered, the oldest first.
func (c *Core) Requests() []*Sampled {
	if r := c.recent.Load(); r != nil {
		return r.Requests()
	}
	return nil
}

// sample takes the request as it was matched, if it is its turn.
func (x *Exchange) sample(r *Recent) {
	if !r.due(x.Shard, x.Start) || len(x.Target) > maxSampled {
		return
	}
	s := &Sampled{
		At: time.Now(), Listener: x.Listener.Name, Method: string(x.Method), Host: string(x.Host),
		Target: string(r.secrets.AppendTarget(nil, x.Target)), GRPC: x.query.GRPC, Generation: x.table.Version,
	}
	for _, name := range x.table.HeaderNames() {
		if v := x.query.Header(name); v != nil && len(v) <= maxSampled {
			if s.Headers == nil {
				s.Headers = map[string]string{}
			}
			s.Headers[name] = r.secrets.Header(name, string(v))
		}
	}
	x.sampled = s
}

// tell says how a sampled request was answered, and puts it into the ring.
func (c *Core) tell(s *Sampled, code int, reason Reason) {
	s.Status, s.Reason = code, reason
	if r := c.recent.Load(); r != nil {
		r.add(s)
	}
}

// tellEnd is tell for an exchange that ends.
func (c *Core) tellEnd(x *Exchange, service, code int, reason Reason) {
	s := x.sampled
	x.sampled = nil
	if x.route != nil {
		s.Route = x.route.ID
		if !x.route.Answers() {
			s.Service = x.cluster.Services[service]
		}
	}
	if reason == Answered {
		reason = None
	}
	c.tell(s, code, reason)
}

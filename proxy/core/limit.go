package core

import (
	"sync/atomic"
	"time"

	"usher/config"
	"usher/metrics"
	"usher/proxy/upstream"
	"usher/routetable"
)

// guard is what keeps a service and its clients from harm: the budget of its retries and
// the bounds of what it has in flight. All clusters of a service share one, and it
// outlives tables; a service that leaves and comes back soon finds it as it was. Its
// methods may be called from any goroutine and do not lock.
type guard struct {
	series *metrics.Guarded
	// budgeted is what retries may be; it is the settings' last published.
	budgeted atomic.Pointer[config.RetryBudget]
	budget   budget
	// seen is made by the first request: most services of a large registry have none.
	seen atomic.Pointer[seen]
	// inFlight counts the requests of a service that bounds them.
	inFlight atomic.Int64
	// bound is the most of them, 0 for no bound, for who asks from outside a request.
	bound    atomic.Int64
	adaptive atomic.Pointer[adaptive]
	mover    Mover

	// users counts the clusters that hold it, left is since when none does. They belong to
	// the goroutine that publishes.
	users int
	left  int64
}

// seen counts the requests of a service, each connection on its own shard.
type seen struct{ begun, ended *metrics.Counter }

// guards are those of the services, by the names that their settings stand under. They
// belong to the goroutine that publishes.
type guards map[string]*guard

// guardGrace is how long the guard of a service that has left is kept.
const guardGrace = time.Minute

// acquireGuard returns the guard of a cluster for one more user, made at first.
func (c *Core) acquireGuard(cl *routetable.Cluster) *guard {
	name := cl.SettingsName()
	g := c.guards[name]
	if g == nil {
		g = &guard{series: c.metrics.Resilience.Acquire(name)}
		g.mover = Mover{c, g}
		c.metrics.Resilience.Watch(g.series, g.state)
		c.guards[name] = g
	}
	g.users++
	g.adopt(&cl.Policy)
	return g
}

// adopt puts settings in force.
func (g *guard) adopt(p *config.Policy) {
	budgeted := p.Retry.Budget
	g.budgeted.Store(&budgeted)
	g.bound.Store(int64(p.MaxRequests))
	switch a := g.adaptive.Load(); {
	case !p.AdaptiveConcurrency.Enabled:
		g.adaptive.Store(nil)
	case a == nil:
		g.adaptive.Store(newAdaptive(p.AdaptiveConcurrency))
	default:
		a.bound(p.AdaptiveConcurrency)
	}
}

// release takes a cluster's hold away.
func (gs guards) release(cl *routetable.Cluster, now int64) {
	g := gs[cl.SettingsName()]
	if g.users--; g.users == 0 {
		g.left = now
	}
}

// forget drops the guards that nobody has held for guardGrace.
func (gs guards) forget(now int64, m *metrics.Resilience) {
	for name, g := range gs {
		if g.users == 0 && now-g.left > int64(guardGrace) {
			m.Release(g.series)
			delete(gs, name)
		}
	}
}

// state is what the metrics show.
func (g *guard) state() (s metrics.CircuitState, used bool) {
	if limit, _ := g.limit(); limit > 0 {
		s.Open = g.inFlight.Load() >= limit
	}
	if a := g.adaptive.Load(); a != nil {
		s.Limit = int(a.limit.Load())
	}
	return s, g.seen.Load() != nil
}

// limit is how many requests there may be in flight, 0 for no bound, and what says so.
func (g *guard) limit() (int64, metrics.Shed) {
	limit := g.bound.Load()
	if a := g.adaptive.Load(); a != nil {
		if found := a.limit.Load(); limit <= 0 || found < limit {
			return found, metrics.ShedAdaptive
		}
	}
	return limit, metrics.ShedRequests
}

// count counts the beginning of a request.
func (g *guard) count(shard metrics.Shard) {
	s := g.seen.Load()
	if s == nil {
		g.seen.CompareAndSwap(nil, &seen{metrics.NewCounter(), metrics.NewCounter()})
		s = g.seen.Load()
	}
	s.begun.Add(shard, 1)
}

// take takes a retry from the budget, if there is one.
func (g *guard) take(now int64) bool {
	var begun uint64
	var live int64
	if s := g.seen.Load(); s != nil {
		ended := s.ended.Value() // first, so that it is never more than those begun
		begun = s.begun.Value()
		live = int64(begun - ended)
	}
	return g.budget.take(now, begun, live, *g.budgeted.Load())
}

// affords takes a retry from the budget, if there is one, and counts if there is none.
func (c *Core) affords(x *Exchange) bool {
	if x.stay.guard.take(c.Sweeper.Now()) {
		return true
	}
	x.stay.guard.series.BudgetExhausted()
	return false
}

// crowded sheds a request that would be refused by enter, before its body is read.
func (x *Exchange) crowded() Reason {
	g := clusterOf(x.cluster).guard
	if limit, by := g.limit(); limit > 0 && g.inFlight.Load() >= limit {
		g.series.Shed(by)
		return Overloaded
	}
	return None
}

// enter counts a request that is about to be sent for the first time, or sheds it.
func (x *Exchange) enter() Reason {
	g := clusterOf(x.cluster).guard
	if limit, by := g.limit(); limit > 0 {
		if !addBelow(&g.inFlight, limit) {
			g.series.Shed(by)
			return Overloaded
		}
		x.stay.bounded = true
	}
	x.stay.guard = g
	g.count(x.Shard)
	return None
}

// stay is what a request that entered has to leave.
type stay struct {
	guard *guard
	// bounded says that it is counted in flight, changed that it is no request any more.
	bounded, changed bool
}

// change turns a request into a tunnel, which is no longer one that may be retried.
func (s *stay) change(shard metrics.Shard) {
	s.changed = true
	s.guard.seen.Load().ended.Add(shard, 1)
}

// leave ends what enter began, if it did.
func (s *stay) leave(shard metrics.Shard) {
	g := s.guard
	if g == nil {
		return
	}
	if !s.changed {
		g.seen.Load().ended.Add(shard, 1)
	}
	if s.bounded {
		g.inFlight.Add(-1)
	}
	*s = stay{}
}

// sampled measures how long a try took, for a service that bounds itself by that. A body
// that is sent meanwhile takes as long as the client likes.
func (c *Core) sampled(x *Exchange) {
	if x.began == 0 || x.Streams {
		return
	}
	now := c.Sweeper.Now()
	if a := x.stay.guard.adaptive.Load(); a != nil {
		a.observe(now, now-x.began, x.stay.guard.inFlight.Load())
	}
	x.began = 0
}

// spare says whether an endpoint that was picked takes the request now. One that asked to
// be left alone had better not, nor one that is out when the request was tried before:
// the view may not say so yet.
func (c *Core) spare(x *Exchange, i int) bool {
	s := x.cluster.Endpoints[i].State
	until := s.BusyUntil.Load()
	if until != 0 && until > c.Sweeper.Now() || x.lastErr != nil && s.Out() {
		if x.resting < 0 {
			x.resting = i
		}
		return false
	}
	return x.room(i)
}

// room says whether an endpoint may have another request; where that is bounded it is
// acquired.
func (x *Exchange) room(i int) bool {
	if x.refused() && poolsOf(x.cluster)[i].Full() {
		return false
	}
	limit := int64(x.policy.MaxEndpointRequests)
	if limit <= 0 {
		return true
	}
	if !addBelow(&x.cluster.Endpoints[i].State.InFlight, limit) {
		x.capped = true
		return false
	}
	x.endpoint, x.held = i, true
	return true
}

// without is the answer to a request for which there is no endpoint to try.
func (x *Exchange) without() Reason {
	if x.capped && x.lastErr == nil {
		x.stay.guard.series.Shed(metrics.ShedEndpointRequests)
		return Overloaded
	}
	return x.failure(NoHealthyEndpoint)
}

// refused says whether the last try ended for want of a connection.
func (x *Exchange) refused() bool { return x.lastErr != nil && x.lastErr.Kind == upstream.Full }

package consul

import (
	"context"
	"hash/maphash"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/watcher"
)

// Services without a query of their own are read again when something says that
// they may have changed: the list of services (their tags changed, or they left),
// or one shared query on the state of all checks. An instance without a check shows
// in neither, so each is read again now and then as well.
const (
	// sharedEvery is how often the shared query may answer: it costs the agent a scan
	// of all checks.
	sharedEvery = 500 * time.Millisecond
	// refreshEvery is when a service is read again though nothing was heard of it.
	refreshEvery = 30 * time.Second
	// refreshTick is how often it is looked which services are due, refreshAtOnce
	// bounds the reads that starts: 200 a second.
	refreshTick   = 100 * time.Millisecond
	refreshAtOnce = 20
	// refreshSlowly bounds those that start only because something may have changed, and
	// calm is how long that must not have been so for them to hurry.
	refreshSlowly = 4
	calm          = 30 * time.Second
	// failedEvery is when a failed read is tried again.
	failedEvery = time.Second
	// leastOwn is what a refusing agent cannot push the own queries below.
	leastOwn = 8
)

// tooManyConns is the reason of a query that the agent's limit of connections
// refused.
const tooManyConns = "http_429"

// checkSums are sums of the states of checks, of each service and of each node's
// own. They are taken of the state of all checks and, to compare, of each service
// that is read: a state is compared with a state, so that none is missed between.
type checkSums struct{ services, nodes map[string]uint64 }

// watchShared adds a target to those that share a query.
func (c *coordinator) watchShared(t target) {
	if !c.sharing {
		c.sharing = true
		c.log.Info("more services than connections to the agent: the others share a query",
			"own", c.own, "hint", "use https, or raise max_watches here and limits.http_max_conns_per_client there")
		c.running.Go(func() { c.watchChecks(c.ctx) })
	}
	c.reread(t)
}

// reread reads a shared target once, after the read that is under way if there is
// one.
func (c *coordinator) reread(t target) {
	s := c.services[t]
	if s == nil || s.cancel != nil {
		return
	}
	if s.reading {
		s.dirty = true
		return
	}
	s.reading, s.dirty, s.stale = true, false, false
	f := newFollower()
	had, before := s.size, s.index
	f.known = before
	if s.failed {
		f.suspect = "the agent had failed just before"
	}
	c.running.Go(func() {
		res, _ := c.readService(c.ctx, f, t, had)
		if res.err == nil && res.index < before {
			res.suspect = "the index went backwards"
		}
		res.once, res.of = true, s
		select {
		case c.results <- res:
		case <-c.ctx.Done():
		}
	})
}

// endRead takes note of the end of a single read.
func (c *coordinator) endRead(r result, s *service) {
	s.reading, s.failed, s.readAt = false, r.err != nil, time.Now()
	if s.dirty {
		c.reread(r.target)
	}
}

// rereadChanged reads the shared services again that a list names otherwise than
// before. A list of everything that woke up and shows no difference at all, not even
// in a service that is nobody's, hides one (another address, a weight): then all are
// due.
func (c *coordinator) rereadChanged(before, now *list) {
	if before.names == nil {
		return
	}
	for name, sum := range before.names {
		if later, ok := now.names[name]; !ok || later != sum {
			c.reread(target{name: name})
		}
	}
	for name := range now.names {
		if _, ok := before.names[name]; !ok {
			c.reread(target{name: name})
		}
	}
	switch {
	case now.from != byTags:
	case now.all == before.all:
		c.markStale()
	default:
		c.markProxies()
	}
}

// markStale makes every shared service due: in a hurry after a calm time, and little by
// little where the catalog is never quiet.
func (c *coordinator) markStale() {
	now := time.Now()
	c.hurry = now.Sub(c.markedAt) > calm
	c.markedAt = now
	for _, s := range c.services {
		s.stale = s.cancel == nil
	}
}

// markProxies makes the proxies of the services that share a query due: one that is new, or
// stands for another service now, has a name that says nothing of which.
func (c *coordinator) markProxies() {
	for t, s := range c.services {
		s.stale = s.stale || t.mesh && s.cancel == nil
	}
}

// takeChecks reads the shared services again whose checks are not as they were read.
func (c *coordinator) takeChecks(sums checkSums) {
	for t, s := range c.services {
		if s.cancel == nil && s.known && s.differs(t, sums) {
			c.reread(t)
		}
	}
}

// differs says whether the checks of a target, or of its nodes, differ from what was read
// of it. The checks of a mesh are those of the proxies, which have names of their own.
func (s *service) differs(t target, now checkSums) bool {
	if !t.mesh && s.sums.services[t.name] != now.services[t.name] {
		return true
	}
	for name, sum := range s.sums.services {
		if now.services[name] != sum {
			return true
		}
	}
	for node, sum := range s.sums.nodes {
		if now.nodes[node] != sum {
			return true
		}
	}
	return false
}

// refresh reads the services again that are due.
func (c *coordinator) refresh(now time.Time) {
	started, slowly := 0, 0
	for t, s := range c.services {
		if s.cancel != nil || s.reading || !s.due(now) {
			continue
		}
		if !c.hurry && !s.failed && s.stale {
			if slowly++; slowly > refreshSlowly {
				continue
			}
		}
		if started++; started > refreshAtOnce {
			return
		}
		c.reread(t)
	}
}

// due says whether a shared service is to be read again.
func (s *service) due(now time.Time) bool {
	age := now.Sub(s.readAt)
	return (s.failed && age >= failedEvery) || (!s.failed && s.stale) || age >= refreshEvery
}

// shareMore halves the own queries when the agent refuses connections.
func (c *coordinator) shareMore(t target, s *service) {
	if s.cancel == nil {
		return
	}
	if half := max(leastOwn, c.own/2); half < c.limit {
		c.limit = half
		c.log.Warn("the agent refuses connections; fewer services get a query of their own", "own", half,
			"hint", "raise limits.http_max_conns_per_client at the agent, or use https")
	}
	for other, o := range c.services {
		if c.own <= c.limit {
			break
		}
		if o.cancel != nil && (other == t || o.answered) {
			c.demote(other, o)
		}
	}
}

// watchChecks follows the state of all checks for the services without a query of
// their own.
func (c *coordinator) watchChecks(ctx context.Context) {
	f := newFollower()
	f.well = &c.well
	for {
		begin := time.Now()
		sums, apply, err := c.readChecks(ctx, f)
		if err == nil && apply {
			select {
			case c.checks <- sums:
			case <-ctx.Done():
				return
			}
		}
		if !next(ctx, f, err) || !watcher.Sleep(ctx, sharedEvery-time.Since(begin)) {
			return
		}
	}
}

func (c *coordinator) readChecks(ctx context.Context, f *follower) (checkSums, bool, error) {
	checks, meta, err := ask(ctx, c, f, func(o *api.QueryOptions) (out []check, m *api.QueryMeta, err error) {
		m, err = c.client.Raw().Query("/v1/health/state/"+api.HealthAny, &out, o)
		return out, m, err
	})
	if err != nil {
		return checkSums{}, false, err
	}
	apply, _ := f.answered(meta.LastIndex)
	return c.sumChecks(checks), apply, nil
}

// check is what counts of a check: of ten thousand of them the rest is not decoded.
type check struct{ Node, CheckID, Status, ServiceID, ServiceName string }

// sumChecks adds up a hash of each check and its state; the order in which they are
// listed does not matter.
func (r *Registry) sumChecks(checks []check) checkSums {
	sums := checkSums{map[string]uint64{}, map[string]uint64{}}
	for i := range checks {
		c := &checks[i]
		if c.ServiceID != "" {
			sums.services[c.ServiceName] += r.hashCheck(c)
		} else {
			sums.nodes[c.Node] += r.hashCheck(c)
		}
	}
	return sums
}

// sumEntries is sumChecks of what was read of one service. Each instance lists the
// checks of its node.
func (r *Registry) sumEntries(entries []*api.ServiceEntry) checkSums {
	var checks []check
	nodes := map[string]bool{}
	for _, e := range entries {
		for _, c := range e.Checks {
			if c.ServiceID != "" || !nodes[c.Node] {
				checks = append(checks, check{c.Node, c.CheckID, c.Status, c.ServiceID, c.ServiceName})
			}
		}
		nodes[e.Node.Node] = true
	}
	return r.sumChecks(checks)
}

func (r *Registry) hashCheck(c *check) uint64 {
	var h maphash.Hash
	h.SetSeed(r.seed)
	for _, part := range []string{c.Node, c.ServiceID, c.CheckID, c.Status} {
		_, _ = h.WriteString(part) // never fails
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

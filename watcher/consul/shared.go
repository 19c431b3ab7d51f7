package consul

import (
	"context"
	"hash/maphash"
	"time"

	"github.com/hashicorp/consul/api"
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
	// refreshAtOnce bounds the reads that a tick of the refresh starts.
	refreshAtOnce = 100
	// leastOwn is what a refusing agent cannot push the own queries below.
	leastOwn = 8
)

// tooManyConns is the reason of a query that the agent's limit of connections
// refused.
const tooManyConns = "http_429"

// checkSums holds a sum of the check states of each service; "" are the nodes' own.
type checkSums map[string]uint64

// watchShared adds a service to those that share a query.
func (c *coordinator) watchShared(name string) {
	if !c.sharing {
		c.sharing = true
		c.log.Info("more services than connections to the agent: the others share a query",
			"own", c.own, "hint", "use https, or raise max_watches here and limits.http_max_conns_per_client there")
		c.running.Go(func() { c.watchChecks(c.ctx, c) })
	}
	c.reread(name)
}

// reread reads a shared service once, after the read that is under way if there is
// one.
func (c *coordinator) reread(name string) {
	s := c.services[name]
	if s == nil || s.cancel != nil {
		return
	}
	if s.reading {
		s.dirty = true
		return
	}
	s.reading, s.dirty = true, false
	c.running.Go(func() {
		res, _ := c.readService(c.ctx, newFollower(), name)
		res.once = true
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
		c.reread(r.name)
	}
}

// rereadChanged reads the shared services again that a list names with other tags
// than before, or no more.
func (c *coordinator) rereadChanged(before, now map[string]uint64) {
	for name, sum := range before {
		if later, ok := now[name]; !ok || later != sum {
			c.reread(name)
		}
	}
}

// takeChecks reads the shared services again whose checks changed. A node's own
// check concerns every service on it: all are read.
func (c *coordinator) takeChecks(sums checkSums) {
	before := c.sums
	c.sums = sums
	if before == nil {
		return
	}
	all := before[""] != sums[""]
	for name := range c.services {
		if all || before[name] != sums[name] {
			c.reread(name)
		}
	}
}

// refresh reads the services again whose last read failed or is long ago.
func (c *coordinator) refresh(now time.Time) {
	started := 0
	for name, s := range c.services {
		if s.cancel != nil || s.reading || (!s.failed && now.Sub(s.readAt) < refreshEvery) {
			continue
		}
		if started++; started > refreshAtOnce {
			return
		}
		c.reread(name)
	}
}

// shareMore halves the own queries when the agent refuses connections.
func (c *coordinator) shareMore(name string, s *service) {
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
		if o.cancel != nil && (other == name || o.answered) {
			o.cancel()
			o.cancel = nil
			c.own--
			c.watchShared(other)
		}
	}
}

// watchChecks follows the state of all checks for the services without a query of
// their own.
func (r *Registry) watchChecks(ctx context.Context, c *coordinator) {
	f := newFollower()
	seed := maphash.MakeSeed()
	for {
		begin := time.Now()
		sums, apply, err := r.readChecks(ctx, f, seed)
		if err == nil && apply {
			select {
			case c.checks <- sums:
			case <-ctx.Done():
				return
			}
		}
		if !next(ctx, f, err) || !sleep(ctx, sharedEvery-time.Since(begin)) {
			return
		}
	}
}

func (r *Registry) readChecks(ctx context.Context, f *follower, seed maphash.Seed) (checkSums, bool, error) {
	opts, cancel := blocking(ctx, f.index)
	defer cancel()
	checks, meta, err := r.client.Health().State(api.HealthAny, opts)
	if err != nil {
		return nil, false, err
	}
	apply, _ := f.answered(meta.LastIndex)
	return sumChecks(checks, seed), apply, nil
}

// sumChecks adds up, for each service, a hash of each of its checks and its state;
// the order in which they are listed does not matter.
func sumChecks(checks api.HealthChecks, seed maphash.Seed) checkSums {
	sums := checkSums{}
	for _, c := range checks {
		var h maphash.Hash
		h.SetSeed(seed)
		for _, part := range []string{c.Node, c.ServiceID, c.CheckID, c.Status} {
			_, _ = h.WriteString(part) // never fails
			_ = h.WriteByte(0)
		}
		sums[c.ServiceName] += h.Sum64()
	}
	return sums
}

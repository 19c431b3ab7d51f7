package consul

import (
	"cmp"
	"slices"
	"time"
)

const (
	// balanceEvery is how often the own queries are given to the services that need them
	// most.
	balanceEvery = 10 * time.Second
	// balanceMoves bounds how many change at a time: the query of a service that loses
	// its own stays at the server until its wait is over.
	balanceMoves = 8
	// freshPlaces is how many of the own queries go to the newest services, a quarter at
	// most: a service that has just come is about to change again, when its checks pass,
	// or to leave. freshEvery bounds how often such a place changes hands.
	freshPlaces = 16
	freshEvery  = 100 * time.Millisecond
)

// makeRoom takes the own query of an older target for one that is new, and says
// whether it did.
func (c *coordinator) makeRoom(t target) bool {
	now := time.Now()
	if c.told != synced || now.Sub(c.roomAt) < freshEvery {
		return false
	}
	var victim target
	if places := min(freshPlaces, c.limit/4); len(c.fresh) >= max(1, places) {
		victim, c.fresh = c.fresh[0], c.fresh[1:]
	} else {
		victim = c.quietest()
	}
	if s := c.services[victim]; s != nil && s.cancel != nil {
		c.demote(victim, s)
	}
	if c.own >= c.limit {
		return false
	}
	c.roomAt = now
	c.fresh = append(c.fresh, t)
	return true
}

// quietest is the target with an own query that has the least traffic, among those
// that did not get it for being new; zero when there is none.
func (c *coordinator) quietest() (quietest target) {
	for t, s := range c.services {
		if s.cancel == nil || !s.answered || slices.Contains(c.fresh, t) {
			continue
		}
		if quietest.name == "" || c.rates[t.name] < c.rates[quietest.name] {
			quietest = t
		}
	}
	return quietest
}

// balance gives the queries that are free to shared services, those with traffic
// first, and takes some from services without for those that have it.
func (c *coordinator) balance() {
	if c.own == len(c.services) {
		return // everybody has one
	}
	c.measure()
	var own, shared []target
	for t, s := range c.services {
		switch {
		case s.cancel != nil && s.answered && !slices.Contains(c.fresh, t):
			own = append(own, t)
		case s.cancel == nil && s.known && !s.reading:
			shared = append(shared, t)
		}
	}
	rates := c.rates
	byRate := func(a, b target) int {
		return cmp.Or(cmp.Compare(rates[a.name], rates[b.name]), cmp.Compare(a.name, b.name))
	}
	slices.SortFunc(own, byRate)
	slices.SortFunc(shared, func(a, b target) int { return byRate(b, a) })
	for i, t := range shared[:min(len(shared), balanceMoves)] {
		if c.own >= c.limit {
			if i >= len(own) || rates[t.name] <= 2*rates[own[i].name] {
				return
			}
			c.demote(own[i], c.services[own[i]])
		}
		c.watchAlone(t, c.services[t])
	}
}

// measure takes the requests to each service since the last time.
func (c *coordinator) measure() {
	if c.Options.Busy == nil {
		return
	}
	now := c.Options.Busy()
	rates := make(map[string]uint64, len(now))
	for name, n := range now {
		if before := c.traffic[name]; n > before {
			rates[name] = n - before
		}
	}
	c.traffic, c.rates = now, rates
}

// demote makes a service with a query of its own share one.
func (c *coordinator) demote(t target, s *service) {
	s.cancel()
	s.cancel = nil
	c.own--
	c.watchShared(t)
}

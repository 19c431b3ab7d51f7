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
)

// balance gives the queries that are free to shared services, those with traffic
// first, and takes some from services without for those that have it.
func (c *coordinator) balance() {
	if c.own == len(c.services) {
		return // everybody has one
	}
	rates := c.rates()
	var own, shared []string
	for name, s := range c.services {
		switch {
		case s.cancel != nil && s.answered:
			own = append(own, name)
		case s.cancel == nil && s.known && !s.reading:
			shared = append(shared, name)
		}
	}
	byRate := func(a, b string) int { return cmp.Or(cmp.Compare(rates[a], rates[b]), cmp.Compare(a, b)) }
	slices.SortFunc(own, byRate)
	slices.SortFunc(shared, func(a, b string) int { return byRate(b, a) })
	for i, name := range shared[:min(len(shared), balanceMoves)] {
		if c.own >= c.limit {
			if i >= len(own) || rates[name] <= 2*rates[own[i]] {
				return
			}
			c.demote(own[i], c.services[own[i]])
		}
		c.watchAlone(name, c.services[name])
	}
}

// rates are the requests to each service since the last time; nil when nobody tells.
func (c *coordinator) rates() map[string]uint64 {
	if c.Options.Busy == nil {
		return nil
	}
	now := c.Options.Busy()
	rates := make(map[string]uint64, len(now))
	for name, n := range now {
		if before := c.traffic[name]; n > before {
			rates[name] = n - before
		}
	}
	c.traffic = now
	return rates
}

// demote makes a service with a query of its own share one.
func (c *coordinator) demote(name string, s *service) {
	s.cancel()
	s.cancel = nil
	c.own--
	c.watchShared(name)
}

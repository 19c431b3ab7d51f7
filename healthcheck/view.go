package healthcheck

import (
	"slices"

	"usher/routetable"
)

// overprovision is how much more than its share a tier can take: as long as its healthy
// part times this covers the whole, everything stays in it.
const overprovision = 1.4

// review works out the view of a cluster anew.
func (m *Monitor) review(c *cluster, now int64) {
	c.dirty = false
	s := m.survey(c, now)
	v := s.view(m, now)
	if old := c.View(); !sameView(v, old) {
		c.SetView(v)
		m.watcher.changed()
	}
	for _, mb := range c.members {
		mb.picked = false
	}
	for _, i := range v.Usable {
		c.members[i].picked = true
	}
	for _, mb := range c.members {
		m.restate(mb.record, now)
	}
	if v.Panic != c.panic {
		m.panics(c, &s)
	}
}

// panics notes that a cluster begins or ends to try all of its endpoints.
func (m *Monitor) panics(c *cluster, s *survey) {
	c.panic = !c.panic
	if c.panic {
		m.panicking++
		m.log.Warn("too few healthy endpoints: all are tried", "cluster", c.Name,
			"healthy", s.healthy, "of", len(s.may))
		return
	}
	m.panicking--
	m.log.Info("enough healthy endpoints again", "cluster", c.Name, "healthy", s.healthy, "of", len(s.may))
}

// survey is what of a cluster's endpoints may be picked.
type survey struct {
	c *cluster
	// may are the endpoints that the registry lets in, healthy those of them that are fit.
	may     []int32
	healthy int
	// tiers are those of may, nearest first.
	tiers []tier
	panic bool
	// settled says that one of the endpoints in the view has all its weight, alive that one
	// is not known to refuse connections.
	settled, alive bool
}

// tier is one tier's part in a cluster.
type tier struct {
	tier uint8
	// whole is the weight of those that the registry lets in, fit of those that are.
	whole, fit float64
	// load is the share of the requests that it gets, tried the weight in the view.
	load, tried float64
}

func (m *Monitor) survey(c *cluster, now int64) survey {
	s := survey{c: c}
	s.may = c.candidates()
	if len(s.may) == 0 && c.Policy.PanicIncludesCritical {
		for i, mb := range c.members {
			if mb.endpoint.Weight > 0 && stateOf(mb.record) == Critical {
				s.may = append(s.may, int32(i))
			}
		}
		s.panic = len(s.may) > 0
	}
	for _, i := range s.may {
		mb := c.members[i]
		t := s.tierOf(mb.endpoint.Tier)
		t.whole += mb.endpoint.Weight
		if fit(mb) {
			t.fit += mb.endpoint.Weight
			s.healthy++
		}
	}
	if len(s.may) > 0 && (s.healthy == 0 || float64(s.healthy) < c.Policy.PanicThreshold*float64(len(s.may))) {
		s.panic = true
	}
	slices.SortFunc(s.tiers, func(a, b tier) int { return int(a.tier) - int(b.tier) })
	s.spread()
	return s
}

// tierOf returns the tier of that number, made at first. There are few.
func (s *survey) tierOf(n uint8) *tier {
	for i := range s.tiers {
		if s.tiers[i].tier == n {
			return &s.tiers[i]
		}
	}
	s.tiers = append(s.tiers, tier{tier: n})
	return &s.tiers[len(s.tiers)-1]
}

// spread gives each tier its load: the nearest as much as it is fit for, the next what is
// left. Where none is fit the nearest has it all.
func (s *survey) spread() {
	left := 1.0
	for i := range s.tiers {
		t := &s.tiers[i]
		t.load = min(left, t.fit/t.whole*overprovision)
		left -= t.load
	}
	if s.healthy == 0 && len(s.tiers) > 0 {
		s.tiers[0].load = 1
	}
}

// candidates are the indexes of the endpoints that may be sent requests. Those that
// the registry no longer lists (held ones) may while too few of their service's
// listed ones are usable.
func (c *cluster) candidates() []int32 {
	var confirmed []int
	out := make([]int32, 0, len(c.members))
	for i, mb := range c.members {
		e := mb.endpoint
		if e.Held != nil && confirmed == nil {
			confirmed = c.countConfirmed()
		}
		if takesTraffic(e) && (e.Held == nil || confirmed[e.ServiceIndex] < e.Held.Quorum) {
			out = append(out, int32(i))
		}
	}
	return out
}

// countConfirmed counts, for each service of a cluster, the usable endpoints that its
// registry lists.
func (c *cluster) countConfirmed() []int {
	n := make([]int, max(1, len(c.Services)))
	for _, mb := range c.members {
		if e := mb.endpoint; e.Held == nil && takesTraffic(e) && fit(mb) {
			n[e.ServiceIndex]++
		}
	}
	return n
}

// view makes the view of what was found.
func (s *survey) view(m *Monitor, now int64) *routetable.View {
	tried := s.tried()
	usable := make([]int32, 0, len(tried))
	weights := make([]float64, 0, len(tried))
	for _, i := range tried {
		mb := s.c.members[i]
		w := mb.endpoint.Weight * s.share(m, mb, now)
		usable, weights = append(usable, i), append(weights, w)
		s.tierOf(mb.endpoint.Tier).tried += w
	}
	if len(s.tiers) > 1 && s.tiers[0].load < 1 {
		for k, i := range usable {
			t := s.tierOf(s.c.members[i].endpoint.Tier)
			weights[k] *= t.load / t.tried
		}
	}
	v := routetable.NewView(usable, weights)
	v.Panic = s.panic
	return v
}

// tried are the endpoints that the view offers, and what there is to know of them
// together.
func (s *survey) tried() []int32 {
	out := make([]int32, 0, len(s.may))
	for _, i := range s.may {
		mb := s.c.members[i]
		if (s.panic || fit(mb)) && s.tierOf(mb.endpoint.Tier).load > 0 {
			out = append(out, i)
			s.settled = s.settled || fit(mb) && mb.record.rampFrom == 0 && mb.record.ejection.phase == inService
			s.alive = s.alive || !refuses(mb)
		}
	}
	return out
}

// share is the part of its weight that an endpoint of the view has. Nobody grows slowly
// where nobody is grown. In a panic those that take no connections keep little: a try
// there can only end in another.
func (s *survey) share(m *Monitor, mb *member, now int64) float64 {
	switch {
	case s.panic && s.alive && refuses(mb):
		return leastShare
	case s.panic:
		return 1
	case mb.record.ejection.phase == probation || s.settled:
		return m.shareOf(mb, now)
	default:
		return 1
	}
}

// shareOf is the part of its weight that a fit endpoint has beside grown ones.
func (m *Monitor) shareOf(mb *member, now int64) float64 {
	if mb.record.ejection.phase == probation {
		return leastShare
	}
	return m.rampOf(mb.record, mb.endpoint, now)
}

// refuses says that an endpoint could not be connected to, and has not answered since.
func refuses(mb *member) bool {
	return mb.record.ejection.phase == ejected && mb.record.ejection.reason == byConnects
}

// fit is usher's own verdict on an endpoint.
func fit(mb *member) bool {
	r := mb.record
	return r.ejection.phase != ejected && r.drainUntil == 0 && !mb.prober.saysDown()
}

// takesTraffic is the registry's verdict.
func takesTraffic(e *routetable.Endpoint) bool { return e.Weight > 0 && e.Up() }

func sameView(a, b *routetable.View) bool {
	return a.Panic == b.Panic && slices.Equal(a.Usable, b.Usable) && slices.Equal(a.Weights, b.Weights)
}

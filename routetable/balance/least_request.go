package balance

import "usher/routetable"

// leastRequest takes two endpoints at random, by weight, and of these the one
// with fewer requests in flight for its weight. Two choices keep the load even
// without anybody looking at all endpoints (Mitzenmacher, 2001).
type leastRequest struct{ states }

// NewLeastRequest returns a picker by two random choices.
func NewLeastRequest(c *routetable.Cluster, _ *routetable.ClusterState) routetable.Picker {
	return leastRequest{statesOf(c)}
}

// Pick implements routetable.Picker.
func (l leastRequest) Pick(v *routetable.View, p *routetable.PickInfo) (int, error) {
	switch n := len(v.Usable); {
	case n == 0:
		return -1, routetable.ErrNoEndpoint
	case p.Attempts() > 0:
		return betterUntried(l, v, p)
	case n == 1:
		return int(v.Usable[0]), nil
	}
	a, b := drawTwo(v)
	return l.better(v, p, a, b), nil
}

// better returns the less loaded of two places in the view, as an index into the
// endpoints.
func (l leastRequest) better(v *routetable.View, _ *routetable.PickInfo, a, b int) int {
	return l.lessLoaded(v, a, b)
}

// states are those of a cluster's endpoints: a shorter way to them.
type states []*routetable.State

func statesOf(c *routetable.Cluster) states {
	s := make(states, len(c.Endpoints))
	for i, e := range c.Endpoints {
		s[i] = e.State
	}
	return s
}

// lessLoaded is the one of two places with fewer requests in flight for its weight. When
// there is no difference the first, which was drawn by weight, stands.
func (s states) lessLoaded(v *routetable.View, a, b int) int {
	i, j := v.Usable[a], v.Usable[b]
	x, y := s[i].InFlight.Load(), s[j].InFlight.Load()
	if v.Weights != nil {
		x, y = x*int64(v.Weights[b]), y*int64(v.Weights[a])
	}
	if y < x {
		return int(j)
	}
	return int(i)
}

// chooser prefers one of two places in the view. It returns an index into the
// endpoints.
type chooser interface {
	better(v *routetable.View, p *routetable.PickInfo, a, b int) int
}

// betterUntried is the pick by two choices for a retry: choices that were tried are
// drawn again, a few times.
func betterUntried[C chooser](c C, v *routetable.View, p *routetable.PickInfo) (int, error) {
	const tries = 8
	for range tries {
		a, b := drawTwo(v)
		if p.Tried(v.Usable[a]) {
			a = b
		}
		if p.Tried(v.Usable[b]) {
			b = a
		}
		if i := c.better(v, p, a, b); !p.Tried(int32(i)) {
			return i, nil
		}
	}
	return drawUntried(v, p)
}

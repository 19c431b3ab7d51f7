package balance

import "usher/routetable"

// ewma takes two endpoints at random, by weight, and of these the one at which the
// request can be expected to be answered sooner: by how long its responses take to
// begin (routetable.Latency, which rises at once and falls slowly), times the requests
// it has in flight and this one.
type ewma struct{ states }

// NewEWMA returns a picker by latency. Whoever sends the requests observes it in the
// State of the endpoints, and sets PickInfo.Now.
func NewEWMA(c *routetable.Cluster, _ *routetable.ClusterState) routetable.Picker {
	return ewma{statesOf(c)}
}

// Pick implements routetable.Picker.
func (e ewma) Pick(v *routetable.View, p *routetable.PickInfo) (int, error) {
	switch n := len(v.Usable); {
	case n == 0:
		return -1, routetable.ErrNoEndpoint
	case p.Attempts() > 0:
		return betterUntried(e, v, p)
	case n == 1:
		return int(v.Usable[0]), nil
	}
	a, b := drawTwo(v)
	return e.better(v, p, a, b), nil
}

// better returns the quicker of two places in the view, as an index into the endpoints.
// While one of them has not answered yet they are compared by what is in flight: a new
// endpoint is neither flooded nor starved for being unknown.
func (e ewma) better(v *routetable.View, p *routetable.PickInfo, a, b int) int {
	i, j := v.Usable[a], v.Usable[b]
	if i == j {
		return int(i)
	}
	one, other := e.states[i], e.states[j]
	x, knownX := one.Latency.Average(p.Now)
	y, knownY := other.Latency.Average(p.Now)
	if !knownX || !knownY {
		return e.lessLoaded(v, a, b)
	}
	// Each shares its endpoint with those in flight there. The weight counts for these
	// alone: for the request itself the draw has taken it into account.
	n, m := float64(one.InFlight.Load()), float64(other.InFlight.Load())
	if v.Weights == nil {
		x, y = x*(1+n), y*(1+m)
	} else {
		wa, wb := float64(v.Weights[a]), float64(v.Weights[b])
		x, y = x*(wa+n*routetable.MaxWeight)*wb, y*(wb+m*routetable.MaxWeight)*wa
	}
	if y < x {
		return int(j)
	}
	return int(i)
}

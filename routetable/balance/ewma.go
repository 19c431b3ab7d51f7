package balance

import "usher/routetable"

// ewma takes two endpoints at random, by weight, and of these the one at which the
// request can be expected to be answered sooner: by how long its responses take to
// begin (routetable.Latency, which rises at once and falls slowly), times the requests
// it has in flight and this one.
type ewma struct{ endpoints []*routetable.Endpoint }

// NewEWMA returns a picker by latency. Whoever sends the requests observes it in the
// State of the endpoints, and sets PickInfo.Now.
func NewEWMA(c *routetable.Cluster, _ *routetable.ClusterState) routetable.Picker {
	return ewma{c.Endpoints}
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
	x, knownX := e.endpoints[i].State.Latency.Average(p.Now)
	y, knownY := e.endpoints[j].State.Latency.Average(p.Now)
	if !knownX || !knownY {
		return lessLoaded(e.endpoints, v, a, b)
	}
	if y*e.queue(v, b) < x*e.queue(v, a) {
		return int(j)
	}
	return int(i)
}

// queue is how many requests a new one shares the endpoint with, itself included. The
// weight counts for the others alone: the draw has taken it into account for this one.
func (e ewma) queue(v *routetable.View, at int) float64 {
	n := float64(e.endpoints[v.Usable[at]].State.InFlight.Load())
	if v.Weights != nil {
		n *= float64(routetable.MaxWeight) / float64(v.Weights[at])
	}
	return 1 + n
}

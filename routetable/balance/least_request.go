package balance

import (
	"math/rand/v2"

	"usher/routetable"
)

// leastRequest takes two endpoints at random, by weight, and of these the one
// with fewer requests in flight for its weight. Two choices keep the load even
// without anybody looking at all endpoints (Mitzenmacher, 2001).
type leastRequest struct{ endpoints []*routetable.Endpoint }

// NewLeastRequest returns a picker by two random choices.
func NewLeastRequest(endpoints []*routetable.Endpoint, _ *routetable.ClusterState) routetable.Picker {
	return leastRequest{endpoints}
}

// Pick implements routetable.Picker.
func (l leastRequest) Pick(v *routetable.View, p *routetable.PickInfo) (int, error) {
	n := len(v.Usable)
	switch {
	case n == 0:
		return -1, routetable.ErrNoEndpoint
	case p.Attempts() > 0:
		return l.pickUntried(v, p)
	case n == 1:
		return int(v.Usable[0]), nil
	}
	r := rand.Uint64()
	return l.better(v, draw(v, uint32(r)), draw(v, uint32(r>>32))), nil
}

// pickUntried is Pick for a retry: choices that were tried are drawn again, a few
// times.
func (l leastRequest) pickUntried(v *routetable.View, p *routetable.PickInfo) (int, error) {
	const tries = 8
	for range tries {
		r := rand.Uint64()
		a, b := draw(v, uint32(r)), draw(v, uint32(r>>32))
		if p.Tried(v.Usable[a]) {
			a = b
		}
		if p.Tried(v.Usable[b]) {
			b = a
		}
		if i := l.better(v, a, b); !p.Tried(int32(i)) {
			return i, nil
		}
	}
	return first(v, p)
}

// better returns the less loaded of two places in the view, as an index into the
// endpoints.
func (l leastRequest) better(v *routetable.View, a, b int) int {
	i, j := v.Usable[a], v.Usable[b]
	if i == j {
		return int(i)
	}
	x, y := l.endpoints[i].State.InFlight.Load(), l.endpoints[j].State.InFlight.Load()
	if v.Weights != nil {
		// Without requests in flight the first draw, which was by weight, stands.
		x, y = x*int64(v.Weights[b]), y*int64(v.Weights[a])
	}
	if y < x {
		return int(j)
	}
	return int(i)
}

// draw maps 32 random bits to a place in the view, by weight.
func draw(v *routetable.View, r uint32) int {
	if v.Sums == nil {
		return int(uint64(r) * uint64(len(v.Usable)) >> 32)
	}
	total := v.Sums[len(v.Sums)-1]
	at := uint32(uint64(r) * uint64(total) >> 32)
	lo, hi := 0, len(v.Sums)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if v.Sums[mid] <= at {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

package balance

import (
	"math/rand/v2"

	"usher/routetable"
)

// drawTwo returns two places in the view: two different ones where all weigh the same
// and there are two, else two drawn by weight, which may be the same.
func drawTwo(v *routetable.View) (a, b int) {
	r := rand.Uint64()
	n := uint64(len(v.Usable))
	if v.Sums != nil || n == 1 {
		return v.Place(uint32(r)), v.Place(uint32(r >> 32))
	}
	a, b = int(r>>32*n>>32), int(r&(1<<32-1)*(n-1)>>32)
	if b >= a {
		b++
	}
	return a, b
}

// drawUntried returns an endpoint that was not tried, by weight. What falls on one that
// was is drawn again; when that happens too often the others are counted.
func drawUntried(v *routetable.View, p *routetable.PickInfo) (int, error) {
	const tries = 8
	if len(v.Usable) == 0 {
		return -1, routetable.ErrNoEndpoint
	}
	for range tries {
		if i := v.Usable[v.Place(rand.Uint32())]; !p.Tried(i) {
			return int(i), nil
		}
	}
	var sum uint32
	for at, i := range v.Usable {
		if !p.Tried(i) {
			sum += weightAt(v, at)
		}
	}
	if sum == 0 {
		return -1, routetable.ErrNoEndpoint
	}
	rest := rand.Uint32N(sum)
	for at, i := range v.Usable {
		if p.Tried(i) {
			continue
		}
		if w := weightAt(v, at); rest >= w {
			rest -= w
			continue
		}
		return int(i), nil
	}
	return -1, routetable.ErrNoEndpoint
}

// weightAt is the weight at a place in the view.
func weightAt(v *routetable.View, at int) uint32 {
	if v.Weights == nil {
		return 1
	}
	return uint32(v.Weights[at])
}

package balance

import (
	"math"
	"math/bits"
	"math/rand/v2"

	"usher/routetable"
)

// ringHash lays the endpoints on a ring, each at many points by its weight, and gives a
// key to the first point behind its own (Karger et al., 1997), unless that endpoint has
// its fill: with more requests in flight than loadFactor times what would be its part of
// all, it is passed over for the next (Mirrokni, Thorup, Zadimoghaddam, 2018). So a key
// that everybody asks for does not drown one endpoint.
type ringHash struct {
	*ring
	states
	loadFactor float64
	sieves     sieves
}

// ring is the table. It is immutable.
type ring struct {
	roster
	// parts are how many points each endpoint has.
	parts []float64
	// points are in order: where it lies in the upper half, whose it is in the lower.
	points []uint64
	// index is where the points of each piece of the ring begin. There are about as many
	// pieces, of 2^shift, as points.
	index []uint32
	shift int
}

// minPoints is how many points an endpoint of the largest weight has at least; it has
// fewer than twice as many. With n of them the shares differ by 1/√n (a standard
// deviation). A light endpoint has fewestPoints at least, and takes only some of the keys
// that fall on them.
const (
	minPoints    = 128
	fewestPoints = 4
)

// maxFull is how many endpoints that have their fill are passed over before it is left
// to chance which other one takes the request: by then the key is everywhere.
const maxFull = 16

// NewRingHash returns a picker by PickInfo.Key; without one it picks by chance. The state
// keeps the ring, of 2 KiB an endpoint or so, for the next one.
func NewRingHash(c *routetable.Cluster, state *routetable.ClusterState) routetable.Picker {
	return &ringHash{
		ring: tableOf(c, state, newRing), states: statesOf(c),
		loadFactor: max(1, c.Policy.RingHash.LoadFactor),
	}
}

// newRing makes the ring. The number of points of an endpoint depends on its weight and
// on the power of two below the largest, not on all weights: otherwise any change would
// move points of everybody.
func newRing(r roster) *ring {
	t := &ring{roster: r, parts: make([]float64, len(r.ids))}
	fraction, _ := math.Frexp(r.largest)
	var sum float64
	for i, w := range r.weights {
		const rounding = 1e-3
		if w > 0 {
			t.parts[i] = max(fewestPoints, math.Ceil(w*2*fraction*minPoints-rounding))
			sum += t.parts[i]
		}
	}
	points := make([]uint64, 0, int(sum))
	for i, n := range t.parts {
		for j := range uint64(n) {
			points = append(points, mix(r.ids[i]+j)&^(1<<32-1)|uint64(i))
		}
	}
	t.sort(points)
	return t
}

func (t *ring) madeOf(r *roster) bool { return t.equal(r) }

// sort puts the points in order, by piece first: they are spread evenly.
func (t *ring) sort(points []uint64) {
	pieces := max(1, bits.Len(uint(len(points))))
	t.shift = 64 - pieces
	t.index = make([]uint32, 1<<pieces+1)
	for _, p := range points {
		t.index[p>>t.shift+1]++
	}
	for i := 1; i < len(t.index); i++ {
		t.index[i] += t.index[i-1]
	}
	t.points = make([]uint64, len(points))
	filled := make([]uint32, 1<<pieces)
	for _, p := range points {
		piece := p >> t.shift
		first := t.index[piece]
		at := first + filled[piece]
		for ; at > first && t.points[at-1] > p; at-- {
			t.points[at] = t.points[at-1]
		}
		t.points[at] = p
		filled[piece]++
	}
}

// after returns the index of the first point at or behind a place of the ring.
func (t *ring) after(place uint64) int {
	at := int(t.index[place>>t.shift])
	for at < len(t.points) && t.points[at] < place {
		at++
	}
	return at
}

// Pick implements routetable.Picker.
func (r *ringHash) Pick(v *routetable.View, p *routetable.PickInfo) (int, error) {
	switch {
	case len(v.Usable) == 0:
		return -1, routetable.ErrNoEndpoint
	case !p.HasKey:
		return random{}.Pick(v, p)
	case len(r.points) == 0:
		return r.rendezvous(v, p)
	}
	s := r.sieves.of(v, r.parts)
	bound := r.loadFactor * float64(r.inFlight(s)+1)
	place, full := mix(p.Key), 0
	at := r.after(place)
	for range maxWalk {
		if at == len(r.points) {
			at = 0
		}
		point := r.points[at]
		at++
		i := uint32(point)
		if s.pass[i] == 0 || !s.lets(i, uint32(mix(place^point))) || p.Tried(int32(i)) {
			continue
		}
		if r.room(s, int32(i), bound) {
			return int(i), nil
		}
		if full++; full == maxFull {
			break
		}
	}
	if full > 0 {
		return r.spare(v, p, s, bound)
	}
	return r.rendezvous(v, p)
}

// room says whether an endpoint is below its bound; bound is that of all together.
func (r *ringHash) room(s *sieve, i int32, bound float64) bool {
	return float64(r.states[i].InFlight.Load()) < math.Ceil(bound*s.share[i])
}

// spare returns any untried endpoint with room. There is one unless so many came at once
// that the number in flight is out of date: then any endpoint will do.
func (r *ringHash) spare(v *routetable.View, p *routetable.PickInfo, s *sieve, bound float64) (int, error) {
	const draws = 16
	for range draws {
		if i, err := drawUntried(v, p); err != nil || r.room(s, int32(i), bound) {
			return i, err
		}
	}
	start := rand.IntN(len(v.Usable))
	for n := range v.Usable {
		i := v.Usable[(start+n)%len(v.Usable)]
		if !p.Tried(i) && r.room(s, i, bound) {
			return int(i), nil
		}
	}
	return drawUntried(v, p)
}

// inFlight is the number of requests at the view's endpoints. In a large cluster it is
// counted again only once in a while: by the time every sixteenth endpoint can have got
// one more.
func (r *ringHash) inFlight(s *sieve) int64 {
	every := uint32(len(s.view.Usable)/16 + 1)
	if (s.asked.Add(1)-1)%every != 0 {
		return s.inFlight.Load()
	}
	var sum int64
	for _, i := range s.view.Usable {
		sum += r.states[i].InFlight.Load()
	}
	s.inFlight.Store(sum)
	return sum
}

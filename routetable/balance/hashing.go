package balance

import (
	"math"
	"slices"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"usher/routetable"
)

// roster is whom a hashing policy's table is made of. It is immutable.
type roster struct {
	// ids are hashes of the endpoints' identities, the same in every process.
	ids []uint64
	// weights are those of the endpoints, the largest being 1, as coarse as those of a
	// view.
	weights []float64
	// largest is the largest weight by itself.
	largest float64
}

func newRoster(endpoints []*routetable.Endpoint) roster {
	r := roster{ids: make([]uint64, len(endpoints)), weights: make([]float64, len(endpoints))}
	for i, e := range endpoints {
		r.ids[i] = xxhash.Sum64String(e.Identity())
		if e.Weight > 0 && !math.IsInf(e.Weight, 0) {
			r.weights[i] = e.Weight
			r.largest = max(r.largest, e.Weight)
		}
	}
	for i, w := range r.weights {
		if w > 0 {
			r.weights[i] = max(1, math.Floor(w/r.largest*routetable.MaxWeight)) / routetable.MaxWeight
		}
	}
	return r
}

func (r *roster) equal(other *roster) bool {
	return slices.Equal(r.ids, other.ids) && slices.Equal(r.weights, other.weights) && r.largest == other.largest
}

// tableOf returns the table of a cluster: the one that was made last, if it was made of
// the same roster, or a new one. A change of an endpoint's status makes no new table.
func tableOf[T interface{ madeOf(*roster) bool }](
	c *routetable.Cluster, state *routetable.ClusterState, build func(roster) T,
) T {
	r := newRoster(c.Endpoints)
	if made := state.Made.Load(); made != nil {
		if table, ok := (*made).(T); ok && table.madeOf(&r) {
			return table
		}
	}
	table := build(r)
	var made any = table
	state.Made.Store(&made)
	return table
}

// sieve is what a view makes of a table: which of the endpoints that keys fall on may
// take them.
type sieve struct {
	view *routetable.View
	// pass is, by endpoint, how many of 2^32 choices that fall on it are let through:
	// none of one that is not usable, all of one that is to have all the table gives it.
	pass []uint32
	// share is, by endpoint, its part of what the view's endpoints are to take.
	share []float64

	// inFlight is about the number of requests at the view's endpoints; asked counts
	// how often it was asked for.
	inFlight atomic.Int64
	asked    atomic.Uint32
}

// letAll lets every choice pass.
const letAll = math.MaxUint32

// newSieve compares the view's weights with parts, which are what the table gives each
// endpoint. The largest view weight for its part passes whole.
func newSieve(v *routetable.View, parts []float64) *sieve {
	s := &sieve{view: v, pass: make([]uint32, len(parts)), share: make([]float64, len(parts))}
	var most, sum float64
	for at, i := range v.Usable {
		w := float64(weightAt(v, at))
		sum += w
		if parts[i] > 0 {
			most = max(most, w/parts[i])
		}
	}
	for at, i := range v.Usable {
		w := float64(weightAt(v, at))
		s.share[i] = w / sum
		if parts[i] <= 0 {
			continue
		}
		// What is off by rounding is no reason to turn keys away.
		const rounding = 0.98
		if ratio := w / parts[i] / most; ratio >= rounding {
			s.pass[i] = letAll
		} else {
			s.pass[i] = uint32(max(1, ratio*letAll))
		}
	}
	return s
}

// lets says whether endpoint i takes a choice with these random bits.
func (s *sieve) lets(i uint32, bits uint32) bool {
	pass := s.pass[i]
	return pass == letAll || bits < pass
}

// sieves holds the sieve of the view picked from last: views change seldom.
type sieves struct{ last atomic.Pointer[sieve] }

// of returns the sieve of a view. The first pick from a view makes it.
func (s *sieves) of(v *routetable.View, parts []float64) *sieve {
	if last := s.last.Load(); last != nil && last.view == v {
		return last
	}
	made := newSieve(v, parts)
	s.last.Store(made)
	return made
}

// maxWalk is how many places of a table are looked at for a key. It is not reached but
// where nearly all of the table is out; then the few that are left are compared.
const maxWalk = 128

// rendezvous returns the untried endpoint that the key prefers of all that are usable,
// by weight: each has a score for the key that does not depend on the others.
func (r *roster) rendezvous(v *routetable.View, p *routetable.PickInfo) (int, error) {
	best, lowest := -1, math.Inf(1)
	for at, i := range v.Usable {
		if p.Tried(i) {
			continue
		}
		u := (float64(mix(p.Key^r.ids[i])>>11) + 0.5) / (1 << 53)
		if score := -math.Log(u) / float64(weightAt(v, at)); score < lowest {
			best, lowest = int(i), score
		}
	}
	if best < 0 {
		return -1, routetable.ErrNoEndpoint
	}
	return best, nil
}

// mix makes random bits of x, and others of x + 1 (the step of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

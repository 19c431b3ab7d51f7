package balance

import (
	"usher/routetable"
)

// roundRobin gives each endpoint its turn, by weight, spread out as evenly as the
// weights allow: the static stride scheduler that gRPC uses. A turn is one number
// counted up; an endpoint of weight w is passed over in all but w of maxWeight
// rounds, at rounds that differ from endpoint to endpoint.
type roundRobin struct{ state *routetable.ClusterState }

// NewRoundRobin returns a picker that takes the endpoints in turn.
func NewRoundRobin(_ []*routetable.Endpoint, state *routetable.ClusterState) routetable.Picker {
	return roundRobin{state}
}

// maxStride is the weight that is never passed over; the views' largest.
const maxStride = 1<<16 - 1

// Pick implements routetable.Picker.
func (r roundRobin) Pick(v *routetable.View, p *routetable.PickInfo) (int, error) {
	n := uint32(len(v.Usable))
	if n == 0 {
		return -1, routetable.ErrNoEndpoint
	}
	if p.Attempts() >= len(v.Usable) {
		return first(v, p)
	}
	const tries = 64
	for range tries {
		if i := v.Usable[r.place(v, n)]; !p.Tried(i) {
			return int(i), nil
		}
	}
	return first(v, p)
}

// place takes turns until one falls on an endpoint that has it.
func (r roundRobin) place(v *routetable.View, n uint32) uint32 {
	for {
		turn := r.state.Turn.Add(1) - 1
		at := turn % n
		if v.Weights == nil || hasTurn(uint64(v.Weights[at]), uint64(turn/n), uint64(at)) {
			return at
		}
	}
}

// hasTurn says whether an endpoint of weight w takes part in a round. The offset
// by place keeps endpoints of equal weight from taking part in the same rounds.
func hasTurn(w, round, place uint64) bool {
	const half = maxStride / 2
	return (w*round+place*half)%maxStride >= maxStride-w
}

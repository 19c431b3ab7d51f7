package balance

import (
	"usher/routetable"
)

// roundRobin gives each endpoint its turn, by weight, spread out as evenly as the
// weights allow. A turn is one number counted up, the only thing that picks share.
//
// Endpoints of like weights take turns by the static stride scheduler that gRPC uses: an
// endpoint of weight w is passed over in all but w of MaxWeight rounds, at rounds that
// differ from endpoint to endpoint. Where few are heavy and many light, so that most
// turns would be passed over, the turns walk over the sums of the weights in steps of
// the golden section instead, which falls on each endpoint about evenly, too.
type roundRobin struct{ state *routetable.ClusterState }

// NewRoundRobin returns a picker that takes the endpoints in turn.
func NewRoundRobin(_ *routetable.Cluster, state *routetable.ClusterState) routetable.Picker {
	return roundRobin{state}
}

const (
	// maxStride is the weight that is never passed over.
	maxStride = routetable.MaxWeight
	// maxPassed is how many turns may be passed over for each one taken, on average.
	maxPassed = 4
	// golden is the golden section of 2^32.
	golden = 0x9e3779b9
)

// Pick implements routetable.Picker.
func (r roundRobin) Pick(v *routetable.View, p *routetable.PickInfo) (int, error) {
	if len(v.Usable) == 0 || p.Attempts() >= len(v.Usable) {
		return drawUntried(v, p)
	}
	for range p.Attempts() + 1 {
		if i := v.Usable[r.place(v)]; !p.Tried(i) {
			return int(i), nil
		}
	}
	return drawUntried(v, p)
}

// place takes turns until one falls on an endpoint that has it.
func (r roundRobin) place(v *routetable.View) int {
	n := uint32(len(v.Usable))
	if v.Weights == nil {
		return int((r.state.Turn.Add(1) - 1) % n)
	}
	if uint64(v.Sums[n-1])*maxPassed < uint64(n)*maxStride {
		return v.Place((r.state.Turn.Add(1) - 1) * golden)
	}
	for {
		turn := r.state.Turn.Add(1) - 1
		if at := turn % n; hasTurn(uint64(v.Weights[at]), uint64(turn/n), uint64(at)) {
			return int(at)
		}
	}
}

// hasTurn says whether an endpoint of weight w takes part in a round. The offset
// by place keeps endpoints of equal weight from taking part in the same rounds.
func hasTurn(w, round, place uint64) bool {
	const half = maxStride / 2
	return (w*round+place*half)%maxStride >= maxStride-w
}

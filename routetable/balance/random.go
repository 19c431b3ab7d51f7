package balance

import (
	"math/rand/v2"

	"usher/routetable"
)

// random takes any endpoint, by weight.
type random struct{}

// NewRandom returns a picker by chance.
func NewRandom(*routetable.Cluster, *routetable.ClusterState) routetable.Picker { return random{} }

// Pick implements routetable.Picker.
func (random) Pick(v *routetable.View, p *routetable.PickInfo) (int, error) {
	if p.Attempts() > 0 || len(v.Usable) == 0 {
		return drawUntried(v, p)
	}
	return int(v.Usable[v.Place(rand.Uint32())]), nil
}

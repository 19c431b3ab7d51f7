package routetable

import (
	"errors"
	"math"
	"math/bits"
	"sync/atomic"

	"usher/config"
)

// Cluster is a fixed list of endpoints that serve the same requests, and how to
// choose between them. It may span services that announced the same source.
type Cluster struct {
	// Name is the service's as the configuration calls it, or "route:" and the shared
	// source; unique in the table.
	Name string
	// Services are the names behind the endpoints, for labels.
	Services  []string
	Endpoints []*Endpoint
	// Policy is that of the first of Services.
	Policy config.Policy
	Picker Picker
	// Restricted says that an endpoint has an Access.
	Restricted bool
	// Answers says that a request may be answered without an endpoint being asked: one of
	// them has a Redirect, or the cluster stands for those of a route that answers.
	Answers bool

	// Attachment is the data plane's: what it resolved for the cluster. It sets it
	// once, before it publishes the first table with the cluster; it is nil in tables
	// that are never published.
	Attachment any

	state *ClusterState
	view  atomic.Pointer[View]
}

// View says which endpoints of a cluster may be picked, and with which weights.
// It is immutable.
type View struct {
	// Usable are indexes into Cluster.Endpoints.
	Usable []int32
	// Weights, aligned with Usable, are scaled so that the largest is MaxWeight; nil
	// when all are equal.
	Weights []uint16
	// Sums, aligned with Usable, are the running sums of Weights; nil with it.
	Sums []uint32
	// Panic says that too few endpoints are healthy, so that all are among Usable.
	Panic bool

	// set has a bit for each endpoint that is in Usable.
	set []uint64
	// guide says for each of 2^guideBits pieces of the sum where to look for what falls
	// on it; nil with Sums.
	guide     []int32
	guideBits int
}

// Place maps 32 random bits to a place in Usable, by weight, in order: more is never
// before less. The view must not be empty.
func (v *View) Place(random uint32) int {
	if v.Sums == nil {
		return int(uint64(random) * uint64(len(v.Usable)) >> 32)
	}
	fallsOn := v.fallsOn(random)
	at := int(v.guide[random>>(32-v.guideBits)])
	for v.Sums[at] <= fallsOn {
		at++
	}
	return at
}

// fallsOn maps 32 bits to the sum of the weights.
func (v *View) fallsOn(random uint32) uint32 {
	return uint32(uint64(random) * uint64(v.Sums[len(v.Sums)-1]) >> 32)
}

// point makes the guide. It has a piece for each endpoint or more, so that the search
// takes one step or so, whatever the weights.
func (v *View) point() {
	v.guideBits = bits.Len(uint(len(v.Sums)))
	v.guide = make([]int32, 1<<v.guideBits)
	at := int32(0)
	for piece := range v.guide {
		first := v.fallsOn(uint32(piece << (32 - v.guideBits)))
		for v.Sums[at] <= first {
			at++
		}
		v.guide[piece] = at
	}
}

// Has says whether endpoint i may be picked.
func (v *View) Has(i int) bool {
	word := i >> 6
	return i >= 0 && word < len(v.set) && v.set[word]>>(i&63)&1 != 0
}

// add appends an endpoint to Usable.
func (v *View) add(i int32) {
	v.Usable = append(v.Usable, i)
	word := int(i >> 6)
	if word >= len(v.set) {
		v.set = append(v.set, make([]uint64, word+1-len(v.set))...)
	}
	v.set[word] |= 1 << (i & 63)
}

// MaxWeight is what the largest weight of a view is scaled to.
const MaxWeight = 1<<16 - 1

// NewView returns the view of the given endpoints with the given weights, aligned
// with usable; a weight of 0 leaves its endpoint out.
func NewView(usable []int32, weights []float64) *View {
	v := &View{Usable: make([]int32, 0, len(usable))}
	var largest float64
	equal := true
	kept := make([]float64, 0, len(weights))
	for i, w := range weights {
		if !(w > 0) || math.IsInf(w, 0) {
			continue // 0, or no number at all
		}
		v.add(usable[i])
		kept = append(kept, w)
		largest = max(largest, w)
		equal = equal && w == kept[0]
	}
	if !equal {
		v.scale(kept, largest)
	}
	return v
}

// scale fills Weights, Sums and the guide; what is not 0 stays above 0.
func (v *View) scale(weights []float64, largest float64) {
	v.Weights = make([]uint16, len(weights))
	v.Sums = make([]uint32, len(weights))
	var sum uint32
	for i, w := range weights {
		v.Weights[i] = uint16(max(1, w/largest*MaxWeight))
		sum += uint32(v.Weights[i])
		v.Sums[i] = sum
	}
	v.point()
}

// nowhere returns the cluster of routes that answer by themselves: it has no endpoint.
// It is in no table's list.
func nowhere(policy config.Policy) *Cluster {
	return &Cluster{Name: noRoute, Services: []string{noRoute}, Policy: policy, Picker: noPicker{}, Answers: true}
}

// noPicker finds no endpoint.
type noPicker struct{}

func (noPicker) Pick(*View, *PickInfo) (int, error) { return -1, ErrNoEndpoint }

// View returns the view in use; it is never nil.
func (c *Cluster) View() *View {
	if v := c.view.Load(); v != nil {
		return v
	}
	return emptyView
}

// SetView replaces the view. Only healthcheck calls it.
func (c *Cluster) SetView(v *View) { c.view.Store(v) }

var emptyView = &View{} //nolint:gochecknoglobals // a constant

// ErrNoEndpoint is returned by a Picker that finds no endpoint to try.
var ErrNoEndpoint = errors.New("no usable endpoint")

// maxTried is how many endpoints a PickInfo remembers: one more than the most
// attempts the configuration allows.
const maxTried = 11

// PickInfo is what a Picker may know of the request. The zero value is a first
// attempt of a request of which nothing is known.
type PickInfo struct {
	// Key is a hash of what requests that belong together have in common; without
	// HasKey it means nothing. It is set for policies that go by it.
	Key    uint64
	HasKey bool
	// Now is the time in nanoseconds on the clock that Latency is observed by, for
	// policies that go by that; 0: not known.
	Now int64

	// home is one more than the endpoint that the client's cookie names; 0: none.
	home  int32
	tried [maxTried]int32
	n     int
}

// Home is the endpoint that the client's cookie names, -1 for none.
func (p *PickInfo) Home() int { return int(p.home) - 1 }

// SetHome notes the endpoint that the client's cookie names; -1 is none.
func (p *PickInfo) SetHome(i int) { p.home = int32(i) + 1 }

// Tried says whether endpoint i was tried for this request already.
func (p *PickInfo) Tried(i int32) bool {
	for _, t := range p.tried[:p.n] {
		if t == i {
			return true
		}
	}
	return false
}

// Try notes that endpoint i is tried.
func (p *PickInfo) Try(i int) {
	if p.n < maxTried {
		p.tried[p.n] = int32(i)
		p.n++
	}
}

// Attempts is the number of endpoints tried.
func (p *PickInfo) Attempts() int { return p.n }

// Reset makes p the zero value.
func (p *PickInfo) Reset() { p.Key, p.HasKey, p.Now, p.home, p.n = 0, false, 0, 0, 0 }

// Picker chooses an endpoint. Pick is called on every request from any goroutine:
// it must not lock nor allocate. It returns an index into the cluster's endpoints,
// one that p has not tried, or ErrNoEndpoint. It does not count the request in
// flight: the caller does.
type Picker interface {
	Pick(v *View, p *PickInfo) (int, error)
}

// Balancer builds the Picker of a cluster, which is complete but for that; state is
// carried from table to table for a cluster of the same name. Tables may be built, and
// state be used, by several goroutines at a time.
type Balancer func(c *Cluster, state *ClusterState) Picker

// ClusterState is what a Picker keeps across tables.
type ClusterState struct {
	// Turn counts the picks of a round robin.
	Turn atomic.Uint32
	// Made is what a Balancer built last and means to use again for endpoints that are
	// the same to it; nil: nothing. What it holds is immutable.
	Made atomic.Pointer[any]
}

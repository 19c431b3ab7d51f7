package routetable

import (
	"errors"
	"math"
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
	// Weights, aligned with Usable, are scaled so that the largest is maxWeight; nil
	// when all are equal.
	Weights []uint16
	// Sums, aligned with Usable, are the running sums of Weights; nil with it.
	Sums []uint32
	// Panic says that too few endpoints are healthy, so that all are among Usable.
	Panic bool
}

// maxWeight is what the largest weight of a view is scaled to.
const maxWeight = 1<<16 - 1

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
		v.Usable = append(v.Usable, usable[i])
		kept = append(kept, w)
		largest = max(largest, w)
		equal = equal && w == kept[0]
	}
	if !equal {
		v.scale(kept, largest)
	}
	return v
}

// scale fills Weights and Sums; what is not 0 stays above 0.
func (v *View) scale(weights []float64, largest float64) {
	v.Weights = make([]uint16, len(weights))
	v.Sums = make([]uint32, len(weights))
	var sum uint32
	for i, w := range weights {
		v.Weights[i] = uint16(max(1, w/largest*maxWeight))
		sum += uint32(v.Weights[i])
		v.Sums[i] = sum
	}
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
// attempt.
type PickInfo struct {
	tried [maxTried]int32
	n     int
}

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
func (p *PickInfo) Reset() { p.n = 0 }

// Picker chooses an endpoint. Pick is called on every request from any goroutine:
// it must not lock nor allocate. It returns an index into the cluster's endpoints,
// one that p has not tried, or ErrNoEndpoint. It does not count the request in
// flight: the caller does.
type Picker interface {
	Pick(v *View, p *PickInfo) (int, error)
}

// Balancer builds the Picker of a cluster's endpoints; state is carried from table
// to table for a cluster of the same name.
type Balancer func(endpoints []*Endpoint, state *ClusterState) Picker

// ClusterState is what a Picker keeps across tables.
type ClusterState struct {
	// Turn counts the picks of a round robin.
	Turn atomic.Uint32
}

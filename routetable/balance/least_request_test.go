package balance

import (
	"math"
	"testing"

	"usher/routetable"
)

// Of two the one with less to do; of equals either.
func TestLeastRequestPrefersTheIdle(t *testing.T) {
	endpoints := fleet(2)
	p := NewLeastRequest(clusterOf(endpoints), nil)
	endpoints[0].State.InFlight.Store(10)
	var got [2]int
	const picks = 20_000
	for range picks { // two different ones
		got[pick(t, p, viewOf(1, 1), &routetable.PickInfo{})]++
	}
	if got[0] > 0 {
		t.Errorf("the busy endpoint got %d of %d", got[0], picks)
	}
	for range picks { // by weight both draws may fall on it
		got[pick(t, p, viewOf(2, 1), &routetable.PickInfo{})]++
	}
	if !within(got[0], picks, 4./9) {
		t.Errorf("the busy endpoint of twice the weight got %d of %d", got[0], picks)
	}
}

// Requests that stay spread evenly: two choices keep the fullest close to the mean.
func TestLeastRequestSpreads(t *testing.T) {
	const n, perEndpoint = 50, 40
	endpoints := fleet(n)
	p, v := NewLeastRequest(clusterOf(endpoints), nil), viewOf(equal(n)...)
	for range n * perEndpoint {
		endpoints[pick(t, p, v, &routetable.PickInfo{})].State.InFlight.Add(1)
	}
	for i, e := range endpoints {
		if got := e.State.InFlight.Load(); math.Abs(float64(got-perEndpoint)) > 6 {
			t.Errorf("%d has %d requests, the mean is %d", i, got, perEndpoint)
		}
	}
}

// Requests that stay spread by weight.
func TestLeastRequestSpreadsByWeight(t *testing.T) {
	weights := []float64{1, 2, 4, 8}
	endpoints := fleet(len(weights))
	p, v := NewLeastRequest(clusterOf(endpoints), nil), viewOf(weights...)
	const perWeight = 200
	for range 15 * perWeight {
		endpoints[pick(t, p, v, &routetable.PickInfo{})].State.InFlight.Add(1)
	}
	for i, e := range endpoints {
		want := weights[i] * perWeight
		if got := float64(e.State.InFlight.Load()); math.Abs(got-want) > .03*want+2 {
			t.Errorf("%d has %g requests, want %g", i, got, want)
		}
	}
}

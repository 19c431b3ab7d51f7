package balance

import (
	"math"
	"testing"

	"usher/routetable"
)

// Of two the one with less to do; of equals either.
func TestLeastRequestPrefersTheIdle(t *testing.T) {
	endpoints := fleet(2)
	p := NewLeastRequest(endpoints, nil)
	endpoints[0].State.InFlight.Store(10)
	var got [2]int
	const picks = 20_000
	for range picks {
		got[pick(t, p, viewOf(1, 1), &routetable.PickInfo{})]++
	}
	// The busy one only when both draws fall on it.
	if !within(got[0], picks, .25) {
		t.Errorf("the busy endpoint got %d of %d", got[0], picks)
	}
}

// Requests that stay spread evenly: two choices keep the fullest close to the mean.
func TestLeastRequestSpreads(t *testing.T) {
	const n, perEndpoint = 50, 40
	endpoints := fleet(n)
	p, v := NewLeastRequest(endpoints, nil), viewOf(equal(n)...)
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
	p, v := NewLeastRequest(endpoints, nil), viewOf(weights...)
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

func TestDraw(t *testing.T) {
	weighted := viewOf(1, 3)
	for name, c := range map[string]struct {
		v    *routetable.View
		r    uint32
		want int
	}{
		"the first":                 {viewOf(equal(4)...), 0, 0},
		"the last":                  {viewOf(equal(4)...), math.MaxUint32, 3},
		"a quarter":                 {viewOf(equal(4)...), 1 << 30, 1},
		"just below":                {viewOf(equal(4)...), 1<<30 - 1, 0},
		"weighted, the first":       {weighted, 0, 0},
		"weighted, the last":        {weighted, math.MaxUint32, 1},
		"weighted, below a quarter": {weighted, 1<<30 - 1<<20, 0},
		"weighted, above a quarter": {weighted, 1<<30 + 1<<20, 1},
	} {
		if got := draw(c.v, c.r); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

package balance

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"usher/routetable"
)

// Over a whole number of rounds each endpoint gets just its share.
func TestRoundRobinShares(t *testing.T) {
	for name, weights := range map[string][]float64{
		"equal":        {1, 1, 1},
		"3 to 1":       {3, 1},
		"1 to 2 to 5":  {1, 2, 5},
		"fractions":    {.2, .4, .4},
		"1 in 100":     {1, 99},
		"one in front": {10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p, v := NewRoundRobin(nil, &routetable.ClusterState{}), viewOf(weights...)
			const picks = 100_000
			got := make([]int, len(weights))
			var sum float64
			for _, w := range weights {
				sum += w
			}
			for range picks {
				got[pick(t, p, v, &routetable.PickInfo{})]++
			}
			for i, w := range weights {
				if want := w / sum * picks; math.Abs(float64(got[i])-want) > .002*picks {
					t.Errorf("%d: got %d, want %.0f", i, got[i], want)
				}
			}
		})
	}
}

// The turns of an endpoint are spread out: between any two of them lie about as
// many picks as its share says, in any window of the sequence.
func TestRoundRobinIsSmooth(t *testing.T) {
	for name, c := range map[string]struct {
		weights []float64
		slack   float64
	}{
		"equal":       {equal(5), 0},
		"3 to 1":      {[]float64{3, 1}, 2},
		"5 to 1 to 1": {[]float64{5, 1, 1}, 3},
		"9 to 3 to 2": {[]float64{9, 3, 2}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			p, v := NewRoundRobin(nil, &routetable.ClusterState{}), viewOf(c.weights...)
			last, sum := make([]int, len(c.weights)), 0.
			for i := range last {
				last[i] = -1
				sum += c.weights[i]
			}
			for n := range 20_000 {
				i := pick(t, p, v, &routetable.PickInfo{})
				gap, fair := float64(n-last[i]), sum/c.weights[i]
				if last[i] >= 0 && math.Abs(gap-fair) > c.slack+1 && n > 100 {
					t.Fatalf("pick %d: endpoint %d after %g picks, its share says %.1f", n, i, gap, fair)
				}
				if c.slack == 0 && i != n%len(c.weights) {
					t.Fatalf("pick %d: endpoint %d is out of turn", n, i)
				}
				last[i] = n
			}
		})
	}
}

// A new table continues where the last one was.
func TestRoundRobinContinues(t *testing.T) {
	state, v := &routetable.ClusterState{}, viewOf(equal(5)...)
	var got strings.Builder
	for range 3 {
		p := NewRoundRobin(nil, state)
		for range 4 {
			fmt.Fprint(&got, pick(t, p, v, &routetable.PickInfo{}))
		}
	}
	if got.String() != "012340123401" {
		t.Errorf("got %s", got.String())
	}
}

// The count of turns may overflow.
func TestRoundRobinOverflow(t *testing.T) {
	state := &routetable.ClusterState{}
	state.Turn.Store(math.MaxUint32 - 50)
	p, v := NewRoundRobin(nil, state), viewOf(3, 1, 2)
	var got [3]int
	for range 6_000 {
		got[pick(t, p, v, &routetable.PickInfo{})]++
	}
	for i, want := range []int{3_000, 1_000, 2_000} {
		if math.Abs(float64(got[i]-want)) > 60 {
			t.Errorf("%d: got %d, want %d", i, got[i], want)
		}
	}
}

func TestRoundRobinConcurrently(t *testing.T) {
	const goroutines, picks = 8, 3_000
	p, v := NewRoundRobin(nil, &routetable.ClusterState{}), viewOf(equal(6)...)
	var got [goroutines][6]int
	var wait sync.WaitGroup
	for g := range goroutines {
		wait.Go(func() {
			for range picks {
				i, err := p.Pick(v, &routetable.PickInfo{})
				if err != nil {
					t.Error(err)
					return
				}
				got[g][i]++
			}
		})
	}
	wait.Wait()
	for i := range 6 {
		sum := 0
		for g := range goroutines {
			sum += got[g][i]
		}
		if sum != goroutines*picks/6 {
			t.Errorf("%d: %d picks, want %d", i, sum, goroutines*picks/6)
		}
	}
}

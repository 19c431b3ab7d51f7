package routetable

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// viewOf is a view of as many endpoints as there are weights.
func viewOf(weights ...float64) *View {
	usable := make([]int32, len(weights))
	for i := range usable {
		usable[i] = int32(i)
	}
	return NewView(usable, weights)
}

func TestViewHas(t *testing.T) {
	v := NewView([]int32{130, 0, 63, 64, 5}, []float64{1, 1, 2, 1, 0})
	for i := -1; i < 200; i++ {
		if want := i == 130 || i == 0 || i == 63 || i == 64; v.Has(i) != want {
			t.Errorf("%d: got %t", i, v.Has(i))
		}
	}
	if (&View{}).Has(0) || emptyView.Has(-1) {
		t.Error("an empty view has something")
	}
}

func TestPlace(t *testing.T) {
	same, weighted := viewOf(1, 1, 1, 1), viewOf(1, 3)
	for name, c := range map[string]struct {
		v      *View
		random uint32
		want   int
	}{
		"the first":                 {same, 0, 0},
		"the last":                  {same, math.MaxUint32, 3},
		"a quarter":                 {same, 1 << 30, 1},
		"just below":                {same, 1<<30 - 1, 0},
		"weighted, the first":       {weighted, 0, 0},
		"weighted, the last":        {weighted, math.MaxUint32, 1},
		"weighted, below a quarter": {weighted, 1<<30 - 1<<20, 0},
		"weighted, above a quarter": {weighted, 1<<30 + 1<<20, 1},
	} {
		if got := c.v.Place(c.random); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

// The guide leads to where a search among all sums would, for any weights.
func TestPlaceIsThatOfTheSums(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		weights := make([]float64, 2+r.IntN(300))
		for i := range weights {
			weights[i] = math.Exp(r.NormFloat64() * 4)
		}
		v := viewOf(weights...)
		edges := []uint32{0, 1, math.MaxUint32, math.MaxUint32 - 1}
		for range 300 {
			edges = append(edges, r.Uint32())
		}
		for _, random := range edges {
			want := 0
			for v.Sums[want] <= v.fallsOn(random) {
				want++
			}
			if got := v.Place(random); got != want {
				t.Fatalf("%d of %d: got %d, want %d", random, len(weights), got, want)
			}
		}
	}
}

func TestPickInfoReset(t *testing.T) {
	p := &PickInfo{}
	if p.Home() != -1 {
		t.Errorf("the zero value's home is %d", p.Home())
	}
	p.SetHome(0)
	p.Key, p.HasKey, p.Now = 1, true, 2
	p.Try(3)
	if p.Home() != 0 || !p.Tried(3) {
		t.Errorf("got %+v", p)
	}
	p.Reset()
	if p.Home() != -1 || p.HasKey || p.Key != 0 || p.Now != 0 || p.Attempts() != 0 || p.Tried(3) {
		t.Errorf("left over: %+v", p)
	}
}

func BenchmarkNewView(b *testing.B) {
	for _, n := range []int{10, 1000} {
		usable, weights := make([]int32, n), make([]float64, n)
		for i := range usable {
			usable[i], weights[i] = int32(i), float64(1+i%4)
		}
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				NewView(usable, weights)
			}
		})
	}
}

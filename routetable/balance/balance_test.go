package balance

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"usher/routetable"
)

// fleet is n endpoints with nothing in flight.
func fleet(n int) []*routetable.Endpoint {
	out := make([]*routetable.Endpoint, n)
	for i := range out {
		out[i] = &routetable.Endpoint{ID: fmt.Sprint(i), State: &routetable.State{}}
	}
	return out
}

// viewOf is a view of as many endpoints as there are weights.
func viewOf(weights ...float64) *routetable.View {
	usable := make([]int32, len(weights))
	for i := range usable {
		usable[i] = int32(i)
	}
	return routetable.NewView(usable, weights)
}

// equal are n weights of 1.
func equal(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = 1
	}
	return out
}

// pick must find an endpoint.
func pick(t testing.TB, p routetable.Picker, v *routetable.View, info *routetable.PickInfo) int {
	t.Helper()
	i, err := p.Pick(v, info)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// eachPolicy runs f for every policy, with a new picker.
func eachPolicy(t *testing.T, n int, f func(*testing.T, routetable.Picker, []*routetable.Endpoint)) {
	t.Helper()
	for name, balancer := range All() {
		t.Run(name, func(t *testing.T) {
			endpoints := fleet(n)
			f(t, balancer(endpoints, &routetable.ClusterState{}), endpoints)
		})
	}
}

// within says whether got picks of n are what a share lets expect: five standard
// deviations.
func within(got, n int, share float64) bool {
	want := share * float64(n)
	return math.Abs(float64(got)-want) <= 5*math.Sqrt(want*(1-share))+1
}

func TestNoEndpoint(t *testing.T) {
	eachPolicy(t, 3, func(t *testing.T, p routetable.Picker, _ []*routetable.Endpoint) {
		info := &routetable.PickInfo{}
		if i, err := p.Pick(viewOf(), info); !errors.Is(err, routetable.ErrNoEndpoint) || i != -1 {
			t.Errorf("empty view: got %d, %v", i, err)
		}
		if i, err := p.Pick(viewOf(0, 0, 0), info); !errors.Is(err, routetable.ErrNoEndpoint) {
			t.Errorf("no weight: got %d, %v", i, err)
		}
		for range 3 {
			info.Try(pick(t, p, viewOf(1, 1, 1), info))
		}
		if i, err := p.Pick(viewOf(1, 1, 1), info); !errors.Is(err, routetable.ErrNoEndpoint) {
			t.Errorf("all tried: got %d, %v", i, err)
		}
	})
}

func TestEqualWeights(t *testing.T) {
	const n, picks = 7, 70_000
	eachPolicy(t, n, func(t *testing.T, p routetable.Picker, _ []*routetable.Endpoint) {
		var got [n]int
		for range picks {
			got[pick(t, p, viewOf(equal(n)...), &routetable.PickInfo{})]++
		}
		for i, c := range got {
			if !within(c, picks, 1./n) {
				t.Errorf("%d: %d of %d", i, c, picks)
			}
		}
	})
}

// The indexes are those of the cluster's endpoints, not of the view.
func TestIndexesAreTheClusters(t *testing.T) {
	v := routetable.NewView([]int32{2, 5, 6}, []float64{1, 3, 2})
	eachPolicy(t, 8, func(t *testing.T, p routetable.Picker, _ []*routetable.Endpoint) {
		got := map[int]bool{}
		for range 1000 {
			got[pick(t, p, v, &routetable.PickInfo{})] = true
		}
		if len(got) != 3 || !got[2] || !got[5] || !got[6] {
			t.Errorf("picked %v", got)
		}
	})
}

func TestZeroWeightIsNeverPicked(t *testing.T) {
	v := viewOf(1, 0, 3, 0)
	eachPolicy(t, 4, func(t *testing.T, p routetable.Picker, _ []*routetable.Endpoint) {
		for range 5_000 {
			info := &routetable.PickInfo{}
			for {
				i, err := p.Pick(v, info)
				if err != nil {
					break
				}
				if i == 1 || i == 3 {
					t.Fatalf("picked %d", i)
				}
				info.Try(i)
			}
			if info.Attempts() != 2 {
				t.Fatalf("%d attempts", info.Attempts())
			}
		}
	})
}

// A request is never sent to an endpoint twice, and reaches all of them.
func TestRetriesAreElsewhere(t *testing.T) {
	for name, weights := range map[string][]float64{
		"equal":   equal(8),
		"uneven":  {1, 2, 3, 4, 5, 6, 7, 8},
		"extreme": {1e9, 1, 1, 1, 1, 1, 1, 1e9},
		"one":     {1},
	} {
		v := viewOf(weights...)
		eachPolicy(t, 8, func(t *testing.T, p routetable.Picker, _ []*routetable.Endpoint) {
			for range 200 {
				info := &routetable.PickInfo{}
				for range weights {
					i := pick(t, p, v, info)
					if info.Tried(int32(i)) {
						t.Fatalf("%s: %d again", name, i)
					}
					info.Try(i)
				}
				if _, err := p.Pick(v, info); !errors.Is(err, routetable.ErrNoEndpoint) {
					t.Fatalf("%s: got %v", name, err)
				}
			}
		})
	}
}

// What was tried in an earlier view does not hide what is new in this one.
func TestRetryInAnotherView(t *testing.T) {
	eachPolicy(t, 4, func(t *testing.T, p routetable.Picker, _ []*routetable.Endpoint) {
		for range 100 {
			info := &routetable.PickInfo{}
			for _, i := range []int{0, 1, 2} {
				info.Try(i)
			}
			if i := pick(t, p, routetable.NewView([]int32{0, 3}, []float64{9, 1}), info); i != 3 {
				t.Fatalf("got %d", i)
			}
		}
	})
}

func TestPickAllocs(t *testing.T) {
	for name, v := range map[string]*routetable.View{
		"equal": viewOf(equal(5)...), "weighted": viewOf(1, 2, 3, 4, 5),
	} {
		eachPolicy(t, 5, func(t *testing.T, p routetable.Picker, _ []*routetable.Endpoint) {
			info := &routetable.PickInfo{}
			if n := testing.AllocsPerRun(500, func() {
				info.Reset()
				for range 6 {
					if i, err := p.Pick(v, info); err == nil {
						info.Try(i)
					}
				}
			}); n != 0 {
				t.Errorf("%s: %v allocations", name, n)
			}
		})
	}
}

func TestAllAreNamedAsTheConfigurationDoes(t *testing.T) {
	all := All()
	for _, name := range []string{"least_request", "round_robin"} {
		if all[name] == nil {
			t.Errorf("no %s", name)
		}
	}
	if len(all) != 2 {
		t.Errorf("%d policies: add the new ones to this test and to the configuration", len(all))
	}
}

// The endpoints of the benchmarks: some are out, as in any large fleet.
func BenchmarkPick(b *testing.B) {
	for _, c := range []struct {
		name     string
		n, out   int
		weighted bool
	}{{"3", 3, 0, false}, {"3/weighted", 3, 0, true}, {"1000", 1000, 100, false}, {"1000/weighted", 1000, 100, true}} {
		weights := equal(c.n)
		for i := range weights {
			if c.weighted {
				weights[i] = float64(1 + i%4)
			}
			if c.out > 0 && i%(c.n/c.out) == 0 {
				weights[i] = 0
			}
		}
		for _, policy := range []string{"round_robin", "least_request"} {
			b.Run(policy+"/endpoints="+c.name, func(b *testing.B) {
				p, v := All()[policy](fleet(c.n), &routetable.ClusterState{}), viewOf(weights...)
				var info routetable.PickInfo
				b.ReportAllocs()
				for b.Loop() {
					if _, err := p.Pick(v, &info); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// A retry, the first endpoint being tried.
func BenchmarkPickRetry(b *testing.B) {
	for _, policy := range []string{"round_robin", "least_request"} {
		b.Run(policy, func(b *testing.B) {
			p, v := All()[policy](fleet(3), &routetable.ClusterState{}), viewOf(1, 2, 3)
			var info routetable.PickInfo
			info.Try(2)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Pick(v, &info); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

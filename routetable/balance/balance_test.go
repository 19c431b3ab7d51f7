package balance

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"usher/config"
	"usher/routetable"
)

// fleet is n endpoints with nothing in flight.
func fleet(n int) []*routetable.Endpoint {
	out := make([]*routetable.Endpoint, n)
	for i := range out {
		out[i] = &routetable.Endpoint{ID: fmt.Sprint(i), Weight: 1, State: &routetable.State{}}
	}
	return out
}

// clusterOf is a cluster of endpoints with the default settings.
func clusterOf(endpoints []*routetable.Endpoint) *routetable.Cluster {
	return &routetable.Cluster{
		Endpoints: endpoints, Policy: config.Policy{RingHash: config.RingHash{LoadFactor: 1.25}},
	}
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
			f(t, balancer(clusterOf(endpoints), &routetable.ClusterState{}), endpoints)
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
		for k := range uint64(1000) {
			got[pick(t, p, v, &routetable.PickInfo{Key: k, HasKey: k%2 == 0})] = true
		}
		if len(got) != 3 || !got[2] || !got[5] || !got[6] {
			t.Errorf("picked %v", got)
		}
	})
}

func TestZeroWeightIsNeverPicked(t *testing.T) {
	v := viewOf(1, 0, 3, 0)
	eachPolicy(t, 4, func(t *testing.T, p routetable.Picker, _ []*routetable.Endpoint) {
		for k := range uint64(5_000) {
			info := &routetable.PickInfo{Key: k, HasKey: k%2 == 0}
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
			for k := range uint64(200) {
				info := &routetable.PickInfo{Key: k, HasKey: k%2 == 0}
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
		for k := range uint64(100) {
			info := &routetable.PickInfo{Key: k, HasKey: k%2 == 0}
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
		for _, keyed := range []bool{false, true} {
			eachPolicy(t, 5, func(t *testing.T, p routetable.Picker, _ []*routetable.Endpoint) {
				info := &routetable.PickInfo{}
				key := uint64(0)
				if n := testing.AllocsPerRun(500, func() {
					info.Reset()
					key++
					info.Key, info.HasKey = key, keyed
					for range 6 {
						if i, err := p.Pick(v, info); err == nil {
							info.Try(i)
						}
					}
				}); n != 0 {
					t.Errorf("%s, key %t: %v allocations", name, keyed, n)
				}
			})
		}
	}
}

func TestAllAreNamedAsTheConfigurationDoes(t *testing.T) {
	got, want := slices.Sorted(maps.Keys(All())), slices.Sorted(slices.Values(config.Balances()))
	if !slices.Equal(got, want) {
		t.Errorf("got %q, the configuration knows %q", got, want)
	}
}

// Shares are those of the weights, whatever they are and wherever they come from: with
// keys too, for the policies that go by them.
func TestShares(t *testing.T) {
	const picks = 50_000
	for name, c := range map[string]struct{ endpoints, view []float64 }{
		"equal":              {equal(7), equal(7)},
		"uneven":             {[]float64{1, 2, 3, 4, 5, 10}, []float64{1, 2, 3, 4, 5, 10}},
		"extreme":            {[]float64{1000, 1, 1, 1000, 5}, []float64{1000, 1, 1, 1000, 5}},
		"beyond measure":     {[]float64{1e12, 1}, []float64{1e12, 1}},
		"shares":             {[]float64{.05, .9, .05}, []float64{.05, .9, .05}},
		"one starts slowly":  {equal(4), []float64{1, 1, .1, 1}},
		"most start slowly":  {equal(4), []float64{.1, .1, 1, .1}},
		"half spills over":   {equal(6), []float64{.35, .35, 0, 0, .15, .15}},
		"the heavy is out":   {[]float64{10, 1, 2, 1e5}, []float64{10, 1, 2, 0}},
		"the light are out":  {[]float64{1e5, 1, 2, 1e5}, []float64{1, 0, 0, 2}},
		"half are out":       {equal(8), []float64{1, 0, 1, 0, 1, 0, 1, 0}},
		"only the light":     {[]float64{1e9, 3, 1, 1e9}, []float64{0, 3, 1, 0}},
		"other than the own": {[]float64{1, 2, 3}, []float64{3, 2, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			for policy, balancer := range All() {
				t.Run(policy, func(t *testing.T) {
					endpoints := fleet(len(c.endpoints))
					for i, w := range c.endpoints {
						endpoints[i].Weight = w
					}
					p, points := balancer(clusterOf(endpoints), &routetable.ClusterState{}), 0.
					if ring, ok := p.(*ringHash); ok {
						points = pointsOf(ring, viewOf(c.view...))
					}
					checkShares(t, p, viewOf(c.view...), c.view, picks, points)
				})
			}
		})
	}
}

// pointsOf is how many points the endpoints of a view have at least.
func pointsOf(r *ringHash, v *routetable.View) float64 {
	least := math.Inf(1)
	for _, i := range v.Usable {
		least = min(least, r.parts[i])
	}
	return least
}

// checkShares picks for different keys. A ring gives each endpoint its share only within
// what the number of its points allows.
func checkShares(t *testing.T, p routetable.Picker, v *routetable.View, weights []float64, picks int, points float64) {
	t.Helper()
	var sum float64
	for _, w := range weights {
		sum += w
	}
	got := make([]int, len(weights))
	for k := range picks {
		got[pick(t, p, v, &routetable.PickInfo{Key: mix(uint64(k)), HasKey: true})]++
	}
	for i, w := range weights {
		share := w / sum
		slack := 5*math.Sqrt(share*(1-share)*float64(picks)) + 0.002*float64(picks)
		if points > 0 {
			slack += 4 * share * (1 - share) * float64(picks) / math.Sqrt(points)
		}
		if diff := math.Abs(float64(got[i]) - share*float64(picks)); diff > slack {
			t.Errorf("%d: got %d picks of %d, its share is %.4f (%.0f off, %.0f allowed)",
				i, got[i], picks, share, diff, slack)
		}
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
		}
		endpoints := fleet(c.n)
		for i, w := range weights {
			endpoints[i].Weight = w
			endpoints[i].State.InFlight.Store(int64(i % 5))
			endpoints[i].State.Latency.Observe(int64(i+1)*1e5, 1e9)
			if c.out > 0 && i%(c.n/c.out) == 0 {
				weights[i] = 0
			}
		}
		for _, policy := range config.Balances() {
			b.Run(policy+"/endpoints="+c.name, func(b *testing.B) {
				p, v := All()[policy](clusterOf(endpoints), &routetable.ClusterState{}), viewOf(weights...)
				info := routetable.PickInfo{HasKey: true, Now: 2e9}
				b.ReportAllocs()
				for b.Loop() {
					info.Key++
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
	for _, policy := range config.Balances() {
		b.Run(policy, func(b *testing.B) {
			p, v := All()[policy](clusterOf(fleet(3)), &routetable.ClusterState{}), viewOf(1, 2, 3)
			info := routetable.PickInfo{HasKey: true}
			info.Try(2)
			b.ReportAllocs()
			for b.Loop() {
				info.Key++
				if _, err := p.Pick(v, &info); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Building the tables of a large cluster, and finding that they are still good.
func BenchmarkTables(b *testing.B) {
	for _, policy := range []string{"maglev", "ring_hash"} {
		c := clusterOf(fleet(1000))
		b.Run(policy+"/new", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				All()[policy](c, &routetable.ClusterState{})
			}
		})
		b.Run(policy+"/again", func(b *testing.B) {
			state := &routetable.ClusterState{}
			b.ReportAllocs()
			for b.Loop() {
				All()[policy](c, state)
			}
		})
	}
}

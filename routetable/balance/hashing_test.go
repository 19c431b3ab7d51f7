package balance

import (
	"slices"
	"sync"
	"testing"

	"usher/config"
	"usher/routetable"
)

// hashing are the policies that go by a key.
func hashing() map[string]routetable.Balancer {
	return map[string]routetable.Balancer{"maglev": NewMaglev, "ring_hash": NewRingHash}
}

// keyed is what a request of a key is known by.
func keyed(key int) *routetable.PickInfo {
	return &routetable.PickInfo{Key: mix(uint64(key)), HasKey: true}
}

// homes are the endpoints, by ID, of many keys.
func homes(t *testing.T, p routetable.Picker, endpoints []*routetable.Endpoint, v *routetable.View, keys int) []string {
	t.Helper()
	out := make([]string, keys)
	for k := range out {
		out[k] = endpoints[pick(t, p, v, keyed(k))].ID
	}
	return out
}

// moved counts the keys that have another home.
func moved(a, b []string) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

// A change of one endpoint moves its own keys, and at most one in twenty of the others.
func TestHashingIsConsistent(t *testing.T) {
	const keys = 20_000
	for name, balancer := range hashing() {
		for _, n := range []int{3, 10, 100, 1000} {
			all := fleet(n)
			fewer := slices.Delete(slices.Clone(all), n/2, n/2+1)
			of := func(endpoints []*routetable.Endpoint) []string {
				p := balancer(clusterOf(endpoints), &routetable.ClusterState{})
				return homes(t, p, endpoints, viewOf(equal(len(endpoints))...), keys)
			}
			with, without := of(all), of(fewer)
			got, bound := moved(with, without), keys/n+keys/20
			if got > bound {
				t.Errorf("%s: %d endpoints and one less: %d of %d keys move, %d may", name, n, got, keys, bound)
			}
			t.Logf("%s: %d endpoints and one less: %.2f %% of the keys move", name, n, 100*float64(got)/keys)
		}
	}
}

// An endpoint that is out costs its own keys their home, and no other key; they spread
// over all others, and all are back when it is.
func TestHashingWithoutOne(t *testing.T) {
	const n, keys = 50, 50_000
	for name, balancer := range hashing() {
		endpoints := fleet(n)
		p := balancer(clusterOf(endpoints), &routetable.ClusterState{})
		before := homes(t, p, endpoints, viewOf(equal(n)...), keys)
		weights := equal(n)
		weights[7] = 0
		during := homes(t, p, endpoints, viewOf(weights...), keys)
		gets := map[string]int{}
		for k := range keys {
			if before[k] != "7" && during[k] != before[k] {
				t.Fatalf("%s: key %d goes from %s to %s", name, k, before[k], during[k])
			}
			if before[k] == "7" {
				gets[during[k]]++
			}
		}
		if len(gets) < n/2 || gets["7"] > 0 {
			t.Errorf("%s: its keys go to %d endpoints: %v", name, len(gets), gets)
		}
		if after := homes(t, p, endpoints, viewOf(equal(n)...), keys); moved(before, after) != 0 {
			t.Errorf("%s: %d keys are not back", name, moved(before, after))
		}
	}
}

// A weight that rises brings an endpoint keys and takes it none.
func TestHashingInASlowStart(t *testing.T) {
	const n, keys = 10, 20_000
	for name, balancer := range hashing() {
		endpoints := fleet(n)
		p := balancer(clusterOf(endpoints), &routetable.ClusterState{})
		weights := equal(n)
		had := 0
		var last []string
		for _, w := range []float64{.1, .2, .5, .9, 1} {
			weights[3] = w
			now := homes(t, p, endpoints, viewOf(weights...), keys)
			has := 0
			for k := range keys {
				if now[k] == "3" {
					has++
				}
				if last != nil && now[k] != last[k] && now[k] != "3" {
					t.Fatalf("%s: at %v key %d goes from %s to %s", name, w, k, last[k], now[k])
				}
			}
			if has <= had {
				t.Errorf("%s: at %v it has %d keys, before %d", name, w, has, had)
			}
			had, last = has, now
		}
	}
}

// The fullest endpoint has not much more than the mean.
func TestHashingSpreads(t *testing.T) {
	for name, bound := range map[string]float64{"maglev": 1.1, "ring_hash": 1.5} {
		const n, perEndpoint = 400, 1000
		endpoints := fleet(n)
		p := hashing()[name](clusterOf(endpoints), &routetable.ClusterState{})
		v := viewOf(equal(n)...)
		got := make([]int, n)
		for k := range n * perEndpoint {
			got[pick(t, p, v, keyed(k))]++
		}
		// Keys that fall by chance differ by some √mean, too.
		if most := float64(slices.Max(got)) / perEndpoint; most > bound+.1 {
			t.Errorf("%s: the fullest has %.2f times the mean", name, most)
		} else {
			t.Logf("%s: the fullest has %.2f, the emptiest %.2f times the mean",
				name, most, float64(slices.Min(got))/perEndpoint)
		}
	}
}

// The tries of a key are the same each time, and each elsewhere; keys that share the
// first differ in the second.
func TestHashingRetries(t *testing.T) {
	const n = 20
	for name, balancer := range hashing() {
		p, v := balancer(clusterOf(fleet(n)), &routetable.ClusterState{}), viewOf(equal(n)...)
		second := map[int]map[int]bool{}
		for k := range 2_000 {
			var tries [2][3]int
			for i := range tries {
				info := keyed(k)
				for j := range tries[i] {
					tries[i][j] = pick(t, p, v, info)
					info.Try(tries[i][j])
				}
			}
			if tries[0] != tries[1] {
				t.Fatalf("%s: key %d: %v, then %v", name, k, tries[0], tries[1])
			}
			a, b := tries[0][0], tries[0][1]
			if second[a] == nil {
				second[a] = map[int]bool{}
			}
			second[a][b] = true
		}
		for a, bs := range second {
			if len(bs) < n/3 {
				t.Errorf("%s: the keys of %d have only %d other homes", name, a, len(bs))
			}
		}
	}
}

// Nearly all are out: the few that are left share the keys evenly, and for good.
func TestHashingWithFewLeft(t *testing.T) {
	const n, keys = 2_000, 6_000
	for name, balancer := range hashing() {
		endpoints := fleet(n)
		p := balancer(clusterOf(endpoints), &routetable.ClusterState{})
		v := routetable.NewView([]int32{100, 1000, 1900}, equal(3))
		got := homes(t, p, endpoints, v, keys)
		if again := homes(t, p, endpoints, v, keys); moved(got, again) != 0 {
			t.Errorf("%s: %d keys move for nothing", name, moved(got, again))
		}
		slices.Sort(got)
		for _, id := range []string{"100", "1000", "1900"} {
			first, _ := slices.BinarySearch(got, id)
			end, _ := slices.BinarySearch(got, id+"\x00")
			if share := end - first; share < keys/3-keys/15 || share > keys/3+keys/15 {
				t.Errorf("%s: %s has %d keys of %d", name, id, share, keys)
			}
		}
	}
}

// Without a key any endpoint is taken.
func TestHashingWithoutAKey(t *testing.T) {
	for name, balancer := range hashing() {
		p, v := balancer(clusterOf(fleet(4)), &routetable.ClusterState{}), viewOf(equal(4)...)
		var got [4]int
		for range 4_000 {
			got[pick(t, p, v, &routetable.PickInfo{})]++
		}
		for i, c := range got {
			if !within(c, 4_000, .25) {
				t.Errorf("%s: %d: %d of 4000", name, i, c)
			}
		}
	}
}

// Endpoints that differ in nothing that the table is made of get the same table.
func TestTablesAreUsedAgain(t *testing.T) {
	for name, balancer := range hashing() {
		state := &routetable.ClusterState{}
		balancer(clusterOf(fleet(5)), state)
		first := *state.Made.Load()
		other := fleet(5)
		other[2].Address, other[3].Status = "elsewhere:80", 2
		balancer(clusterOf(other), state)
		if *state.Made.Load() != first {
			t.Errorf("%s: the table was made anew", name)
		}
		other[1].Weight = 2
		balancer(clusterOf(other), state)
		if *state.Made.Load() == first {
			t.Errorf("%s: another weight, but the same table", name)
		}
		// Another policy leaves what it cannot use.
		for _, b := range hashing() {
			p := b(clusterOf(other), state)
			pick(t, p, viewOf(equal(5)...), keyed(1))
		}
	}
}

// No endpoint of the table has a weight, though the view may say otherwise.
func TestHashingWithoutATable(t *testing.T) {
	for name, balancer := range hashing() {
		endpoints := fleet(3)
		for _, e := range endpoints {
			e.Weight = 0
		}
		p := balancer(clusterOf(endpoints), &routetable.ClusterState{})
		got := homes(t, p, endpoints, viewOf(1, 1, 1), 300)
		slices.Sort(got)
		if len(slices.Compact(got)) != 3 {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// Views change while others pick: whoever is out is not picked from a view that says so.
func TestHashingConcurrently(t *testing.T) {
	const n = 30
	for name, balancer := range hashing() {
		p := balancer(clusterOf(fleet(n)), &routetable.ClusterState{})
		var wait sync.WaitGroup
		for g := range 4 {
			wait.Go(func() {
				for k := range 2_000 {
					weights := equal(n)
					weights[(k/10+g)%n] = 0
					v := viewOf(weights...)
					if i, err := p.Pick(v, keyed(k)); err != nil || !v.Has(i) {
						t.Errorf("%s: got %d, %v", name, i, err)
						return
					}
				}
			})
		}
		wait.Wait()
	}
}

// A key that everybody asks for, requests that stay: no endpoint of a ring has more
// than its bound, and the key's own is full before another is asked.
func TestRingHashBound(t *testing.T) {
	for _, c := range []struct {
		n      int
		factor float64
		weight float64
	}{{3, 1.25, 1}, {10, 1.25, 1}, {10, 2, 1}, {10, 1.05, 1}, {200, 1.25, 1}, {10, 1.25, 4}} {
		endpoints := fleet(c.n)
		weights := equal(c.n)
		endpoints[1].Weight, weights[1] = c.weight, c.weight
		cluster := clusterOf(endpoints)
		cluster.Policy.RingHash.LoadFactor = c.factor
		p, v := NewRingHash(cluster, &routetable.ClusterState{}), viewOf(weights...)
		var sum float64
		for _, w := range weights {
			sum += w
		}
		home := pick(t, p, v, keyed(5))
		for total := 1; total <= 5_000; total++ {
			i := pick(t, p, v, keyed(5))
			has := endpoints[i].State.InFlight.Add(1)
			// Beside rounding the total is up to a sixteenth of the endpoints old.
			bound := c.factor*float64(total)*weights[i]/sum + 1
			if float64(has) > bound {
				t.Fatalf("%+v: %d of %d requests at %d, the bound is %.1f", c, has, total, i, bound)
			}
		}
		fair := 5_000 * weights[home] / sum
		if has := float64(endpoints[home].State.InFlight.Load()); c.n < maxFull && has < fair*c.factor-float64(c.n)-2 {
			t.Errorf("%+v: the key's own endpoint has %v requests of a bound of %v", c, has, fair*c.factor)
		}
		// Once they have ended it is the only one again.
		for _, e := range endpoints {
			e.State.InFlight.Store(0)
		}
		for range c.n/16 + 1 {
			pick(t, p, v, keyed(5))
		}
		if i := pick(t, p, v, keyed(5)); i != home {
			t.Errorf("%+v: the key has moved from %d to %d", c, home, i)
		}
	}
}

// Weights that settings leave out do not make a bound of nothing.
func TestRingHashWithoutAFactor(t *testing.T) {
	c := clusterOf(fleet(2))
	c.Policy.RingHash = config.RingHash{}
	p := NewRingHash(c, &routetable.ClusterState{})
	for k := range 10 {
		pick(t, p, viewOf(1, 1), keyed(k))
	}
}

package balance_test

import (
	"fmt"
	"slices"
	"testing"

	"usher/config"
	"usher/routetable"
	"usher/routetable/balance"
	"usher/watcher"
)

// world is a table that is built again and again, and what picks from it do.
type world struct {
	t     *testing.T
	rules *routetable.Rules
	table *routetable.Table
}

func newWorld(t *testing.T, policy string) *world {
	return &world{
		t: t, table: nil,
		rules: &routetable.Rules{
			Defaults:  config.Policy{Balance: policy, RingHash: config.RingHash{LoadFactor: 1.25}},
			Balancers: balance.All(),
		},
	}
}

// build builds the next table of the service shop with these instances, and of another.
func (w *world) build(other int, ids ...int) {
	shop := &watcher.Service{Key: watcher.Key{Registry: "test", Service: "shop"}}
	for _, id := range ids {
		shop.Instances = append(shop.Instances, watcher.Instance{
			ID: fmt.Sprint("shop-", id), Address: fmt.Sprintf("10.0.0.%d:80", id), Weight: float64(1 + id%3),
			Announcements: []watcher.Announcement{{Where: "tag", Text: "shop.example.com/"}},
		})
	}
	noise := &watcher.Service{
		Key: watcher.Key{Registry: "test", Service: "aside"},
		Instances: []watcher.Instance{{
			ID: "aside", Address: "10.0.1.1:80", Weight: 1,
			Announcements: []watcher.Announcement{{Where: "tag", Text: fmt.Sprintf("aside.example.com/%d", other)}},
		}},
	}
	services := []*watcher.Service{noise}
	if len(ids) > 0 {
		services = append(services, shop)
	}
	w.table = routetable.Build(watcher.NewCatalog(uint64(other)+1, services...), w.rules, w.table)
	for c := range w.table.AllClusters() {
		all, weights := make([]int32, len(c.Endpoints)), make([]float64, len(c.Endpoints))
		for i, e := range c.Endpoints {
			all[i], weights[i] = int32(i), e.Weight
		}
		c.SetView(routetable.NewView(all, weights))
	}
}

// cluster is that of the service shop.
func (w *world) cluster() *routetable.Cluster {
	for c := range w.table.AllClusters() {
		if slices.Contains(c.Services, "shop") {
			return c
		}
	}
	w.t.Fatal("no cluster")
	return nil
}

// pick picks, counts in flight (every third request ends), observes, and returns the ID.
func (w *world) pick(n int) string {
	c := w.cluster()
	info := &routetable.PickInfo{Key: uint64(n) * 0x9e3779b97f4a7c15, HasKey: true, Now: int64(n) * 1e6}
	i, err := c.Picker.Pick(c.View(), info)
	if err != nil {
		w.t.Fatal(err)
	}
	s := c.Endpoints[i].State
	if n%3 != 0 {
		s.InFlight.Add(1)
	}
	s.Latency.Observe(int64(1+n%7)*1e6, int64(n)*1e6)
	return c.Endpoints[i].ID
}

// known is what is known of the endpoints.
func (w *world) known() string {
	var out string
	for _, e := range w.cluster().Endpoints {
		average, known := e.State.Latency.Average(0)
		out += fmt.Sprintln(e.ID, e.State.InFlight.Load(), average, known)
	}
	return out
}

// A thousand swaps, in which others change and the instances themselves vanish and
// return, leave no trace: what is known of the endpoints afterwards and which of them
// are picked is what it would be without a swap. (Policies that go by chance are left
// out: of these the state alone could be compared. The table of Maglev takes its time to
// be made, and has no more state than the ring.)
func TestSwapsLeaveNoTrace(t *testing.T) {
	ids := []int{1, 2, 3, 4, 5, 6, 7}
	for _, policy := range []string{"round_robin", "maglev", "ring_hash"} {
		t.Run(policy, func(t *testing.T) {
			calm, stormy := newWorld(t, policy), newWorld(t, policy)
			calm.build(0, ids...)
			stormy.build(0, ids...)
			swaps := 1000
			if policy == "maglev" {
				swaps = 100
			}
			for swap := 0; swap < swaps; swap += 2 {
				switch swap / 2 % 4 {
				case 0:
					stormy.build(swap, ids...)
				case 1:
					stormy.build(swap, slices.Delete(slices.Clone(ids), swap%7, swap%7+1)...)
				case 2:
					stormy.build(swap) // the whole service is gone
				case 3:
					stormy.build(swap, ids[:1+swap%6]...)
				}
				stormy.build(swap+1, ids...)
				for n := swap * 5; n < swap*5+5; n++ {
					if want, got := calm.pick(n), stormy.pick(n); got != want {
						t.Fatalf("pick %d: got %s, without swaps it is %s", n, got, want)
					}
				}
			}
			if want, got := calm.known(), stormy.known(); got != want {
				t.Errorf("got\n%swithout swaps it is\n%s", got, want)
			}
		})
	}
}

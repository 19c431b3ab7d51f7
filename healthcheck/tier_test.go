package healthcheck

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"usher/config"
	"usher/routetable"
	"usher/routetable/balance"
	"usher/watcher"
)

// at is a passing instance in a tier.
func at(id string, tier uint8) watcher.Instance {
	i := in(id, watcher.Passing, 1)
	i.Tier = tier
	return i
}

// lost is an instance that is held until quorum others are usable.
func lost(id string, quorum int) watcher.Instance {
	i := in(id, watcher.Passing, 1)
	i.Held = &watcher.Hold{Reason: "test", Quorum: quorum}
	return i
}

func TestNearestTier(t *testing.T) {
	critical := func(i watcher.Instance) watcher.Instance {
		i.Status = watcher.Critical
		return i
	}
	weightless := func(i watcher.Instance) watcher.Instance {
		i.Weight = 0
		return i
	}
	held := func(i watcher.Instance, quorum int) watcher.Instance {
		i.Held = &watcher.Hold{Quorum: quorum}
		return i
	}
	for name, c := range map[string]struct {
		instances []watcher.Instance
		usable    []string
	}{
		"one tier":                        {[]watcher.Instance{at("a", 0), at("b", 0)}, []string{"a", "b"}},
		"the lower one":                   {[]watcher.Instance{at("a", 1), at("b", 0), at("c", 0)}, []string{"b", "c"}},
		"none in the lowest there can be": {[]watcher.Instance{at("a", 3), at("b", 2)}, []string{"b"}},
		"the order does not matter": {
			[]watcher.Instance{at("a", 2), at("b", 1), at("c", 0), at("d", 1), at("e", 0)}, []string{"c", "e"},
		},
		"the registry keeps the lowest out": {
			[]watcher.Instance{critical(at("a", 0)), at("b", 1), at("c", 2)}, []string{"b"},
		},
		"without a weight it is no offer": {
			[]watcher.Instance{weightless(at("a", 0)), at("b", 1)}, []string{"b"},
		},
		"the farthest there is": {[]watcher.Instance{at("a", 255)}, []string{"a"}},
		"held ones of the lowest stand in for it": {
			[]watcher.Instance{held(at("a", 0), 1), critical(at("b", 0)), critical(at("c", 1))}, []string{"a"},
		},
		"held ones of a nearer tier go before others once too few are confirmed": {
			[]watcher.Instance{held(at("a", 0), 2), at("b", 1)}, []string{"a"},
		},
		"and not while enough are": {
			[]watcher.Instance{held(at("a", 0), 1), at("b", 1)}, []string{"b"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			table := build(nil, c.instances)
			New(slog.New(slog.DiscardHandler), nil).Adopt(table)
			if got := usableIn(table.Clusters()[0]); !slices.Equal(got, c.usable) {
				t.Errorf("usable are %q, want %q", got, c.usable)
			}
		})
	}
}

// As a tier loses endpoints what it can no longer take spills over to the next.
func TestSpillOver(t *testing.T) {
	near := func(share float64) map[string]float64 {
		return map[string]float64{"near": share, "far": 1 - share}
	}
	for name, c := range map[string]struct {
		near, far, out, farOut int
		want                   map[string]float64
	}{
		"all are well":                {10, 10, 0, 0, near(1)},
		"a fifth is out":              {10, 10, 2, 0, near(1)},
		"just enough is left":         {7, 3, 2, 0, near(1)},
		"half is out":                 {10, 10, 5, 0, near(0.7)},
		"most are out":                {10, 2, 9, 0, near(0.14)},
		"all are out":                 {4, 1, 4, 0, near(0)},
		"the far tier is hit as well": {10, 10, 5, 5, near(0.7)},
		"both lack most":              {10, 10, 9, 9, near(0.5)},
	} {
		t.Run(name, func(t *testing.T) {
			h := plain()
			var list []watcher.Instance
			for i := range c.near {
				list = append(list, at(fmt.Sprintf("near-%02d", i), 0))
			}
			for i := range c.far {
				list = append(list, at(fmt.Sprintf("tar-%02d", i), 1))
			}
			runWith(t, h, list, func(b *bench) {
				for i := range c.out {
					b.fail(fmt.Sprintf("near-%02d", i))
				}
				for i := range c.farOut {
					b.fail(fmt.Sprintf("tar-%02d", i))
				}
				b.advance(refreshPause)
				got := map[string]float64{}
				for id, share := range b.shares() {
					got[map[byte]string{'n': "near", 't': "far"}[id[0]]] += share
				}
				if d := got["near"] - c.want["near"]; d < -0.01 || d > 0.01 {
					t.Errorf("the near ones get %.2f, want %.2f", got["near"], c.want["near"])
				}
			})
		})
	}
}

// Weights count within a tier and for what the tier can take; three tiers follow each
// other.
func TestSpillOverByWeight(t *testing.T) {
	list := []watcher.Instance{at("a", 0), at("b", 0), at("c", 1), at("d", 1), at("e", 2)}
	list[0].Weight, list[3].Weight = 3, 2
	run(t, list, func(b *bench) {
		b.see("a", failed()) // a quarter of the weight is left: 0.35
		got := b.shares()
		for id, want := range map[string]float64{"b": 0.35, "c": 0.65 / 3, "d": 0.65 * 2 / 3} {
			if d := got[id] - want; d < -0.01 || d > 0.01 {
				t.Errorf("%s gets %.3f, want %.3f: %v", id, got[id], want, got)
			}
		}
		b.see("d", failed()) // a third of the next tier: 0.47, and the rest
		got = b.shares()
		for id, want := range map[string]float64{"b": 0.35, "c": 0.4667, "e": 0.1833} {
			if d := got[id] - want; d < -0.01 || d > 0.01 {
				t.Errorf("%s gets %.3f, want %.3f: %v", id, got[id], want, got)
			}
		}
	})
}

// What the registry takes out leaves the tier whole: the next one waits for the last.
func TestNoSpillByTheRegistry(t *testing.T) {
	list := []watcher.Instance{at("a", 0), at("b", 0), at("c", 0), at("d", 1)}
	list[0].Status, list[1].Status = watcher.Critical, watcher.Maintenance
	run(t, list, func(b *bench) {
		b.usable("c")
	})
}

// Where all are out the nearest tier is tried all the same.
func TestEjectedTier(t *testing.T) {
	run(t, []watcher.Instance{at("a", 0), at("b", 0), at("c", 1), at("d", 2)}, func(b *bench) {
		b.usable("a", "b")
		b.fail("a")
		b.usable("b", "c")
		b.fail("b")
		b.usable("c")
		b.fail("c")
		b.usable("d")
		b.fail("d")
		b.usable("a", "b")
		b.succeed("c")
		b.usable("c")
		b.succeed("b")
		b.usable("b", "c")
		b.succeed("a")
		b.usable("a", "b")
	})
}

// The end of an ejection leads back by itself.
func TestTierComesBack(t *testing.T) {
	run(t, []watcher.Instance{at("a", 0), at("b", 1)}, func(b *bench) {
		b.fail("a")
		b.usable("b")
		b.advance(time.Second - time.Millisecond)
		b.usable("b")
		b.advance(time.Millisecond)
		b.usable("a")
		instances := []watcher.Instance{at("a", 0), at("b", 1)}
		instances[0].Status = watcher.Critical
		b.adopt(build(b.table, instances))
		b.usable("b")
		b.adopt(build(b.table, []watcher.Instance{at("a", 0), at("b", 1)}))
		b.usable("a")
	})
}

// Held endpoints take requests only while too few of the listed ones are usable.
func TestHeldWhileTooFew(t *testing.T) {
	critical := func(ids ...string) (list []watcher.Instance) {
		for _, id := range ids {
			list = append(list, in(id, watcher.Critical, 1))
		}
		return list
	}
	for name, c := range map[string]struct {
		instances []watcher.Instance
		usable    []string
	}{
		"nothing else is left": {[]watcher.Instance{lost("h", 1), lost("i", 1)}, []string{"h", "i"}},
		"too few":              {append(up("a"), lost("h", 2)), []string{"a", "h"}},
		"just enough":          {append(up("a", "b"), lost("h", 2)), []string{"a", "b"}},
		"more than enough":     {append(up("a", "b", "c"), lost("h", 2)), []string{"a", "b", "c"}},
		"critical ones do not count": {
			append(append(up("a"), critical("b", "c")...), lost("h", 2)), []string{"a", "h"},
		},
		"held ones do not count": {
			append(up("a"), lost("h", 2), lost("i", 2), lost("j", 2)), []string{"a", "h", "i", "j"},
		},
		"a quorum of nothing is nobody": {append(critical("a"), lost("h", 0)), nil},
		"one that was critical stays so": {
			[]watcher.Instance{
				{ID: "h", Address: "h:80", Status: watcher.Critical, Weight: 1, Held: &watcher.Hold{Quorum: 1}},
			},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			table := build(nil, announced(c.instances))
			New(slog.New(slog.DiscardHandler), nil).Adopt(table)
			if got := usableIn(table.Clusters()[0]); !slices.Equal(got, c.usable) {
				t.Errorf("usable are %q, want %q", got, c.usable)
			}
		})
	}
}

// announced makes every instance announce the route "/".
func announced(list []watcher.Instance) []watcher.Instance {
	for i := range list {
		list[i].Announcements = []watcher.Announcement{{Where: "urlprefix-/", Text: "/"}}
	}
	return list
}

// An ejection of a listed endpoint lets the held ones in, its end puts them out.
func TestHeldWhileEjected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Without Run, which would probe.
		b := &bench{t: t, Monitor: New(slog.New(slog.DiscardHandler), nil)}
		b.adopt(build(nil, append(up("a", "b"), lost("h", 2))))
		usable := func(want ...string) {
			t.Helper()
			b.refresh()
			if got := usableIn(b.table.Clusters()[0]); !slices.Equal(got, want) {
				t.Errorf("usable are %q, want %q", got, want)
			}
		}
		b.advance(time.Second) // the clock begins at 1 ns
		usable("a", "b")
		b.fail("a")
		usable("b", "h")
		b.advance(time.Second)
		usable("a", "b")
		b.fail("a")
		usable("b", "h")
		b.fail("h")
		usable("b") // a held one is ejected like any other
		b.fail("b")
		usable("a", "b", "h") // nothing else is left to try
	})
}

// services is a table of services that share the route "/": of each, its instances.
func services(previous *routetable.Table, of map[string][]watcher.Instance) *routetable.Table {
	var list []*watcher.Service
	for _, name := range slices.Sorted(maps.Keys(of)) {
		list = append(list, &watcher.Service{
			Key: watcher.Key{Registry: "consul", Service: name}, Instances: announced(of[name]),
		})
	}
	rules := &routetable.Rules{
		Defaults: config.Policy{Balance: "round_robin", Health: plain()}, Balancers: balance.All(),
	}
	return routetable.Build(watcher.NewCatalog(1, list...), rules, previous)
}

// Services that share a route are each other's help, but each has a quorum of its own.
func TestHeldIsPerService(t *testing.T) {
	table := services(nil, map[string][]watcher.Instance{
		"one": append(up("a", "b"), lost("h", 2)),
		"two": append(up("c"), lost("i", 2)),
	})
	New(slog.New(slog.DiscardHandler), nil).Adopt(table)
	var shared *routetable.Cluster
	for c := range table.AllClusters() {
		if len(c.Services) == 2 {
			shared = c
		}
	}
	if shared == nil {
		t.Fatal("no cluster is shared")
	}
	if got := slices.Sorted(slices.Values(usableIn(shared))); !slices.Equal(got, []string{"a", "b", "c", "i"}) {
		t.Errorf("usable are %q: the held one of the service that has enough must not be, the other's must", got)
	}
}

// place is a TCP server that a held endpoint's address leads to.
type place struct {
	ln       net.Listener
	accepted chan struct{}
	ended    sync.WaitGroup
}

func newPlace(t *testing.T) *place {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &place{ln: ln, accepted: make(chan struct{}, 1024)}
	p.ended.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			_ = nc.Close()
			p.accepted <- struct{}{}
		}
	})
	t.Cleanup(p.close)
	return p
}

// close ends the server; its address refuses connections from then on.
func (p *place) close() {
	_ = p.ln.Close()
	p.ended.Wait()
}

// probed waits for n probes.
func (p *place) probed(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-p.accepted:
		case <-time.After(30 * time.Second):
			t.Fatal("no probe came")
		}
	}
}

// probing is a Monitor that runs on the machine's clock, and what it calls gone.
type probing struct {
	*Monitor
	t    *testing.T
	gone chan string
}

func newProbing(t *testing.T) *probing {
	t.Helper()
	p := &probing{t: t, gone: make(chan string, 64)}
	p.Monitor = New(slog.New(slog.DiscardHandler), func(e *routetable.Endpoint) { p.gone <- e.ID })
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return p
}

// left waits for the next endpoint that is gone.
func (p *probing) left() string {
	p.t.Helper()
	select {
	case id := <-p.gone:
		return id
	case <-time.After(30 * time.Second):
		p.t.Fatal("none is called gone")
		return ""
	}
}

// heldAt is a held instance at an address.
func heldAt(id string, p *place) watcher.Instance {
	i := lost(id, 1)
	i.Address = p.ln.Addr().String()
	return i
}

// A held endpoint that answers stays; one that does not is gone after three probes.
func TestProbesTellWhoIsGone(t *testing.T) {
	alive, dead := newPlace(t), newPlace(t)
	dead.close()
	p := newProbing(t)
	begin := time.Now()
	p.Adopt(build(nil, append(up("listed"), heldAt("alive", alive), heldAt("dead", dead))))
	if id := p.left(); id != "dead" {
		t.Errorf("%s is called gone", id)
	}
	if took := time.Since(begin); took < (probeFall-1)*probePeriod {
		t.Errorf("it is called gone after %s, before %d probes can have failed", took, probeFall)
	}
	alive.probed(t, probeFall+1)
	alive.close()
	for id := "dead"; id != "alive"; {
		id = p.left() // dead is told again until a table drops it
	}
}

// A success between failures begins the count again.
func TestProbesFailInARow(t *testing.T) {
	h := newHeld()
	table := build(nil, []watcher.Instance{lost("h", 1)})
	h.adopt(table.Delta())
	p := h.all()[0]
	for range 5 {
		for range probeFall - 1 {
			if h.probed(p, false) != nil {
				t.Fatal("gone too early")
			}
		}
		if h.probed(p, true) != nil {
			t.Fatal("gone by a success")
		}
	}
	for range probeFall - 1 {
		h.probed(p, false)
	}
	if e := h.probed(p, false); e == nil || e.ID != "h" {
		t.Errorf("after %d failures in a row: %+v", probeFall, e)
	}
}

// The probes of an endpoint end with the table that drops it, whichever way it goes.
func TestProbesEndWithTheTable(t *testing.T) {
	for name, next := range map[string][]watcher.Instance{
		"it is gone":         up("a"),
		"it is listed again": up("a", "h"),
		"the service is":     nil,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHeld()
			table := build(nil, append(up("a"), lost("h", 1)), "x", "y")
			h.adopt(table.Delta())
			all := h.all()
			if len(all) != 1 {
				t.Fatalf("%d endpoints are probed, and one is held", len(all))
			}
			for range probeFall - 1 {
				h.probed(all[0], false)
			}
			h.adopt(build(table, next, "x", "y").Delta())
			if n := len(h.all()); n != 0 {
				t.Errorf("%d endpoints are probed after the table dropped them", n)
			}
			if e := h.probed(all[0], false); e != nil {
				t.Errorf("a probe that was under way calls %s gone", e.ID)
			}
		})
	}
}

// A change elsewhere in the cluster does not begin the count again.
func TestProbesOutliveATable(t *testing.T) {
	h := newHeld()
	mark := lost("h", 1)
	table := build(nil, append(up("a"), mark))
	h.adopt(table.Delta())
	first := h.all()[0]
	h.probed(first, false)
	h.adopt(build(table, append(up("a", "b"), mark)).Delta())
	all := h.all()
	if len(all) != 1 || all[0].failures != 1 {
		t.Errorf("the probes began again: %d endpoints, %+v", len(all), all[0])
	}
}

// Probes that hang, more of them than run at a time, end with Run.
func TestProbesEndWithRun(t *testing.T) {
	there := newPlace(t)
	list := []watcher.Instance{heldAt("there", there)}
	for i := range 2 * probesAtOnce {
		h := lost(fmt.Sprint("hangs-", i), 1)
		h.Address = "192.0.2.1:9" // a network for documentation: nobody answers
		list = append(list, h)
	}
	m := New(slog.New(slog.DiscardHandler), nil)
	m.Adopt(build(nil, list))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.Run(ctx)
	}()
	there.probed(t, 1)
	cancel()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("Run goes on")
	}
}

// Where nothing is held there is nothing to probe.
func TestNoProbesWithoutAHold(t *testing.T) {
	h := newHeld()
	h.adopt(build(nil, up("a", "b")).Delta())
	if len(h.poke) != 0 || len(h.all()) != 0 {
		t.Error("there is something to probe")
	}
}

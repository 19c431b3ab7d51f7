package consul

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/consul/api"

	"usher/watcher"
	"usher/watcher/consul/consultest"
)

// driven is a coordinator whose events the test takes in, in its own goroutine, as run
// would.
type driven struct {
	*coordinator
	t    *testing.T
	fake *fake
	out  chan watcher.Update
	// index is that of the fake's last answer.
	index uint64
	// mu guards busy, the requests so far.
	mu   sync.Mutex
	busy map[string]uint64
}

func servicePath(name string) string { return "/v1/health/service/" + name }

// drive makes a coordinator with so many places for own queries, and services that it
// knows.
func drive(t *testing.T, places int, names ...string) *driven {
	t.Helper()
	d := &driven{t: t, out: make(chan watcher.Update, 1000), index: 10, busy: map[string]uint64{}}
	d.fake = newFake(t, map[string]answer{"/v1/health/state/any": {index: 10, body: "[]"}})
	conf := conf(d.fake.addr)
	conf.MaxWatches = places
	r, err := New(conf, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.Options.Busy = d.traffic
	ctx, cancel := context.WithCancel(context.Background())
	merge := newMerger(ctx, r.datacenters, r.log, d.out)
	d.coordinator = newCoordinator(ctx, r, 0, "", r.mapper(ctx), merge)
	t.Cleanup(func() {
		cancel()
		d.running.Wait()
		r.conn.transport.CloseIdleConnections()
	})
	d.list(names...)
	d.settle()
	return d
}

// traffic is what Busy tells.
func (d *driven) traffic() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[string]uint64{}
	for name, n := range d.busy {
		out[name] = n
	}
	return out
}

// requests counts requests to services.
func (d *driven) requests(n uint64, names ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range names {
		d.busy[name] += n
	}
}

// list makes the catalog list these services, each with one instance; those that were
// listed before have none any more.
func (d *driven) list(names ...string) {
	d.index++
	sums := map[string]uint64{}
	for _, name := range names {
		sums[name] = 1
		d.fake.set(servicePath(name), answer{index: d.index, body: strings.ReplaceAll(webEntry, `"web"`, `"`+name+`"`)})
	}
	for t := range d.services {
		if _, still := sums[t.name]; !still {
			d.fake.set(servicePath(t.name), answer{index: d.index, body: "[]"})
		}
	}
	d.takeList(list{from: byTags, names: sums})
	d.takeList(list{from: byMeta, names: map[string]uint64{}})
}

// until takes in what happens until a condition holds.
func (d *driven) until(what string, condition func() bool) {
	d.t.Helper()
	consultest.Eventually(d.t, what, func() bool {
		for {
			select {
			case r := <-d.results:
				d.takeResult(r)
			case sums := <-d.checks:
				d.takeChecks(sums)
			case <-d.reports:
			case <-d.out:
			default:
				return condition()
			}
		}
	})
}

// settle waits until every service is as the catalog has it.
func (d *driven) settle() {
	d.t.Helper()
	d.until("every service is known", func() bool {
		for t, s := range d.services {
			if _, listed := d.last[byTags].names[t.name]; !listed || !s.known || s.reading {
				return false
			}
		}
		return true
	})
}

// owners are the services with a query of their own.
func (d *driven) owners() (names []string) {
	for t, s := range d.services {
		if s.cancel != nil {
			names = append(names, t.name)
		}
	}
	slices.Sort(names)
	return names
}

// check fails when the places are not counted as they are, or are too many.
func (d *driven) check() {
	d.t.Helper()
	if n := len(d.owners()); n != d.own || n > d.limit {
		d.t.Fatalf("%d services have their own query, %d are counted, %d are allowed", n, d.own, d.limit)
	}
}

// numbered are n names of services, in order.
func numbered(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("s%02d", i))
	}
	return names
}

// TestBalance: services with traffic get the queries, and nothing moves for a small
// difference.
func TestBalance(t *testing.T) {
	t.Parallel()
	names := numbered(12)
	d := drive(t, 4, names...)
	d.check()
	if got := len(d.owners()); got != 4 {
		t.Fatalf("%d have their own query, want 4", got)
	}
	before := d.owners()
	d.balance()
	d.check()
	if got := d.owners(); !slices.Equal(got, before) {
		t.Errorf("without traffic the queries went from %q to %q", before, got)
	}
	busy := []string{"s05", "s07", "s09", "s11"}
	balance := func() {
		t.Helper()
		d.balance()
		d.check()
		d.settle()
	}
	d.requests(100, busy...)
	balance()
	if got := d.owners(); !slices.Equal(got, busy) {
		t.Errorf("%q have the queries, want %q", got, busy)
	}
	d.requests(100, busy...)
	d.requests(200, "s00", "s01")
	balance()
	if got := d.owners(); !slices.Equal(got, busy) {
		t.Errorf("for twice the traffic the queries went to %q", got)
	}
	d.requests(100, busy...)
	d.requests(201, "s00")
	balance()
	if got := d.owners(); !slices.Contains(got, "s00") || len(got) != 4 {
		t.Errorf("%q have the queries, want s00 among them", got)
	}
	// Traffic that ended long ago counts for nothing.
	d.requests(1, "s01", "s02", "s03", "s04")
	balance()
	if got, want := d.owners(), []string{"s01", "s02", "s03", "s04"}; !slices.Equal(got, want) {
		t.Errorf("%q have the queries, want %q", got, want)
	}
}

// TestBalanceFills: places that services leave are given to others.
func TestBalanceFills(t *testing.T) {
	t.Parallel()
	names := numbered(9)
	d := drive(t, 4, names...)
	left := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.Contains(d.owners()[:3], name)
	})
	d.list(left...)
	d.settle()
	if got := len(d.owners()); got != 1 {
		t.Fatalf("%d have their own query, want 1", got)
	}
	d.requests(1, "s08")
	d.balance()
	d.check()
	if got := d.owners(); len(got) != 4 || !slices.Contains(got, "s08") {
		t.Errorf("%q have the queries, want four, with s08", got)
	}
	// And each of them is watched.
	d.settle()
	for _, name := range d.owners() {
		d.fake.set(servicePath(name), answer{index: 99, body: strings.ReplaceAll(webEntry, "80", "81")})
		d.until(name+" is read", func() bool { return d.services[target{name: name}].index == 99 })
	}
	// With fewer services than places each has its own.
	d.list(left[:3]...)
	d.settle()
	d.balance()
	if got := d.owners(); !slices.Equal(got, left[:3]) {
		t.Errorf("%q have the queries, want %q", got, left[:3])
	}
}

// TestRefusedHalves: an agent that refuses a query gets half as many from then on, down
// to a least number.
func TestRefusedHalves(t *testing.T) {
	t.Parallel()
	d := drive(t, 64, numbered(80)...)
	refuse := func() {
		t.Helper()
		name := d.owners()[0]
		err := api.StatusError{Code: 429, Body: "Your IP is issuing too many concurrent connections"}
		report := watcher.Report{Err: err, Reason: reason(err)}
		d.takeResult(result{target: target{name: name}, of: d.services[target{name: name}], err: err, report: report})
		d.check()
		d.settle()
	}
	for _, want := range []int{32, 16, 8, 8} {
		refuse()
		if d.limit != want {
			t.Errorf("%d are allowed, want %d", d.limit, want)
		}
		d.balance()
		d.check()
		d.settle()
		if got := len(d.owners()); got != want {
			t.Errorf("%d have their own query, want %d", got, want)
		}
	}
}

// TestBalanceAtRandom: whatever comes, the places are counted and never too many, and no
// service is forgotten.
func TestBalanceAtRandom(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	all := numbered(24)
	d := drive(t, 10, all[:12]...)
	d.told = synced
	for range 60 {
		switch random.IntN(4) {
		case 0:
			random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			d.list(all[:random.IntN(len(all)+1)]...)
		case 1:
			d.requests(random.Uint64N(100), all[:random.IntN(8)]...)
			d.balance()
		case 2:
			if names := d.owners(); len(names) > 0 {
				d.shareMore(target{name: names[0]}, d.services[target{name: names[0]}])
			}
		case 3:
			d.takeChecks(checkSums{services: map[string]uint64{all[0]: random.Uint64()}})
		}
		d.check()
		d.settle()
		d.check()
		if len(d.services) != len(d.last[byTags].names) {
			t.Fatalf("%d services are watched, the list names %d", len(d.services), len(d.last[byTags].names))
		}
	}
	d.list(all...)
	d.settle()
	for _, name := range all {
		s := d.services[target{name: name}]
		d.index++
		d.fake.set(servicePath(name), answer{index: d.index, body: strings.ReplaceAll(webEntry, `"web"`, `"`+name+`"`)})
		if s.cancel == nil {
			d.reread(target{name: name})
		}
		d.until(name+" is read", func() bool { return s.index == d.index })
	}
}

// TestMaxConns: a real agent that takes fewer connections than there are places is
// followed with fewer, and all the same all of it.
func TestMaxConns(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.MaxConns(30))
	for i := range 60 {
		name := fmt.Sprintf("s%02d", i)
		a.RegisterCatalog(api.CatalogRegistration{
			Node: "fleet", Address: "127.0.0.9", SkipNodeUpdate: i > 0,
			Service: &api.AgentService{ID: name, Service: name, Port: 1000 + i, Tags: []string{"urlprefix-/"}},
		})
	}
	j := keepJournal(t, conf(a.Addr()))
	consultest.Eventually(t, "fewer queries", func() bool { return j.log.count("the agent refuses connections") > 0 })
	known := func() map[string]bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		out := map[string]bool{}
		for _, u := range j.updates {
			if len(u.Instances) > 0 {
				out[u.Service] = true
			}
		}
		return out
	}
	consultest.Eventually(t, "all services", func() bool { return len(known()) == 60 })
	j.awaitSynced()
	consultest.Eventually(t, "others are served", func() bool {
		_, err := a.Client().Agent().NodeName()
		return err == nil
	})
	j.awaitAnother(a, "web")
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, u := range j.updates {
		if u.Service != "" && !u.Unknown && len(u.Instances) == 0 {
			t.Errorf("%s was said to be gone", u.Service)
		}
	}
}

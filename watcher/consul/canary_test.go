package consul

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/routetable"
	"usher/watcher"
	"usher/watcher/consul/consultest"
)

// tables builds a route table of every update of a Registry, as usher does.
type tables struct {
	version uint64
	now     *routetable.Table
	catalog *watcher.Catalog
	rules   *routetable.Rules
}

// nobody picks no endpoint: these tables serve nothing.
type nobody struct{}

func (nobody) Pick(*routetable.View, *routetable.PickInfo) (int, error) {
	return -1, routetable.ErrNoEndpoint
}

func newTables() *tables {
	return &tables{
		now: routetable.Empty(), catalog: watcher.NewCatalog(0),
		rules: &routetable.Rules{
			Defaults: config.Policy{Balance: "none"},
			Balancers: map[string]routetable.Balancer{
				"none": func(*routetable.Cluster, *routetable.ClusterState) routetable.Picker { return nobody{} },
			},
		},
	}
}

// take publishes a table with the service's instances.
func (s *tables) take(u watcher.Update) {
	s.version++
	key := watcher.Key{Registry: "consul", Service: u.Service}
	s.catalog = s.catalog.With(s.version, &watcher.Service{Key: key, Instances: u.Instances})
	s.now = routetable.Build(s.catalog, s.rules, s.now)
}

// routable says whether the table has a route for the host.
func (s *tables) routable(host string) bool {
	return s.now.Match(&routetable.Request{
		Host: []byte(host), HostPort: []byte(host), Path: []byte("/"), Method: []byte("GET"),
		Header: func(string) []byte { return nil },
	}) != nil
}

// newCanary makes a Canary and runs it.
func newCanary(t *testing.T, c config.Consul, every time.Duration) (canary *Canary, log *logged, stop func()) {
	t.Helper()
	log = &logged{}
	canary, err := NewCanary(c, "Edge_1:80", every, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	return canary, log, running(t, canary.Run)
}

// TestCanary: from the agent through a Registry into a route table.
func TestCanary(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.ACL())
	c := conf(a.Addr())
	c.Token = a.NewToken(`service "usher-canary" { policy = "write" }
		service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`)
	begin, seen := time.Now(), newTables()
	canary, log, stop := newCanary(t, c, 300*time.Millisecond)
	follows, err := New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan watcher.Update)
	running(t, func(ctx context.Context) { _ = follows.Run(ctx, out) })
	patience := time.After(consultest.Patience)
	for n := 0; n < 4; {
		select {
		case u := <-out:
			if len(u.Instances) > 0 {
				seen.take(u)
			}
		case <-patience:
			t.Fatalf("%d changes were seen, %d missed", n, canary.Missed())
		}
		took, ok := canary.Observe(seen.routable)
		if !ok {
			continue
		}
		n++
		t.Logf("routable after %v", took)
		if took <= 0 || took > time.Since(begin) {
			t.Error("which cannot be")
		}
		if _, again := canary.Observe(seen.routable); again {
			t.Error("one change was seen twice")
		}
	}
	if list := seen.catalog.Find(canaryService); len(list) != 1 || list[0].Instances[0].Weight != 0 {
		t.Errorf("the catalog has %v", list)
	}
	for _, refused := range seen.now.Refused() {
		t.Errorf("refused: %+v", refused)
	}
	stop()
	awaitGone(t, a, canaryService)
	if _, ok := canary.Observe(func(string) bool { return true }); ok || log.count("level=WARN") > 0 {
		t.Errorf("after its end: seen %v, logged %s", ok, &log.buf)
	}
}

// TestCanaryService: what is registered, and that it changes.
func TestCanaryService(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t)
	newCanary(t, conf(a.Addr()), 100*time.Millisecond)
	routes := map[string]bool{}
	awaitListed(t, a, canaryService, "changes", func(e *api.ServiceEntry) bool {
		route := e.Service.Meta[watcher.MetaRoute]
		routes[route] = true
		if s := e.Service; s.ID != "usher-canary-Edge_1:80" || s.Address != "127.0.0.1" || s.Port != 9 ||
			s.Meta[watcher.MetaWeight] != "0" || !strings.HasSuffix(route, ".edge-1-80.canary.usher.invalid/") {
			t.Fatalf("registered as %+v", s)
		}
		if c := checkOf(e, canaryService); c.CheckID != "" {
			t.Fatalf("it has a check: %+v", c)
		}
		return len(routes) >= 3
	})
}

// TestCanaryMissed: changes that nobody sees are counted, and only those.
func TestCanaryMissed(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t)
	canary, _, _ := newCanary(t, conf(a.Addr()), 20*time.Millisecond)
	consultest.Eventually(t, "changes are missed", func() bool {
		canary.Observe(func(string) bool { return false })
		return canary.Missed() >= 3
	})
}

// TestCanaryCounts: a change that was seen, or that the agent did not take, is not
// missed.
func TestCanaryCounts(t *testing.T) {
	f := newFake(t, nil)
	f.answers = map[string]answer{}
	canary, err := NewCanary(conf(f.addr), "1", time.Hour, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer canary.agent.closeIdle()
	all := func(string) bool { return true }
	change := func(want error) {
		t.Helper()
		if err := canary.change(t.Context()); (err != nil) != (want != nil) {
			t.Fatalf("the change: %v", err)
		}
	}
	sees := func(want bool, missed uint64) {
		t.Helper()
		if _, ok := canary.Observe(all); ok != want || canary.Missed() != missed {
			t.Errorf("seen %v, %d missed, want %v, %d", ok, canary.Missed(), want, missed)
		}
	}
	sees(false, 0) // nothing was changed yet
	change(nil)
	sees(true, 0)
	sees(false, 0) // once only
	change(nil)
	change(nil) // the one before was not seen
	sees(true, 1)
	f.set(registerPath, answer{status: 500})
	change(errors.New("refused"))
	sees(false, 1)
	f.set(registerPath, answer{})
	change(nil)
	sees(true, 1) // the refused one is not missed

	var seen atomic.Int64
	change(nil)
	var crowd sync.WaitGroup
	for range 64 {
		crowd.Go(func() {
			if _, ok := canary.Observe(all); ok {
				seen.Add(1)
			}
		})
	}
	crowd.Wait()
	if seen.Load() != 1 {
		t.Errorf("%d goroutines saw one change", seen.Load())
	}
	if n := testing.AllocsPerRun(100, func() { canary.Observe(all) }); n > 0 {
		t.Errorf("with nothing to wait for Observe allocates %v times", n)
	}
}

// TestCanaryOutage: the canary outlives the agent's absence and its loss of memory.
func TestCanaryOutage(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t)
	canary, log, stop := newCanary(t, conf(a.Addr()), 100*time.Millisecond)
	awaitListed(t, a, canaryService, "is there", func(*api.ServiceEntry) bool { return true })
	a.Kill()
	consultest.Eventually(t, "it fails", func() bool { return log.count("level=WARN") > 0 })
	consultest.Eventually(t, "nothing is pending", func() bool { return canary.pending.Load() == nil })
	a.RestartEmpty()
	consultest.Eventually(t, "it works", func() bool { return log.count("works now") == 1 })
	awaitListed(t, a, canaryService, "is back", func(*api.ServiceEntry) bool { return true })
	if n := log.count("level=WARN"); n != 1 {
		t.Errorf("%d warnings: %s", n, &log.buf)
	}
	a.Kill()
	stop()
	if log.count("stays registered") != 1 {
		t.Errorf("logged: %s", &log.buf)
	}
}

func TestNewCanary(t *testing.T) {
	for name, test := range map[string]struct {
		id    string
		every time.Duration
	}{"no ID": {"", time.Second}, "no interval": {"1", 0}} {
		if _, err := NewCanary(conf("127.0.0.1:1"), test.id, test.every, nil); !errors.Is(err, watcher.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzHostLabel(f *testing.F) {
	for _, s := range []string{"", "edge-1", "Edge_1:80", "[::1]:80", "é", "--", strings.Repeat("a", 62) + "-b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l := hostLabel(s)
		if l == "" || len(l) > maxLabel || strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			t.Errorf("%q becomes %q", s, l)
		}
		if strings.HasPrefix(l, "-") || strings.HasSuffix(l, "-") || hostLabel(l) != l {
			t.Errorf("%q becomes %q", s, l)
		}
	})
}

package proxytest

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"usher/config"
	"usher/healthcheck"
	"usher/metrics"
	"usher/metrics/tracing"
	"usher/proxy"
	"usher/proxy/core"
	"usher/routetable"
	"usher/routetable/balance"
	"usher/watcher" //nolint:depguard // tests build their tables by hand
)

// Patience is how long a test waits for what must happen.
const Patience = 30 * time.Second

// Service is a service and the addresses of its instances.
type Service struct {
	Name string
	// Routes are announcements; none: "/".
	Routes    []string
	Addresses []string
	// Status is the registry's word on all of them.
	Status watcher.Status
}

// Options are how an Usher begins.
type Options struct {
	// Listeners are those to open; none: one called web on a free port. Zero fields
	// get a default.
	Listeners []config.Listener
	// Policy is that of all services; zero fields get a default. Attempts of -1 is
	// none.
	Policy   config.Policy
	Services []Service
	// Balancers are further policies by name, for Policy.Balance.
	Balancers map[string]routetable.Balancer
	// Tracer records requests; nil: none is.
	Tracer *tracing.Tracer
}

// Usher is a running Proxy.
type Usher struct {
	Proxy   *proxy.Proxy
	Metrics *metrics.Set
	Health  *healthcheck.Monitor

	tb        testing.TB
	policy    config.Policy
	balancers map[string]routetable.Balancer

	mu      sync.Mutex
	version uint64
}

// Origins returns a service that takes everything to the given addresses.
func Origins(addresses ...string) []Service {
	return []Service{{Name: "origin", Addresses: addresses}}
}

// Start starts an Usher that ends with the test.
func Start(tb testing.TB, o Options) *Usher {
	tb.Helper()
	log := slog.New(slog.NewTextHandler(writer{tb}, &slog.HandlerOptions{Level: slog.LevelError}))
	set := metrics.New("test", core.Reasons())
	health := healthcheck.New(log, nil)
	health.Report(set.Health)
	u := &Usher{
		Proxy: proxy.New(log, set.Downstream, health), Metrics: set, Health: health,
		tb: tb, policy: withDefaults(o.Policy), balancers: balance.All(),
	}
	maps.Copy(u.balancers, o.Balancers)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		health.Run(ctx)
	}()
	tb.Cleanup(func() {
		u.Proxy.Close()
		cancel()
		<-done
	})
	u.Proxy.Trace(o.Tracer)
	set.Register(o.Tracer)
	u.Proxy.Secure(&certificates{tb}, set.TLS)
	u.Publish(o.Services...)
	u.Listen(o.Listeners...)
	return u
}

// writer makes the log part of the test's.
type writer struct{ tb testing.TB }

func (w writer) Write(p []byte) (int, error) {
	w.tb.Logf("log: %s", p)
	return len(p), nil
}

func withDefaults(p config.Policy) config.Policy {
	p.Balance = cmp.Or(p.Balance, "round_robin")
	p.ConnectTimeout = cmp.Or(p.ConnectTimeout, time.Second)
	p.Timeout = cmp.Or(p.Timeout, 30*time.Second)
	p.IdleTimeout = cmp.Or(p.IdleTimeout, 30*time.Second)
	p.Retry.Attempts = max(0, cmp.Or(p.Retry.Attempts, 2))
	if p.Retry.On == nil {
		p.Retry.On = []string{config.RetryConnectFailed, config.RetryReset}
	}
	p.Retry.Budget = cmp.Or(p.Retry.Budget, config.RetryBudget{Share: 0.2, MinPerSecond: 3})
	p.TunnelIdleTimeout = cmp.Or(p.TunnelIdleTimeout, time.Hour)
	p.Outlier = cmp.Or(p.Outlier, config.DefaultHealth().Outlier)
	p.PanicThreshold = cmp.Or(p.PanicThreshold, config.DefaultHealth().PanicThreshold)
	if p.Upgrades == nil {
		p.Upgrades = []string{"websocket"}
	}
	return p
}

// Listener fills in what a Listener leaves out.
func Listener(c config.Listener) config.Listener {
	c.Name = cmp.Or(c.Name, "web")
	c.Address = cmp.Or(c.Address, "127.0.0.1:0")
	c.Protocol = cmp.Or(c.Protocol, "http")
	c.HeaderTimeout = cmp.Or(c.HeaderTimeout, 10*time.Second)
	c.KeepaliveTimeout = cmp.Or(c.KeepaliveTimeout, 30*time.Second)
	c.HTTP2 = cmp.Or(c.HTTP2, config.DefaultHTTP2())
	c.ProxyProtocol.Timeout = cmp.Or(c.ProxyProtocol.Timeout, 5*time.Second)
	c.AccessLog = true
	return c
}

// Listen makes the listeners those given.
func (u *Usher) Listen(want ...config.Listener) {
	u.tb.Helper()
	if len(want) == 0 {
		want = []config.Listener{{}}
	}
	full := make([]config.Listener, len(want))
	for i, c := range want {
		full[i] = Listener(c)
	}
	if err := u.Proxy.Listen(full); err != nil {
		u.tb.Fatalf("listen: %v", err)
	}
}

// Publish builds a table of the services and puts it in use.
func (u *Usher) Publish(services ...Service) *routetable.Table {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.version++
	t := routetable.Build(catalog(u.version, services), &routetable.Rules{
		Defaults: u.policy, Balancers: u.balancers,
	}, u.Proxy.Table())
	u.Health.Adopt(t)
	u.Proxy.Publish(t)
	return t
}

// catalog is what a registry would have said.
func catalog(version uint64, services []Service) *watcher.Catalog {
	announced := make([]*watcher.Service, 0, len(services))
	for _, s := range services {
		announced = append(announced, s.announced())
	}
	return watcher.NewCatalog(version, announced...)
}

func (s *Service) announced() *watcher.Service {
	routes := s.Routes
	if len(routes) == 0 {
		routes = []string{"/"}
	}
	var rules []watcher.Announcement
	for _, r := range routes {
		rules = append(rules, watcher.Announcement{Where: "urlprefix-" + r, Text: r})
	}
	out := &watcher.Service{Key: watcher.Key{Registry: "test", Service: s.Name}}
	for i, address := range s.Addresses {
		out.Instances = append(out.Instances, watcher.Instance{
			ID: s.Name + "-" + strconv.Itoa(i), Address: address, Status: s.Status, Weight: 1, Announcements: rules,
		})
	}
	return out
}

// Addr is the address of the listener called web.
func (u *Usher) Addr() string { return u.AddrOf("web") }

// AddrOf is the address of a listener.
func (u *Usher) AddrOf(name string) string {
	a := u.Proxy.Addresses()[name]
	if a == "" {
		u.tb.Errorf("no listener %q among %v", name, slices.Collect(maps.Keys(u.Proxy.Addresses())))
	}
	return a
}

// InFlight is the number of requests that the listeners and the endpoints of the
// table in use count.
func (u *Usher) InFlight() (listeners, endpoints int64) {
	for name := range u.Proxy.Addresses() {
		listeners += u.Metrics.Downstream.Listener(name).InFlight.Value()
	}
	seen := map[*routetable.State]bool{}
	for _, c := range u.Proxy.Table().Clusters() {
		for _, e := range c.Endpoints {
			if !seen[e.State] {
				endpoints += e.State.InFlight.Load()
			}
			seen[e.State] = true
		}
	}
	return listeners, endpoints
}

// Quiet waits until no request is counted in flight.
func (u *Usher) Quiet() {
	u.tb.Helper()
	Eventually(u.tb, "nothing in flight", func() bool {
		a, b := u.InFlight()
		return a == 0 && b == 0
	})
}

// Counter is the sum of the series of a metric whose labels have these values.
func (u *Usher) Counter(name string, labels map[string]string) (sum float64) {
	u.tb.Helper()
	families, err := u.Metrics.Gatherer().Gather()
	if err != nil {
		u.tb.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			matched := 0
			for _, l := range m.GetLabel() {
				if labels[l.GetName()] == l.GetValue() {
					matched++
				}
			}
			if f.GetName() == name && matched == len(labels) {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// Eventually waits until f is true, and fails the test when that takes too long.
func Eventually(tb testing.TB, what string, f func() bool) {
	tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); !f(); <-tick.C {
		if time.Since(begin) > Patience {
			tb.Fatalf("still not so: %s", what)
		}
	}
}

// Policy fills in what a Policy leaves out.
func Policy(p config.Policy) config.Policy { return withDefaults(p) }

// PublishTable builds the table of a catalog and of rules, whose Balancers are the Usher's,
// and puts it in use.
func (u *Usher) PublishTable(catalog *watcher.Catalog, rules *routetable.Rules) *routetable.Table {
	u.mu.Lock()
	defer u.mu.Unlock()
	rules.Balancers = u.balancers
	t := routetable.Build(catalog, rules, u.Proxy.Table())
	u.Health.Adopt(t)
	u.Proxy.Publish(t)
	return t
}

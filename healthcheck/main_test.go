package healthcheck

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"usher/config"
	"usher/routetable"
	"usher/routetable/balance"
	"usher/watcher"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// in is an instance at address id:80 that announces the route "/".
func in(id string, status watcher.Status, weight float64) watcher.Instance {
	return watcher.Instance{
		ID: id, Address: id + ":80", Status: status, Weight: weight,
		Announcements: []watcher.Announcement{{Where: "urlprefix-/", Text: "/"}},
	}
}

// up are passing instances of weight 1.
func up(ids ...string) (out []watcher.Instance) {
	for _, id := range ids {
		out = append(out, in(id, watcher.Passing, 1))
	}
	return out
}

// plain are the default settings without what most tests do without: slow starts, and
// panic before the last one is out.
func plain() config.Health {
	h := config.DefaultHealth()
	h.SlowStart, h.PanicThreshold = 0, 0
	return h
}

// build is a table with one service "s": its announced route "/", and a
// configured one for each name.
func build(previous *routetable.Table, instances []watcher.Instance, names ...string) *routetable.Table {
	return buildWith(previous, plain(), instances, names...)
}

// buildWith is build with other settings.
func buildWith(
	previous *routetable.Table, h config.Health, instances []watcher.Instance, names ...string,
) *routetable.Table {
	var routes []config.Route
	for _, name := range names {
		routes = append(routes, config.Route{Name: name, Service: "s", Match: config.Match{Path: "/" + name}})
	}
	return routetable.Build(
		watcher.NewCatalog(1, &watcher.Service{
			Key: watcher.Key{Registry: "consul", Service: "s"}, Instances: instances,
		}),
		&routetable.Rules{
			Routes: routes, Defaults: config.Policy{Balance: "round_robin", Health: h}, Balancers: balance.All(),
		}, previous)
}

// bench is a running Monitor and its table.
type bench struct {
	*Monitor
	t     *testing.T
	table *routetable.Table
	logs  *bytes.Buffer
	// health are the settings that tables are built with.
	health config.Health

	// problems are what probes find, drains who says that it drains, probes who was
	// probed.
	probesMu sync.Mutex
	problems map[string]string
	drains   map[string]bool
	probes   []string
}

// run calls f in a bubble with a Monitor that runs and has adopted the table of
// the instances.
func run(t *testing.T, instances []watcher.Instance, f func(*bench)) {
	t.Helper()
	runWith(t, plain(), instances, f)
}

// runWith is run with other settings.
func runWith(t *testing.T, h config.Health, instances []watcher.Instance, f func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{
			t: t, logs: &bytes.Buffer{}, health: h, problems: map[string]string{}, drains: map[string]bool{},
		}
		b.Monitor = New(slog.New(slog.NewTextHandler(b.logs, nil)), nil)
		b.checks.probe = b.answer
		b.adopt(buildWith(nil, h, instances))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			b.Run(ctx)
		}()
		// The Monitor's clock begins at 1 ns rather than 0: leave its beginning.
		b.advance(time.Second)
		f(b)
		cancel()
		<-ended
	})
}

func (b *bench) adopt(table *routetable.Table) {
	b.table = table
	b.Adopt(table)
}

// endpoint is the one of that ID in the first cluster.
func (b *bench) endpoint(id string) *routetable.Endpoint {
	b.t.Helper()
	for _, e := range b.table.Clusters()[0].Endpoints {
		if e.ID == id {
			return e
		}
	}
	b.t.Fatalf("no endpoint %q", id)
	return nil
}

// change puts a table of other instances in use.
func (b *bench) change(instances []watcher.Instance) {
	b.adopt(buildWith(b.table, b.health, instances))
}

// see reports outcomes at an endpoint, and waits until they are looked at.
func (b *bench) see(id string, outcomes ...Outcome) {
	b.t.Helper()
	for _, o := range outcomes {
		b.Observe(b.endpoint(id), o)
	}
	b.advance(refreshPause)
}

// failed and ok are outcomes.
func failed() Outcome { return Outcome{Kind: ConnectFailed} }

func ok() Outcome { return Outcome{Status: 200, Took: time.Millisecond} }

func (b *bench) fail(id string) {
	b.t.Helper()
	b.Observe(b.endpoint(id), failed())
	synctest.Wait()
}

func (b *bench) succeed(id string) {
	b.t.Helper()
	b.Observe(b.endpoint(id), ok())
	synctest.Wait()
}

// of is how an endpoint stands.
func (b *bench) of(id string) Report {
	b.t.Helper()
	e := b.endpoint(id)
	rep, known := b.Of(e.Service.Registry, e.Service.Service, e.ID, e.Address)
	if !known {
		b.t.Fatalf("%s is not known", id)
	}
	return rep
}

// is checks the state of an endpoint, which must have a cause, and whether those who
// wait for it are told to go.
func (b *bench) is(id string, want State, out bool) {
	b.t.Helper()
	rep := b.of(id)
	if rep.State != want || rep.Cause == "" {
		b.t.Errorf("%s is %s (%s), want %s", id, rep.State, rep.Cause, want)
	}
	if got := b.endpoint(id).State.Out(); got != out {
		b.t.Errorf("%s: out is %v, want %v", id, got, out)
	}
}

// advance lets d pass in the bubble.
func (b *bench) advance(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// usable checks which endpoints every cluster of the table may pick, at the latest
// after the pause between two refreshes.
func (b *bench) usable(want ...string) {
	b.t.Helper()
	for _, c := range b.table.Clusters() {
		if !slices.Equal(usableIn(c), want) {
			b.advance(refreshPause)
			break
		}
	}
	for _, c := range b.table.Clusters() {
		if got := usableIn(c); !slices.Equal(got, want) {
			b.t.Errorf("%s: usable are %q, want %q", c.Name, got, want)
		}
	}
}

func usableIn(c *routetable.Cluster) (ids []string) {
	for _, i := range c.View().Usable {
		ids = append(ids, c.Endpoints[i].ID)
	}
	return ids
}

// shares are the weights of the view's endpoints in the first cluster, the sum being 1.
func (b *bench) shares() map[string]float64 {
	out := map[string]float64{}
	c := b.table.Clusters()[0]
	v := c.View()
	for k, i := range v.Usable {
		if v.Weights == nil {
			out[c.Endpoints[i].ID] = 1 / float64(len(v.Usable))
			continue
		}
		out[c.Endpoints[i].ID] = float64(v.Weights[k]) / float64(v.Sums[len(v.Sums)-1])
	}
	return out
}

// answer is what a probe finds in a bubble: the problem that an instance's address is
// known for.
func (b *bench) answer(_ context.Context, t *target) result {
	b.probesMu.Lock()
	defer b.probesMu.Unlock()
	b.probes = append(b.probes, t.endpoint.ID)
	return result{problem: b.problems[t.endpoint.ID], draining: b.drains[t.endpoint.ID]}
}

// probe sets what is wrong with an endpoint by its probes; empty: nothing.
func (b *bench) probe(id, problem string) {
	b.probesMu.Lock()
	defer b.probesMu.Unlock()
	b.problems[id] = problem
}

// probed returns how often an endpoint was probed since the last call.
func (b *bench) probed(id string) (n int) {
	b.probesMu.Lock()
	defer b.probesMu.Unlock()
	for _, p := range b.probes {
		if p == id {
			n++
		}
	}
	b.probes = slices.DeleteFunc(b.probes, func(p string) bool { return p == id })
	return n
}

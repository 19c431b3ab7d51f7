package healthcheck

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
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

// build is a table with one service "s": its announced route "/", and a
// configured one for each name.
func build(previous *routetable.Table, instances []watcher.Instance, names ...string) *routetable.Table {
	var routes []config.Route
	for _, name := range names {
		routes = append(routes, config.Route{Name: name, Service: "s", Match: config.Match{Path: "/" + name}})
	}
	return routetable.Build(
		watcher.NewCatalog(1, &watcher.Service{
			Key: watcher.Key{Registry: "consul", Service: "s"}, Instances: instances,
		}),
		&routetable.Rules{
			Routes: routes, Defaults: config.Policy{Balance: "round_robin"}, Balancers: balance.All(),
		}, previous)
}

// bench is a running Monitor and its table.
type bench struct {
	*Monitor
	t     *testing.T
	table *routetable.Table
	logs  *bytes.Buffer
}

// run calls f in a bubble with a Monitor that runs and has adopted the table of
// the instances.
func run(t *testing.T, instances []watcher.Instance, f func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, logs: &bytes.Buffer{}}
		b.Monitor = New(slog.New(slog.NewTextHandler(b.logs, nil)), nil)
		b.adopt(build(nil, instances))
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

func (b *bench) fail(id string) {
	b.t.Helper()
	b.ConnectFailed(b.endpoint(id))
	synctest.Wait()
}

func (b *bench) succeed(id string) {
	b.t.Helper()
	b.Succeeded(b.endpoint(id))
	synctest.Wait()
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

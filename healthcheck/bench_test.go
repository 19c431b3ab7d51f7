package healthcheck

import (
	"fmt"
	"log/slog"
	"testing"

	"usher/config"
	"usher/routetable"
	"usher/routetable/balance"
	"usher/watcher"
)

// What a look costs when nothing has changed.
func BenchmarkRefresh(b *testing.B) {
	for _, size := range []struct {
		name string
		n    int
	}{{"100", 100}, {"1k", 1_000}, {"10k", 10_000}} {
		b.Run("clusters="+size.name, func(b *testing.B) {
			var services []*watcher.Service
			for i := range size.n {
				name := fmt.Sprintf("s%05d", i)
				instances := up("a", "b", "c")
				for j := range instances {
					instances[j].Announcements = []watcher.Announcement{{Text: name + "/"}}
				}
				services = append(services, &watcher.Service{
					Key: watcher.Key{Registry: "consul", Service: name}, Instances: instances,
				})
			}
			table := routetable.Build(watcher.NewCatalog(1, services...), &routetable.Rules{
				Defaults: config.Policy{Balance: "round_robin", Health: plain()}, Balancers: balance.All(),
			}, nil)
			if len(table.Clusters()) != size.n {
				b.Fatalf("%d clusters", len(table.Clusters()))
			}
			m := New(slog.New(slog.DiscardHandler), nil)
			m.Adopt(table)
			b.ReportAllocs()
			for b.Loop() {
				m.refresh()
			}
		})
	}
}

// What an answer costs, and a failure.
func BenchmarkObserve(b *testing.B) {
	m := New(slog.New(slog.DiscardHandler), nil)
	table := build(nil, up("a", "b"))
	m.Adopt(table)
	e := table.Clusters()[0].Endpoints[0]
	for name, o := range map[string]Outcome{"good": {Status: 200, Took: 1}, "bad": {Status: 500, Took: 1}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.Observe(e, o)
			}
		})
	}
}

// What changes of one endpoint cost in a cluster of 10,000, and beside 9,999 others.
func BenchmarkRefreshOne(b *testing.B) {
	for _, shape := range []struct {
		name                string
		services, instances int
	}{{"services=10k", 10_000, 1}, {"endpoints=10k", 1, 10_000}} {
		b.Run(shape.name, func(b *testing.B) {
			var list []*watcher.Service
			for i := range shape.services {
				var ids []string
				for j := range shape.instances {
					ids = append(ids, fmt.Sprintf("i%05d", j))
				}
				instances := up(ids...)
				for j := range instances {
					instances[j].Announcements[0].Text = fmt.Sprintf("s%05d/", i)
				}
				key := watcher.Key{Registry: "consul", Service: fmt.Sprintf("s%05d", i)}
				list = append(list, &watcher.Service{Key: key, Instances: instances})
			}
			table := routetable.Build(watcher.NewCatalog(1, list...), &routetable.Rules{
				Defaults: config.Policy{Balance: "round_robin", Health: plain()}, Balancers: balance.All(),
			}, nil)
			m := New(slog.New(slog.DiscardHandler), nil)
			m.Adopt(table)
			m.refresh()
			e := table.Clusters()[0].Endpoints[0]
			b.ReportAllocs()
			for b.Loop() {
				m.Observe(e, Outcome{Kind: ConnectFailed})
				m.refresh()
				m.Observe(e, Outcome{Status: 200})
				m.refresh()
			}
		})
	}
}

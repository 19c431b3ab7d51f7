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

// What an ejection costs: all views are looked at.
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

package routetable

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"usher/watcher"
)

// sizes are the sizes of a benchmark's table, by the name it goes by.
var sizes = []struct {
	name string
	n    int
}{{"10", 10}, {"1k", 1_000}, {"10k", 10_000}, {"50k", 50_000}}

// benchMatch measures Match in tables of n routes; source gives the source of
// route i, and request a request for it.
func benchMatch(b *testing.B, source, request func(i int) string) {
	b.Helper()
	for _, size := range sizes {
		b.Run("routes="+size.name, func(b *testing.B) {
			rules := make([]string, size.n)
			for i := range rules {
				rules[i] = source(i)
			}
			table := Build(announce(rules...), rulesOf(), nil)
			if len(table.Routes()) != size.n {
				b.Fatalf("%d routes", len(table.Routes()))
			}
			requests := make([]*Request, 4096)
			r := rand.New(rand.NewPCG(1, 2))
			for i := range requests {
				requests[i] = hit(request(r.IntN(size.n)))
				if table.Match(requests[i]) == nil {
					b.Fatalf("%s%s: no route", requests[i].Host, requests[i].Path)
				}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				table.Match(requests[i%len(requests)])
			}
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	benchMatch(b,
		func(i int) string { return fmt.Sprintf("service-%d.apps.example.com/", i) },
		func(i int) string { return fmt.Sprintf("service-%d.apps.example.com/some/path", i) },
	)
}

func BenchmarkMatchWildcard(b *testing.B) {
	benchMatch(b,
		func(i int) string { return fmt.Sprintf("*.service-%d.apps.example.com/", i) },
		func(i int) string { return fmt.Sprintf("www.service-%d.apps.example.com/some/path", i) },
	)
}

func BenchmarkMatchPaths(b *testing.B) {
	benchMatch(b,
		func(i int) string { return fmt.Sprintf("example.com/api/v%d/service-%d/", i%3, i) },
		func(i int) string { return fmt.Sprintf("example.com/api/v%d/service-%d/some/path", i%3, i) },
	)
}

// BenchmarkMatchNested has paths that are all prefixes of one another, the
// longest chain of parents there can be.
func BenchmarkMatchNested(b *testing.B) {
	var rules []string
	for i := range 64 {
		rules = append(rules, "example.com/"+strings.Repeat("a/", i))
	}
	table := Build(announce(rules...), rulesOf(), nil)
	q := hit("example.com/" + strings.Repeat("a/", 63) + "b")
	b.ReportAllocs()
	for b.Loop() {
		table.Match(q)
	}
}

func BenchmarkMatchNone(b *testing.B) {
	table := Build(announce("a.com/", "*.b.com/", "c*.d.com/"), rulesOf(), nil)
	q := hit("one.two.three.example.org:8080/some/path")
	b.ReportAllocs()
	for b.Loop() {
		if table.Match(q) != nil {
			b.Fatal("found")
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, size := range []struct {
		name string
		n    int
	}{{"100", 100}, {"1k", 1_000}, {"10k", 10_000}} {
		b.Run("services="+size.name, func(b *testing.B) {
			catalog, rules := fleet(size.n), rulesOf()
			if n := len(Build(catalog, rules, nil).Routes()); n != 2*size.n {
				b.Fatalf("%d routes", n)
			}
			b.ReportAllocs()
			for b.Loop() {
				Build(catalog, rules, nil)
			}
		})
	}
}

// fleet is a catalog of n services, each with a host of its own and a path under a
// shared one.
func fleet(n int) *watcher.Catalog {
	services := make([]*watcher.Service, n)
	for i := range services {
		services[i] = member(i, watcher.Passing)
	}
	return catalogOf(services...)
}

// member is one service of the fleet; the status is that of its first instance.
func member(i int, status watcher.Status) *watcher.Service {
	var instances []watcher.Instance
	for j := range 3 {
		instances = append(instances, instance(fmt.Sprintf("node-%d/service-%d", j, i),
			fmt.Sprintf("service-%d.apps.example.com/", i),
			fmt.Sprintf("www.example.com/service-%d/ strip=/service-%d", i, i)))
	}
	instances[0].Status = status
	return service(fmt.Sprintf("service-%d", i), instances...)
}

// One service of many changes: an instance of it, or the paths under a shared host,
// whose first and last are the extremes.
func BenchmarkBuildOneChange(b *testing.B) {
	with, without := member(7, watcher.Passing), member(7, watcher.Critical)
	moved := member(7, watcher.Passing)
	for i := range moved.Instances {
		in := instance("", "service-7.apps.example.com/", "www.example.com/moved/")
		moved.Instances[i].Announcements = in.Announcements
	}
	for _, size := range []struct {
		name string
		n    int
	}{{"100", 100}, {"1k", 1_000}, {"10k", 10_000}} {
		for _, change := range []struct {
			name   string
			to     []*watcher.Service
			routes int
		}{
			{"instance", []*watcher.Service{without, with}, 2},
			{"path", []*watcher.Service{moved, with}, 2},
			{"new", []*watcher.Service{member(size.n, watcher.Passing)}, 2},
			{"gone", []*watcher.Service{{Key: with.Key}}, 0},
		} {
			b.Run(change.name+"/services="+size.name, func(b *testing.B) {
				rules := rulesOf()
				catalog := fleet(size.n)
				first := Build(catalog, rules, nil)
				b.ReportAllocs()
				table := first
				var took []time.Duration
				begin := time.Now()
				for i := uint64(0); b.Loop(); i++ {
					if i > 0 {
						took = append(took, time.Since(begin))
					}
					begin = time.Now()
					if len(change.to) == 1 {
						// From the same table each time; else the second would find nothing to do.
						table = Build(catalog.With(i+2, change.to...), rules, first)
						continue
					}
					catalog = catalog.With(i+2, change.to[i%2])
					table = Build(catalog, rules, table)
				}
				if slices.Sort(took); len(took) > 0 {
					b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
				}
				if n := len(table.Delta().AddedRoutes); n != change.routes {
					b.Fatalf("%d routes were built", n)
				}
			})
		}
	}
}

// Another override of a registry's key-value store beside many services.
func BenchmarkBuildOverrides(b *testing.B) {
	rules := rulesOf()
	catalog := fleet(10_000)
	table := Build(catalog, rules, nil)
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		catalog = catalog.WithOverrides(i+2, overrides("kv", to("kv", "service-1", "kv.com/")))
		table = Build(catalog, rules, table)
	}
	if n := len(table.Delta().AddedRoutes); n != 1 {
		b.Fatalf("%d routes were built", n)
	}
}

// What one change among many services may cost.
func TestOneChangeIsCheap(t *testing.T) {
	rules := rulesOf()
	catalog := fleet(10_000)
	table := Build(catalog, rules, nil)
	for name, s := range map[string]*watcher.Service{
		"an instance": member(7, watcher.Critical), "a new service": member(10_000, watcher.Passing),
		"a service is gone": {Key: member(7, watcher.Passing).Key},
	} {
		const n = 20
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range n {
			Build(catalog.With(2, s), rules, table)
		}
		runtime.ReadMemStats(&after)
		if per := (after.TotalAlloc - before.TotalAlloc) / n; per > 100<<10 {
			t.Errorf("%s: %d bytes", name, per)
		}
	}
}

package routetable

import (
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"usher/config"
	"usher/watcher"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The table of a catalog with some of everything, written out.
func TestGolden(t *testing.T) {
	split := to("split", "", "split.com/api")
	split.Split = []config.Arm{{Service: "shop", Weight: 9}, {Service: "gone", Weight: 1}}
	fancy := to("fancy", "shop@consul", "")
	fancy.Priority, fancy.StripPrefix = 3, "/f"
	fancy.Match = config.Match{
		Listeners: []string{"web"}, Hosts: []string{"F.com"}, Path: "/f/*", PathType: "glob",
		Methods: []string{"GET"}, Headers: map[string]string{"X-B": "2", "X-A": "1"},
	}
	sick := instance("s3", "shop.com/")
	sick.Status, sick.Cause = watcher.Critical, `check "http" is critical`
	heavy := instance("s2", "shop.com/ strip=/orders host=dst")
	heavy.Weight = 4
	table := Build(catalogOf(
		service("shop", instance("s1", "shop.com/", "meta shop.com/ strip=/x weight=0.5", "*.shop.com/"), heavy, sick),
		service("shop@file", instance("f1", "split.com/api", "legacy.com/")),
		service("legacy", instance("l1", "legacy.com/ proto=tcp", "legacy.com/", "shop.com/", "x.com/ weight=x")),
		service("mute", instance("m1")),
	), rulesOf(split, fancy), nil)
	got := dump(table)
	file := filepath.Join("testdata", "table.golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The same input gives the same table, whatever maps are iterated on the way and
// whatever came before.
func TestBuildIsDeterministic(t *testing.T) {
	for seed := range uint64(50) {
		build := func(previous *Table) *Table {
			d := draw(rand.New(rand.NewPCG(seed, 5)).IntN)
			catalog, rules := randomInput(d)
			return Build(catalog, rules, previous)
		}
		first := build(nil)
		for range 5 {
			if got, want := dump(build(first)), dump(first); got != want {
				t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, got, want)
			}
		}
	}
}

// The order in which a catalog lists its services decides nothing about requests.
// (A Manager's catalog is sorted; it is also what labels and indexes follow.)
func TestOrderOfServicesDecidesNothing(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 6))
		catalog, _ := randomInput(r.IntN)
		want := served(Build(catalog, rulesOf(), nil))
		shuffled := catalog.Services()
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		again := watcher.NewCatalog(1, shuffled...).WithOverrides(1, catalog.Overrides()...)
		if got := served(Build(again, rulesOf(), nil)); !slices.Equal(got, want) {
			t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// served is the part of a dump that requests depend on, without the owners.
func served(table *Table) (out []string) {
	for line := range strings.Lines(dump(table)) {
		switch word, rest, _ := strings.Cut(strings.TrimSpace(line), " "); word {
		case "refused", "notice", "conflict", "service":
		case "route":
			id, _, _ := strings.Cut(rest, " (")
			_, match, _ := strings.Cut(rest, "hosts=")
			out = append(out, id+" "+match)
		default:
			out = append(out, line)
		}
	}
	return out
}

// randomInput is a catalog of services whose rules often meet, with some overrides, and
// a configuration.
func randomInput(d draw) (*watcher.Catalog, *Rules) {
	rules := rulesOf()
	for i := range d(4) {
		rules.Routes = append(rules.Routes, randomRoute(d, i))
	}
	if d(3) == 0 {
		rules.Routes = append(rules.Routes,
			stream("tcp", "tcp", []string{oneOf(d, "web", "x")}),
			stream("sni", "tls-passthrough", nil, "b.com", "a.com"))
	}
	rules.ExclusiveRoutes = d(2) == 0
	for range d(3) {
		rules.Claims = append(rules.Claims, config.Claim{
			Host: oneOf(d, "", "a.com", "b.com", "*.com", "*"), Path: oneOf(d, "/", "/x"),
			Services: []string{oneOf(d, "s", "t", "u", "*@file")},
		})
	}
	var services []*watcher.Service
	for _, name := range []string{"s", "t", "t@file", "u", "v"} {
		var instances []watcher.Instance
		for i := range d(4) {
			var announcements []string
			for range d(4) {
				announcements = append(announcements, oneOf(d, "", "", "meta ")+
					oneOf(d, "a.com/", "b.com/", "*.c.com/x", "/", ":1", "a.com/ proto=tcp", "*.c.com/ proto=tcp")+
					randomOptions(d))
			}
			in := instance(name+string(rune('a'+i)), announcements...)
			in.Weight = float64(d(3))
			in.Status = watcher.Status(d(4))
			in.Created = uint64(d(3))
			instances = append(instances, in)
		}
		services = append(services, service(name, instances...))
	}
	return catalogOf(services...).WithOverrides(1, randomOverrides(d)...), rules
}

// randomOptions are the options of a rule, good or not.
func randomOptions(d draw) string {
	return oneOf(d, "", "", " weight=0.3", " strip=/x", " listener=web", " weight=x", " foo=bar",
		" allow=ip:10.0.0.0/8", " allow=x",
		" redirect=301,https://x$path", " proto=https", " proto=tcp", " pxyproto=true", " matcher=glob",
		" matcher=iprefix")
}

// randomOverrides are those of none to two registries.
func randomOverrides(d draw) (out []*watcher.Overrides) {
	for _, registry := range []string{"consul", "second"}[:d(3)] {
		o := overrides(registry)
		for i := range d(3) {
			name := oneOf(d, "kv", "a.com/", "r0") + oneOf(d, "", "2")
			r := to(name, oneOf(d, "s", "t@file"), oneOf(d, "a.com/", "b.com/", "kv.com/"))
			if d(4) == 0 {
				r = randomRoute(d, i)
			}
			o.Routes = append(o.Routes, overrides(registry, r).Routes...)
		}
		if d(2) == 0 {
			p := config.Policy{Balance: "first", Retry: config.Retry{Attempts: 1 + d(3)}}
			o.Services = map[string]config.Service{oneOf(d, "s", "t", "t@file"): {Policy: p}}
		}
		if d(3) == 0 {
			o.Refused = []watcher.RefusedOverride{{Key: "x", Reason: "no"}}
		}
		out = append(out, o)
	}
	return out
}

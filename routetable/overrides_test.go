package routetable

import (
	"slices"
	"testing"

	"usher/config"
	"usher/watcher"
)

// overrides are those of a registry; the position of each route names its key.
func overrides(registry string, routes ...config.Route) *watcher.Overrides {
	for i := range routes {
		routes[i].Pos = config.Pos{File: registry + ":routes/" + routes[i].Name, Line: 1, Column: 1}
	}
	return &watcher.Overrides{Registry: registry, Routes: routes}
}

func TestPrecedenceOfOverrides(t *testing.T) {
	host := func(name, service string, hosts ...string) config.Route {
		r := to(name, service, "a.com/")
		r.Match.Hosts = hosts
		return r
	}
	posts := to("kv", "t", "a.com/")
	posts.Match.Methods = []string{"POST"}
	glob := to("kv", "t", "a.com/*")
	glob.Match.PathType = "glob"
	for name, c := range map[string]struct {
		announced string
		file      []config.Route
		kv        []*watcher.Overrides
		requests  map[string]string
		conflicts []Conflict
	}{
		"over a tag": {
			"a.com/", nil,
			[]*watcher.Overrides{overrides("one", to("kv", "t", "a.com/"))},
			map[string]string{"a.com/": "kv"},
			[]Conflict{{"a.com/", "one:routes/kv:1:1", "s@consul urlprefix-a.com/"}},
		},
		"over meta": {
			"meta a.com/", nil,
			[]*watcher.Overrides{overrides("one", to("kv", "t", "a.com/"))},
			map[string]string{"a.com/": "kv"},
			[]Conflict{{"a.com/", "one:routes/kv:1:1", "s@consul usher-route"}},
		},
		"over an announced glob": {
			"a.com/* matcher=glob", nil,
			[]*watcher.Overrides{overrides("one", glob)},
			map[string]string{"a.com/x": "kv"},
			[]Conflict{{"a.com/* matcher=glob", "one:routes/kv:1:1", "s@consul urlprefix-a.com/* matcher=glob"}},
		},
		"narrow, beside a tag": {
			"a.com/", nil,
			[]*watcher.Overrides{overrides("one", posts)},
			map[string]string{"POST a.com/": "kv", "a.com/": "a.com/"},
			nil,
		},
		"under the file": {
			"a.com/",
			[]config.Route{to("file", "t", "a.com/")},
			[]*watcher.Overrides{overrides("one", to("kv", "t", "a.com/"))},
			map[string]string{"a.com/": "file"},
			[]Conflict{
				{"a.com/", "usher.yaml:1:1", "one:routes/kv:1:1"},
				{"a.com/", "usher.yaml:1:1", "s@consul urlprefix-a.com/"},
			},
		},
		"under the file for one host of two": {
			"b.com/",
			[]config.Route{to("file", "t", "a.com/")},
			[]*watcher.Overrides{overrides("one", host("kv", "t", "a.com", "B.com"))},
			map[string]string{"a.com/": "file", "b.com/": "kv"},
			[]Conflict{
				{"a.com/", "usher.yaml:1:1", "one:routes/kv:1:1"},
				{"b.com/", "one:routes/kv:1:1", "s@consul urlprefix-b.com/"},
			},
		},
		"narrow, beside the file": {
			"",
			[]config.Route{to("file", "t", "a.com/")},
			[]*watcher.Overrides{overrides("one", posts)},
			map[string]string{"POST a.com/": "file", "a.com/": "file"},
			nil,
		},
		"a name that the file has": {
			"",
			[]config.Route{to("same", "t", "a.com/")},
			[]*watcher.Overrides{overrides("one", to("same", "t", "b.com/"), to("kv", "t", "c.com/"))},
			map[string]string{"a.com/": "same", "b.com/": "", "c.com/": "kv"},
			[]Conflict{{"route same", "usher.yaml:1:1", "one:routes/same:1:1"}},
		},
		"two registries": {
			"", nil,
			[]*watcher.Overrides{
				overrides("one", to("kv", "t", "a.com/")),
				overrides("two", to("kv", "t", "b.com/"), to("other", "t", "a.com/"), to("third", "t", "c.com/")),
			},
			map[string]string{"a.com/": "kv", "b.com/": "", "c.com/": "third"},
			[]Conflict{
				{"a.com/", "one:routes/kv:1:1", "two:routes/other:1:1"},
				{"route kv", "one:routes/kv:1:1", "two:routes/kv:1:1"},
			},
		},
		"the name that metrics reserve": {
			"", nil,
			[]*watcher.Overrides{overrides("one", to("none", "t", "a.com/"))},
			map[string]string{"a.com/": "none#2"},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			services := []*watcher.Service{service("t", instance("j"))}
			if c.announced != "" {
				services = append(services, service("s", instance("i", c.announced)))
			}
			table := Build(catalogOf(services...).WithOverrides(1, c.kv...), rulesOf(c.file...), nil)
			for request, want := range c.requests {
				if got := found(table, hit(request)); got != want {
					t.Errorf("%s: got %q, want %q", request, got, want)
				}
			}
			if !slices.Equal(table.Conflicts(), c.conflicts) || table.Counts().Conflicts != len(c.conflicts) {
				t.Errorf("conflicts %v (%d), want %v", table.Conflicts(), table.Counts().Conflicts, c.conflicts)
			}
			for _, r := range table.Routes() {
				if r.Source == SourceKV != (r.Owner[0] == 'o' || r.Owner[:3] == "two") {
					t.Errorf("%s comes from %s", r.ID, r.Source)
				}
			}
		})
	}
}

// Settings in a key-value store are those of a service, unless the file has any.
func TestSettingsOfOverrides(t *testing.T) {
	attempts := func(n int) config.Service {
		return config.Service{Policy: config.Policy{Balance: "first", Retry: config.Retry{Attempts: n}}}
	}
	kv := overrides("one", to("kv", "t@consul", "t.com/"))
	kv.Services = map[string]config.Service{
		"s": attempts(1), "t": attempts(2), "u": attempts(3), "t@consul": attempts(4), "v": {},
	}
	second := overrides("two")
	second.Services = map[string]config.Service{"s": attempts(8), "w": attempts(9)}
	rules := rulesOf()
	rules.Services = map[string]config.Service{"u": attempts(5)}
	var services []*watcher.Service
	for _, name := range []string{"s", "t", "u", "v", "w"} {
		services = append(services, service(name, instance(name+"1", name+".org/")))
	}
	table := Build(catalogOf(services...).WithOverrides(1, kv, second), rules, nil)
	for id, want := range map[string]int{
		"s.org/": 1, "t.org/": 2, "u.org/": 5, "kv": 4, "v.org/": 0, "w.org/": 9,
	} {
		c := routeByID(t, table, id).Arms[0].Cluster
		if c.Policy.Retry.Attempts != want || c.Policy.Balance != "first" || c.Picker == nil {
			t.Errorf("%s: %+v, want %d", id, c.Policy, want)
		}
	}
}

func TestRefusedOverrides(t *testing.T) {
	bad := to("bad", "t", "a.com/(")
	bad.Match.PathType = "regex"
	empty := config.Route{Name: "empty", Match: config.Match{Path: "/"}}
	kv := overrides("one", bad, empty, to("good", "t", "b.com/"))
	kv.Refused = []watcher.RefusedOverride{{Key: "usher/routes/x", Reason: "line 1: no"}}
	catalog := catalogOf(service("s", instance("i", "/ weight=x"))).WithOverrides(1, kv)
	rules := rulesOf(path("regex", "("))
	table := Build(catalog, rules, nil)
	by := watcher.Key{Registry: "one"}
	want := Refusal{Service: by, Where: "usher/routes/x", Reason: "line 1: no"}
	if !slices.Contains(table.Refused(), want) || len(table.Refused()) != 5 || len(table.Delta().Refused) != 5 {
		t.Errorf("refused %v", table.Refused())
	}
	if n := table.Counts().Refused; n["one"] != 3 || n["consul"] != 1 || n[""] != 1 {
		t.Errorf("counted %v", n)
	}
	if found(table, hit("b.com/")) != "good" {
		t.Error("the good one is gone")
	}
	table = Build(catalog.WithOverrides(2), rules, table)
	if n := table.Counts().Refused; n["one"] != 0 || len(table.Refused()) != 2 {
		t.Errorf("then counted %v: %v", n, table.Refused())
	}
}

// Other overrides make anew what they affect, and nothing else; the same ones nothing.
func TestChangedOverrides(t *testing.T) {
	services := []*watcher.Service{
		service("s", instance("i", "a.com/", "b.com/", "c.com/")), service("t", instance("j", "t.com/")),
	}
	rules := rulesOf()
	settings := overrides("one")
	settings.Services = map[string]config.Service{"t": {Policy: config.Policy{Balance: "first", Timeout: 7}}}
	base := Build(catalogOf(services...), rules, nil)
	added := func(overrides ...*watcher.Overrides) []string {
		t.Helper()
		table := Build(base.catalog.WithOverrides(2, overrides...), rules, base)
		var ids []string
		for _, r := range table.Delta().AddedRoutes {
			ids = append(ids, r.ID)
		}
		slices.Sort(ids)
		again := Build(table.catalog.With(3), rules, table)
		if d := again.Delta(); len(d.AddedRoutes)+len(d.RemovedRoutes)+len(d.AddedClusters)+len(d.RemovedClusters) > 0 {
			t.Errorf("the same overrides: %d routes, %d clusters are built", len(d.AddedRoutes), len(d.AddedClusters))
		}
		if back := Build(base.catalog, rules, table); dump(back) != dump(base) {
			t.Errorf("without them\n%s", dump(back))
		}
		return ids
	}
	f := func(got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(added(overrides("one")))
	f(added(overrides("one", to("x", "s", "x.com/"))), "x")
	f(added(overrides("one", to("x", "s", "a.com/"))), "x")
	f(added(overrides("one", to("b.com/", "s", "x.com/"))), "b.com/", "b.com/#announced")
	f(added(settings), "t.com/")
}

// A route of an override follows its services.
func TestOverrideFollowsItsServices(t *testing.T) {
	rules := rulesOf()
	catalog := catalogOf(service("s", instance("i"))).WithOverrides(1, overrides("one", to("kv", "s", "a.com/")))
	table := Build(catalog, rules, nil)
	table = Build(catalog.With(2, service("s", instance("i"), instance("j"))), rules, table)
	if got := endpoints(t, table, "kv"); !slices.Equal(got, []string{"s/i", "s/j"}) {
		t.Errorf("got %q", got)
	}
	if s := table.Services(); !s[0].Routed {
		t.Errorf("%v", s)
	}
}

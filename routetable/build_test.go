package routetable

import (
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"usher/config"
	"usher/watcher"
)

// to is a configured route for everything under host/path.
func to(name, service, src string) config.Route {
	host, path, _ := strings.Cut(src, "/")
	r := config.Route{Name: name, Service: service, Match: config.Match{Path: "/" + path, PathType: "prefix"}}
	if host != "" {
		r.Match.Hosts = []string{host}
	}
	r.Pos = config.Pos{File: "usher.yaml", Line: 1, Column: 1}
	return r
}

// endpoints are the endpoints of a route's arms, as service/ID in order.
func endpoints(t *testing.T, table *Table, id string) (out []string) {
	t.Helper()
	for _, a := range routeByID(t, table, id).Arms {
		for _, e := range a.Cluster.Endpoints {
			out = append(out, e.Service.Service+"/"+e.ID)
		}
	}
	return out
}

func TestSharedSource(t *testing.T) {
	table := Build(catalogOf(
		service("b", instance("b1", "shop.com/ strip=/b"), instance("b2", "other.com/")),
		service("a", instance("a1", "shop.com/"), instance("a2", "SHOP.com:80/ host=dst")),
		service("a@file", instance("a1", "shop.com/")),
	), rulesOf(), nil)
	want := []string{"a/a1", "a/a2", "a/a1", "b/b1"}
	if got := endpoints(t, table, "shop.com/"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	cluster := routeByID(t, table, "shop.com/").Arms[0].Cluster
	if want := []string{"a", "b"}; !slices.Equal(cluster.Services, want) {
		t.Errorf("services %q, want %q", cluster.Services, want)
	}
	for i, want := range []int{0, 0, 0, 1} {
		if got := cluster.Endpoints[i].ServiceIndex; got != want {
			t.Errorf("endpoint %d: service %d, want %d", i, got, want)
		}
	}
	if e := cluster.Endpoints; e[0].Rewrite != nil || !e[1].Rewrite.HostIsAddress || e[3].Rewrite.Strip != "/b" {
		t.Errorf("rewrites are not the instances' own:\n%s", dump(table))
	}
	if len(table.Conflicts()) > 0 {
		t.Errorf("conflicts: %v", table.Conflicts())
	}
}

func TestPrecedenceOfSources(t *testing.T) {
	for name, c := range map[string]struct {
		catalog   *watcher.Catalog
		rules     *Rules
		route     string
		source    Source
		endpoints []string
		conflicts []Conflict
	}{
		"tag alone": {
			announce("a.com/"), rulesOf(), "a.com/", SourceTag, []string{"s/i"}, nil,
		},
		"meta alone": {
			announce("meta a.com/"), rulesOf(), "a.com/", SourceMeta, []string{"s/i"}, nil,
		},
		"meta over tag": {
			catalogOf(service("m", instance("m1", "meta a.com/")), service("b", instance("b1", "a.com/"))),
			rulesOf(), "a.com/", SourceMeta,
			[]string{"m/m1"},
			[]Conflict{{"a.com/", "m@consul usher-route", "b@consul urlprefix-a.com/"}},
		},
		"one conflict a service": {
			catalogOf(service("m", instance("m1", "meta a.com/")),
				service("b", instance("b1", "a.com/"), instance("b2", "a.com/"))),
			rulesOf(), "a.com/", SourceMeta,
			[]string{"m/m1"},
			[]Conflict{{"a.com/", "m@consul usher-route", "b@consul urlprefix-a.com/"}},
		},
		"meta and tag of one instance": {
			announce("a.com/ strip=/tag", "meta a.com/ strip=/meta"), rulesOf(), "a.com/", SourceMeta,
			[]string{"s/i"},
			nil,
		},
		"a service on its way from tag to meta": {
			catalogOf(service("s", instance("i1", "a.com/"), instance("i2", "meta a.com/"))),
			rulesOf(), "a.com/", SourceMeta,
			[]string{"s/i1", "s/i2"},
			nil,
		},
		"config over tag and meta": {
			catalogOf(service("m", instance("m1", "meta a.com/")), service("b", instance("b1", "a.com/"))),
			rulesOf(to("mine", "b", "a.com/")), "mine", SourceConfig,
			[]string{"b/b1"},
			[]Conflict{
				{"a.com/", "usher.yaml:1:1", "b@consul urlprefix-a.com/"},
				{"a.com/", "usher.yaml:1:1", "m@consul usher-route"},
			},
		},
		"config over tag, spelt otherwise": {
			announce("a.com/"), rulesOf(to("mine", "s", "A.com:80/")), "mine", SourceConfig,
			[]string{"s/i"},
			[]Conflict{{"a.com/", "usher.yaml:1:1", "s@consul urlprefix-a.com/"}},
		},
		"config beside tag on another path": {
			announce("a.com/x"), rulesOf(to("mine", "s", "a.com/")), "a.com/x", SourceTag, []string{"s/i"}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			table := Build(c.catalog, c.rules, nil)
			r := routeByID(t, table, c.route)
			if r.Source != c.source || !slices.Equal(endpoints(t, table, c.route), c.endpoints) ||
				!slices.Equal(table.Conflicts(), c.conflicts) {
				t.Errorf("want %s %q %v in\n%s", c.source, c.endpoints, c.conflicts, dump(table))
			}
			if got := found(table, hit(r.Hosts[0]+r.Path)); got != c.route {
				t.Errorf("served by %q", got)
			}
			for _, s := range table.Services() {
				outranked := c.source == SourceMeta && s.Service == "b"
				if s.Routed == outranked {
					t.Errorf("%s: routed %t: %s", s.Key, s.Routed, s.Reason)
				}
			}
		})
	}
}

// A configured route with further conditions is no claim: the announced route
// serves what it leaves.
func TestNarrowConfigLeavesTheRest(t *testing.T) {
	narrow := to("posts", "s", "a.com/")
	narrow.Match.Methods = []string{"POST"}
	table := Build(announce("a.com/"), rulesOf(narrow), nil)
	for request, want := range map[string]string{"POST a.com/": "posts", "GET a.com/": "a.com/"} {
		if got := found(table, hit(request)); got != want {
			t.Errorf("%s: got %q, want %q", request, got, want)
		}
	}
	if len(table.Conflicts()) > 0 {
		t.Errorf("conflicts: %v", table.Conflicts())
	}
}

// A service that changes its tags one instance after the other keeps them all at
// every step, each with the rewrite that it announced.
func TestRollingChangeOfTags(t *testing.T) {
	before, after := "a.com/ strip=/v1 weight=0.1", "a.com/ strip=/v2 host=dst"
	for step := range 4 {
		var instances []watcher.Instance
		for i, id := range []string{"i1", "i2", "i3"} {
			text := before
			if i < step {
				text = after
			}
			instances = append(instances, instance(id, text))
		}
		table := Build(catalogOf(service("s", instances...)), rulesOf(), nil)
		if len(table.Routes()) != 1 || len(table.Conflicts())+len(table.Refused()) > 0 {
			t.Fatalf("step %d:\n%s", step, dump(table))
		}
		for i, e := range table.Clusters()[0].Endpoints {
			want := "/v1"
			if i < step {
				want = "/v2"
			}
			if e.Rewrite.Strip != want || e.Weight <= 0 {
				t.Errorf("step %d, %s: strip %q weight %g, want %q", step, e.ID, e.Rewrite.Strip, e.Weight, want)
			}
		}
		if n := len(table.Clusters()[0].Endpoints); n != 3 {
			t.Errorf("step %d: %d endpoints", step, n)
		}
	}
}

func TestRefusalCostsOneRule(t *testing.T) {
	table := Build(catalogOf(
		service("bad", instance("b1", "/ weight=x")),
		service("half", instance("h1", "a.com/ allow=10.0.0.0/8", "b.com/"), instance("h2", "a.com/")),
		service("good", instance("g1", "c.com/ colour=red")),
		service("silent", instance("s1")),
		service("empty"),
	), rulesOf(), nil)
	key := func(name string) watcher.Key { return watcher.Key{Registry: "consul", Service: name} }
	want := []Refusal{
		{key("bad"), "b1", "urlprefix-/ weight=x", `weight "x" is not a share between 0 and 1`, false},
		{
			key("half"), "h1", "urlprefix-a.com/ allow=10.0.0.0/8",
			`allow="10.0.0.0/8": "10.0.0.0/8" is not ip: and an address or a network`, false,
		},
	}
	if !slices.Equal(table.Refused(), want) {
		t.Errorf("refused %v, want %v", table.Refused(), want)
	}
	notice := []Refusal{{key("good"), "g1", "urlprefix-c.com/ colour=red", "unknown option colour", false}}
	if !slices.Equal(table.Notices(), notice) {
		t.Errorf("notices %v, want %v", table.Notices(), notice)
	}
	if got := endpoints(t, table, "a.com/"); !slices.Equal(got, []string{"half/h2"}) {
		t.Errorf("a.com is served by %q", got)
	}
	for _, src := range []string{"a.com/", "b.com/", "c.com/"} {
		if got := found(table, hit(src)); got != src {
			t.Errorf("%s: got %q", src, got)
		}
	}
	services := []ServiceReport{
		{key("bad"), false, want[0].Reason},
		{key("empty"), false, "announces no route"},
		{key("good"), true, ""},
		{key("half"), true, ""},
		{key("silent"), false, "announces no route"},
	}
	if !slices.Equal(table.Services(), services) {
		t.Errorf("services %v, want %v", table.Services(), services)
	}
}

// A pattern that does not compile costs its route; the configuration refuses it
// before, with its position.
func TestBadPatternCostsItsRoute(t *testing.T) {
	bad := path("regex", "(")
	bad.Pos = config.Pos{File: "usher.yaml", Line: 3, Column: 5}
	table := Build(catalogOf(), rulesOf(bad, path("prefix", "/")), nil)
	if len(table.Refused()) != 1 || table.Refused()[0].Where != "usher.yaml:3:5" {
		t.Errorf("refused %v", table.Refused())
	}
	if got := found(table, hit("/")); got != "/" {
		t.Errorf("got %q", got)
	}
}

// A known route without an instance is there, with nothing to pick: 503, not 404.
func TestConfiguredRouteForUnknownService(t *testing.T) {
	table := Build(catalogOf(service("empty")), rulesOf(to("r", "gone", "a.com/"), to("e", "empty", "b.com/")), nil)
	for _, host := range []string{"a.com/", "b.com/"} {
		r := table.Match(hit(host))
		if r == nil {
			t.Fatalf("%s: no route", host)
		}
		c := r.Arms[r.Arm(0)].Cluster
		if i, err := c.Picker.Pick(c.View(), &PickInfo{}); err == nil || len(c.Endpoints) != 0 {
			t.Errorf("%s: picked %d of %d", host, i, len(c.Endpoints))
		}
	}
}

func TestServiceAtRegistry(t *testing.T) {
	catalog := catalogOf(
		service("s@one", instance("i1")), service("s@two", instance("i2")), service("s2@one", instance("i3")),
	)
	table := Build(catalog, rulesOf(
		to("both", "s", "both.com/"), to("one", "s@one", "one.com/"), to("three", "s@three", "three.com/"),
	), nil)
	for id, want := range map[string][]string{"both": {"s/i1", "s/i2"}, "one": {"s/i1"}, "three": nil} {
		if got := endpoints(t, table, id); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", id, got, want)
		}
	}
	if a, b := table.Clusters()[0].Endpoints[0].State, table.Clusters()[1].Endpoints[0].State; a != b {
		t.Error("one endpoint has two states")
	}
}

func TestSplit(t *testing.T) {
	r := to("r", "", "a.com/")
	r.Split = []config.Arm{{Service: "v1", Weight: 95}, {Service: "off", Weight: 0}, {Service: "v2", Weight: 5}}
	catalog := catalogOf(service("v1", instance("i1")), service("v2", instance("i2")), service("off", instance("i3")))
	table := Build(catalog, rulesOf(r), nil)
	route := routeByID(t, table, "r")
	if len(route.Arms) != 2 || !slices.Equal(route.Sums, []float64{95, 100}) {
		t.Fatalf("arms %v, sums %v", route.Arms, route.Sums)
	}
	for at, want := range map[float64]string{0: "v1", .5: "v1", .9499: "v1", .95: "v2", math.Nextafter(1, 0): "v2"} {
		if got := route.Arms[route.Arm(at)].Cluster.Name; got != want {
			t.Errorf("%g: got %s, want %s", at, got, want)
		}
	}
	for _, s := range table.Services() {
		if want := s.Service != "off"; s.Routed != want {
			t.Errorf("%s: routed %t", s.Key, s.Routed)
		}
	}
	if single := (&Route{Arms: route.Arms[:1]}); single.Arm(.99) != 0 {
		t.Error("one arm alone is not the one")
	}
}

func TestConfiguredRoute(t *testing.T) {
	c := to("r", "s", "a.com/x")
	c.StripPrefix, c.PrependPrefix, c.Host = "/x", "/y", "b.com"
	c.Match.Hosts = []string{"A.com", "b.com:443"}
	rules := rulesOf(c, to("plain", "s", "/"))
	policy := config.Policy{Balance: "first", Retry: config.Retry{Attempts: 7}}
	rules.Services = map[string]config.Service{"s": {Policy: policy}}
	table := Build(announce(), rules, nil)
	r := routeByID(t, table, "r")
	if want := (Rewrite{Strip: "/x", Prepend: "/y", Host: "b.com"}); r.Rewrite == nil || *r.Rewrite != want {
		t.Errorf("rewrite %v, want %v", r.Rewrite, want)
	}
	if want := []string{"a.com", "b.com"}; !slices.Equal(r.Hosts, want) {
		t.Errorf("hosts %q, want %q", r.Hosts, want)
	}
	if other := routeByID(t, table, "plain"); other.Rewrite != nil || other.Arms[0].Cluster != r.Arms[0].Cluster {
		t.Errorf("the service has two clusters, or a rewrite from nowhere:\n%s", dump(table))
	}
	if got := r.Arms[0].Cluster.Policy.Retry.Attempts; got != 7 {
		t.Errorf("policy is not the service's: %d attempts", got)
	}
}

// IDs and names label metrics: they are unique, whatever they are made of.
func TestUniqueIDs(t *testing.T) {
	table := Build(
		announce("a.com/", "a.com/ listener=web", "b.com/"),
		rulesOf(to("a.com/", "s", "x.com/"), to("a.com/#2", "s", "y.com/"), to("b.com/", "s", "z.com/"),
			to("same", "s", "u.com/"), to("same", "s", "v.com/"), to("same#2", "s", "w.com/")), nil)
	ids, clusters := map[string]bool{}, map[string]bool{}
	for _, r := range table.Routes() {
		if ids[r.ID] {
			t.Errorf("ID %q twice", r.ID)
		}
		ids[r.ID] = true
	}
	for _, c := range table.Clusters() {
		if clusters[c.Name] {
			t.Errorf("cluster %q twice", c.Name)
		}
		clusters[c.Name] = true
	}
	if len(ids) != 9 {
		t.Errorf("%d routes:\n%s", len(ids), dump(table))
	}
}

func TestHeaderConditionsAreSorted(t *testing.T) {
	headers := map[string]string{"C": "3", "A": "1", "B": "2"}
	want := []Header{{"A", "1"}, {"B", "2"}, {"C", "3"}}
	for range 10 {
		if got := headersOf(config.Match{Headers: maps.Clone(headers)}); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v", got)
		}
	}
}

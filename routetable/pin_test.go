package routetable

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"usher/watcher"
)

// pastTable is a table that came about by some changes, without empty services, which no
// registry has.
func pastTable(d draw) (*watcher.Catalog, *Rules, *Table) {
	var catalog *watcher.Catalog
	var rules *Rules
	var table *Table
	for version := range uint64(3) {
		catalog, rules = randomInput(d)
		services := slices.DeleteFunc(catalog.Services(), isEmpty)
		catalog = watcher.NewCatalog(version+1, services...).WithOverrides(version+1, catalog.Overrides()...)
		table = Build(catalog, rules, table)
	}
	return catalog, rules, table
}

func isEmpty(s *watcher.Service) bool { return len(s.Instances) == 0 }

// otherwise is the catalog with the same instances that announce other things, and stand
// otherwise.
func otherwise(d draw, catalog *watcher.Catalog) *watcher.Catalog {
	next, _ := randomInput(d)
	other := next.Services()
	var out []*watcher.Service
	for _, s := range catalog.Services() {
		now := &watcher.Service{Key: s.Key, Instances: slices.Clone(s.Instances)}
		for i := range now.Instances {
			in := &now.Instances[i]
			in.Status, in.Address = watcher.Status(d(4)), fmt.Sprintf("now:%d", d(90))
			in.Announcements = nil
			if from := other[d(len(other))]; len(from.Instances) > 0 {
				in.Announcements = from.Instances[d(len(from.Instances))].Announcements
			}
		}
		out = append(out, now)
	}
	return watcher.NewCatalog(catalog.Version+1, out...).WithOverrides(catalog.Version+1, next.Overrides()...)
}

// routesOf are the lines of a dump that tell of routes.
func routesOf(table *Table) string {
	dumped := dump(table)
	end := strings.Index(dumped, "\ncluster ")
	if at := strings.Index(dumped, "refused "); end < 0 && at >= 0 {
		end = at
	}
	return dumped[:max(end, 0)]
}

// While the instances are those of the pinned table its routes are exactly that table's,
// whatever services announce, overrides say and the configuration has become; where the
// instances are, and how they stand, is as of now.
func TestPinHoldsTheRules(t *testing.T) {
	held, moved := 0, 0
	for seed := range uint64(400) {
		d := draw(rand.New(rand.NewPCG(seed, 21)).IntN)
		catalog, _, then := pastTable(d)
		live := otherwise(d, catalog)
		_, rules := randomInput(d)
		now := Build(live, rules, then)
		pin := NewPin(then.Past())
		pinned := Build(pin.Catalog(live), pin.Rules(), now)
		if got, want := routesOf(pinned), routesOf(then); got != want {
			t.Fatalf("seed %d: got\n%s\nwant\n%s\nbefore the pin\n%s", seed, got, want, dump(now))
		}
		endpointsAreLive(t, seed, pinned, live)
		held += len(pinned.Routes())
		if routesOf(now) != routesOf(then) {
			moved++
		}
	}
	if held < 400 || moved < 200 {
		t.Errorf("%d routes were held, against %d other tables", held, moved)
	}
}

// endpointsAreLive checks each cluster's endpoints against the registry's instances.
func endpointsAreLive(t *testing.T, seed uint64, table *Table, live *watcher.Catalog) {
	t.Helper()
	for _, c := range table.Clusters() {
		for _, e := range c.Endpoints {
			in := instanceOf(live, e)
			if in == nil || in.Address != e.Address || in.Status != e.Status {
				t.Fatalf("seed %d: endpoint %s of %s is at %s (%s), the registry has %+v",
					seed, e.Identity(), c.Name, e.Address, e.Status, in)
			}
		}
	}
	for name, c := range table.whole.All() {
		n := 0
		for _, s := range live.Find(settingsOf(name)) {
			n += len(s.Instances)
		}
		if n != len(c.Endpoints) {
			t.Fatalf("seed %d: %s has %d endpoints, the registry %d instances", seed, name, len(c.Endpoints), n)
		}
	}
}

func instanceOf(catalog *watcher.Catalog, e *Endpoint) *watcher.Instance {
	for _, s := range catalog.Find(e.Service.String()) {
		for i := range s.Instances {
			if s.Instances[i].ID == e.ID {
				return &s.Instances[i]
			}
		}
	}
	return nil
}

// Through any changes of the instances: a route of the pinned table stays while one of the
// instances it led to is there, no route comes that was not announced then, and the pin
// followed step by step is the pin begun anew.
func TestPinFollowsTheRegistry(t *testing.T) {
	for seed := range uint64(200) {
		d := draw(rand.New(rand.NewPCG(seed, 22)).IntN)
		catalog, rules, then := pastTable(d)
		past := then.Past()
		pin := NewPin(past)
		table, live := then, catalog
		for step := range 6 {
			live, rules = randomStep(d, uint64(10+step), live, rules)
			services := slices.DeleteFunc(live.Services(), isEmpty)
			if d(2) == 0 {
				live = live.WithNamed(live.Version, map[string][]*watcher.Service{"s": nil})
			} else {
				live = watcher.NewCatalog(live.Version, services...).WithOverrides(live.Version, live.Overrides()...)
			}
			table = Build(pin.Catalog(live), pin.Rules(), table)
			fresh := Build(NewPin(past).Catalog(live), past.rules, Remember(table.Memory()))
			if got, want := dump(table), dump(fresh); got != want {
				t.Fatalf("seed %d, step %d: got\n%s\nwant\n%s", seed, step, got, want)
			}
			endpointsAreLive(t, seed, table, live)
			staysWithItsInstances(t, seed, then, table, live)
		}
	}
}

func staysWithItsInstances(t *testing.T, seed uint64, then, now *Table, live *watcher.Catalog) {
	t.Helper()
	here := map[string]*Route{}
	for _, r := range now.Routes() {
		here[r.ID] = r
	}
	known := map[string]bool{}
	for _, s := range then.catalog.Services() {
		for _, match := range then.Past().announced(s) {
			known[match], known[match+"#announced"] = true, true
		}
	}
	for _, r := range then.Routes() {
		known[r.ID] = true
		leads := func(e *Endpoint) bool { return instanceOf(live, e) != nil }
		if r.Source < SourceKV && !slices.ContainsFunc(r.Arms[0].Cluster.Endpoints, leads) {
			continue
		}
		if now := here[r.ID]; now == nil || now.Path != r.Path || !slices.Equal(now.Hosts, r.Hosts) {
			t.Fatalf("seed %d: route %s has become %+v", seed, r.ID, now)
		}
	}
	for id := range here {
		if !known[id] {
			t.Fatalf("seed %d: route %s was not there then", seed, id)
		}
	}
}

// New instances of a known service have its rules, a service that was not known has none.
func TestPinOfNewcomers(t *testing.T) {
	then := Build(catalogOf(
		service("web", instance("w1", "a.com/"), instance("w2", "a.com/ strip=/x"), instance("w3", "a.com/ strip=/x")),
	), rulesOf(), nil)
	live := catalogOf(
		service("web", instance("w1", "b.com/"), instance("w9")),
		service("new", instance("n1", "n.com/")),
	)
	pin := NewPin(then.Past())
	table := Build(pin.Catalog(live), pin.Rules(), then)
	if got := found(table, hit("a.com/")); got != "a.com/" {
		t.Errorf("a.com is served by %q", got)
	}
	for _, host := range []string{"b.com/", "n.com/"} {
		if got := found(table, hit(host)); got != "" {
			t.Errorf("%s is served by %q", host, got)
		}
	}
	endpoints := routeByID(t, table, "a.com/").Arms[0].Cluster.Endpoints
	if len(endpoints) != 2 || endpoints[0].Rewrite != nil || endpoints[1].Rewrite == nil {
		t.Errorf("a new instance has not the rule of most:\n%s", dump(table))
	}
	if got := pin.Services(); !slices.Equal(got, []string{"web"}) {
		t.Errorf("the pin needs %q", got)
	}
	table = Build(live, rulesOf(), table)
	if found(table, hit("b.com/")) == "" || found(table, hit("n.com/")) == "" || found(table, hit("a.com/")) != "" {
		t.Errorf("after the pin the table is\n%s", dump(table))
	}
}

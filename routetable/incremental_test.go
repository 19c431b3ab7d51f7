package routetable

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"usher/watcher"
)

// A table that came about by any sequence of changes (of services, of rules that break
// and are repaired, of the configuration, of overrides) is the one that a fresh build of
// the last catalog gives, on what the last table remembers; its routes and clusters are
// those of the deltas.
func TestChangesAddUpToAFreshBuild(t *testing.T) {
	n := 200
	if testing.Short() {
		n = 50
	}
	kept, owned := 0, 0
	for seed := range uint64(n) {
		d := draw(rand.New(rand.NewPCG(seed, 9)).IntN)
		catalog, rules := randomInput(d)
		table := Build(catalog, rules, nil)
		live := deltaOf(nil, table)
		for step := range 12 {
			catalog, rules = randomStep(d, uint64(step), catalog, rules)
			table = Build(catalog, rules, table)
			live = deltaOf(live, table)
			memory := table.Memory()
			fresh := Build(catalog, rules, Remember(roundTrip(t, memory)))
			if got, want := dump(table), dump(fresh); got != want {
				t.Fatalf("seed %d, step %d: got\n%s\nwant\n%s", seed, step, got, want)
			}
			if got, want := streamsOf(table), streamsOf(fresh); got != want {
				t.Fatalf("seed %d, step %d: streams go to %s, want %s in\n%s", seed, step, got, want, dump(table))
			}
			if !reflect.DeepEqual(fresh.Memory(), memory) {
				t.Fatalf("seed %d, step %d: remembers %v, want %v", seed, step, fresh.Memory(), memory)
			}
			checkLive(t, live, table)
			kept += len(memory.Rules)
			owned += len(memory.Owners)
		}
	}
	if kept == 0 || owned == 0 {
		t.Errorf("%d rules were kept, %d sources owned", kept, owned)
	}
}

// streamsOf says which routes take some connections.
func streamsOf(table *Table) string {
	var out []string
	add := func(r *Route) {
		id := "-"
		if r != nil {
			id = r.ID
		}
		out = append(out, id)
	}
	for _, listener := range []string{"web", "x"} {
		add(table.MatchPort(listener, "1"))
		add(table.MatchPort(listener, "2"))
		for _, name := range []string{"a.com", "b.com", "x.c.com", ""} {
			add(table.MatchName(listener, "1", []byte(name)))
		}
	}
	return strings.Join(out, " ")
}

// randomStep changes some of the services, and now and then the rest.
func randomStep(d draw, version uint64, catalog *watcher.Catalog, rules *Rules) (*watcher.Catalog, *Rules) {
	next, other := randomInput(d)
	held := catalog.Overrides()
	if d(3) == 0 {
		held = next.Overrides()
	}
	if d(3) == 0 {
		rules = other
	}
	if d(3) == 0 { // as a Manager's: it shares what did not change
		for _, s := range next.Services() {
			if d(3) == 0 {
				catalog = catalog.With(version, s)
			}
		}
		return catalog.WithOverrides(version, held...), rules
	}
	services := shuffle(d, catalog.Services(), next.Services())
	return watcher.NewCatalog(version, services...).WithOverrides(version, held...), rules
}

// What one service announces, however broken, changes nothing of another whose sources
// are its own, through any sequence of changes.
func TestServicesAreIndependent(t *testing.T) {
	for seed := range uint64(200) {
		d := draw(rand.New(rand.NewPCG(seed, 10)).IntN)
		_, rules := randomInput(d)
		rules.Routes = nil
		var alone, together *Table
		for step := range 8 {
			own := service("own", instance("o1", ownRule(d), ownRule(d), ownRule(d)), instance("o2", ownRule(d)))
			others, _ := randomInput(d)
			alone = Build(catalogOf(own), rules, alone)
			together = Build(catalogOf(append(others.Services(), own)...), rules, together)
			if got, want := ofOwn(together), ofOwn(alone); got != want {
				t.Fatalf("seed %d, step %d: got\n%s\nwant\n%s", seed, step, got, want)
			}
			for _, source := range []string{"own.com/", "own.com/x", "sub.own.org/"} {
				got, want := found(together, hit(source)), found(alone, hit(source))
				if got != want && want != "" {
					t.Fatalf("seed %d, step %d: %s is served by %q, want %q", seed, step, source, got, want)
				}
			}
		}
	}
}

// ownRule is a rule for a source that no other service announces.
func ownRule(d draw) string {
	return oneOf(d, "", "", "meta ") + oneOf(d, "own.com/", "own.com/x", "*.own.org/") + randomOptions(d)
}

// ofOwn is the part of a dump that tells of the service called own.
func ofOwn(table *Table) string {
	var out []string
	take := false
	for line := range strings.Lines(dump(table)) {
		if line[0] != ' ' {
			take = strings.Contains(line, "own.") || strings.Contains(line, "own@")
		}
		if take {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// shuffle takes some services of one catalog and some of another, one for each key.
func shuffle(d draw, one, other []*watcher.Service) (out []*watcher.Service) {
	for _, s := range slices.Concat(one, other) {
		has := slices.ContainsFunc(out, func(o *watcher.Service) bool { return o.Key == s.Key })
		if !has && d(3) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// deltaOf applies a table's delta to the routes and clusters that were live.
func deltaOf(live map[any]bool, t *Table) map[any]bool {
	now := map[any]bool{}
	for x := range live {
		now[x] = true
	}
	for _, r := range t.Delta().AddedRoutes {
		now[r] = true
	}
	for _, c := range t.Delta().AddedClusters {
		now[c] = true
	}
	for _, r := range t.Delta().RemovedRoutes {
		delete(now, r)
	}
	for _, c := range t.Delta().RemovedClusters {
		delete(now, c)
	}
	return now
}

func checkLive(t *testing.T, live map[any]bool, table *Table) {
	t.Helper()
	n := len(table.Routes()) + len(table.Clusters())
	for _, r := range table.Routes() {
		if !live[r] {
			t.Fatalf("route %s is in no delta", r.ID)
		}
	}
	for _, c := range table.Clusters() {
		if !live[c] {
			t.Fatalf("cluster %s is in no delta", c.Name)
		}
	}
	if len(live) != n {
		t.Fatalf("the deltas leave %d routes and clusters, the table has %d", len(live), n)
	}
	counts := table.Counts()
	if len(table.Conflicts()) != counts.Conflicts {
		t.Fatalf("%d conflicts are counted, there are %d", counts.Conflicts, len(table.Conflicts()))
	}
	sum := 0
	for _, n := range counts.Refused {
		sum += n
	}
	if sum != len(table.Refused()) {
		t.Fatalf("%d refused are counted, there are %d", sum, len(table.Refused()))
	}
}

// What does not change is the same pointer in the next table.
func TestUnchangedIsShared(t *testing.T) {
	rules := rulesOf()
	first := Build(catalogOf(service("s", instance("i", "a.com/")), service("t", instance("j", "b.com/"))), rules, nil)
	second := Build(first.catalog.With(2, service("t", instance("k", "b.com/"))), rules, first)
	if routeByID(t, first, "a.com/") != routeByID(t, second, "a.com/") {
		t.Error("a route that did not change was built again")
	}
	if routeByID(t, first, "b.com/") == routeByID(t, second, "b.com/") {
		t.Error("a route that changed is the old one")
	}
}

// A refused rule keeps its last good form: by meta key, or in the place of the tag
// that is gone. It goes with its instance, or when a good rule comes in its place.
func TestLastGoodRuleStays(t *testing.T) {
	rules := rulesOf()
	build := func(previous *Table, in watcher.Instance) *Table {
		return Build(catalogOf(service("s", in)), rules, previous)
	}
	for name, kind := range map[string]string{"tag": "", "meta": "meta "} {
		t.Run(name, func(t *testing.T) {
			table := build(nil, instance("i", kind+"a.com/ weight=.5"))
			table = build(table, instance("i", kind+"a.com/ weight=x"))
			if len(table.Refused()) != 1 || found(table, hit("a.com/")) != "a.com/" {
				t.Fatalf("the last good form is not served:\n%s", dump(table))
			}
			table = build(table, instance("i", kind+"a.com/ weight=y"))
			if found(table, hit("a.com/")) != "a.com/" {
				t.Fatalf("it is not kept twice:\n%s", dump(table))
			}
			if other := build(table, instance("other", kind+"a.com/ weight=x")); found(other, hit("a.com/")) != "" {
				t.Errorf("it outlives its instance:\n%s", dump(other))
			}
			table = build(table, instance("i", kind+"b.com/"))
			stays := found(table, hit("a.com/")) != ""
			if stays || found(table, hit("b.com/")) != "b.com/" || len(table.Refused()) > 0 {
				t.Errorf("it outlives the good rule in its place:\n%s", dump(table))
			}
		})
	}
}

package routetable

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"usher/watcher"
)

// exclusive are rules under which sources are not shared.
func exclusive() *Rules {
	r := rulesOf()
	r.ExclusiveRoutes = true
	return r
}

// created is a service of one instance that announces a.com, of a certain age.
func created(name string, at uint64, announcements ...string) *watcher.Service {
	bare, _, _ := strings.Cut(name, "@")
	in := instance(bare+"1", append([]string{"a.com/"}, announcements...)...)
	in.Created = at
	return service(name, in)
}

// Where sources are not shared one service has all of a source, and the others nothing.
func TestExclusiveRoutes(t *testing.T) {
	late := instance("b2", "a.com/")
	late.Created = 9
	for name, c := range map[string]struct {
		services []*watcher.Service
		owner    string
		want     []string
		losers   []string
	}{
		"alone": {[]*watcher.Service{created("a", 5)}, "a@consul", []string{"a/a1"}, nil},
		"the older": {
			[]*watcher.Service{created("a", 5), created("b", 3)},
			"b@consul",
			[]string{"b/b1"},
			[]string{"a"},
		},
		"the name, of equal age": {
			[]*watcher.Service{created("b", 3), created("a", 3)},
			"a@consul",
			[]string{"a/a1"},
			[]string{"b"},
		},
		"the registry, of equal name": {
			[]*watcher.Service{created("a@x", 3), created("a@b", 3)},
			"a@b",
			[]string{"a/a1"},
			[]string{"a"},
		},
		"unknown age comes last": {
			[]*watcher.Service{created("a", 0), created("b", 7)},
			"b@consul",
			[]string{"b/b1"},
			[]string{"a"},
		},
		"the oldest instance counts": {
			[]*watcher.Service{created("a", 5), service("b", created("b", 3).Instances[0], late)},
			"b@consul",
			[]string{"b/b1", "b/b2"},
			[]string{"a"},
		},
		"the best origin goes before age": {
			[]*watcher.Service{created("a", 5), service("b", instance("b1", "meta a.com/"))},
			"b@consul",
			[]string{"b/b1"},
			[]string{"a"},
		},
		"three": {
			[]*watcher.Service{created("a", 5), created("b", 3), created("c", 4)},
			"b@consul",
			[]string{"b/b1"},
			[]string{"a", "c"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			table := Build(catalogOf(c.services...), exclusive(), nil)
			if got := endpoints(t, table, "a.com/"); !slices.Equal(got, c.want) {
				t.Errorf("endpoints %q, want %q", got, c.want)
			}
			if o := table.Memory().Owners; len(o) != 1 || o[0].Match != "a.com/" || o[0].Service.String() != c.owner {
				t.Errorf("owners %v, want %s", o, c.owner)
			}
			var losers []string
			for _, x := range table.Conflicts() {
				loser, _, _ := cutName(x.Loser)
				losers = append(losers, loser)
				if winner, registry, _ := cutName(x.Winner); x.Match != "a.com/" || winner+"@"+registry != c.owner {
					t.Errorf("conflict %v", x)
				}
			}
			if !slices.Equal(losers, c.losers) {
				t.Errorf("losers %q, want %q", losers, c.losers)
			}
			for _, s := range table.Services() {
				if s.Routed != (s.String() == c.owner) {
					t.Errorf("%s: routed %t", s.Key, s.Routed)
				}
			}
		})
	}
}

// An owner keeps its source while it announces it, whoever comes, and through a start
// of the process; then the oldest of the others has it.
func TestIncumbentStays(t *testing.T) {
	rules := exclusive()
	both := []*watcher.Service{created("a", 5), created("b", 3)}
	first := Build(catalogOf(created("a", 5)), rules, nil)
	for name, from := range map[string]*Table{
		"the table before": first, "what it remembered": Remember(roundTrip(t, first.Memory())),
	} {
		table := Build(catalogOf(both...), rules, from)
		if got := endpoints(t, table, "a.com/"); !slices.Equal(got, []string{"a/a1"}) {
			t.Errorf("%s: %q", name, got)
		}
		// While the configuration holds the match nobody is served, and nothing forgotten.
		held := Build(catalogOf(both...), &Rules{
			Routes: rulesOf(to("r", "b", "a.com/")).Routes, ExclusiveRoutes: true, Defaults: rules.Defaults,
			Balancers: rules.Balancers,
		}, table)
		table = Build(catalogOf(both...), rules, held)
		if got := endpoints(t, table, "a.com/"); !slices.Equal(got, []string{"a/a1"}) {
			t.Errorf("%s, held for a while: %q", name, got)
		}
		gone := created("a", 5)
		gone.Instances[0].Announcements = nil
		table = Build(catalogOf(gone, both[1]), rules, table)
		if got := endpoints(t, table, "a.com/"); !slices.Equal(got, []string{"b/b1"}) {
			t.Errorf("%s, gone: %q", name, got)
		}
		if table = Build(catalogOf(both...), rules, table); endpoints(t, table, "a.com/")[0] != "b/b1" {
			t.Errorf("%s: who comes back is the owner", name)
		}
	}
	shared := Build(catalogOf(both...), rulesOf(), first)
	if got := endpoints(t, shared, "a.com/"); len(got) != 2 || len(shared.Memory().Owners) != 0 {
		t.Errorf("shared again: %q, owners %v", got, shared.Memory().Owners)
	}
}

// roundTrip writes a memory and reads it again.
func roundTrip(t *testing.T, m Memory) (out Memory) {
	t.Helper()
	b, err := json.Marshal(m)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil || !reflect.DeepEqual(out, m) {
		t.Fatalf("got %v, want %v: %v", out, m, err)
	}
	return out
}

// A table on what another remembered serves the rules that stood in for broken ones,
// and goes on keeping them.
func TestRememberedRules(t *testing.T) {
	rules := rulesOf()
	catalog := func() *watcher.Catalog {
		return catalogOf(
			service("s", instance("i", "a.com/ weight=x", "meta b.com/ weight=x"), instance("j", "a.com/")),
			service("t", instance("k", "c.com/ allow=x"), instance("l", "c.com/ allow=y")),
		)
	}
	good := catalogOf(
		service("s", instance("i", "a.com/ strip=/x", "meta b.com/ strip=/y"), instance("j", "a.com/")),
		service("t", instance("k", "c.com/ allow=ip:10.0.0.0/8"), instance("l", "c.com/")),
		service("gone", instance("m", "d.com/")),
	)
	table := Build(catalog(), rules, Build(good, rules, nil))
	if n := len(table.Memory().Rules); n != 3 {
		t.Fatalf("%d rules are kept: %v", n, table.Memory().Rules)
	}
	for range 3 {
		empty := Remember(roundTrip(t, table.Memory()))
		if !reflect.DeepEqual(empty.Memory(), table.Memory()) || len(empty.Routes()) > 0 {
			t.Fatalf("before its first catalog it remembers %v and serves\n%s", empty.Memory(), dump(empty))
		}
		next := Build(catalog(), rules, empty)
		if dump(next) != dump(table) || !reflect.DeepEqual(next.Memory(), table.Memory()) {
			t.Fatalf("got\n%swant\n%s", dump(next), dump(table))
		}
		table = next
	}
	if m := Build(good, rules, table).Memory(); len(m.Rules) > 0 {
		t.Errorf("all is well, and it remembers %v", m)
	}
}

// What a memory says that is no rule, or of what is not there, is ignored.
func TestRememberedRubbish(t *testing.T) {
	key := watcher.Key{Registry: "consul", Service: "s"}
	m := Memory{
		Owners: []Owner{{"a.com/", watcher.Key{Service: "nobody"}}, {"", key}},
		Rules: []KeptRule{
			{Service: key, Instance: "i", Where: "urlprefix-gone", Text: "weight=x"},
			{Service: key, Instance: "i", Where: "urlprefix-gone", Text: ":1"},
			{Service: key, Instance: "i", Origin: 200, Where: "x", Text: "b.com/"},
			{Service: key, Instance: "gone", Where: "x", Text: "c.com/"},
			{Text: "d.com/"},
		},
	}
	table := Build(announce("a.com/ weight=x", "meta e.com/"), exclusive(), Remember(m))
	if got := table.Memory(); len(got.Rules) > 0 || len(got.Owners) != 1 {
		t.Errorf("remembers %v", got)
	}
	if ids := len(table.Routes()); ids != 1 || found(table, hit("e.com/")) == "" {
		t.Errorf("serves\n%s", dump(table))
	}
}

// A kept rule is judged by the claims as any other.
func TestClaimsAgainstAKeptRule(t *testing.T) {
	rules := rulesOf()
	table := Build(announce("a.com/ weight=x"), rules, Build(announce("a.com/"), rules, nil))
	claimed := claims("a.com = t")
	for name, from := range map[string]*Table{"before": table, "remembered": Remember(table.Memory())} {
		after := Build(announce("a.com/ weight=x"), claimed, from)
		if found(after, hit("a.com/")) != "" || len(after.Refused()) != 1 {
			t.Errorf("%s: served, or refused twice:\n%s", name, dump(after))
		}
		if back := Build(after.catalog, rules, after); found(back, hit("a.com/")) == "" {
			t.Errorf("%s: gone for good", name)
		}
	}
}

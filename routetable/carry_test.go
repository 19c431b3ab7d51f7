package routetable

import (
	"fmt"
	"sync"
	"testing"

	"usher/watcher"
)

// at is an instance at another address than instance gives it.
func at(address string, in watcher.Instance) watcher.Instance {
	in.Address = address
	return in
}

// stateOf is the State of an endpoint of a route.
func stateOf(t *testing.T, table *Table, route, id string) *State {
	t.Helper()
	for _, e := range routeByID(t, table, route).Arms[0].Cluster.Endpoints {
		if e.ID == id {
			return e.State
		}
	}
	t.Fatalf("no endpoint %q in\n%s", id, dump(table))
	return nil
}

func TestStateIsCarried(t *testing.T) {
	for name, c := range map[string]struct {
		before, after *watcher.Service
		same          bool
	}{
		"nothing changed": {
			service("s", instance("i", "a.com/")), service("s", instance("i", "a.com/")), true,
		},
		"tags changed": {
			service("s", instance("i", "a.com/")), service("s", instance("i", "a.com/ strip=/x", "b.com/")), true,
		},
		"weight and status changed": {
			service("s", instance("i", "a.com/")), service("s", watcher.Instance{
				ID: "i", Address: "i:80", Weight: 7, Status: watcher.Critical,
				Announcements: instance("i", "a.com/").Announcements,
			}), true,
		},
		"others came": {
			service("s", instance("i", "a.com/")), service("s", instance("h", "a.com/"), instance("i", "a.com/")), true,
		},
		"address changed": {
			service("s", instance("i", "a.com/")), service("s", at("i:81", instance("i", "a.com/"))), false,
		},
		"another service": {
			service("r", instance("i", "a.com/")), service("s", instance("i", "a.com/")), false,
		},
		"another registry": {
			service("s@file", instance("i", "a.com/")), service("s", instance("i", "a.com/")), false,
		},
		"another ID at the address": {
			service("s", at("i:80", instance("j", "a.com/"))), service("s", instance("i", "a.com/")), false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			first := Build(catalogOf(c.before), rulesOf(), nil)
			second := Build(catalogOf(c.after), rulesOf(), first)
			was := stateOf(t, first, "a.com/", c.before.Instances[0].ID)
			if is := stateOf(t, second, "a.com/", "i"); (was == is) != c.same {
				t.Errorf("same state %t, want %t", was == is, c.same)
			}
		})
	}
}

// An endpoint has one State, however many routes it serves.
func TestStateIsSharedByRoutes(t *testing.T) {
	table := Build(announce("a.com/", "b.com/"), rulesOf(to("c", "s", "c.com/")), nil)
	a := stateOf(t, table, "a.com/", "i")
	if a != stateOf(t, table, "b.com/", "i") || a != stateOf(t, table, "c", "i") {
		t.Error("states differ")
	}
}

// What left is remembered: an instance that comes back goes on where it was, and so does
// a cluster.
func TestStateSurvivesAnAbsence(t *testing.T) {
	other := service("t", instance("j", "b.com/"))
	both := catalogOf(service("s", instance("h", "a.com/"), instance("i", "a.com/")), other)
	one := catalogOf(service("s", instance("h", "a.com/")), other)
	first := Build(both, rulesOf(), nil)
	for name, away := range map[string]*watcher.Catalog{
		"the instance": one, "its service": catalogOf(other), "everything": catalogOf(),
	} {
		absent := Build(away, rulesOf(), first)
		absent = Build(catalogOf(service("u", instance("k", "c.com/"))), rulesOf(), absent)
		if absent.services.Len() != 1 || absent.sources.Len() != 1 {
			t.Errorf("%s: %d services, %d sources kept", name, absent.services.Len(), absent.sources.Len())
		}
		last := Build(both, rulesOf(), absent)
		for _, id := range []string{"h", "i"} {
			if stateOf(t, first, "a.com/", id) != stateOf(t, last, "a.com/", id) {
				t.Errorf("%s away: %s has another state", name, id)
			}
		}
		before, after := routeByID(t, first, "a.com/").Arms[0].Cluster, routeByID(t, last, "a.com/").Arms[0].Cluster
		if before.state != after.state {
			t.Errorf("%s away: the cluster has another state", name)
		}
	}
	moved := catalogOf(service("s", instance("h", "a.com/"), at("i:81", instance("i", "a.com/"))))
	last := Build(moved, rulesOf(), Build(one, rulesOf(), first))
	if stateOf(t, first, "a.com/", "i") == stateOf(t, last, "a.com/", "i") {
		t.Error("back at another address, but the state is the same")
	}
}

// Memory has an end: after many others have left what left first is forgotten, and never
// is more remembered than twice keepDeparted.
func TestStateIsForgotten(t *testing.T) {
	table := Build(announce("a.com/"), rulesOf(), nil)
	was := stateOf(t, table, "a.com/", "i")
	remembered := func() int { return table.departed.young.Len() + table.departed.old.Len() }
	const each = 256
	for round := range 4 * keepDeparted / each {
		var many []watcher.Instance
		for i := range each {
			many = append(many, instance(fmt.Sprintf("%d-%03d", round, i), "b.com/"))
		}
		table = Build(catalogOf(service("many", many...)), rulesOf(), table)
		if n := remembered(); n > 2*keepDeparted+each {
			t.Fatalf("%d are remembered", n)
		}
	}
	if n := remembered(); n < keepDeparted {
		t.Errorf("only %d are remembered", n)
	}
	if is := stateOf(t, Build(announce("a.com/"), rulesOf(), table), "a.com/", "i"); is == was {
		t.Error("the state was kept")
	}
}

func TestClusterStateIsCarried(t *testing.T) {
	var states []*ClusterState
	rules := rulesOf(to("c", "s", "c.com/"))
	rules.Balancers["first"] = func(_ *Cluster, s *ClusterState) Picker {
		states = append(states, s)
		return firstUsable{}
	}
	first := Build(announce("a.com/"), rules, nil)
	catalog := catalogOf(service("s", instance("i", "a.com/"), instance("j", "a.com/")))
	second := Build(catalog, rules, first)
	if len(states) != 4 || len(first.Clusters()) != 2 || len(second.Clusters()) != 2 {
		t.Fatalf("%d states", len(states))
	}
	if states[0] != states[2] || states[1] != states[3] || states[0] == states[1] {
		t.Errorf("states are not those of the clusters of the same name: %p", states)
	}
}

// Build reads the previous table and changes nothing in it, while others match
// and pick in it.
func TestBuildLeavesPreviousAlone(t *testing.T) {
	previous := Build(catalogOf(
		service("s", instance("i", "a.com/ weight=.2", "*.b.com/x"), instance("j", "a.com/", "meta a.com/")),
		service("t", instance("k", "/ strip=/x", "/ weight=x")),
	), rulesOf(to("c", "s", "c.com/")), nil)
	for _, c := range previous.Clusters() {
		c.SetView(NewView([]int32{0}, []float64{1}))
	}
	want := dump(previous)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				r := previous.Match(hit([]string{"a.com/", "x.b.com/x", "c.com/", "d.com/"}[i%4]))
				e := r.Arms[0].Cluster.Endpoints[0]
				e.State.InFlight.Add(1)
				if _, err := r.Arms[0].Cluster.Picker.Pick(r.Arms[0].Cluster.View(), &PickInfo{}); err != nil {
					t.Error(err)
				}
				e.State.InFlight.Add(-1)
			}
		})
	}
	table := previous
	for i := range 200 {
		table = Build(catalogOf(
			service("s", instance("i", "a.com/"),
				at(fmt.Sprintf("j:%d", i), instance("j", "a.com/ strip=/y", "new.com/"))),
			service("u", instance("l", "a.com/")),
		), rulesOf(), table)
	}
	close(stop)
	readers.Wait()
	if got := dump(previous); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, c := range previous.Clusters() {
		if len(c.View().Usable) != 1 {
			t.Errorf("%s: the view changed", c.Name)
		}
	}
	if stateOf(t, previous, "a.com/", "i") != stateOf(t, table, "a.com/", "i") {
		t.Error("the state was not carried through")
	}
}

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

// What left is forgotten: an instance that comes back begins afresh.
func TestStateIsForgotten(t *testing.T) {
	first := Build(announce("a.com/"), rulesOf(), nil)
	second := Build(catalogOf(), rulesOf(), first)
	third := Build(announce("a.com/"), rulesOf(), second)
	if stateOf(t, first, "a.com/", "i") == stateOf(t, third, "a.com/", "i") {
		t.Error("the state was kept")
	}
	if second.services.Len() != 0 || second.sources.Len() != 0 {
		t.Errorf("%d services, %d sources kept", second.services.Len(), second.sources.Len())
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

package watcher_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"usher/config"
	"usher/watcher"
)

// routeTo is a route to a service.
func routeTo(name, service string) config.Route { return config.Route{Name: name, Service: service} }

// overriding is an update of a registry's key-value store with these routes.
func overriding(routes ...config.Route) watcher.Update {
	return watcher.Update{Overrides: &watcher.Overrides{Routes: routes}, Since: time.Now()}
}

// overridden writes the overrides of a catalog: a line "registry: name>service" each.
func overridden(c *watcher.Catalog) []string {
	var lines []string
	for _, o := range c.Overrides() {
		line := o.Registry + ":"
		for _, r := range o.Routes {
			line += " " + r.Name + ">" + r.Service
		}
		lines = append(lines, line)
	}
	return lines
}

// wantOverrides fails unless a new catalog is there and has these overrides.
func (b *bench) wantOverrides(lines ...string) {
	b.t.Helper()
	c, _ := b.next()
	if c == nil {
		b.t.Fatalf("nothing new, want %q", lines)
	}
	if got := overridden(c); !slices.Equal(got, lines) {
		b.t.Errorf("got %q, want %q", got, lines)
	}
}

// TestOverrides: they are in the order of their registries, and replaced as a whole.
func TestOverrides(t *testing.T) {
	inBubble(t, func(b *bench) {
		a, z := newDouble(), newDouble()
		both := []watcher.Source{z.source("z", 1), a.source("a", 1)}
		b.Apply(both, nil)
		b.send(z, overriding(routeTo("x", "web"), routeTo("y", "api")))
		b.wantOverrides("z: x>web y>api")
		b.send(a, overriding(routeTo("x", "shop")))
		b.wantOverrides("a: x>shop", "z: x>web y>api")

		b.send(z, overriding(routeTo("y", "web")))
		b.wantOverrides("a: x>shop", "z: y>web")
		b.send(z, update("web", "1=a:1")) // an update without overrides leaves them
		b.wantOverrides("a: x>shop", "z: y>web")
		b.send(z, overriding())
		b.wantOverrides("a: x>shop", "z:")

		// A failed run, and another configuration, leave them until they are replaced.
		b.fail(a, errDown)
		b.send(a, synced())
		b.wantOverrides("a: x>shop", "z:")
		a = newDouble()
		both[1] = a.source("a", 2)
		b.Apply(both, nil)
		b.send(a, synced())
		b.wantOverrides("a: x>shop", "z:")
		b.send(a, overriding(routeTo("w", "web")))
		b.wantOverrides("a: w>web", "z:")

		b.Apply(both[:1], nil)
		b.wantOverrides("z:")
		b.Apply(nil, nil)
		b.wantOverrides()
	})
}

// TestOverridesAreTheManagersOwn: what the registry sent is named, not changed.
func TestOverridesAreTheManagersOwn(t *testing.T) {
	inBubble(t, func(b *bench) {
		d := newDouble()
		b.Apply([]watcher.Source{d.source("a", 1)}, nil)
		u := overriding(routeTo("x", "web"))
		u.Overrides.Refused = []watcher.RefusedOverride{{Key: "k", Reason: "r"}}
		b.send(d, u)
		c, since := b.next()
		if o := c.Overrides()[0]; o.Registry != "a" || len(o.Refused) != 1 || u.Overrides.Registry != "" {
			t.Errorf("got %+v of %+v", o, u.Overrides)
		}
		if !since["a"].Equal(u.Since) {
			t.Errorf("since %v, want %v", since, u.Since)
		}
	})
}

// TestOverridesAreWanted: every registry is told of the services that they name.
func TestOverridesAreWanted(t *testing.T) {
	inBubble(t, func(b *bench) {
		a, z := newWanting(), newWanting()
		told := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			for name, d := range map[string]*wanting{"a": a, "z": z} {
				var last []string
				for len(d.wants) > 0 {
					last = <-d.wants
				}
				if last = slices.Sorted(slices.Values(last)); !slices.Equal(last, want) {
					t.Errorf("%s: %s wants %q, not %q", when, name, last, want)
				}
			}
		}
		sources := []watcher.Source{a.source("a", 1), z.source("z", 1)}
		b.Apply(sources, []string{"web"})
		told("at the start", "web")
		split := config.Route{Name: "s", Split: []config.Arm{{Service: "blue"}, {Service: "green@z"}}}
		b.send(a.double, overriding(routeTo("x", "api@z"), routeTo("y", "web"), routeTo("none", ""), split))
		told("overridden", "api", "blue", "green", "web")
		b.send(z.double, overriding(routeTo("x", "zoo"), routeTo("y", "api")))
		told("by another registry", "api", "blue", "green", "web", "zoo")
		b.send(a.double, overriding())
		told("replaced", "api", "web", "zoo")
		b.Apply(sources, nil)
		told("another configuration", "api", "zoo")
		b.Apply(sources[:1], nil)
		b.send(a.double, overriding()) // so that z is heard of as well: it is told no more
		synctest.Wait()
		if n := len(z.wants); n != 0 {
			t.Errorf("a source that is removed is told %d times", n)
		}
		var last []string
		for len(a.wants) > 0 {
			last = <-a.wants
		}
		if len(last) != 0 {
			t.Errorf("a wants %q of a source that is removed", last)
		}
	})
}

// TestRestoredOverridesAreWanted: those of a snapshot are told before the first run.
func TestRestoredOverridesAreWanted(t *testing.T) {
	inBubble(t, func(b *bench) {
		snapshot := stored()
		o := &watcher.Overrides{Registry: "r", Routes: []config.Route{routeTo("x", "web")}}
		snapshot.Registries[0].Overrides = o
		b.Restore(snapshot)
		d := newWanting()
		src := d.source("r", 1)
		src.Identity = "here"
		b.Apply([]watcher.Source{src}, []string{"api"})
		synctest.Wait()
		var last []string
		for len(d.wants) > 0 {
			last = <-d.wants
		}
		if !slices.Equal(last, []string{"api", "web"}) {
			t.Errorf("it wants %q", last)
		}
	})
}

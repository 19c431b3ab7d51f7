package watcher_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/watcher"
)

// The reasons that the doubles give for their doubt.
const (
	whyAnswer   = "the index went backwards"
	whyRegistry = "the leader changed"
	whyCatalog  = "a large part of the whole catalog vanished at once"
)

// suspectFor is how long a registry's report keeps its answers in doubt.
const suspectFor = 15 * time.Second

// guardConf is the default of the configuration.
func guardConf() *config.Guard {
	return &config.Guard{
		Enabled: true, ServiceShare: 0.5, CatalogShare: 0.5, Window: 10 * time.Second,
		MinEndpoints: 4, MinCatalog: 10,
	}
}

// scene is one guarded registry, r, and what is known of it.
type scene struct {
	*bench
	d    *double
	conf watcher.Source
	last *watcher.Catalog
}

// act is one step of a scene.
type act func(s *scene)

// newScene starts a registry with this guard, nil for none.
func newScene(b *bench, guard *config.Guard) *scene {
	s := &scene{bench: b, d: newDouble(), last: watcher.NewCatalog(0)}
	s.conf = s.d.source("r", 1)
	s.conf.Identity, s.conf.Guard = "here", guard
	b.Apply([]watcher.Source{s.conf}, nil)
	return s
}

// play runs a scene in a bubble of its own.
func play(t *testing.T, guard *config.Guard, acts ...act) {
	t.Helper()
	inBubble(t, func(b *bench) {
		s := newScene(b, guard)
		for _, do := range acts {
			do(s)
		}
	})
}

// catalog returns the catalog as it is now.
func (s *scene) catalog() *watcher.Catalog {
	s.t.Helper()
	if c, _ := s.next(); c != nil {
		s.last = c
	}
	return s.last
}

// listing is an update written "web 1 2=host:80 3~critical": the service and its
// instances. Where no address is given it is the service's name and the ID.
func listing(text string) watcher.Update {
	words := strings.Fields(text)
	u := watcher.Update{Service: words[0], Since: time.Now()}
	for _, word := range words[1:] {
		word, status, _ := strings.Cut(word, "~")
		id, address, has := strings.Cut(word, "=")
		if !has {
			address = words[0] + ":" + id
		}
		in := watcher.Instance{ID: id, Address: address, Weight: 1}
		in.Status, _ = watcher.ParseStatus(status)
		u.Instances = append(u.Instances, in)
	}
	return u
}

// says sends trustworthy answers.
func says(texts ...string) act {
	return func(s *scene) {
		for _, text := range texts {
			s.send(s.d, listing(text))
		}
	}
}

// doubtfully sends answers that something speaks against.
func doubtfully(texts ...string) act {
	return func(s *scene) {
		for _, text := range texts {
			u := listing(text)
			u.Suspect = whyAnswer
			s.send(s.d, u)
		}
	}
}

// excusing sends a suspect answer in which these IDs may be missing.
func excusing(text string, ids ...string) act {
	return func(s *scene) {
		u := listing(text)
		u.Suspect, u.Excused = whyAnswer, ids
		s.send(s.d, u)
	}
}

// reports makes the registry tell that its answers are suspect.
func reports() act {
	return func(s *scene) { s.send(s.d, watcher.Update{Report: &watcher.Report{Suspect: whyRegistry}}) }
}

func syncs() act { return func(s *scene) { s.send(s.d, synced()) } }

// fails ends the run; the next one begins within a second.
func fails() act { return func(s *scene) { s.fail(s.d, errDown) } }

// after lets time pass.
func after(d time.Duration) act { return func(*scene) { <-time.After(d) } }

// reconfigured applies another configuration of the registry.
func reconfigured(change func(*watcher.Source)) act {
	return func(s *scene) {
		d := newDouble() // another configuration may take s.d before this one's is asked for
		s.d = d
		spec := s.conf.Spec.(int) + 1
		s.conf.New = func() (watcher.Discoverer, error) { return d, nil }
		s.conf.Spec = spec
		change(&s.conf)
		s.Apply([]watcher.Source{s.conf}, nil)
	}
}

// shows checks everything that tells what is listed and what is held: the catalog, a
// line "web 1 !2" for each service, the status, the gauge, and the guard's own count.
func shows(lines ...string) act {
	return func(s *scene) {
		s.t.Helper()
		got := picture(s.catalog())
		if !slices.Equal(got, lines) {
			s.t.Fatalf("got %q, want %q", got, lines)
		}
		held := strings.Count(strings.Join(got, ""), "!")
		if st := s.Statuses()[0]; st.Held != held {
			s.t.Errorf("the status tells of %d held instances, want %d", st.Held, held)
		}
		if g, _ := s.gauge("held_endpoints", "r"); int(g) != held {
			s.t.Errorf("the gauge tells of %v held instances, want %d", g, held)
		}
		if err := s.CheckGuards(); err != nil {
			s.t.Error(err)
		}
	}
}

// picture writes a catalog, a line a service: its name and the IDs, with ! before the
// held ones.
func picture(c *watcher.Catalog) []string {
	var lines []string
	for _, svc := range c.Services() {
		line := svc.Service
		for _, in := range svc.Instances {
			if line += " "; in.Held != nil {
				line += "!"
			}
			line += in.ID
		}
		lines = append(lines, line)
	}
	return lines
}

// holdIs checks why and since when the held instances of a service are.
func holdIs(service, reason string, quorum int, age time.Duration) act {
	return func(s *scene) {
		s.t.Helper()
		n := 0
		for _, svc := range s.catalog().Find(service) {
			for _, in := range svc.Instances {
				if in.Held == nil {
					continue
				}
				n++
				if h := in.Held; h.Reason != reason || h.Quorum != quorum || time.Since(h.Since) != age {
					s.t.Errorf("%s is held for %v: %q, quorum %d; want %v, %q, %d",
						in.ID, time.Since(h.Since), h.Reason, h.Quorum, age, reason, quorum)
				}
			}
		}
		if n == 0 {
			s.t.Errorf("nothing of %s is held", service)
		}
	}
}

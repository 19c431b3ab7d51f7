package watcher_test

import (
	"reflect"
	"testing"
	"time"

	"usher/watcher"
)

// stored is a snapshot of the registry r with these services.
func stored(texts ...string) *watcher.Snapshot {
	r := watcher.RegistrySnapshot{Name: "r", Identity: "here", Taken: taken()}
	for _, text := range texts {
		u := listing(text)
		key := watcher.Key{Registry: "r", Service: u.Service}
		r.Services = append(r.Services, &watcher.Service{Key: key, Instances: u.Instances})
	}
	return &watcher.Snapshot{Registries: []watcher.RegistrySnapshot{r}}
}

// playFrom runs a scene that starts from a snapshot.
func playFrom(t *testing.T, snapshot *watcher.Snapshot, change func(*watcher.Source), acts ...act) {
	t.Helper()
	inBubble(t, func(b *bench) {
		s := &scene{bench: b, d: newDouble(), last: watcher.NewCatalog(0)}
		s.conf = s.d.source("r", 1)
		s.conf.Identity, s.conf.Guard = "here", guardConf()
		change(&s.conf)
		b.Restore(snapshot)
		b.Apply([]watcher.Source{s.conf}, nil)
		b.Touch()
		for _, do := range acts {
			do(s)
		}
	})
}

func unchanged(*watcher.Source) {}

// marked checks since when the snapshot that is served is; zero: none is.
func marked(want time.Time) act {
	return func(s *scene) {
		s.t.Helper()
		if got := s.Statuses()[0].Restored; !got.Equal(want) {
			s.t.Errorf("restored of %v, want %v", got, want)
		}
	}
}

// answers reports that all there is has answered or failed.
func answers() act {
	return func(s *scene) { s.send(s.d, alive(watcher.Report{Answered: true})) }
}

// TestRestore: what was known is served until the registry says otherwise.
func TestRestore(t *testing.T) {
	none := time.Time{}
	for name, acts := range map[string][]act{
		"before the sync": {shows("api 1 2", "web 1 2 3 4"), marked(taken())},
		"service by service": {
			says("web 1 2 3 5"), shows("api 1 2", "web 1 2 3 5"), marked(taken()),
		},
		"after the sync": {
			says("api 1 2", "web 1 2 3 4"), syncs(), shows("api 1 2", "web 1 2 3 4"), marked(none),
		},
		"a service that is gone": {says("web 1 2 3 4"), syncs(), shows("web 1 2 3 4"), marked(none)},
		"a service that is gone, in doubt": {
			says("web 1 2 3 4"), reports(), syncs(), shows("api !1 !2", "web 1 2 3 4"), marked(none),
		},
		"a service that could not be read": {
			says("web 1 2 3 4"), func(s *scene) { s.send(s.d, watcher.Update{Service: "api", Unknown: true}) },
			answers(), shows("api 1 2", "web 1 2 3 4"), marked(taken()),
			syncs(), shows("api 1 2", "web 1 2 3 4"), marked(none),
		},
		"while some did not answer": {
			says("web 1"), answers(), shows("api 1 2", "web 1"), marked(taken()), syncs(), shows("web 1"),
		},
		"losses are judged": {doubtfully("web 1"), shows("api 1 2", "web 1 !2 !3 !4")},
		"a registry that is down": {
			fails(), after(time.Hour), shows("api 1 2", "web 1 2 3 4"), marked(taken()),
		},
		"a configuration changed meanwhile": {
			reconfigured(unchanged), shows("api 1 2", "web 1 2 3 4"), marked(taken()),
			says("web 1 2 3 4"), syncs(), shows("web 1 2 3 4"), marked(none),
		},
		"another registry meanwhile": {
			reconfigured(func(src *watcher.Source) { src.Identity = "elsewhere" }),
			shows("api 1 2", "web 1 2 3 4"), marked(none),
		},
		"not a second time": {
			says("web 1"), syncs(), func(s *scene) { s.Apply(nil, nil) },
			reconfigured(unchanged), shows(), marked(none),
		},
	} {
		t.Run(name, func(t *testing.T) {
			playFrom(t, stored("api 1 2", "web 1 2 3 4"), unchanged, acts...)
		})
	}
}

// TestRestoreLostRegistry: a registry that lost its state meanwhile takes nothing away.
func TestRestoreLostRegistry(t *testing.T) {
	playFrom(t, stored("a 1 2 3 4", "b 1 2 3 4", "c 1 2"), unchanged, syncs(),
		shows("a !1 !2 !3 !4", "b !1 !2 !3 !4", "c !1 !2"),
		holdIs("c", "nothing that the snapshot knows is listed", 1, 0))
}

// TestRestoreRefuses a snapshot of another registry.
func TestRestoreRefuses(t *testing.T) {
	for name, change := range map[string]func(*watcher.Source){
		"another identity": func(s *watcher.Source) { s.Identity = "elsewhere" },
		"another name":     func(s *watcher.Source) { s.Name = "q" },
	} {
		t.Run(name, func(t *testing.T) {
			playFrom(t, stored("web 1"), change, func(s *scene) {
				if c := s.catalog(); len(c.Services()) > 0 {
					s.t.Errorf("there is %q", picture(c))
				}
				if line := s.Statuses()[0].String(); line != s.conf.Name+": not synced yet" {
					s.t.Errorf("the status is %q", line)
				}
			})
		})
	}
}

// TestStartedFromSnapshot: with something to serve a start does not wait long, and not
// at all for a registry that failed.
func TestStartedFromSnapshot(t *testing.T) {
	const timeout = 10 * time.Second
	known, nothing := stored("web 1"), &watcher.Snapshot{}
	answered := alive(watcher.Report{Answered: true})
	for name, test := range map[string]struct {
		snapshot *watcher.Snapshot
		timeout  time.Duration
		says     any           // what the discoverer is told after a second, if anything
		took     time.Duration // until the start goes on
		late     bool
	}{
		"nothing is heard":              {known, timeout, nil, 2 * time.Second, true},
		"a shorter timeout":             {known, time.Second / 2, nil, time.Second / 2, true},
		"nothing is heard, no snapshot": {nothing, timeout, nil, timeout, true},
		"it syncs":                      {known, timeout, synced(), time.Second, false},
		"it fails":                      {known, timeout, failed(errDown), time.Second, false},
		"its run fails":                 {known, timeout, errDown, time.Second, false},
		"it fails, no snapshot":         {nothing, timeout, failed(errDown), timeout, true},
		"one service fails":             {known, timeout, partly(), 2 * time.Second, true},
		"all answered or failed":        {known, timeout, answered, time.Second, false},
		"all answered, no snapshot":     {nothing, timeout, answered, time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			playFrom(t, test.snapshot, func(s *watcher.Source) { s.StartTimeout = test.timeout }, func(s *scene) {
				if test.says != nil {
					go func() {
						<-time.After(time.Second)
						s.d.feed <- test.says
					}()
				}
				begin := time.Now()
				late := s.Started(s.t.Context())
				if took := time.Since(begin); took != test.took || (len(late) > 0) != test.late {
					s.t.Errorf("late %q after %v, want %v after %v", late, took, test.late, test.took)
				}
				<-time.After(time.Minute)
			})
		})
	}
}

func partly() watcher.Update {
	return watcher.Update{Report: &watcher.Report{Err: errDown, Reason: "test", Partial: true}}
}

// keeps checks the snapshot as it would be written; none: it would not.
func keeps(want ...watcher.RegistrySnapshot) act {
	return func(s *scene) {
		s.t.Helper()
		got, ok := s.Snapshot()
		if ok != (len(want) > 0) {
			s.t.Fatalf("a snapshot: %v, want %v", ok, len(want) > 0)
		}
		if !ok {
			return
		}
		if !reflect.DeepEqual(got.Registries, want) {
			s.t.Errorf("got  %+v\nwant %+v", got.Registries, want)
		}
		data, err := watcher.EncodeSnapshot(got)
		if err != nil {
			s.t.Fatal(err)
		}
		if _, err := watcher.DecodeSnapshot(data); err != nil {
			s.t.Errorf("it would be refused: %v", err)
		}
	}
}

// now is a snapshot of this moment of r.
func now(at time.Time, texts ...string) watcher.RegistrySnapshot {
	r := stored(texts...).Registries[0]
	r.Taken = at
	return r
}

// TestSnapshot: what is worth keeping, and how old it is.
func TestSnapshot(t *testing.T) {
	well := func(s *scene) { s.send(s.d, alive(watcher.Report{Synced: true})) }
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // of every bubble
	at := func(d time.Duration) time.Time { return start.Add(d).Local() }
	t.Run("of a start without one", func(t *testing.T) {
		play(t, guardConf(),
			keeps(), says("web 1 2", "api 1"), keeps(), // not all is known
			well, keeps(now(at(0), "api 1", "web 1 2")),
			after(time.Minute), says("web 1"), keeps(now(at(0), "api 1", "web 1")),
			well, keeps(now(at(time.Minute), "api 1", "web 1")),
			fails(), after(time.Hour), keeps(now(at(time.Minute), "api 1", "web 1")),
			reconfigured(unchanged), keeps(now(at(time.Minute), "api 1", "web 1")),
			reconfigured(func(s *watcher.Source) { s.Identity = "elsewhere" }), keeps(),
			reconfigured(unchanged), keeps())
	})
	t.Run("of a start from one", func(t *testing.T) {
		playFrom(t, stored("api 1", "web 1 2"), unchanged,
			keeps(now(taken(), "api 1", "web 1 2")),
			says("web 1"), answers(), after(time.Minute), keeps(now(taken(), "api 1", "web 1")),
			fails(), after(time.Hour), keeps(now(taken(), "api 1", "web 1")),
			reconfigured(unchanged), keeps(now(taken(), "api 1", "web 1")),
			says("api 1"), well, keeps(now(at(time.Hour+time.Minute), "api 1")))
	})
	t.Run("not during a hold", func(t *testing.T) {
		play(t, guardConf(), says("web 1 2 3 4"), well, doubtfully("web 1"), keeps(),
			after(time.Hour), well, keeps(), says("web 1 2 3"), keeps(),
			releases("web", 1), keeps(now(at(time.Hour), "web 1 2 3")))
	})
	t.Run("not during a hold of another", func(t *testing.T) {
		play(t, guardConf(), says("web 1 2 3 4"), well, doubtfully("web 1"), func(s *scene) {
			other := newDouble()
			conf := other.source("z", 1)
			conf.Identity = "there"
			s.Apply([]watcher.Source{s.conf, conf}, nil)
			s.send(other, listing("api 1"), synced())
			keeps()(s)
		})
	})
	t.Run("not of a registry without an identity", func(t *testing.T) {
		play(t, nil, reconfigured(func(s *watcher.Source) { s.Identity = "" }), says("web 1"), well, keeps())
	})
	t.Run("of none that is removed", func(t *testing.T) {
		play(t, nil, says("web 1"), well, func(s *scene) { s.Apply(nil, nil) }, keeps())
	})
	t.Run("an empty one", func(t *testing.T) { play(t, nil, well, keeps(now(at(0)))) })
}

// TestSnapshotOfSeveral: each registry is restored for itself.
func TestSnapshotOfSeveral(t *testing.T) {
	rich := richSnapshot()
	rich.Memory = nil
	inBubble(t, func(b *bench) {
		b.Restore(rich)
		r, other := newDouble().source("r", 1), newDouble().source("s", 1)
		r.Identity, other.Identity = "here", "there"
		b.Apply([]watcher.Source{other, r}, nil)
		b.Touch()
		c, _ := b.next()
		if got := c.Services(); !reflect.DeepEqual(got, rich.Registries[0].Services) {
			t.Errorf("the catalog has %+v", got)
		}
		if got := c.Overrides(); len(got) != 1 || !reflect.DeepEqual(got[0], rich.Registries[0].Overrides) {
			t.Errorf("the overrides are %+v", got)
		}
		if got, ok := b.Snapshot(); !ok || !reflect.DeepEqual(got, rich) {
			t.Errorf("got  %+v, %v\nwant %+v", got, ok, rich)
		}
	})
}

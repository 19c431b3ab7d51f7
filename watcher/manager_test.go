package watcher_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"usher/watcher"
)

var errDown = errors.New("the registry is down")

// TestMerge sends updates one after the other; want is the catalog after each,
// nil when there must be no new one.
func TestMerge(t *testing.T) {
	type step struct {
		from int // 0 or 1, the sources a and b
		send []watcher.Update
		want []string
	}
	one := func(from int, u watcher.Update, want ...string) step {
		return step{from, []watcher.Update{u}, want}
	}
	none := []string{}
	for name, steps := range map[string][]step{
		"an update replaces its service whole": {
			one(0, update("web", "1=a:1", "2=a:2"), "web@a 1=a:1 2=a:2"),
			one(0, update("web", "3=a:3"), "web@a 3=a:3"),
		},
		"services of several sources, in order": {
			one(1, update("web", "1=b:1"), "web@b 1=b:1"),
			one(0, update("zoo", "1=a:1"), "web@b 1=b:1", "zoo@a 1=a:1"),
			one(0, update("web", "1=a:1"), "web@a 1=a:1", "web@b 1=b:1", "zoo@a 1=a:1"),
			one(1, update("web"), "web@a 1=a:1", "zoo@a 1=a:1"),
		},
		"instances are sorted by ID": {
			one(0, update("web", "2=a:2", "1=a:1"), "web@a 1=a:1 2=a:2"),
			one(0, update("web", "1=a:1", "2=a:2")),
		},
		"an unchanged update wakes nobody": {
			one(0, update("web", "1=a:1"), "web@a 1=a:1"),
			one(0, update("web", "1=a:1")),
			one(0, update("web", "1=a:2"), "web@a 1=a:2"),
		},
		"removing what is not there wakes nobody": {
			one(0, update("web")),
		},
		"no instances: the service is gone": {
			one(0, update("web", "1=a:1"), "web@a 1=a:1"),
			{0, []watcher.Update{update("web")}, none},
		},
		"changes are handed out together": {
			{0, []watcher.Update{
				update("web", "1=a:1"), update("zoo", "1=a:1"), update("web", "2=a:2"), update("zoo"),
			}, []string{"web@a 2=a:2"}},
		},
		"an error removes nothing": {
			one(0, update("web", "1=a:1"), "web@a 1=a:1"),
			one(0, failed(errDown)),
			one(0, update("zoo", "1=a:1"), "web@a 1=a:1", "zoo@a 1=a:1"),
		},
		"the first sync wakes, a later one does not": {
			{0, []watcher.Update{synced()}, none},
			one(0, synced()),
			{1, []watcher.Update{synced()}, none},
		},
		"a service and a report in one update": {
			one(0, watcher.Update{
				Service: "web", Instances: update("web", "1=a:1").Instances,
				Report: &watcher.Report{Synced: true},
			}, "web@a 1=a:1"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				d := []*double{newDouble(), newDouble()}
				b.Apply([]watcher.Source{d[0].source("a", 1), d[1].source("b", 1)}, nil)
				for _, s := range steps {
					b.send(d[s.from], s.send...)
					if s.want == nil {
						b.wantNothing()
					} else {
						b.want(s.want...)
					}
				}
			})
		})
	}
}

// TestEveryFieldIsAChange changes one field of an instance at a time.
func TestEveryFieldIsAChange(t *testing.T) {
	base := func() watcher.Instance {
		return watcher.Instance{
			ID: "1", Address: "a:1", Weight: 1, Tags: []string{"t"}, Meta: map[string]string{"k": "v"},
			Announcements: []watcher.Announcement{{Text: "/"}},
		}
	}
	for name, change := range map[string]func(*watcher.Instance){
		"id":           func(in *watcher.Instance) { in.ID = "2" },
		"address":      func(in *watcher.Instance) { in.Address = "a:2" },
		"status":       func(in *watcher.Instance) { in.Status = watcher.Critical },
		"cause":        func(in *watcher.Instance) { in.Cause = "because" },
		"weight":       func(in *watcher.Instance) { in.Weight = 2 },
		"created":      func(in *watcher.Instance) { in.Created = 2 },
		"announcement": func(in *watcher.Instance) { in.Announcements[0].Text = "/x" },
		"tag":          func(in *watcher.Instance) { in.Tags[0] = "u" },
		"meta":         func(in *watcher.Instance) { in.Meta["k"] = "w" },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				d := newDouble()
				b.Apply([]watcher.Source{d.source("a", 1)}, nil)
				b.send(d, watcher.Update{Service: "web", Instances: []watcher.Instance{base()}})
				before, _ := b.next()
				b.send(d, watcher.Update{Service: "web", Instances: []watcher.Instance{base()}})
				b.wantNothing()
				in := base()
				change(&in)
				b.send(d, watcher.Update{Service: "web", Instances: []watcher.Instance{in}})
				after, _ := b.next()
				if after == nil || after.Services()[0] == before.Services()[0] {
					t.Error("the change is not seen")
				}
			})
		})
	}
}

// TestUnchangedServiceIsShared: equal pointers mean that nothing changed.
func TestUnchangedServiceIsShared(t *testing.T) {
	inBubble(t, func(b *bench) {
		d := newDouble()
		b.Apply([]watcher.Source{d.source("a", 1)}, nil)
		b.send(d, update("same", "1=a:1"), update("web", "1=a:1"))
		before, _ := b.next()
		b.send(d, update("same", "1=a:1"), update("web", "1=a:2"))
		after, _ := b.next()
		if after.Services()[0] != before.Services()[0] {
			t.Error("a service was replaced without a change")
		}
		if before.Services()[1].Instances[0].Address != "a:1" {
			t.Error("a catalog handed out was changed")
		}
	})
}

// TestSince: a catalog comes with the arrival of each registry's oldest change.
func TestSince(t *testing.T) {
	inBubble(t, func(b *bench) {
		d := []*double{newDouble(), newDouble(), newDouble()}
		b.Apply([]watcher.Source{d[0].source("a", 1), d[1].source("b", 1), d[2].source("c", 1)}, nil)
		at := func(u watcher.Update, since time.Time) watcher.Update {
			u.Since = since
			return u
		}
		start := time.Now()
		b.send(d[0], at(update("web", "1=a:1"), start.Add(time.Second)), at(update("zoo", "1=a:1"), start),
			at(update("web", "1=a:1"), start.Add(-time.Hour))) // unchanged: it does not count
		b.send(d[1], at(update("web", "1=b:1"), start.Add(time.Minute)))
		b.send(d[2], update("web", "1=c:1"))
		want := map[string]time.Time{"a": start, "b": start.Add(time.Minute)}
		if _, since := b.next(); !maps.Equal(since, want) {
			t.Errorf("since %v, want %v", since, want)
		}
		b.Touch()
		if _, since := b.next(); len(since) != 0 {
			t.Errorf("since %v after a touch, want none", since)
		}
	})
}

func TestNextEndsWithItsContext(t *testing.T) {
	inBubble(t, func(b *bench) {
		ctx, cancel := context.WithCancel(b.t.Context())
		cancel()
		if _, err := b.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestApply(t *testing.T) {
	inBubble(t, func(b *bench) {
		kept, old, gone := newDouble(), newDouble(), newDouble()
		b.Apply([]watcher.Source{kept.source("kept", 1), old.source("changed", 1), gone.source("gone", 1)}, nil)
		b.send(kept, update("web", "1=k:1"), synced())
		b.send(old, update("web", "1=o:1"), update("old", "1=o:1"), synced())
		b.send(gone, update("web", "1=g:1"), synced())
		b.want("old@changed 1=o:1", "web@changed 1=o:1", "web@gone 1=g:1", "web@kept 1=k:1")

		unused, changed := newDouble(), newDouble()
		b.Apply([]watcher.Source{unused.source("kept", 1), changed.source("changed", 2)}, nil)
		b.want("old@changed 1=o:1", "web@changed 1=o:1", "web@kept 1=k:1")
		if len(unused.started()) > 0 {
			t.Error("a source with an equal spec was started again")
		}

		b.send(changed, update("web", "1=n:1"))
		b.want("old@changed 1=o:1", "web@changed 1=n:1", "web@kept 1=k:1")
		b.send(changed, failed(errDown))
		b.wantNothing()
		b.send(changed, synced())
		b.want("web@changed 1=n:1", "web@kept 1=k:1")
		b.send(kept, update("web", "1=k:2"))
		b.want("web@changed 1=n:1", "web@kept 1=k:2")

		b.Apply(nil, nil)
		b.want()
	})
}

func TestWant(t *testing.T) {
	inBubble(t, func(b *bench) {
		d, plain := newWanting(), newDouble()
		got := func() []string {
			synctest.Wait()
			select {
			case w := <-d.wants:
				return w
			default:
				return nil
			}
		}
		sources := []watcher.Source{d.source("a", 1), plain.source("b", 1)}
		wanted := []string{"web"}
		b.Apply(sources, wanted)
		wanted[0] = "changed later"
		if w := got(); !slices.Equal(w, []string{"web"}) {
			t.Errorf("before the run: %q", w)
		}
		b.Apply(sources, []string{"web", "zoo"})
		for w := got(); !slices.Equal(w, []string{"web", "zoo"}); w = got() {
			if w == nil {
				t.Fatal("a change was not told")
			}
		}
		b.fail(d.double, errDown)
		<-time.After(time.Second)
		if w := got(); !slices.Equal(w, []string{"web", "zoo"}) {
			t.Errorf("a new run was told %q", w)
		}
	})
}

func TestStarted(t *testing.T) {
	type source struct{ timeout, syncs time.Duration } // syncs 0: never
	for name, test := range map[string]struct {
		sources map[string]source
		late    []string
		took    time.Duration
	}{
		"no sources": {},
		"all synced": {
			sources: map[string]source{"a": {10 * time.Second, time.Second}, "b": {10 * time.Second, 3 * time.Second}},
			took:    3 * time.Second,
		},
		"a dead one costs its timeout": {
			sources: map[string]source{"live": {10 * time.Second, time.Second}, "dead": {timeout: 4 * time.Second}},
			late:    []string{"dead"}, took: 4 * time.Second,
		},
		"several dead ones wait together": {
			sources: map[string]source{"a": {timeout: 4 * time.Second}, "b": {timeout: 7 * time.Second}},
			late:    []string{"a", "b"}, took: 7 * time.Second,
		},
		"a slow one is waited for beside a dead one": {
			sources: map[string]source{"dead": {timeout: 2 * time.Second}, "slow": {10 * time.Second, 9 * time.Second}},
			late:    []string{"dead"}, took: 9 * time.Second,
		},
		"no timeout: it is not waited for": {
			sources: map[string]source{"a": {0, time.Second}},
			late:    []string{"a"},
		},
		"the test's patience ends first": {
			sources: map[string]source{"a": {timeout: time.Hour}},
			late:    []string{"a"}, took: time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				var sources []watcher.Source
				for name, s := range test.sources {
					d := newDouble()
					src := d.source(name, 1)
					src.StartTimeout = s.timeout
					sources = append(sources, src)
					if s.syncs > 0 {
						go func() {
							<-time.After(s.syncs)
							d.feed <- synced()
						}()
					}
				}
				b.Apply(sources, nil)
				begin := time.Now()
				ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
				defer cancel()
				late := b.Started(ctx)
				if took := time.Since(begin); took != test.took || !slices.Equal(late, test.late) {
					t.Errorf("late %q after %v, want %q after %v", late, took, test.late, test.took)
				}
				<-time.After(time.Hour) // so that the sources sync before the bubble ends
			})
		})
	}
}

func TestCloseWaits(t *testing.T) {
	inBubble(t, func(b *bench) {
		d := newDouble()
		d.lingers = 3 * time.Second
		b.Apply([]watcher.Source{d.source("a", 1)}, nil)
		synctest.Wait()
		begin := time.Now()
		b.Close()
		if took := time.Since(begin); took != d.lingers {
			t.Errorf("Close took %v, want the %v of its source", took, d.lingers)
		}
	})
}

// TestLateWords: what a replaced source still says is not listened to.
func TestLateWords(t *testing.T) {
	inBubble(t, func(b *bench) {
		old, d := newDouble(), newDouble()
		old.lingers = time.Second
		b.Apply([]watcher.Source{old.source("a", 1)}, nil)
		b.send(old, update("web", "1=o:1"), synced())
		b.want("web@a 1=o:1")
		go b.Apply([]watcher.Source{d.source("a", 2)}, nil)
		synctest.Wait() // the old one lingers
		b.send(d, update("web", "1=n:1"), synced())
		b.want("web@a 1=n:1")
		<-time.After(time.Minute)
		b.wantNothing()
	})
}

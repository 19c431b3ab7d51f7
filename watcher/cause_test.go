package watcher_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"usher/watcher"
)

// told are the causes of the next change, one a line, and how many more there are.
func told(b *bench) (lines []string, more int) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Second)
	defer cancel()
	change, err := b.Next(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range change.Causes {
		if c.At.IsZero() {
			b.t.Errorf("%q has no time", c.Detail)
		}
		owner := watcher.Key{Registry: c.Registry, Service: c.Service}.String()
		lines = append(lines, fmt.Sprintf("%s %s: %s", c.Kind, owner, c.Detail))
	}
	return lines, change.More
}

// Each change of a catalog says what made it.
func TestCauses(t *testing.T) {
	described := listing("web 1")
	described.Instances[0].Tags = []string{"blue"}
	described.Instances[0].Announcements = []watcher.Announcement{{Text: "a.test/"}}
	failing := listing("web 1=x:1~critical")
	failing.Instances[0].Cause = `check "alive" is critical`
	for name, c := range map[string]struct {
		before, now []watcher.Update
		want        []string
	}{
		"a service appears": {
			nil,
			[]watcher.Update{listing("web 1 2=h:2~critical")},
			[]string{
				"registry web@r: instance 1 registered at web:1",
				"registry web@r: instance 2 registered at h:2, critical",
			},
		},
		"it goes": {
			[]watcher.Update{listing("web 1")},
			[]watcher.Update{listing("web")},
			[]string{"registry web@r: instance 1 is gone"},
		},
		"a check": {
			[]watcher.Update{listing("web 1=x:1")},
			[]watcher.Update{failing},
			[]string{`check web@r: 1: check "alive" is critical (was passing)`},
		},
		"an address and a check": {
			[]watcher.Update{failing},
			[]watcher.Update{listing("web 1=y:1")},
			[]string{
				`check web@r: 1: passing (was check "alive" is critical)`,
				"registry web@r: instance 1: address y:1, was x:1",
			},
		},
		"what it announces": {
			[]watcher.Update{listing("web 1")},
			[]watcher.Update{described},
			[]string{"registry web@r: instance 1: it announces other routes"},
		},
		"one of several": {
			[]watcher.Update{listing("web 1 2 3")},
			[]watcher.Update{listing("web 1 3 4")},
			[]string{"registry web@r: instance 2 is gone", "registry web@r: instance 4 registered at web:4"},
		},
		"overrides": {
			nil,
			[]watcher.Update{{Overrides: &watcher.Overrides{Refused: []watcher.RefusedOverride{{Key: "k"}}}}},
			[]string{"overrides @r: 0 routes, 0 services, 1 refused entries"},
		},
		"the first answer": {
			nil,
			[]watcher.Update{synced()},
			[]string{"registry @r: registry r has answered"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, nil, func(s *scene) {
				for _, u := range c.before {
					s.send(s.d, u)
				}
				s.catalog()
				for _, u := range c.now {
					s.send(s.d, u)
				}
				if got, more := told(s.bench); !slices.Equal(got, c.want) || more != 0 {
					t.Errorf("told\n%s\nand %d more, want\n%s",
						strings.Join(got, "\n"), more, strings.Join(c.want, "\n"))
				}
			})
		})
	}
}

// Holds say when they begin and end.
func TestCausesOfHolds(t *testing.T) {
	play(t, guardConf(), func(s *scene) {
		says("web 1 2 3 4 5")(s)
		s.catalog()
		doubtfully("web 1")(s)
		got, _ := told(s.bench)
		want := "hold web@r: instance 2 is held: " + whyAnswer
		if len(got) != 4 || got[0] != want {
			t.Errorf("told %q, want 4 that begin with %q", got, want)
		}
		says("web 1 2")(s)
		if got, _ = told(s.bench); got[0] != "hold web@r: instance 2 is listed again" {
			t.Errorf("told %q", got)
		}
		s.Release("web")
		if got, _ = told(s.bench); len(got) == 0 || !strings.Contains(got[0], "released: it is gone") {
			t.Errorf("told %q", got)
		}
	})
}

// Whoever touches the catalog says why, and thousands of changes are counted.
func TestCausesAreBounded(t *testing.T) {
	play(t, nil, func(s *scene) {
		s.Touch(watcher.Cause{Kind: watcher.CauseReload, Detail: "hash 1"})
		if got, _ := told(s.bench); !slices.Equal(got, []string{"reload @: hash 1"}) {
			t.Errorf("told %q", got)
		}
		for i := range 1000 {
			s.send(s.d, listing(fmt.Sprintf("s%d 1", i)))
		}
		got, more := told(s.bench)
		if len(got) == 0 || len(got) > 100 || len(got)+more != 1000 {
			t.Errorf("%d causes and %d more", len(got), more)
		}
		s.Touch()
		if got, more := told(s.bench); len(got) != 0 || more != 0 {
			t.Errorf("an empty touch was told as %q and %d more", got, more)
		}
	})
}

// Kept services are wanted beside those of the configuration, until others are kept.
func TestKeep(t *testing.T) {
	inBubble(t, func(b *bench) {
		d := newWanting()
		source := d.source("r", 1)
		last := func() (names []string) {
			synctest.Wait()
			for len(d.wants) > 0 {
				names = <-d.wants
			}
			return names
		}
		b.Apply([]watcher.Source{source}, []string{"a"})
		b.Keep([]string{"b", "a", "c@r"})
		if got := last(); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("%q are wanted", got)
		}
		b.Apply([]watcher.Source{source}, []string{"d"})
		if got := last(); !slices.Equal(got, []string{"d", "b", "a", "c"}) {
			t.Errorf("%q are wanted after a reload", got)
		}
		b.Keep(nil)
		if got := last(); !slices.Equal(got, []string{"d"}) {
			t.Errorf("%q are wanted when nothing is kept", got)
		}
	})
}

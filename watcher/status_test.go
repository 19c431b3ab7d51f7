package watcher_test

import (
	"testing"
	"testing/synctest"
	"time"

	"usher/watcher"
)

func TestStatuses(t *testing.T) {
	inBubble(t, func(b *bench) {
		d := newDouble()
		b.Apply([]watcher.Source{d.source("a", 1)}, nil)
		check := func(when, want string) {
			t.Helper()
			if got := b.Statuses()[0].String(); got != want {
				t.Errorf("%s: %q, want %q", when, got, want)
			}
		}
		check("at the start", "a: not synced yet")
		b.send(d, update("web", "1=a:1"),
			alive(watcher.Report{Synced: true, Seen: seen(3), Contact: "here"}))
		check("synced", "a: 3 services, 1 watched")
		b.send(d, failed(errDown))
		check("failed", "a: stale: the registry is down")
		b.send(d, alive(watcher.Report{}))
		check("well again", "a: 3 services, 1 watched")
		if s := b.Statuses()[0]; !s.Synced || s.Contact != "here" || !s.LastContact.Equal(time.Now()) {
			t.Errorf("got %+v", s)
		}
		b.fail(d, errDown)
		check("its run failed", "a: stale: the registry is down")
	})
}

func TestStatusesAreInOrder(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.Apply([]watcher.Source{newDouble().source("b", 1), newDouble().source("a", 1)}, nil)
		if s := b.Statuses(); len(s) != 2 || s[0].Name != "a" || s[1].Name != "b" {
			t.Errorf("got %+v", s)
		}
	})
}

// TestGauges checks the metrics that reports set.
func TestGauges(t *testing.T) {
	inBubble(t, func(b *bench) {
		d := newDouble()
		b.Apply([]watcher.Source{d.source("a", 1)}, nil)
		check := func(name string, want float64) {
			t.Helper()
			if got, ok := b.gauge(name, "a"); !ok || got != want {
				t.Errorf("%s is %v (%v), want %v", name, got, ok, want)
			}
		}
		check("up", 0)
		b.send(d, alive(watcher.Report{Index: 7, Watches: 2}))
		check("up", 1)
		check("index", 7)
		check("watches", 2)
		b.send(d, failed(errDown), watcher.Update{Report: &watcher.Report{Err: errDown, Watches: -1}})
		check("up", 0)
		check("stale", 1)
		check("watches", 1)

		b.Apply(nil, nil)
		if _, ok := b.gauge("up", "a"); ok {
			t.Error("a source that is gone is still counted")
		}
	})
}

// TestWatchesEnd: the watches of a run that is over have ended with it; only those
// of the new one are counted.
func TestWatchesEnd(t *testing.T) {
	watches := watcher.Update{Report: &watcher.Report{Watches: 5}}
	for name, again := range map[string]func(b *bench, d *double) *double{
		"the run failed": func(b *bench, d *double) *double {
			b.fail(d, errDown)
			return d
		},
		"the source was replaced": func(b *bench, _ *double) *double {
			d := newDouble()
			b.Apply([]watcher.Source{d.source("a", 2)}, nil)
			return d
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				d := newDouble()
				b.Apply([]watcher.Source{d.source("a", 1)}, nil)
				b.send(d, watches)
				b.send(again(b, d), watches)
				if got, _ := b.gauge("watches", "a"); got != 5 {
					t.Errorf("%v watches, want 5", got)
				}
			})
		})
	}
}

// TestFailureOfARemovedSource: a source that fails between its removal and its end
// does not come back into the metrics.
func TestFailureOfARemovedSource(t *testing.T) {
	inBubble(t, func(b *bench) {
		gone, other := newDouble(), &gated{double: newDouble(), gate: make(chan struct{})}
		kept := other.source("kept", 1)
		kept.New = func() (watcher.Discoverer, error) { return other, nil }
		b.Apply([]watcher.Source{gone.source("gone", 1), kept}, nil)
		synctest.Wait()

		other.shut.Store(true)
		applied := make(chan struct{})
		go func() {
			defer close(applied)
			b.Apply([]watcher.Source{kept}, nil)
		}()
		synctest.Wait() // Apply has removed it and is in Want
		b.fail(gone, errDown)
		close(other.gate)
		<-applied
		if _, ok := b.gauge("up", "gone"); ok {
			t.Error("a source that is gone is counted again")
		}
	})
}

// TestLastServiceGone: a registry that holds nothing any more says so.
func TestLastServiceGone(t *testing.T) {
	inBubble(t, func(b *bench) {
		d := newDouble()
		b.Apply([]watcher.Source{d.source("a", 1)}, nil)
		b.send(d, alive(watcher.Report{Synced: true, Seen: seen(1)}))
		b.send(d, alive(watcher.Report{Synced: true, Seen: seen(0)}))
		if s := b.Statuses()[0]; s.Seen != 0 {
			t.Errorf("%d services seen, want 0", s.Seen)
		}
	})
}

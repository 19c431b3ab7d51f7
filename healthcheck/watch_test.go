package healthcheck

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"usher/watcher"
)

// Each change of a state is told once, with its cause; the first one of an endpoint is none.
func TestWatch(t *testing.T) {
	var told []string
	changes := 0
	m := New(slog.New(slog.DiscardHandler), nil)
	m.Watch(Watcher{
		Transition: func(tr Transition) {
			told = append(told, fmt.Sprintf("%s@%s/%s %s: %s > %s: %s",
				tr.Service, tr.Registry, tr.ID, tr.Address, tr.From, tr.To, tr.Cause))
		},
		Changed: func() { changes++ },
	})
	table := build(nil, []watcher.Instance{in("a", watcher.Passing, 1), in("b", watcher.Critical, 1)}, "also")
	m.Adopt(table)
	if len(told) != 0 || changes == 0 {
		t.Errorf("at first: %q, %d changes", told, changes)
	}
	if got := m.States(); got[Healthy] != 1 || got[Critical] != 1 || len(got) != 2 {
		t.Errorf("states: %v", got)
	}
	changes = 0
	m.Adopt(build(table, []watcher.Instance{in("a", watcher.Maintenance, 1), in("b", watcher.Critical, 1)}, "also"))
	want := []string{"s@consul/a a:80: healthy > maintenance: the registry says maintenance"}
	if !slices.Equal(told, want) || changes == 0 {
		t.Errorf("told %q, %d changes, want %q", told, changes, want)
	}
}

// Whoever is not picked is told of as such, for a panic too.
func TestPicked(t *testing.T) {
	run(t, up("a", "b"), func(b *bench) {
		b.fail("a")
		b.advance(refreshPause)
		if b.of("a").Picked || !b.of("b").Picked {
			t.Errorf("a: %+v, b: %+v", b.of("a"), b.of("b"))
		}
	})
}

package events_test

import (
	"testing"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/events"
)

func TestLog(t *testing.T) {
	t.Parallel()
	var l events.Log
	l.Add(api.Event{Kind: "reload", Message: "one"})
	past, coming, stop := l.Subscribe(0)
	if len(past) != 1 || past[0].ID != 1 || past[0].Level != "info" || past[0].At.IsZero() {
		t.Fatalf("past: %+v", past)
	}
	l.Add(api.Event{Kind: "reload", Message: "two"})
	if e := <-coming; e.ID != 2 || e.Message != "two" {
		t.Fatalf("coming: %+v", e)
	}
	stop()
	for range 2000 {
		l.Add(api.Event{Kind: "health"})
	}
	all := l.Since(0)
	if len(all) != 1000 || all[0].ID != 1003 || all[999].ID != 2002 {
		t.Fatalf("%d events, from %d to %d", len(all), all[0].ID, all[len(all)-1].ID)
	}
	if got := l.Since(2001); len(got) != 1 {
		t.Fatalf("%d events after 2001", len(got))
	}
	select {
	case e := <-coming:
		t.Fatalf("%+v came after stop", e)
	default:
	}
}

// Who does not listen holds nobody up, and sees by the numbers that it missed some.
func TestSlowListener(t *testing.T) {
	t.Parallel()
	var l events.Log
	_, coming, stop := l.Subscribe(0)
	defer stop()
	for range 300 {
		l.Add(api.Event{})
	}
	last := uint64(0)
	for len(coming) > 0 {
		last = (<-coming).ID
	}
	if last != 256 {
		t.Fatalf("the last of those kept for the listener is %d", last)
	}
}

package tunnel

import (
	"sync/atomic"
	"testing"
	"time"

	"usher/proxy/wire"
)

// idleTunnel is a tunnel without connections that carried its last byte at the time 1.
func idleTunnel(closing bool) *Tunnel {
	t := New(Options{
		Closing: new(atomic.Bool), Sweeper: wire.NewSweeper(),
		Over: func(_, _ int64) (bool, bool) { return false, false },
	})
	t.o.Closing.Store(closing)
	t.last.Store(1)
	return t
}

// A shutdown ends the tunnels that carry nothing for drainQuiet, and only a shutdown.
func TestDue(t *testing.T) {
	for _, tc := range []struct {
		name    string
		closing bool
		quiet   time.Duration
		due     bool
	}{
		{"in service", false, 1000 * time.Hour, false},
		{"in a shutdown", true, drainQuiet - 1, false},
		{"in a shutdown, quiet", true, drainQuiet, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tn := idleTunnel(tc.closing)
			if due, idle := tn.due(1 + int64(tc.quiet)); due != tc.due || idle != tc.due {
				t.Errorf("got %t, want %t", due, tc.due)
			}
		})
	}
}

// The end begins once.
func TestEndSoon(t *testing.T) {
	tn := idleTunnel(false)
	before := tn.now()
	if !tn.endSoon() || tn.endSoon() || tn.Finish() {
		t.Error("the end does not begin once")
	}
	if by := tn.over.Load(); by < before+int64(Grace) || by > tn.now()+int64(Grace) {
		t.Errorf("it ends by %d, begun between %d and %d", by, before, tn.now())
	}
}

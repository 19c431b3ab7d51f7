package http1

import (
	"testing"
	"time"

	"usher/proxy/core"
	"usher/proxy/wire"
)

// idleTunnel is a tunnel without connections that carried its last byte at the time 1.
func idleTunnel(closing bool) *tunnel {
	s := &Server{sweeper: wire.NewSweeper()}
	s.closing.Store(closing)
	t := &tunnel{conn: &conn{server: s}, core: new(core.Tunnel)}
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
			if due := tn.due(1 + int64(tc.quiet)); due != tc.due {
				t.Errorf("got %t, want %t", due, tc.due)
			}
		})
	}
}

// The end begins once.
func TestEndSoon(t *testing.T) {
	tn := idleTunnel(false)
	before := tn.conn.now()
	if !tn.endSoon() || tn.endSoon() || tn.finish() {
		t.Error("the end does not begin once")
	}
	if by := tn.over.Load(); by < before+int64(tunnelGrace) || by > tn.conn.now()+int64(tunnelGrace) {
		t.Errorf("it ends by %d, begun between %d and %d", by, before, tn.conn.now())
	}
}

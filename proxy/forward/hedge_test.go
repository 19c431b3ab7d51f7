package forward

import (
	"log/slog"
	"testing"
)

// A second try whose goroutine comes late, when the first one has its answer and the Trip
// serves others, does nothing.
func TestHedgeLate(t *testing.T) {
	t.Parallel()
	mine, others := &Forwarder{Log: slog.New(slog.DiscardHandler)}, &Forwarder{}
	for name, after := range map[string]*Forwarder{"nobody's": nil, "another's": others} {
		trip := &Trip{forwarder: mine}
		h := trip.newHedge(0, 0)
		h.mu.Lock()
		h.end()
		h.mu.Unlock()
		trip.Forget()
		trip.forwarder = after
		func() {
			defer func() {
				if v := recover(); v != nil {
					t.Errorf("%s: panic: %v", name, v)
				}
			}()
			h.run()
		}()
	}
	if !t.Failed() {
		mine.Wait()
	}
}

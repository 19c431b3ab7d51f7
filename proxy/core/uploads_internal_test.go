package core

import (
	"testing"

	"usher/config"
	"usher/proxy/wire"
)

// A request whose body comes from the client while the endpoint is at work tells nothing
// of how fast the service is.
func TestUploadsAreNoSamples(t *testing.T) {
	t.Parallel()
	g := &guard{}
	a := newAdaptive(config.AdaptiveConcurrency{Enabled: true, Min: 1, Max: 10})
	g.adaptive.Store(a)
	c := &Core{Sweeper: wire.NewSweeper()}
	for _, streams := range []bool{true, false} {
		x := &Exchange{Streams: streams, began: 1}
		x.stay.guard = g
		c.sampled(x)
		if n := a.count.Load(); (n == 0) != streams {
			t.Errorf("streams: %t, %d samples", streams, n)
		}
		if x.Upstream = 5; (x.took() == 0) != streams {
			t.Errorf("streams: %t, it took %s", streams, x.took())
		}
	}
}

package healthcheck

import (
	"sync"
	"testing"

	"usher/routetable"
	"usher/watcher"
)

// A table may come while the held endpoints of the last one are probed.
func TestHeldWhileProbed(t *testing.T) {
	t.Parallel()
	state := &routetable.State{}
	delta := func() *routetable.Delta {
		e := &routetable.Endpoint{Address: "127.0.0.1:1", State: state, Held: &watcher.Hold{}}
		return &routetable.Delta{AddedClusters: []*routetable.Cluster{{Endpoints: []*routetable.Endpoint{e}}}}
	}
	h := newHeld()
	h.adopt(delta())
	var probing sync.WaitGroup
	for range 100 {
		list := h.all()
		probing.Go(func() { h.round(t.Context(), list, func(*routetable.Endpoint) {}) })
		h.adopt(delta())
	}
	probing.Wait()
}

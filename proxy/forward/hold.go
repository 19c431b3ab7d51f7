package forward

import (
	"sync/atomic"
	"time"

	"usher/proxy/core"
	"usher/proxy/upstream"
	"usher/proxy/wire"
)

// Hold is what others may do to a Trip while it waits for its endpoint. It belongs to a
// client and outlives its Trips, which are used again by others. Its methods may be called
// from any goroutine.
type Hold struct {
	// upstream is the endpoint's connection while it may be aborted.
	upstream atomic.Pointer[upstream.Conn]
	gone     atomic.Bool
	// left says that the client has left, whatever the Trip was about.
	left atomic.Bool
	// asked says that the whole request is sent and the head of the response is waited for.
	asked atomic.Bool
	// mover moves the request elsewhere when its endpoint is taken out, nil: it may not be;
	// moved says that it did.
	mover atomic.Pointer[core.Mover]
	moved atomic.Bool
}

// Probe ends the wait for an endpoint whose client has left. Of the others it tells for
// how long they have waited, and moves those that wait for an endpoint which was taken
// out. It is called each Tick of the sweeper; watch is the client's.
func (h *Hold) Probe(f *Forwarder, client interface{ Left() bool }, watch *wire.Watch) {
	held := h.upstream.Load()
	if held == nil {
		return
	}
	if client.Left() {
		h.Leave()
		return
	}
	h.hangs(f.Core, held, watch)
	h.move(held)
}

// Leave ends the wait for an endpoint because the client has left, and each that begins
// later. It does not block.
func (h *Hold) Leave() {
	h.left.Store(true)
	if up := h.upstream.Swap(nil); up != nil {
		h.gone.Store(true)
		up.Abort()
	}
}

// hangs tells that the head of the response has been waited for all the while, unless
// what is waited for is something else: the rest of either body.
func (h *Hold) hangs(c *core.Core, up *upstream.Conn, watch *wire.Watch) {
	now := c.Sweeper.Now()
	waited := watch.Waited(now)
	if waited > 0 && h.asked.Load() {
		c.Hanging(up, now-waited, time.Duration(waited))
	}
}

// move ends the wait for an endpoint that has been taken out, if the request may go
// elsewhere; up is its connection.
//
// The goroutine of the Trip may have gone on meanwhile, even to another request on the
// same two connections. Whoever takes up out of upstream decides: that goroutine does
// not give it back to the pool then, and a request that is not to be moved is not.
func (h *Hold) move(up *upstream.Conn) {
	m := h.mover.Load()
	if m == nil || !m.Moves(up.Endpoint().State) || !h.upstream.CompareAndSwap(up, nil) || h.mover.Load() == nil {
		return
	}
	h.moved.Store(true)
	up.Abort()
}

// take lets others abort the connection to the endpoint, drop ends that; it returns
// false when one of them has.
func (t *Trip) take(up *upstream.Conn, now int64) {
	t.hold.asked.Store(!t.Body.Streamed)
	t.movable()
	t.hold.upstream.Store(up)
	t.watch.Wait(now)
	if t.hold.left.Load() { // meanwhile
		t.hold.Leave()
	}
}

func (t *Trip) drop() bool {
	t.watch.Wait(0)
	return t.hold.upstream.Swap(nil) != nil
}

package http1

import (
	"runtime"
	"sync/atomic"
	"time"

	"usher/proxy/wire"
)

// A connection that has been quiet for parkAfter is parked: its goroutine ends, and a
// wire.Poller waits for it instead. It keeps its place in the server, its limits and
// its deadline.
//
// The way there: the sweeper finds the connection idle, makes it leaving, ends its
// wait, and makes it left. The goroutine wakes, finds it left, makes it parked, and
// ends. A request that comes in between wins: the goroutine, in its callback, makes
// the connection busy instead.
const parkAfter = time.Second

// bed is where a parked connection sleeps. The goroutine that parks it stores the
// place, whoever closes it takes it away.
type bed struct{ slot, turn atomic.Uint32 }

func (b *bed) set(p wire.Place) {
	slot, turn := p.Parts()
	b.slot.Store(slot)
	b.turn.Store(turn)
}

func (b *bed) place() wire.Place { return wire.PlaceOf(b.slot.Load(), b.turn.Load()) }

// leave ends the wait of an idle connection that has been quiet for long. The sweeper
// calls it.
func (c *conn) leave() {
	if c.server.core.Poller == nil || c.watch.Waited(c.now()) < int64(parkAfter) ||
		!c.state.CompareAndSwap(idle, leaving) {
		return
	}
	_ = c.nc.SetReadDeadline(past)
	c.state.Store(left)
}

// hasLeft says whether the wait that ended was ended by leave.
func (c *conn) hasLeft() bool {
	for c.state.Load() == leaving {
		runtime.Gosched()
	}
	return c.state.Load() == left
}

// rouse makes a connection that waits busy; false: it was closed meanwhile.
func (c *conn) rouse() bool {
	for {
		switch c.state.Load() {
		case busy:
			return true
		case idle:
			if c.state.CompareAndSwap(idle, busy) {
				return true
			}
		case leaving:
			runtime.Gosched()
		case left:
			_ = c.nc.SetReadDeadline(time.Time{})
			c.state.Store(busy)
			if c.watch.Fired() { // its deadline may just have been lifted
				_ = c.nc.SetDeadline(past)
				return false
			}
			return true
		default:
			return false
		}
	}
}

// park has the Poller wait for the connection. From then on another goroutine may
// have it.
func (c *conn) park() {
	_ = c.nc.SetReadDeadline(time.Time{})
	c.watch.Wait(0)
	again := c.slept
	c.slept = true
	c.state.Store(parked)
	// Whoever ended it before that has found nothing to close.
	if c.watch.Fired() || (c.server.closing.Load() && wire.Quiet(c.raw)) {
		c.closeParked()
		return
	}
	var failed error
	err := c.raw.Control(func(fd uintptr) {
		var at wire.Place
		if at, failed = c.server.core.Poller.Sleep(int(fd), c, again); failed == nil {
			c.bed.set(at)
		}
	})
	if err != nil || failed != nil {
		c.closeParked()
		return
	}
	c.server.core.Parked.Add(1)
	if c.state.Load() == closed { // before it was known where it sleeps
		c.server.core.Poller.Forget(c.bed.place())
	}
}

// Wake implements wire.Sleeper: there is something to read.
func (c *conn) Wake() {
	if c.state.CompareAndSwap(parked, idle) {
		go c.serve()
	}
}

// closeParked closes the connection if it is parked, and says whether it was. The
// closing needs locks that the caller may hold.
func (c *conn) closeParked() bool {
	if !c.state.CompareAndSwap(parked, closed) {
		return false
	}
	c.server.core.Poller.Forget(c.bed.place())
	go c.close()
	return true
}

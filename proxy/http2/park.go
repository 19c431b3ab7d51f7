package http2

import (
	"errors"
	"os"
	"time"

	"usher/proxy/wire"
)

// A connection that has been quiet for parkAfter is parked: its goroutines end, its buffers
// are given back, and a wire.Poller waits for it instead.
//
// The way there: the sweeper finds it quiet and ends the reader's wait; the reader ends the
// writer, and itself. What comes in between wins.
const parkAfter = time.Second

// bed is where a parked connection sleeps; Conn.mu guards it.
type bed struct {
	// leaving says that the reader's wait was ended so that it parks, slept that the
	// connection has been parked before.
	leaving, parked, slept bool
	place                  wire.Place
}

// quiet says that nothing is under way. The caller holds c.mu.
func (c *Conn) quiet() bool {
	return len(c.streams) == 0 && c.live == 0 && len(c.out) == 0 && (!c.writing || c.asleep) &&
		c.greetBy == 0 && c.ackBy == 0 && c.partBy == 0 && !c.draining && !c.ending
}

// leave ends the reader's wait. The sweeper calls it, with c.mu held.
func (c *Conn) leave() {
	if c.server.Poller != nil && !c.leaving && !c.parked && c.quiet() {
		c.leaving = true
		_ = c.nc.SetReadDeadline(past)
	}
}

// interrupted says whether the wait that ended with err was ended by leave, and makes the
// connection fit to be read from again.
func (c *Conn) interrupted(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.leaving || c.severed || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.leaving = false
	if c.toldBy == 0 { // a drain that has begun meanwhile is looked after by Probe
		c.watch.Wait(0) // or leave would come again
	}
	_ = c.nc.SetReadDeadline(time.Time{})
	return true
}

// park has the Poller wait for the connection, and says whether it does: the connection is
// somebody else's then.
func (c *Conn) park() bool {
	if !c.endWriter() {
		return false
	}
	c.releaseStreams()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.quiet() || c.writing {
		c.stayUp()
		return false
	}
	var failed error
	err := c.client.Raw.Control(func(fd uintptr) {
		c.place, failed = c.server.Poller.Sleep(int(fd), c, c.slept)
	})
	if err != nil || failed != nil {
		return false
	}
	c.parked, c.slept = true, true
	if c.server.Parked != nil {
		c.server.Parked.Add(1)
	}
	return true
}

// stayUp has the connection looked at again, unless a stream does when it ends. The caller
// holds c.mu.
func (c *Conn) stayUp() {
	if len(c.streams) == 0 && c.toldBy == 0 {
		c.watch.Wait(c.now())
	}
}

// endWriter has the writer end, and waits for that, unless something has come in between.
func (c *Conn) endWriter() (ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.quiet() {
		c.stayUp()
		return false
	}
	c.quit = true
	c.output.Signal()
	for c.writing {
		c.over.Wait()
	}
	c.quit = c.ending
	return true
}

// Wake implements wire.Sleeper: there is something to read.
func (c *Conn) Wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.parked {
		c.parked = false
		go c.serve()
	}
}

// rouse has a parked connection read again, so that it can end. The caller holds c.mu.
func (c *Conn) rouse() {
	if c.parked {
		c.parked = false
		c.server.Poller.Forget(c.place)
		go c.serve()
	}
}

// closeIdle ends the connection if it waits for a request. One that has come already,
// though nobody has read it yet, is served.
func (c *Conn) closeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.streams) > 0 || c.partBy > 0 || c.client.Raw != nil && !wire.Quiet(c.client.Raw) {
		return
	}
	c.endIdle()
	c.rouse()
}

// endIdle ends a connection without streams: at once, unless its first request may be on
// its way. The caller holds c.mu.
func (c *Conn) endIdle() {
	if c.last == 0 && !c.parked {
		c.startDrain()
	} else {
		c.bye(NoError, "")
	}
}

// kill ends the connection without a word.
func (c *Conn) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut()
	c.rouse()
}

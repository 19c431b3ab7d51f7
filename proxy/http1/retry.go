package http1

import (
	"errors"
	"time"

	"usher/proxy/core"
	"usher/proxy/upstream"
	"usher/proxy/wire"
)

// errMoved is a response that came just when its endpoint was taken out.
var errMoved = errors.New("the request was moved elsewhere")

// move ends the wait for an endpoint that has been taken out, if the request may go
// elsewhere; up is its connection. It is part of Probe.
//
// The goroutine of the connection may have gone on meanwhile, even to another request on
// the same two connections. Whoever takes up out of upstream decides: that goroutine does
// not give it back to the pool then, and a request that is not to be moved is not.
func (c *conn) move(up *upstream.Conn) {
	m := c.mover.Load()
	if m == nil || !m.Moves(up.Endpoint().State) || !c.upstream.CompareAndSwap(up, nil) || c.mover.Load() == nil {
		return
	}
	c.moved.Store(true)
	up.Abort()
}

// movable lets move do so during the try that begins, if that is allowed.
func (c *conn) movable() {
	m := c.server.core.Mover(&c.x)
	c.moves = m != nil
	if c.mover.Load() != m { // mostly the one of the request before
		c.mover.Store(m)
	}
	if c.moved.Load() {
		c.moved.Store(false)
	}
}

// unmovable says that the endpoint is at work on the request: it has sent an interim
// response. The request is not sent to another then.
func (c *conn) unmovable() {
	c.x.Replayable = false
	if c.moves {
		c.moves = false
		c.mover.Store(nil)
	}
}

// settle says that a response has come, so that the request is not moved any more; false
// when it was. A response that is at hand to its end needs no more of its connection.
func (c *conn) settle() bool {
	if !c.moves || c.wholeResponse() {
		return true
	}
	c.mover.Store(nil)
	return c.upstream.Load() != nil || c.gone.Load()
}

// wholeResponse says whether the response, whose head was read, is in the buffer whole.
func (c *conn) wholeResponse() bool {
	switch c.responseFraming() {
	case bodyless:
		return true
	case byLength:
		have := c.up.Reader.Buffered()
		if c.verbatim {
			have -= c.upHead.Len
		}
		return c.responseLength() <= int64(have)
	default:
		return false
	}
}

// unwanted says whether the response is to be dropped for another try.
func (c *conn) unwanted() bool {
	status := c.upHead.Status
	return !c.verbatim && status >= 400 &&
		c.server.core.Unwanted(&c.x, status, c.resp.Peek("Retry-After"), c.drainField())
}

// dropResponse does away with a response: its connection serves others if that costs no
// wait.
func (c *conn) dropResponse() {
	up := c.up
	whole := c.wholeResponse() && !c.resp.ConnectionClose() && !c.pump.started
	if whole && c.responseFraming() == byLength {
		_, _ = up.Reader.Discard(c.resp.ContentLength())
	}
	if !whole || up.Reader.Buffered() > 0 || !c.drop() {
		_ = c.abandon() // a request whose body is streamed is not repeated
		return
	}
	c.up = nil
	up.Release()
}

// pauser watches the client while its request waits for the next try.
type pauser struct {
	watch  wire.Watch
	client *conn
	// over is closed when nobody waits for the request any more. Expire and Probe are called
	// by one goroutine at a time.
	over  chan struct{}
	ended bool
}

// Expire implements wire.Expirer.
func (p *pauser) Expire() {
	if !p.ended {
		p.ended = true
		close(p.over)
	}
}

// Probe implements wire.Prober.
func (p *pauser) Probe() {
	if wire.Ended(p.client.raw) {
		p.Expire()
	}
}

// pause waits between two tries. It ends early when the client leaves, when its connection
// is cut, and with the time for the whole request: the Reason then is the answer.
func (c *conn) pause(d time.Duration) core.Reason {
	if d <= 0 {
		return core.None
	}
	now := c.now()
	late := c.deadline > 0 && now+int64(d) >= c.deadline
	if late {
		d = time.Duration(c.deadline - now)
	}
	c.watch.Arm(0) // what the client sends next is not waited for now
	p := &pauser{client: c, over: make(chan struct{})}
	c.server.sweeper.Add(&p.watch, p)
	defer c.server.sweeper.Remove(&p.watch)
	p.watch.Wait(now)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.over:
		return core.ClientGone
	case <-t.C:
	}
	if late {
		return core.TotalTimeout
	}
	return core.None
}

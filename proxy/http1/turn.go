package http1

import (
	"errors"

	"usher/proxy/wire"
)

// turn is how a connection waits for its requests.
//
// A read that finds nothing costs a system call for nothing, and so does the
// usual order of things: answer, try to read, wait, read. So the loop over
// requests lives in one callback of syscall.RawConn.Read. The callback is called
// when the socket has become readable; it reads, serves the request, writes the
// answer, and returns false, which waits for the next readiness. Since the poller
// is not reset between, what arrives meanwhile is not missed.
//
// Within the callback the read lock of the connection is held: whatever else must
// read from the client (a body that is streamed, lingering) first leaves it.
type turn struct {
	fd uintptr
	// within says that the callback is running.
	within bool
	// ready says that a read may find something: the socket has become readable and
	// no read has come back short since.
	ready bool
	// served counts the requests of the connection, up to a few.
	served uint8
	// blank counts the empty lines before a head.
	blank int
	// refused is what the head at hand is refused for; end says that the connection
	// is over; leave that the request must be served outside of the callback.
	refused    error
	end, leave bool
	// linger says that the connection ends by lingering.
	linger bool
}

// serveTurn waits for requests and serves them until one needs to be served
// outside of the callback, serves that, and says whether the connection goes on.
func (c *conn) serveTurn(callback func(fd uintptr) bool) bool {
	t := &c.turn
	t.end, t.leave = false, false
	if err := c.raw.Read(callback); err != nil {
		if !c.hasLeft() {
			c.waitFailed()
		}
		return false
	}
	if t.leave {
		t.leave = false
		t.end = !c.handle(t.refused)
		c.Head.Reset()
	}
	if t.linger {
		c.linger()
	}
	return !t.end
}

// waitFailed ends a connection whose deadline came while it waited.
func (c *conn) waitFailed() {
	c.leaveTurn()
	if c.work != nil && c.watch.Fired() && c.br.Buffered() > 0 {
		c.handle(errHeadTimeout)
	}
}

// Read implements io.Reader for the buffer. Within the callback it does not wait.
func (c *conn) Read(p []byte) (int, error) {
	t := &c.turn
	if c.secure != nil {
		return c.secure.Read(p)
	}
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	if !t.within {
		return c.nc.Read(p)
	}
	if !t.ready {
		return 0, errAgain
	}
	n, err := wire.RawRead(t.fd, p)
	t.ready = n == len(p)
	return n, err
}

// onReadable is the callback: it serves the requests at hand. It returns false to
// wait for more, true to leave.
func (c *conn) onReadable(fd uintptr) bool {
	if !c.rouse() {
		c.turn.end = true // the drain was faster
		return true
	}
	c.acquire()
	c.enter(fd)
	leave := c.serveReady()
	c.leaveTurn()
	return leave
}

// enter and leaveTurn are the ends of what is done within the callback.
func (c *conn) enter(fd uintptr) {
	t := &c.turn
	t.fd, t.within, t.ready = fd, true, true
	if c.secure != nil {
		c.secure.Within(fd)
	}
}

func (c *conn) leaveTurn() {
	c.turn.within = false
	if c.secure != nil {
		c.secure.Without()
	}
}

// look has the next read try, though the last one has found nothing more.
func (c *conn) look() {
	c.turn.ready = true
	if c.secure != nil {
		c.secure.Ready()
	}
}

// serveReady serves until there is nothing to read.
func (c *conn) serveReady() (leave bool) {
	t := &c.turn
	for {
		err := c.readHead()
		if again(err) && c.begun() {
			// A head came in part. Its client's end may have come with it, in the same
			// event: no other one would tell.
			c.look()
			err = c.readHead()
		}
		switch {
		case again(err):
			return c.mayWait()
		case errors.Is(err, errGone):
			t.end = true
			return true
		}
		t.refused = err
		if err == nil && (!c.wholeBody() || c.Head.Has(wire.HasUpgrade)) {
			t.leave = true
			return true
		}
		goes := c.handle(err)
		c.Head.Reset()
		if !goes {
			t.end = true
			return true
		}
		c.lookOnce()
	}
}

// begun says whether something of the next request has come.
func (c *conn) begun() bool {
	return c.br.Buffered() > 0 || c.secure != nil && c.secure.Partial()
}

// lookOnce makes the wait after a connection's first request try to read: a client
// that has said all it wants, and closed its side with the request, is seen at
// once that way. Later requests save that system call.
func (c *conn) lookOnce() {
	if c.turn.served == 0 {
		c.turn.served = 1
		c.look()
	}
}

// wholeBody says whether the request's body, if it has one, is in the buffer.
func (c *conn) wholeBody() bool {
	n := c.Head.ContentLength
	return !c.Head.Chunked && n <= int64(c.br.Buffered()-c.Head.Len)
}

// mayWait sets the deadline of the wait that follows. Between requests the
// connection is idle, and the drain may close it. The state is set before closing
// is looked at, and Shutdown sets closing before it looks at the state: one of the
// two sees the other.
func (c *conn) mayWait() (leave bool) {
	if c.begun() {
		if !c.timed { // its beginning came with the last request, or is less than a record
			c.armHead(c.now())
		}
		return false
	}
	now := c.Ended
	if now == 0 { // it waits for its first request
		now = c.now()
	}
	c.timed = false
	c.release()
	c.watch.Arm(c.listener.IdleDeadline(now))
	c.watch.Wait(now)
	c.state.Store(idle)
	if c.server.closes(c) && wire.RawQuiet(c.turn.fd) && c.state.CompareAndSwap(idle, closed) {
		c.turn.end = true
		return true
	}
	return false
}

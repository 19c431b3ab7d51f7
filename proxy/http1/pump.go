package http1

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"usher/proxy/core"
	"usher/proxy/upstream"
	"usher/proxy/wire"
)

// spliceMin is the length of a body from which it is moved within the kernel
// rather than through a buffer.
const spliceMin = 64 << 10

// pumpGrace is how long the end of a response waits for the sending of the
// request's body to notice that it is done.
const pumpGrace = 100 * time.Millisecond

// pump sends a request's body while the response is awaited.
type pump struct {
	started bool
	// headSeen says that the response has begun, so that its deadline is no longer
	// the pump's to set.
	headSeen atomic.Bool
	// armed is the deadline that the pump set last for the client.
	armed int64
	// last says that the last of the body is being written, failed that it was not
	// sent whole.
	last, failed atomic.Bool
	// stopped says that the pump was told to end.
	stopped atomic.Bool
	done    chan error
	// sent counts the body's bytes.
	sent atomic.Uint64
}

// clientError is a body that could not be read from the client.
type clientError struct{ err error }

func (e *clientError) Error() string { return fmt.Sprintf("request body: %v", e.err) }
func (e *clientError) Unwrap() error { return e.err }

// errTooLarge is a body over the listener's limit.
var errTooLarge = errors.New("larger than this listener takes")

// startPump begins to send the body.
func (c *conn) startPump(a *core.Attempt) {
	p := &c.pump
	p.started, p.armed = true, 0
	p.headSeen.Store(false)
	p.stopped.Store(false)
	p.last.Store(false)
	p.failed.Store(false)
	p.sent.Store(0)
	c.up.Watch.Arm(c.deadline)
	up := c.up
	go func() {
		err := c.sendSafely(up, a)
		p.failed.Store(err != nil)
		var ce *clientError
		switch {
		case errors.As(err, &ce), errors.Is(err, errPanic):
			up.Abort()
		case err == nil && !p.headSeen.Load():
			c.watch.Disarm(p.armed) // unless the response has set another one
			up.Watch.Arm(c.until(c.now(), a.Policy.Timeout))
			c.asked.Store(true)
			if p.headSeen.Load() {
				c.asked.Store(false) // it came meanwhile
			}
		}
		p.done <- err
	}()
}

// stopPump waits for the pump, ending it if it has not ended by itself. It returns
// what was wrong with the body on the client's side.
func (c *conn) stopPump() error {
	err, ended := c.awaitPump()
	if !ended {
		c.pump.stopped.Store(true)
		_ = c.nc.SetReadDeadline(past)
		c.up.Abort()
		err = <-c.pump.done
	}
	c.pump.started = false
	c.x.Received = c.pump.sent.Load()
	c.body.taken = err == nil && ended // a client whose reads were ended has no next request
	var ce *clientError
	if errors.As(err, &ce) && !c.pump.stopped.Load() {
		return ce
	}
	return nil
}

// awaitPump gives the pump a moment to end.
func (c *conn) awaitPump() (err error, ended bool) { //nolint:revive // the error is a result, not this call's
	select {
	case err = <-c.pump.done:
		return err, true
	default:
	}
	t := time.NewTimer(pumpGrace)
	defer t.Stop()
	select {
	case err = <-c.pump.done:
		return err, true
	case <-t.C:
		return nil, false
	}
}

// errPanic is a body that was not sent for a fault of usher's own.
var errPanic = errors.New("panic")

// sendSafely is sendBody, with a fault in it kept from ending the process.
func (c *conn) sendSafely(up *upstream.Conn, a *core.Attempt) (err error) {
	defer func() {
		if v := recover(); v != nil {
			c.server.log.Error("panic while sending a body", "panic", v, "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	return c.sendBody(up, a)
}

// sendBody copies the body to the endpoint.
func (c *conn) sendBody(up *upstream.Conn, a *core.Attempt) error {
	idle := a.Policy.IdleTimeout
	if c.head.Chunked {
		return c.sendChunks(up, idle)
	}
	left := c.head.ContentLength
	for left > 0 {
		if c.br.Buffered() == 0 && left >= spliceMin {
			if _, plain, ok := up.Plain(); ok {
				return c.spliceBody(up, plain, left, idle)
			}
			return c.copyBody(up, left, idle)
		}
		b, err := c.peekBody(left, idle)
		if err != nil {
			return &clientError{err}
		}
		c.pump.last.Store(int64(len(b)) == left)
		if err := c.sendUp(up, b, idle); err != nil {
			return err
		}
		_, _ = c.br.Discard(len(b))
		left -= int64(len(b))
		c.pump.sent.Add(uint64(len(b)))
	}
	return nil
}

// armPump sets the deadline of the client's next bytes.
func (c *conn) armPump(at int64) {
	c.pump.armed = at
	c.watch.Arm(at)
}

// peekBody returns what is at hand of the body, waiting for a byte.
func (c *conn) peekBody(left int64, idle time.Duration) ([]byte, error) {
	if c.br.Buffered() == 0 {
		c.armPump(c.until(c.now(), idle))
		if _, err := c.br.Peek(1); err != nil {
			return nil, err
		}
	}
	return c.br.Peek(int(min(left, int64(c.br.Buffered()))))
}

// sendUp writes b to the endpoint. However long that takes, it is not the client's doing.
func (c *conn) sendUp(up *upstream.Conn, b []byte, idle time.Duration) error {
	first := c.beginSending(up, idle)
	_, err := up.Write(b)
	c.endSending(up, first)
	return err
}

// beginSending gives the endpoint its time to take something, unless its response has begun:
// first says that it has not.
func (c *conn) beginSending(up *upstream.Conn, idle time.Duration) (first bool) {
	c.watch.Disarm(c.pump.armed)
	first = !c.pump.headSeen.Load()
	if first {
		up.Watch.Arm(c.until(c.now(), idle))
	}
	return first
}

// endSending ends what beginSending began: the client's next bytes are not the endpoint's to
// wait for.
func (c *conn) endSending(up *upstream.Conn, first bool) {
	if first && !c.pump.headSeen.Load() {
		up.Watch.Arm(c.deadline)
	}
}

// spliceBody moves the rest of the body within the kernel to the endpoint's plain
// connection.
func (c *conn) spliceBody(up *upstream.Conn, plain syscall.RawConn, left int64, idle time.Duration) error {
	p := wire.TakePipe()
	if p == nil {
		return c.copyBody(up, left, idle)
	}
	defer p.Release()
	for left > 0 {
		c.armPump(c.until(c.now(), idle))
		n, err := p.Fill(c.raw, int(min(left, wire.PipeSize)))
		if n == 0 && err == nil {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return &clientError{err}
		}
		c.pump.last.Store(int64(n) == left)
		left -= int64(n)
		for p.Held() > 0 {
			if err := c.drainUp(up, p, plain, idle); err != nil {
				return err
			}
		}
	}
	return nil
}

// drainUp gives the endpoint some of what the pipe holds, as sendUp gives it bytes.
func (c *conn) drainUp(up *upstream.Conn, p *wire.Pipe, plain syscall.RawConn, idle time.Duration) error {
	c.watch.Disarm(c.pump.armed)
	first := !c.pump.headSeen.Load()
	if first {
		up.Watch.Arm(c.until(c.now(), idle))
	}
	n, err := p.Drain(plain)
	if first && !c.pump.headSeen.Load() {
		up.Watch.Arm(c.deadline)
	}
	c.pump.sent.Add(uint64(n))
	return err
}

// sendChunks decodes the body's chunks and sends them framed anew; trailers are
// dropped.
func (c *conn) sendChunks(up *upstream.Conn, idle time.Duration) error {
	limit := uint64(c.listener.MaxBodySize)
	for {
		c.armPump(c.until(c.now(), idle))
		b, err := c.chunks.Next()
		if errors.Is(err, io.EOF) {
			c.pump.last.Store(true)
			first := c.beginSending(up, idle)
			err = up.WriteLastChunk()
			c.endSending(up, first)
			return err
		}
		if err != nil {
			return &clientError{err}
		}
		if limit > 0 && c.pump.sent.Load()+uint64(len(b)) > limit {
			return &clientError{errTooLarge}
		}
		first := c.beginSending(up, idle)
		err = up.WriteChunk(b)
		if c.endSending(up, first); err != nil {
			return err
		}
		c.pump.sent.Add(uint64(len(b)))
		c.chunks.Advance(len(b))
	}
}

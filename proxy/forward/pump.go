package forward

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
	// keeps says that all that was sent is in Trip.kept. It is the pump's until that ends.
	keeps bool
	// cut says that it ended by itself because the endpoint took no more.
	cut bool
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
func (t *Trip) startPump(a *core.Attempt) {
	p := &t.pump
	p.started, p.armed = true, 0
	p.headSeen.Store(false)
	p.stopped.Store(false)
	p.last.Store(false)
	p.failed.Store(false)
	p.sent.Store(0)
	if !t.resumes {
		p.keeps, t.kept = t.X.GRPC() && t.Head.Chunked, t.kept[:0]
	}
	t.up.Watch.Arm(t.Deadline)
	up := t.up
	go func() {
		err := t.sendSafely(up, a)
		p.failed.Store(err != nil)
		var ce *clientError
		switch {
		case errors.As(err, &ce), errors.Is(err, errPanic):
			up.Abort()
		case err == nil && !p.headSeen.Load():
			t.watch.Disarm(p.armed) // unless the response has set another one
			up.Watch.Arm(t.Until(t.now(), a.Policy.Timeout))
			t.hold.asked.Store(true)
			if p.headSeen.Load() {
				t.hold.asked.Store(false) // it came meanwhile
			}
		}
		p.done <- err
	}()
}

// stopPump waits for the pump, ending it if it has not ended by itself. It returns
// what was wrong with the body on the client's side.
func (t *Trip) stopPump() error {
	err, ended := t.awaitPump()
	if !ended {
		t.pump.stopped.Store(true)
		t.client.StopBody()
		t.up.Abort()
		err = <-t.pump.done
	}
	t.pump.started = false
	t.X.Received = t.pump.sent.Load()
	t.Body.Taken = err == nil && ended // a client whose reads were ended has no next request
	var ce *clientError
	ours := errors.As(err, &ce) || errors.Is(err, errPanic)
	t.pump.cut = ended && err != nil && !ours
	if ce != nil && !t.pump.stopped.Load() {
		return ce
	}
	return nil
}

// awaitPump gives the pump a moment to end.
func (t *Trip) awaitPump() (err error, ended bool) { //nolint:revive // the error is a result, not this call's
	select {
	case err = <-t.pump.done:
		return err, true
	default:
	}
	if t.up.Watch.Fired() {
		return nil, false // the endpoint's time is over, and with it that of the body
	}
	grace := time.NewTimer(pumpGrace)
	defer grace.Stop()
	select {
	case err = <-t.pump.done:
		return err, true
	case <-grace.C:
		return nil, false
	}
}

// errPanic is a body that was not sent for a fault of usher's own.
var errPanic = errors.New("panic")

// sendSafely is sendBody, with a fault in it kept from ending the process.
func (t *Trip) sendSafely(up *upstream.Conn, a *core.Attempt) (err error) {
	defer func() {
		if v := recover(); v != nil {
			t.forwarder.Log.Error("panic while sending a body", "panic", v, "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	return t.sendBody(up, a)
}

// sendBody copies the body to the endpoint.
func (t *Trip) sendBody(up *upstream.Conn, a *core.Attempt) error {
	idle := a.Policy.IdleTimeout
	if t.Head.Chunked {
		return t.sendChunks(up, idle)
	}
	left := t.Head.ContentLength
	for left > 0 {
		if left >= spliceMin {
			if raw, ok := t.client.BulkBody(); ok {
				return t.bulkBody(up, raw, left, idle)
			}
		}
		b, err := t.peekBody(left, idle)
		if err != nil {
			return &clientError{err}
		}
		t.pump.last.Store(int64(len(b)) == left)
		if err := t.sendUp(up, b, idle); err != nil {
			return err
		}
		t.client.TookBody(len(b))
		left -= int64(len(b))
		t.pump.sent.Add(uint64(len(b)))
	}
	return nil
}

// armPump sets the deadline of the client's next bytes. That of the request is the
// endpoint's to keep.
func (t *Trip) armPump(at int64) {
	t.pump.armed = at
	t.watch.Arm(at)
}

// peekBody returns what is at hand of the body, waiting for a byte.
func (t *Trip) peekBody(most int64, idle time.Duration) ([]byte, error) {
	t.armPump(after(t.now(), idle))
	return t.client.PeekBody(most)
}

// bulkBody sends the rest of a body of which nothing is at hand: within the kernel where
// raw, which is not nil then, and the endpoint's connection can do that.
func (t *Trip) bulkBody(up *upstream.Conn, raw syscall.RawConn, left int64, idle time.Duration) error {
	if _, plain, ok := up.Plain(); ok && raw != nil {
		return t.spliceBody(up, raw, plain, left, idle)
	}
	return t.copyBody(up, left, idle)
}

// sendUp writes b to the endpoint. However long that takes, it is not the client's doing.
func (t *Trip) sendUp(up *upstream.Conn, b []byte, idle time.Duration) error {
	first := t.beginSending(up, idle)
	_, err := up.Write(b)
	t.endSending(up, first, idle)
	return err
}

// beginSending gives the endpoint its time to take something, unless its response has begun:
// first says that it has not.
func (t *Trip) beginSending(up *upstream.Conn, idle time.Duration) (first bool) {
	t.watch.Disarm(t.pump.armed)
	first = !t.pump.headSeen.Load()
	if first {
		up.Watch.Arm(t.Until(t.now(), idle))
	}
	return first
}

// endSending ends what beginSending began: the client's next bytes are not the endpoint's to
// wait for. Once its response has begun what moves one way is not idle.
func (t *Trip) endSending(up *upstream.Conn, first bool, idle time.Duration) {
	if first && !t.pump.headSeen.Load() {
		up.Watch.Arm(t.Deadline)
	} else {
		up.Watch.Extend(t.Until(t.now(), idle))
	}
}

// spliceBody moves the rest of the body within the kernel to the endpoint's plain
// connection.
func (t *Trip) spliceBody(up *upstream.Conn, raw, plain syscall.RawConn, left int64, idle time.Duration) error {
	p := wire.TakePipe()
	if p == nil {
		return t.copyBody(up, left, idle)
	}
	defer p.Release()
	for left > 0 {
		t.armPump(after(t.now(), idle))
		n, err := p.Fill(raw, int(min(left, wire.PipeSize)))
		if n == 0 && err == nil {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return &clientError{err}
		}
		t.pump.last.Store(int64(n) == left)
		left -= int64(n)
		for p.Held() > 0 {
			if err := t.drainUp(up, p, plain, idle); err != nil {
				return err
			}
		}
	}
	return nil
}

// drainUp gives the endpoint some of what the pipe holds, as sendUp gives it bytes.
func (t *Trip) drainUp(up *upstream.Conn, p *wire.Pipe, plain syscall.RawConn, idle time.Duration) error {
	first := t.beginSending(up, idle)
	n, err := p.Drain(plain)
	t.endSending(up, first, idle)
	t.pump.sent.Add(uint64(n))
	return err
}

// sendChunks sends a body whose length is not known; its trailers are dropped.
func (t *Trip) sendChunks(up *upstream.Conn, idle time.Duration) error {
	limit := uint64(t.X.Listener.MaxBodySize)
	if t.resumes && len(t.kept) > 0 {
		if err := t.sendChunk(up, t.kept, idle); err != nil {
			return err
		}
	}
	for {
		b, err := t.peekBody(readBuffer, idle)
		if errors.Is(err, io.EOF) {
			t.pump.last.Store(true)
			first := t.beginSending(up, idle)
			err = up.WriteLastChunk()
			t.endSending(up, first, idle)
			return err
		}
		if err != nil {
			return &clientError{err}
		}
		if limit > 0 && t.pump.sent.Load()+uint64(len(b)) > limit {
			return &clientError{errTooLarge}
		}
		t.keep(b)
		err = t.sendChunk(up, b, idle)
		if err == nil || t.pump.keeps {
			t.client.TookBody(len(b))
		}
		if err != nil {
			return err
		}
	}
}

func (t *Trip) sendChunk(up *upstream.Conn, b []byte, idle time.Duration) error {
	first := t.beginSending(up, idle)
	err := up.WriteChunk(b)
	t.endSending(up, first, idle)
	if err == nil {
		t.pump.sent.Add(uint64(len(b)))
	}
	return err
}

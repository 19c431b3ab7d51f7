package http2

import (
	"errors"
	"io"
	"sync"

	"usher/proxy/wire"
)

// What the methods of a Stream return when it is over.
var (
	// ErrGone says that the client has broken the stream off, or left.
	ErrGone = errors.New("the client has gone")
	// ErrLate says that the deadline of the stream's Watch is over.
	ErrLate = errors.New("the stream's deadline is over")
	// ErrReset says that the Handler itself has reset the stream.
	ErrReset = errors.New("the stream is reset")
	// ErrStopped says that StopBody was called.
	ErrStopped = errors.New("the body is not waited for any more")
	// ErrEnded says that the response was at its end already.
	ErrEnded = errors.New("the response has ended")
	// ErrNoHead says that what was to be the head of a response is none.
	ErrNoHead = errors.New("malformed head of a response")
)

// Handler serves the streams of a Server.
type Handler interface {
	// Serve answers a request. It may block; it is called from a goroutine of its own.
	// The Stream is not to be used after it returns. A stream whose response has no end
	// by then is reset.
	Serve(s *Stream)
}

// Aborter is what a Handler waits for elsewhere.
type Aborter interface {
	// Abort ends the wait. It must not block, nor use the Stream.
	Abort()
}

// Stream is a request and its response. The methods that read the request may be called
// from one goroutine and those that write the response from another one.
type Stream struct {
	// Attachment is the Handler's: it is not touched when the Stream is used again, for
	// another request on whatever connection.
	Attachment any

	conn *Conn
	id   uint32
	// head is the text of the request's head, enc the block of the response's.
	head, enc []byte
	// large says that the head was too large.
	large bool
	watch wire.Watch
	// declared is the Content-Length, -1 for none.
	declared int64
	// began is when the stream was opened.
	began int64

	// Conn.mu guards the rest.

	// cond wakes who waits for the client on this stream.
	cond sync.Cond
	body body
	// received is how much of the body has come; inWindow what more may come, inDue what
	// was taken and not given back.
	received, inWindow, inDue int64
	// lent is how much of the body the Handler has and was not given back.
	lent int
	// outWindow is what may be sent.
	outWindow int64
	// open says that the stream is among those of the connection. inEnd and outEnd say
	// that the request and the response are complete.
	open, inEnd, outEnd bool
	// inLine says that it waits in the connection's line.
	inLine bool
	// stopped says that the Handler waits for the body no more.
	stopped bool
	// late says that the deadline is over; err is why nothing works any more.
	late bool
	err  error
	held Aborter
}

var streams = sync.Pool{New: func() any { return new(Stream) }}

// lockSpare locks c.mu and sees to it that there is a stream to be used.
func (c *Conn) lockSpare() {
	c.mu.Lock()
	if len(c.free) > 0 {
		return
	}
	c.mu.Unlock()
	s := streams.Get().(*Stream) //nolint:forcetypeassert // the pool holds nothing else
	s.conn, s.cond.L = c, &c.mu
	c.server.Sweeper.Add(&s.watch, s) // not while c.mu is held: Expire takes it
	c.mu.Lock()
	c.free = append(c.free, s)
}

// begin makes the stream ready for another request. The caller holds c.mu.
func (s *Stream) begin(id uint32, outWindow, inWindow int64) {
	s.id, s.open, s.large = id, true, false
	s.declared, s.received, s.inDue = -1, 0, 0
	s.inWindow, s.outWindow = inWindow, outWindow
	s.inEnd, s.outEnd, s.late, s.stopped = false, false, false, false
	s.err, s.held, s.lent = nil, nil, 0
}

// end makes everything that the Handler does with the stream fail. The caller holds c.mu.
func (s *Stream) end(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	s.wakeAll()
	s.abort()
}

func (s *Stream) abort() {
	if s.held != nil {
		s.held.Abort()
		s.held = nil
	}
}

// wakeAll wakes whoever waits on the stream, wherever.
func (s *Stream) wakeAll() {
	s.cond.Broadcast()
	s.conn.space.Broadcast()
}

// abandon gives back a stream that has no Handler any more. The caller holds c.mu.
func (c *Conn) abandon(s *Stream) {
	s.body.drop()
	s.body.giveBack()
	s.held = nil
	if cap(s.head) > small {
		s.head = nil
	}
	if cap(s.enc) > small {
		s.enc = nil
	}
	c.free = append(c.free, s)
	if c.live--; c.live == 0 {
		c.over.Broadcast()
	}
}

// served is called when the Handler has returned.
func (c *Conn) served(s *Stream) {
	s.watch.Arm(0)
	s.watch.Wait(0)
	if s.watch.Fired() { // it is of no more use
		c.server.Sweeper.Remove(&s.watch)
		c.server.Sweeper.Add(&s.watch, s)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case s.err != nil:
	case !s.outEnd:
		c.reset(s, InternalError)
	case !s.inEnd: // the rest of the request is not wanted (RFC 9113 §8.1)
		c.reset(s, NoError)
	}
	c.abandon(s)
}

// reset breaks a stream off. The caller holds c.mu.
func (c *Conn) reset(s *Stream, code Code) {
	if !s.open {
		return
	}
	c.out = appendReset(c.out, s.id, code)
	c.wake()
	c.close(s, byUs)
}

// Conn returns the connection of the stream.
func (s *Stream) Conn() *Conn { return s.conn }

// ID returns the stream's identifier.
func (s *Stream) ID() uint32 { return s.id }

// Head returns the head of the request as HTTP/1.1 would say it, the blank line included:
// names in lower case, Host first, and Content-Length or Transfer-Encoding if there is a
// body; the body itself is not chunked. It is valid until Serve returns.
func (s *Stream) Head() []byte { return s.head }

// TooLarge says that the head was larger than what is taken, which is to be answered 431.
// Head returns the front of it then, which may be anything, and there is no body.
func (s *Stream) TooLarge() bool { return s.large }

// Watch returns the deadline of the stream. When it is over, what waits for the client
// ends; what need not wait still works.
func (s *Stream) Watch() *wire.Watch { return &s.watch }

// Expire implements wire.Expirer.
func (s *Stream) Expire() {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.late = true
	s.wakeAll()
}

// Probe implements wire.Prober: it asks the Aborter, if that is a Prober too. That may
// happen once more right after Drop.
func (s *Stream) Probe() {
	s.conn.mu.Lock()
	held := s.held
	s.conn.mu.Unlock()
	if p, ok := held.(interface{ Probe() }); ok {
		p.Probe()
	}
}

// Gone says whether the client has broken the stream off, or left.
func (s *Stream) Gone() bool {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.err == ErrGone //nolint:errorlint // it is never wrapped
}

// Hold has a aborted when the client breaks the stream off, or leaves; it returns false,
// and does nothing, when that is the case already. Drop ends it.
func (s *Stream) Hold(a Aborter) bool {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.err != nil {
		return false
	}
	s.held = a
	return true
}

// Drop ends what Hold began, and returns false when that was aborted: it is of no more
// use. Once it has returned Abort is not called any more.
func (s *Stream) Drop() bool {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	held := s.held != nil
	s.held = nil
	return held
}

// Body returns what is known of the request's body: its length, -1 when that is not known,
// and whether all of it has come. A body of length 0 is none.
func (s *Stream) Body() (length int64, whole bool) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.inEnd {
		return s.received, true
	}
	return s.declared, false
}

// Gather waits until the whole body has come, or more than n bytes wait to be read, or as
// much as the stream's window lets come, and says whether it is whole.
func (s *Stream) Gather(n int) (whole bool, err error) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for !s.inEnd && s.body.len() <= n && s.inWindow > 0 {
		if err := s.unreadable(); err != nil {
			return false, err
		}
		s.cond.Wait()
	}
	return s.inEnd, nil
}

// Buffered returns the body, of which nothing must have been read and which must be whole.
// It is not read by that, and valid until something is, or Serve returns.
func (s *Stream) Buffered() []byte {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if !s.inEnd {
		return nil
	}
	return s.body.buf[s.body.from:]
}

// Next returns the next part of the body without copying it, as soon as there is one. It
// is valid until the next call of Next or Read. At the end the error is io.EOF.
func (s *Stream) Next() ([]byte, error) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.awaitBody(); err != nil {
		return nil, err
	}
	p := s.body.lend()
	s.lent = len(p)
	return p, nil
}

// Read implements io.Reader for the body.
func (s *Stream) Read(p []byte) (int, error) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.awaitBody(); err != nil {
		return 0, err
	}
	n := s.body.read(p)
	return n, s.credit(n)
}

// awaitBody waits for a part of the body.
func (s *Stream) awaitBody() error {
	if s.lent > 0 {
		s.body.giveBack()
		if err := s.credit(s.lent); err != nil {
			return err
		}
		s.lent = 0
	}
	for s.body.len() == 0 {
		if s.inEnd {
			return io.EOF
		}
		if err := s.unreadable(); err != nil {
			return err
		}
		s.cond.Wait()
	}
	return nil
}

// StopBody ends what waits for the body, and each wait that begins later. Any goroutine may
// call it.
func (s *Stream) StopBody() {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.stopped = true
	s.cond.Broadcast()
}

// unreadable is why there is no use in waiting for the body.
func (s *Stream) unreadable() error {
	switch {
	case s.err != nil:
		return s.err
	case s.stopped:
		return ErrStopped
	case s.late:
		return ErrLate
	}
	return nil
}

// credit gives n bytes of the window back to the client, when half of it has come together.
// The caller holds c.mu.
func (s *Stream) credit(n int) error {
	c := s.conn
	s.inDue += int64(n)
	if !s.open || s.inEnd || s.inDue < int64(c.server.HTTP2.StreamWindow)/2 {
		return nil
	}
	s.inWindow += s.inDue
	due := s.inDue
	s.inDue = 0
	return c.control(appendWindowUpdate(c.out, s.id, due))
}

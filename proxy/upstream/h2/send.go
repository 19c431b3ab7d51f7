package h2

import (
	"fmt"
	"os"

	"golang.org/x/net/http2"
)

// Open begins the request. text is its head as the text of HTTP/1.1, and its body behind it
// if it is whole. Otherwise the body is written by Write, if there is a Content-Length, or
// by WriteChunk and WriteEnd. It does not wait; text is not used afterwards.
//
// The error is an ErrUnsent if the session takes no request any more.
func (st *Stream) Open(text []byte, whole bool) error {
	s, r := st.session, &st.req
	if err := r.parse(text, s.secure); err != nil {
		return err
	}
	if whole && r.length != int64(len(r.body)) {
		return fmt.Errorf("%w: its body has %d bytes", ErrRequest, len(r.body))
	}
	s.mu.Lock()
	defer s.unlock()
	if st.expired {
		return os.ErrDeadlineExceeded
	}
	if err := st.startable(); err != nil {
		return err
	}
	st.start()
	block := r.block
	if !s.resize {
		block = block[1:]
	}
	s.resize = false
	// A server of gRPC hears the end of a call on DATA alone.
	empty := r.length == 0
	s.out = appendHeaders(s.out, st.id, block, s.peer.maxFrame, empty && !r.grpc)
	if empty && r.grpc {
		s.out = appendData(s.out, st.id, nil, true)
	}
	s.wake()
	switch {
	case empty:
		st.endLocal()
	case len(r.body) > 0:
		st.unsent = append(st.unsent[:0], st.push(r.body)...)
		st.starve()
	}
	r.body = nil
	return nil
}

// startable says why the stream cannot be begun, nil: it can.
func (st *Stream) startable() error {
	s := st.session
	switch {
	case s.failure != nil:
		return fmt.Errorf("%w: %w", ErrUnsent, s.failure)
	case s.gone, s.suspect.Load(), len(s.streams) >= s.peer.maxStreams, st.state != reserved:
		return ErrUnsent
	default:
		return nil
	}
}

// start puts the stream on the wire.
func (st *Stream) start() {
	s := st.session
	st.state, st.id, st.sent = open, s.next, s.clock()
	st.isHead, st.left, st.sendWindow = st.req.isHead, st.req.length, s.peer.window
	s.next += 2
	s.streams[st.id] = st
	s.peer.floods = 0
	if len(s.streams) == 1 {
		s.heard.Store(st.sent) // the silence before does not count
	}
}

// push sends as much of b as there is room for, without waiting, and returns the rest.
func (st *Stream) push(b []byte) (rest []byte) {
	s := st.session
	for len(b) > 0 && len(s.out) < outLimit {
		n := min(int64(len(b)), int64(s.peer.maxFrame), st.sendWindow, s.sendWindow)
		if n <= 0 {
			return b
		}
		end := st.left == n
		if st.left > 0 {
			st.left -= n
		}
		s.out = appendData(s.out, st.id, b[:n], end)
		s.wake()
		st.sendWindow -= n
		s.sendWindow -= n
		s.peer.floods = 0
		b = b[n:]
		if end {
			st.endLocal()
		}
	}
	return b
}

// endLocal notes that the request was sent to its end.
func (st *Stream) endLocal() {
	st.localEnded = true
	if st.remoteEnded {
		st.leaveWire()
	}
}

// starve puts the stream among those that wait for room, if it has something to send and
// would be let by its own window.
func (st *Stream) starve() {
	if len(st.unsent) > 0 && st.sendWindow > 0 {
		st.queue()
	}
}

func (st *Stream) queue() {
	if !st.starving {
		st.starving = true
		st.session.starved = append(st.session.starved, st)
	}
}

// feed lets the next go on that wait for room, as long as there is some. Those who write
// have their share first, and then feed the others.
func (s *Session) feed() {
	for len(s.starved) > 0 && s.sendWindow > 0 && len(s.out) < outLimit {
		st := s.starved[0]
		last := len(s.starved) - 1
		copy(s.starved, s.starved[1:])
		s.starved[last] = nil
		s.starved = s.starved[:last]
		st.starving = false
		switch {
		case st.state != open:
		case len(st.unsent) > 0:
			st.resume()
		case st.waits:
			st.writable.Signal()
			return
		}
	}
}

// resume sends what Open could not.
func (st *Stream) resume() {
	rest := st.push(st.unsent)
	st.unsent = append(st.unsent[:0], rest...)
	st.starve()
	if len(st.unsent) == 0 {
		st.writable.Signal() // whoever writes what comes behind
	}
}

// Write sends n bytes of a body with a Content-Length. It waits for room.
func (st *Stream) Write(p []byte) (n int, err error) {
	return st.send(p, func() bool { return int64(len(p)) <= st.left })
}

// WriteChunk sends a part of a body without a Content-Length. It waits for room.
func (st *Stream) WriteChunk(p []byte) error {
	_, err := st.send(p, func() bool { return st.left < 0 })
	return err
}

func (st *Stream) send(p []byte, allowed func() bool) (n int, err error) {
	s := st.session
	s.mu.Lock()
	defer s.unlock()
	defer s.feed()
	if !allowed() {
		return 0, fmt.Errorf("%w: its body is of another length", ErrRequest)
	}
	for {
		if err := st.sendable(); err != nil {
			return n, err
		}
		if len(st.unsent) == 0 {
			rest := st.push(p)
			n += len(p) - len(rest)
			if p = rest; len(p) == 0 {
				return n, nil
			}
		}
		if st.sendWindow > 0 {
			st.queue()
		} else {
			s.feed() // the session has room that is of no use here
		}
		st.waits = true
		st.writable.Wait()
		st.waits = false
	}
}

// sendable says why nothing more can be sent, nil: it can.
func (st *Stream) sendable() error {
	switch {
	case st.expired:
		return os.ErrDeadlineExceeded
	case st.writeErr != nil:
		return st.writeErr
	case st.state != open || st.localEnded:
		return errEnded
	default:
		return nil
	}
}

// WriteEnd ends a body without a Content-Length.
func (st *Stream) WriteEnd() error {
	s := st.session
	s.mu.Lock()
	defer s.unlock()
	if st.left >= 0 {
		return fmt.Errorf("%w: its body has a length", ErrRequest)
	}
	for {
		if err := st.sendable(); err != nil {
			return err
		}
		if len(st.unsent) == 0 {
			break
		}
		st.writable.Wait()
	}
	s.out = appendData(s.out, st.id, nil, true)
	s.wake()
	st.endLocal()
	return nil
}

// windowUpdate takes more room from the endpoint.
func (s *Session) windowUpdate(f *http2.WindowUpdateFrame) error {
	n := int64(f.Increment)
	if f.StreamID == 0 {
		if s.sendWindow += n; s.sendWindow > maxWindow {
			return &violation{http2.ErrCodeFlowControl, "a window beyond its bound"}
		}
		s.feed()
		return nil
	}
	if s.never(f.StreamID) {
		return protocol("WINDOW_UPDATE for a stream that was not begun")
	}
	if st := s.streams[f.StreamID]; st != nil {
		if st.sendWindow += n; st.sendWindow > maxWindow {
			st.malformed(http2.ErrCodeFlowControl, "a window beyond its bound")
			return nil
		}
		st.widened()
	}
	return nil
}

// widened lets a stream go on whose window has changed.
func (st *Stream) widened() {
	switch {
	case st.sendWindow <= 0:
	case len(st.unsent) > 0:
		st.resume()
	default:
		st.writable.Signal()
	}
}

// initialWindow changes the windows of all streams, those that are begun included: they
// may become negative (RFC 9113 §6.9.2).
func (s *Session) initialWindow(n int64) error {
	change := n - s.peer.window
	s.peer.window = n
	for _, st := range s.streams {
		if st.sendWindow += change; st.sendWindow > maxWindow {
			return &violation{http2.ErrCodeFlowControl, "a window beyond its bound"}
		}
		st.widened()
	}
	return nil
}

// expect takes n bytes that come off the stream's window; spent are those of them that are
// no data.
func (st *Stream) expect(n, spent int) {
	if st.window -= n; st.window < 0 {
		st.malformed(http2.ErrCodeFlowControl, "more data than the stream's window takes")
		return
	}
	st.consumed += spent
	st.credit()
}

// credit opens the stream's window again by what was read.
func (st *Stream) credit() {
	if st.consumed < streamWindow/2 || st.state != open || st.remoteEnded {
		return
	}
	s := st.session
	s.out = appendWindowUpdate(s.out, st.id, st.consumed)
	s.wake()
	st.window += st.consumed
	st.consumed = 0
}

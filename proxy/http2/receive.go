package http2

import (
	"encoding/binary"
	"time"
)

// receiving is the connection's side of flow control towards usher; Conn.mu guards it.
type receiving struct {
	// inWindow is what the client may send, inDue what has come and was not given back.
	inWindow, inDue int64
}

// connWindow is what a client may send on all streams together. It is given back as soon
// as it has come: what is held for a stream is bounded by that stream's window, so that
// one that is slow never holds another.
const connWindow = 1 << 20

// waste spends n of what the client may send without meaning anything by it.
func (c *Conn) waste(n int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wasteLocked(n)
}

func (c *Conn) wasteLocked(n int64) error {
	if !c.noise.spend(c.now(), n) {
		return &fault{EnhanceYourCalm, "too many frames that carry nothing"}
	}
	return nil
}

// resetsLeft spends one of the resets that the client may cause. The caller holds c.mu.
func (c *Conn) resetsLeft() error {
	if !c.resets.spend(c.now(), 1) {
		return &fault{EnhanceYourCalm, "too many streams broken off"}
	}
	return nil
}

// refuse breaks off a stream because of what the client did. s is the stream, nil when it
// is not open. The caller holds c.mu.
func (c *Conn) refuse(id uint32, s *Stream, code Code, why string) error {
	c.server.refused(c, code, why)
	if s != nil {
		c.close(s, byUs)
		s.end(ErrGone)
	}
	if err := c.control(appendReset(c.out, id, code)); err != nil {
		return err
	}
	return c.resetsLeft()
}

// onBlock takes a whole header block. It is decoded in any case: the client's encoder
// counts on it.
func (c *Conn) onBlock(b block) error {
	id := b.stream
	if id > c.last {
		return c.onRequest(b)
	}
	if err := c.decode(trailerSection, nil, b); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.find(id)
	switch {
	case s == nil:
		return c.onClosed(id, true)
	case s.inEnd:
		return c.refuse(id, s, StreamClosed, "HEADERS after END_STREAM")
	case !b.end:
		return c.refuse(id, s, ProtocolError, "second HEADERS without END_STREAM")
	case c.t.malformed != "":
		return c.refuse(id, s, ProtocolError, c.t.malformed)
	case c.t.tooLarge():
		return c.refuse(id, s, ProtocolError, "trailer section too large")
	}
	return c.endBody(s)
}

// decode decodes a block; its text is in c.t then.
func (c *Conn) decode(s section, dst []byte, b block) error {
	c.t.begin(s, dst)
	c.t.malformed = b.malformed
	_, err := c.dec.Write(b.buf)
	if err == nil {
		err = c.dec.Close()
	}
	if err != nil {
		return &fault{CompressionError, "header block cannot be decoded"}
	}
	c.t.end()
	return nil
}

// onRequest takes the header block that opens a stream.
func (c *Conn) onRequest(b block) error {
	s, code := c.open(b.stream)
	if s == nil {
		if err := c.decode(skipped, nil, b); err != nil || code == NoError {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.refuse(b.stream, nil, code, "too many streams")
	}
	c.ready = append(c.ready, s)
	err := c.decode(headSection, s.head, b)
	s.head, c.t.text = c.t.text, nil
	if err != nil {
		return err
	}
	s.large, s.declared = c.t.tooLarge(), c.t.length
	if s.large {
		s.declared = 0 // so that nothing is said of the body
	}
	if c.t.malformed == "" && !b.end {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.t.malformed != "" {
		return c.refuse(s.id, s, ProtocolError, c.t.malformed)
	}
	return c.endBody(s)
}

// open opens a stream for a request. Without one, the Code is the answer; NoError is none.
func (c *Conn) open(id uint32) (*Stream, Code) {
	c.lockSpare()
	defer c.mu.Unlock()
	if c.told || c.ending {
		return nil, NoError // it was told that this one is not served
	}
	c.last = id
	limit := c.server.HTTP2.MaxConcurrentStreams
	if len(c.streams) >= limit || c.live >= 2*limit {
		c.closed.add(id, byUs)
		return nil, RefusedStream
	}
	n := len(c.free) - 1
	s := c.free[n]
	c.free = c.free[:n]
	s.begin(id, c.initialWindow, int64(c.server.HTTP2.StreamWindow))
	s.began = c.now()
	c.streams = append(c.streams, s)
	c.live++
	if c.idleBy = 0; c.toldBy == 0 {
		c.watch.Wait(0)
	}
	if c.server.draining.Load() {
		c.startDrain()
	}
	return s, NoError
}

// onClosed deals with a frame on a stream that is not open but once was, or might have
// been. The caller holds c.mu.
func (c *Conn) onClosed(id uint32, headers bool) error {
	how := c.closed.of(id)
	switch {
	case how == byUs || id > c.last: // it was under way when usher said so
		return nil
	case headers && how == forgotten:
		return &fault{ProtocolError, "HEADERS on a stream older than the last one"}
	case how == forgotten: // the rest of a body that usher did not want may take a while
		return c.wasteLocked(1)
	case headers && how == byEnd:
		return &fault{StreamClosed, "HEADERS on a closed stream"}
	default:
		return c.refuse(id, nil, StreamClosed, "frame on a closed stream")
	}
}

// onData takes a DATA frame (RFC 9113 §6.1).
func (c *Conn) onData(f frame, payload []byte) error {
	if f.stream == 0 {
		return &fault{ProtocolError, "DATA on stream 0"}
	}
	data, err := unpad(f, payload)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.stream > c.last && !c.told && !c.ending {
		return &fault{ProtocolError, "DATA on an idle stream"}
	}
	if err := c.charge(int64(f.length)); err != nil {
		return err
	}
	s := c.find(f.stream)
	switch {
	case s == nil:
		return c.onClosed(f.stream, false)
	case s.inEnd:
		return c.refuse(f.stream, s, StreamClosed, "DATA after END_STREAM")
	case int64(f.length) > s.inWindow:
		return c.refuse(f.stream, s, FlowControlError, "DATA beyond the stream's window")
	}
	if err := c.take(s, data, f.length); err != nil || !s.open {
		return err
	}
	if f.has(flagEndStream) {
		return c.endBody(s)
	}
	if len(data) == 0 {
		return c.wasteLocked(1)
	}
	return nil
}

// charge counts n bytes against the connection's window, and gives them back. The caller
// holds c.mu.
func (c *Conn) charge(n int64) error {
	if n > c.inWindow {
		return &fault{FlowControlError, "DATA beyond the connection's window"}
	}
	c.inWindow -= n
	if c.inDue += n; c.inDue < connWindow/2 {
		return nil
	}
	c.inWindow += c.inDue
	n, c.inDue = c.inDue, 0
	return c.control(appendWindowUpdate(c.out, 0, n))
}

// take adds to a stream's body. The caller holds c.mu.
func (c *Conn) take(s *Stream, data []byte, length int) error {
	s.inWindow -= int64(length)
	s.received += int64(len(data))
	if s.declared >= 0 && s.received > s.declared && !s.large {
		return c.refuse(s.id, s, ProtocolError, "more DATA than Content-Length (RFC 9113 §8.1.1)")
	}
	if s.large { // nobody will ask for it
		return s.credit(length)
	}
	if len(data) > 0 {
		s.body.append(data)
		s.cond.Broadcast()
	}
	return s.credit(length - len(data))
}

// endBody ends a stream's body. The caller holds c.mu.
func (c *Conn) endBody(s *Stream) error {
	if s.declared >= 0 && s.received != s.declared && !s.large {
		return c.refuse(s.id, s, ProtocolError, "less DATA than Content-Length (RFC 9113 §8.1.1)")
	}
	s.inEnd = true
	s.cond.Broadcast()
	if s.outEnd {
		c.close(s, byEnd)
	}
	return nil
}

// onReset takes a RST_STREAM frame (RFC 9113 §6.4).
func (c *Conn) onReset(f frame, payload []byte) error {
	if f.stream == 0 {
		return &fault{ProtocolError, "RST_STREAM on stream 0"}
	}
	if len(payload) != 4 {
		return &fault{FrameSizeError, "RST_STREAM of another length than 4"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.stream > c.last && !c.told && !c.ending {
		return &fault{ProtocolError, "RST_STREAM on an idle stream"}
	}
	s := c.find(f.stream)
	if s == nil {
		return c.wasteLocked(1)
	}
	began := s.began
	c.close(s, byClient)
	s.end(ErrGone)
	if c.now()-began >= int64(longTaken) {
		return nil
	}
	return c.resetsLeft()
}

// longTaken is how old a stream is that a client may break off as often as it likes: its
// user has waited for it.
const longTaken = time.Second

// onWindowUpdate takes a WINDOW_UPDATE frame (RFC 9113 §6.9).
func (c *Conn) onWindowUpdate(f frame, payload []byte) error {
	if len(payload) != 4 {
		return &fault{FrameSizeError, "WINDOW_UPDATE of another length than 4"}
	}
	n := int64(binary.BigEndian.Uint32(payload) & maxWindow)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.updates > 0 {
		c.updates--
	} else if err := c.wasteLocked(1); err != nil {
		return err
	}
	if f.stream == 0 {
		return c.growConn(n)
	}
	if f.stream > c.last && !c.told && !c.ending {
		return &fault{ProtocolError, "WINDOW_UPDATE on an idle stream"}
	}
	s := c.find(f.stream)
	switch {
	case s == nil: // it may have been under way
		return nil
	case n == 0:
		return c.refuse(f.stream, s, ProtocolError, "WINDOW_UPDATE of 0")
	case s.outWindow+n > maxWindow:
		return c.refuse(f.stream, s, FlowControlError, "window beyond 2^31-1")
	}
	if s.outWindow += n; s.outWindow > 0 {
		s.cond.Broadcast()
	}
	return nil
}

// growConn lets n bytes more be sent on the connection. The caller holds c.mu.
func (c *Conn) growConn(n int64) error {
	if n == 0 {
		return &fault{ProtocolError, "WINDOW_UPDATE of 0"}
	}
	if c.outWindow+n > maxWindow {
		return &fault{FlowControlError, "window beyond 2^31-1"}
	}
	c.outWindow += n
	c.next()
	return nil
}

package http1

import (
	"time"

	"usher/proxy/core"
	"usher/proxy/forward"
	"usher/proxy/wire"
)

// lingerTime and lingerBytes bound how long a connection that closes with input
// unread takes that input: without it the client could lose the answer to a reset.
const (
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)

// Frame implements forward.Sink, and decides whether the connection goes on: after an
// answer of usher's own only if the request was read to its end, in time, and was well
// formed.
func (c *conn) Frame(from forward.Framing, reason core.Reason) (to forward.Framing) {
	to = from
	if from == forward.ByClose || from == forward.ByChunks {
		to = forward.ByChunks
		if c.Head.Minor == 0 {
			to, c.keep = forward.ByClose, false
		}
	}
	c.keep = c.keep && !c.server.draining.Load()
	switch reason {
	case core.None:
		c.keep = c.keep && (!c.Body.Streamed || c.BodyGone())
		return to
	case core.Answered, core.Overloaded:
		c.takeAtHand()
		c.keep = c.keep && c.Body.Taken
	default:
		c.keep = c.keep && c.Body.Taken && reason < core.BadRequest
	}
	if c.watch.Fired() {
		// The head did not come in time: the deadline is lifted for the answer.
		c.keep = false
		_ = c.nc.SetDeadline(time.Now().Add(lingerTime))
	}
	return to
}

// takeAtHand takes the request's body if it is at hand: the connection can go on then.
func (c *conn) takeAtHand() {
	if n := c.Head.ContentLength; !c.Body.Taken && !c.Head.Chunked && n <= int64(c.br.Buffered()) {
		c.Body.Buffered, c.Body.Taken = int(n), true
		c.X.Received = uint64(n)
	}
}

// EndHead implements forward.Sink: it adds what frames the body, and whether the
// connection goes on, where that is not what the version implies.
func (c *conn) EndHead(dst []byte, to forward.Framing) []byte {
	if to == forward.ByChunks {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	switch {
	case !c.keep:
		dst = append(dst, "Connection: close\r\n"...)
	case c.Head.Minor == 0:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// AppendData implements forward.Sink.
func (c *conn) AppendData(dst, data []byte, to forward.Framing) []byte {
	if to != forward.ByChunks {
		return append(dst, data...)
	}
	return append(append(wire.AppendChunkHeader(dst, len(data)), data...), "\r\n"...)
}

// AppendEnd implements forward.Sink.
func (c *conn) AppendEnd(dst, trailers []byte, to forward.Framing) []byte {
	if to != forward.ByChunks {
		return dst
	}
	return append(append(append(dst, "0\r\n"...), trailers...), "\r\n"...)
}

// Interim implements forward.Sink. HTTP/1.0 knows no interim responses.
func (c *conn) Interim(head []byte) error {
	if c.Head.Minor == 0 {
		return nil
	}
	c.last = false
	return c.write(head)
}

// Write implements forward.Sink.
func (c *conn) Write(b []byte, end bool) error {
	c.last = end && !c.keep && c.Body.Taken && c.br.Buffered() == c.Body.Buffered
	return c.write(b)
}

// write writes b to the client. The last bytes of a connection that closes without
// lingering leave with its end.
func (c *conn) write(b []byte) error {
	if c.secure != nil {
		return c.secure.Send(b, c.last)
	}
	if c.turn.within && len(b) > 0 {
		send := wire.RawWrite
		if c.last {
			send = wire.RawWriteLast
		}
		n, err := send(c.turn.fd, b)
		if err != nil && !again(err) {
			return err
		}
		b = b[n:]
	}
	if len(b) == 0 {
		return nil
	}
	_, err := c.nc.Write(b)
	return err
}

// Truncate implements forward.Sink: nothing but a reset tells a client whose body ends
// with the connection that it is not whole; over TLS one without a farewell.
func (c *conn) Truncate(to forward.Framing) {
	if to == forward.ByClose {
		c.broken = true
		_ = c.nc.SetLinger(0)
	}
}

// finish ends a request: what is left of its body is taken off the connection, or the
// connection ends. whole says that the client has a whole answer.
func (c *conn) finish(whole bool) bool {
	if c.Body.Buffered > 0 {
		_, _ = c.br.Discard(c.Body.Buffered)
	}
	if c.keep && whole && c.Body.Taken {
		return true
	}
	if whole && c.Sent > 0 && (!c.Body.Taken || c.br.Buffered() > 0) {
		c.turn.linger = true
	}
	return false
}

// closeWrite ends what is sent.
func (c *conn) closeWrite() error {
	if c.secure != nil {
		return c.secure.CloseWrite()
	}
	return c.nc.CloseWrite()
}

// linger takes what the client still sends, for a while, after the answer.
func (c *conn) linger() {
	if c.closeWrite() != nil {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	buf := c.Out[:cap(c.Out)]
	for total := 0; total < lingerBytes; {
		n, err := c.nc.Read(buf)
		if err != nil {
			return
		}
		total += n
	}
}

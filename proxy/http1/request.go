package http1

import (
	"errors"

	"usher/proxy/core"
	"usher/proxy/wire"
)

// maxBlankLines is how many empty lines may precede a request (RFC 9112 §2.2).
const maxBlankLines = 4

var (
	errHeadTooLarge = &wire.Refused{Status: 431, Why: "the request's head is larger than 16 KiB"}
	errHeadTimeout  = &wire.Refused{Status: 408, Why: "the request's head did not come in time"}
	errGone         = errors.New("client closed the connection")
)

// readHead reads until a whole head is in the buffer and scanned. It goes on where
// it stopped when the last call ended with errAgain.
func (c *conn) readHead() error {
	for {
		b, _ := c.br.Peek(c.br.Buffered())
		if c.Head.Fresh() && c.turn.blank < maxBlankLines && len(b) >= 2 && b[0] == '\r' && b[1] == '\n' {
			_, _ = c.br.Discard(2)
			c.turn.blank++
			continue
		}
		err := c.Head.ScanRequest(b)
		if !errors.Is(err, wire.ErrMore) {
			return err
		}
		if len(b) == c.br.Size() {
			return errHeadTooLarge
		}
		if err := c.readMore(len(b)); err != nil {
			return err
		}
	}
}

// readMore reads behind the n bytes in the buffer. The first byte of a head starts
// its deadline.
func (c *conn) readMore(n int) error {
	_, err := c.br.Peek(n + 1)
	switch {
	case again(err):
		return errAgain
	case err != nil:
		return errGone
	}
	c.Clock = c.now()
	if n == 0 {
		c.armHead(c.Clock)
	}
	return nil
}

// armHead sets the deadline of the head that has begun.
func (c *conn) armHead(now int64) {
	c.timed = true
	c.watch.Arm(c.listener.HeaderDeadline(now))
}

// takeHead takes the scanned head off the buffer and fills the exchange.
func (c *conn) takeHead() (core.Reason, string) {
	b, _ := c.br.Peek(c.Head.Len)
	c.Wrote = append(c.Wrote[:0], b...)
	_, _ = c.br.Discard(len(b))
	reason, why := c.Take()
	c.keep = reason == core.None && c.wantsKeep() && !c.server.draining.Load()
	return reason, why
}

// wantsKeep says whether the client means to send more requests (RFC 9112 §9.3).
func (c *conn) wantsKeep() bool {
	if c.Head.Minor == 0 {
		return c.Head.Has(wire.HasKeepAlive) && !c.Head.Has(wire.HasClose)
	}
	return !c.Head.Has(wire.HasClose)
}

// takeBody decides how the request's body is forwarded. One that fits the buffer
// is read whole first: it can be sent again, and a slow client keeps no endpoint
// waiting.
func (c *conn) takeBody() (core.Reason, string) {
	n := c.Head.ContentLength
	limit := int64(c.listener.MaxBodySize)
	switch {
	case limit > 0 && n > limit:
		return core.BodyTooLarge, "the request's body is larger than this listener takes"
	case c.Head.Chunked:
		c.chunks.Reset(c.br)
		c.Body.Streamed = true
	case n <= 0:
	case n <= int64(c.br.Size()):
		return c.bufferBody(int(n))
	default:
		c.Body.Streamed = true
	}
	c.X.Replayable, c.X.Streams = !c.Body.Streamed, c.Body.Streamed
	if c.Body.Streamed {
		return c.sendContinue()
	}
	return core.None, ""
}

// bufferBody waits until the body lies in the buffer.
func (c *conn) bufferBody(n int) (core.Reason, string) {
	if c.br.Buffered() < n {
		c.Deadline = c.server.core.Deadline(&c.X)
		if reason, why := c.sendContinue(); reason != core.None {
			return reason, why
		}
	}
	for c.br.Buffered() < n {
		c.Clock = 0
		c.watch.Arm(c.Until(c.now(), c.server.core.BodyIdle(&c.X)))
		if _, err := c.br.Peek(c.br.Buffered() + 1); err != nil {
			if c.watch.Fired() {
				return core.RequestTimeout, "the request's body did not come in time"
			}
			return core.ClientGone, ""
		}
	}
	c.X.Replayable = true
	c.Body.Buffered, c.Body.Taken = n, true
	c.X.Received = uint64(n)
	return core.None, ""
}

// sendContinue lets a client that waits for it send its body (RFC 9110 §10.1.1).
func (c *conn) sendContinue() (core.Reason, string) {
	if !c.Head.Has(wire.HasExpect) || c.Head.Minor == 0 {
		return core.None, ""
	}
	if err := c.write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
		return core.ClientGone, ""
	}
	return core.None, ""
}

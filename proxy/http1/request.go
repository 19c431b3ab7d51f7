package http1

import (
	"bufio"
	"bytes"
	"errors"
	"strconv"
	"sync"

	"github.com/valyala/fasthttp"

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
		if c.head.Fresh() && c.turn.blank < maxBlankLines && len(b) >= 2 && b[0] == '\r' && b[1] == '\n' {
			_, _ = c.br.Discard(2)
			c.turn.blank++
			continue
		}
		err := c.head.ScanRequest(b)
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
	c.clock = c.now()
	if n == 0 {
		c.armHead(c.clock)
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
	b, _ := c.br.Peek(c.head.Len)
	c.wrote = append(c.wrote[:0], b...)
	_, _ = c.br.Discard(len(b))
	x := &c.x
	x.Start = c.lately()
	c.clock = x.Start
	x.Flags = c.head.Flags
	x.Method = c.head.Method.Of(c.wrote)
	t, err := wire.ParseTarget(x.Method, c.head.Target.Of(c.wrote))
	if err != nil {
		return core.BadRequest, err.Error()
	}
	c.body.asterisk = t.Asterisk
	x.Target = t.Origin
	x.Host = c.head.Host.Of(c.wrote)
	if t.Authority != nil {
		x.Host = t.Authority
	}
	c.body.taken = c.head.ContentLength <= 0 && !c.head.Chunked
	c.keep = c.wantsKeep() && !c.server.draining.Load()
	return core.None, ""
}

// ParseHead implements core.HeadSource.
func (c *conn) ParseHead() *fasthttp.RequestHeader {
	r := heads.Get().(*headReader) //nolint:forcetypeassert // the list holds nothing else
	defer heads.Put(r)
	r.bytes.Reset(c.wrote)
	r.buffer.Reset(&r.bytes)
	if c.malformed = c.req.Read(r.buffer); c.malformed != nil {
		c.req.Reset()
		c.req.DisableSpecialHeader()
	}
	c.req.SetProtocol("HTTP/1.1")
	c.frame()
	if string(c.req.Peek("Host")) != string(c.x.Host) {
		c.req.SetBytesV("Host", c.x.Host)
	}
	if c.x.Flags&wire.HasUnderscore != 0 && c.listener.UnderscoreHeaders != "keep" {
		c.dropUnderscored()
	}
	return &c.req
}

// frame writes anew what frames the body: no zeros or spelling that another might read
// otherwise.
func (c *conn) frame() {
	switch {
	case c.head.Chunked:
		c.req.Set("Transfer-Encoding", "chunked")
	case c.head.ContentLength >= 0:
		var room [20]byte
		c.req.SetBytesV("Content-Length", strconv.AppendInt(room[:0], c.head.ContentLength, 10))
	}
}

// headReader hands a head to the codec.
type headReader struct {
	bytes  bytes.Reader
	buffer *bufio.Reader
}

var heads = sync.Pool{New: func() any { return &headReader{buffer: bufio.NewReaderSize(nil, readBuffer)} }}

// wantsKeep says whether the client means to send more requests (RFC 9112 §9.3).
func (c *conn) wantsKeep() bool {
	if c.head.Minor == 0 {
		return c.head.Has(wire.HasKeepAlive) && !c.head.Has(wire.HasClose)
	}
	return !c.head.Has(wire.HasClose)
}

// dropUnderscored deletes the fields with an underscore in their name: CGI-like
// upstreams take X_Forwarded_For for X-Forwarded-For.
func (c *conn) dropUnderscored() {
	for _, line := range bytes.Split(c.wrote, []byte("\r\n"))[1:] {
		name, _, _ := bytes.Cut(line, []byte(":"))
		if bytes.IndexByte(name, '_') >= 0 {
			c.req.DelBytes(name)
		}
	}
}

// body is what is known of the request's body.
type body struct {
	// asterisk is a request for the server itself, which has no route.
	asterisk bool
	// buffered is the length of a body that lies whole in the read buffer.
	buffered int
	// streamed says that the body is read while it is sent.
	streamed bool
	// taken says that it was read to its end.
	taken bool
}

// takeBody decides how the request's body is forwarded. One that fits the buffer
// is read whole first: it can be sent again, and a slow client keeps no endpoint
// waiting.
func (c *conn) takeBody() (core.Reason, string) {
	n := c.head.ContentLength
	limit := int64(c.listener.MaxBodySize)
	switch {
	case limit > 0 && n > limit:
		return core.BodyTooLarge, "the request's body is larger than this listener takes"
	case c.head.Chunked:
		c.chunks.Reset(c.br)
		c.body.streamed = true
	case n <= 0:
	case n <= int64(c.br.Size()):
		return c.bufferBody(int(n))
	default:
		c.body.streamed = true
	}
	c.x.Replayable, c.x.Streams = !c.body.streamed, c.body.streamed
	if c.body.streamed {
		return c.sendContinue()
	}
	return core.None, ""
}

// bufferBody waits until the body lies in the buffer.
func (c *conn) bufferBody(n int) (core.Reason, string) {
	if c.br.Buffered() < n {
		c.deadline = c.server.core.Deadline(&c.x)
		if reason, why := c.sendContinue(); reason != core.None {
			return reason, why
		}
	}
	for c.br.Buffered() < n {
		c.clock = 0
		c.watch.Arm(c.until(c.now(), c.server.core.BodyIdle(&c.x)))
		if _, err := c.br.Peek(c.br.Buffered() + 1); err != nil {
			if c.watch.Fired() {
				return core.RequestTimeout, "the request's body did not come in time"
			}
			return core.ClientGone, ""
		}
	}
	c.x.Replayable = true
	c.body.buffered, c.body.taken = n, true
	c.x.Received = uint64(n)
	return core.None, ""
}

// sendContinue lets a client that waits for it send its body (RFC 9110 §10.1.1).
func (c *conn) sendContinue() (core.Reason, string) {
	if !c.head.Has(wire.HasExpect) || c.head.Minor == 0 {
		return core.None, ""
	}
	if err := c.write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
		return core.ClientGone, ""
	}
	return core.None, ""
}

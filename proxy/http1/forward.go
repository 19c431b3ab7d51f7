package http1

import (
	"errors"

	"github.com/valyala/fasthttp"

	"usher/proxy/core"
	"usher/proxy/upstream"
	"usher/proxy/wire"
)

// forward tries endpoints until one answers or the core gives up, and says whether
// the connection goes on.
func (c *conn) forward() bool {
	c.watch.Arm(0) // what follows is the endpoints' to wait for, but for a body that is streamed
	for {
		if c.watch.Fired() {
			return c.fail(core.ClientGone, "") // the connection was cut
		}
		a, reason := c.server.core.Next(&c.x)
		if reason != core.None {
			return c.fail(reason, "")
		}
		if !c.copiesHead() {
			c.x.Parsed() // so that it is known whether the codec takes it
		}
		if c.malformed != nil {
			return c.fail(core.BadRequest, "malformed head")
		}
		c.deadline = a.Deadline
		err := c.try(a)
		switch {
		case err == nil && c.upHead.Status == fasthttp.StatusSwitchingProtocols:
			return c.openTunnel(a)
		case err == nil && !c.unwanted():
			return c.relay(a)
		case err == nil:
			c.dropResponse()
		default:
			if cause := c.abandon(); cause != nil && err.Kind != upstream.Connect {
				return c.failBody(cause)
			}
			if c.gone.Load() {
				return c.fail(core.ClientGone, "")
			}
			again, reason := c.server.core.Failed(&c.x, err)
			if !again {
				return c.fail(reason, c.x.Why(reason))
			}
		}
		if reason := c.pause(c.x.Pause()); reason != core.None {
			return c.fail(reason, "")
		}
	}
}

// try sends the request to one endpoint and reads the head of its response.
func (c *conn) try(a *core.Attempt) *upstream.Error {
	begin := c.lately()
	c.out = c.appendRequest(c.out[:0], a)
	uerr := c.connectAndConverse(a, begin)
	c.answered = c.now()
	c.x.Upstream += c.answered - begin
	return uerr
}

// connectAndConverse takes connections until one is not stale.
func (c *conn) connectAndConverse(a *core.Attempt, begin int64) *upstream.Error {
	for {
		up, begin, uerr := c.connect(a, begin)
		if uerr != nil {
			return uerr
		}
		c.up = up
		c.hold(up, begin)
		up.Watch.Arm(c.until(begin, a.Timeout))
		err := c.converse(a, begin)
		switch {
		case err == nil && !c.settle():
			return &upstream.Error{Kind: upstream.Out, Err: errMoved}
		case err == nil:
			return nil
		case errors.Is(err, upstream.ErrStale):
			c.drop()
			up.Close()
			c.up = nil
		default:
			return c.upstreamError(c.up, err)
		}
	}
}

// connect takes a connection and says since when its endpoint can be asked: the wait for a
// place or for the connection is not the endpoint's time. One that is idle takes none.
func (c *conn) connect(a *core.Attempt, begin int64) (up *upstream.Conn, ready int64, err *upstream.Error) {
	up, err = a.Pool.Get(a.Fresh, a.Policy.ConnectTimeout)
	if err == nil && up.Reused {
		return up, begin, nil
	}
	if err != nil && err.Kind == upstream.Full {
		up, err = c.await(a)
	}
	return up, c.now(), err
}

// converse sends what is in c.out and reads the head of the response. The try began at
// begin; c.up is another connection then if a second try was faster.
func (c *conn) converse(a *core.Attempt, begin int64) error {
	up := c.up
	c.interim = false
	if !c.body.streamed {
		up.Send(c.out)
		if c.hedged(a) {
			return c.race(a, begin)
		}
		return c.readResponse(up)
	}
	if up.Reused && !up.Alive() {
		return upstream.ErrStale
	}
	if _, err := up.Write(c.out); err != nil {
		return err
	}
	c.startPump(a)
	return c.readResponse(up)
}

// copiesHead says whether the fields go on as the client wrote them. Otherwise the codec
// reads them.
func (c *conn) copiesHead() bool {
	return c.x.Head == nil && c.head.Verbatim() && !c.head.Chunked
}

// appendRequest appends the head as it goes to the endpoint, and a buffered body.
func (c *conn) appendRequest(dst []byte, a *core.Attempt) []byte {
	if c.copiesHead() {
		dst = append(append(dst, c.x.Method...), ' ')
		dst = append(append(dst, a.Target...), " HTTP/1.1\r\nHost: "...)
		dst = append(append(dst, a.Host...), "\r\n"...)
		dst = c.head.AppendFields(dst, c.wrote)
	} else {
		dst = appendParsed(dst, c.x.Parsed(), a)
	}
	for i := range c.x.Fields {
		dst = c.x.Fields[i].AppendTo(dst)
	}
	if len(c.upgrade) > 0 {
		dst = c.appendUpgrade(dst)
	}
	dst = append(dst, "\r\n"...)
	if c.body.buffered > 0 {
		b, _ := c.br.Peek(c.body.buffered)
		dst = append(dst, b...)
	}
	return dst
}

// appendParsed appends the head that the codec has read, without the blank line: more
// fields follow.
func appendParsed(dst []byte, h *fasthttp.RequestHeader, a *core.Attempt) []byte {
	if string(h.Peek("Host")) != string(a.Host) {
		h.SetBytesV("Host", a.Host)
	}
	h.SetRequestURIBytes(a.Target)
	dst = h.AppendBytes(dst)
	return dst[:len(dst)-2]
}

// errStatus is a response that a proxy cannot relay.
var errStatus = errors.New("status is not one of a final response")

// readResponse reads the head of the final response. Interim ones (RFC 9110 §15.2)
// are for the hop they are sent to, but for those that carry something, which are
// relayed.
func (c *conn) readResponse(up *upstream.Conn) error {
	for ; ; c.interim = true {
		if err := c.scanResponse(up); err != nil {
			return err
		}
		status := c.upHead.Status
		if c.verbatim = c.mayCopyHead(status); c.verbatim {
			return nil
		}
		if err := c.resp.Read(up.Reader); err != nil {
			return err
		}
		switch {
		case status >= 200 && status <= 599:
			return nil
		case status == fasthttp.StatusSwitchingProtocols && len(c.upgrade) > 0 && c.agreed():
			return nil
		case status < 100 || status > 199 || status == fasthttp.StatusSwitchingProtocols:
			return errStatus
		}
		c.unmovable()
		if status == fasthttp.StatusEarlyHints && c.head.Minor == 1 {
			if err := c.relayInterim(); err != nil {
				return err
			}
		}
	}
}

// mayCopyHead says whether the scanned head of a response may go on as it is written,
// but for the lines that concern one connection. Otherwise the codec reads it.
func (c *conn) mayCopyHead(status int) bool {
	return c.upHead.Verbatim() && (!c.upHead.Chunked || c.upHead.ContentLength < 0) &&
		status >= 200 && status <= 599 && !c.x.Retries(status) && status != fasthttp.StatusNoContent &&
		c.x.ResponseEdits() == nil && c.x.DrainHeader() == "" && !c.listener.RequestID
}

// scanResponse reads until a whole head is in the buffer, and checks it.
func (c *conn) scanResponse(up *upstream.Conn) error {
	c.upHead.Reset()
	for have := 1; ; have = up.Reader.Buffered() + 1 {
		if _, err := up.Reader.Peek(have); err != nil {
			return err
		}
		b, _ := up.Reader.Peek(up.Reader.Buffered())
		if err := c.upHead.ScanResponse(b); !errors.Is(err, wire.ErrMore) {
			return err
		}
	}
}

// upstreamError says what kind of failure a try met. An endpoint that has sent anything,
// an interim response or a part of a head, works on the request: that is not a Reset,
// after which it could be sent again.
func (c *conn) upstreamError(up *upstream.Conn, err error) *upstream.Error {
	if known, ok := errors.AsType[*upstream.Error](err); ok {
		return known
	}
	e := &upstream.Error{Kind: upstream.Protocol, Reused: up.Reused, Err: err}
	switch {
	case up.Watch.Fired() && c.deadline > 0 && c.now() >= c.deadline:
		e.Kind = upstream.Total
	case c.moved.Load():
		e.Kind, e.Reused = upstream.Out, false
	case up.Watch.Fired():
		e.Kind = upstream.Timeout
	case !upstream.EOF(err):
	case c.interim || up.Reader.Buffered() > 0:
		e.Kind = upstream.Partial
	default:
		e.Kind = upstream.Reset
	}
	return e
}

// abandon ends a try: the connection to the endpoint closes, and the sending of
// the body ends. It returns what the body was cut for on the client's side, nil
// when that was well.
func (c *conn) abandon() (cause error) {
	if c.up == nil {
		return nil
	}
	if c.pump.started {
		cause = c.stopPump()
	}
	c.drop()
	c.up.Close()
	c.up = nil
	return cause
}

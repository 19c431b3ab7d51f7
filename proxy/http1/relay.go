package http1

import (
	"errors"
	"io"
	"strconv"
	"syscall"

	"github.com/valyala/fasthttp"

	"usher/proxy/core"
	"usher/proxy/wire"
)

// framing is how the end of a response's body is known.
type framing uint8

const (
	bodyless framing = iota
	byLength
	byChunks
	byClose
)

// relay passes the endpoint's response on, records the request, and says whether
// the connection goes on.
func (c *conn) relay(a *core.Attempt) bool {
	c.tellAnswered()
	c.pump.headSeen.Store(true)
	c.asked.Store(false)
	from := c.responseFraming()
	to := from
	if from == byClose || from == byChunks {
		to = byChunks
		if c.head.Minor == 0 {
			to, c.keep = byClose, false
		}
	}
	c.keep = c.keep && !c.server.draining.Load()
	if c.body.streamed && c.keep {
		c.keep = c.bodyGone()
	}
	c.out = c.appendHead(c.out[:0], to)
	c.sent = c.upHead.Status
	reason := c.relayBody(a, from, to)
	c.finishUpstream(reason == core.None && from != byClose)
	if reason != core.None && to == byClose {
		// Nothing but a reset tells this client that the body is not whole.
		_ = c.nc.SetLinger(0)
	}
	c.end(reason)
	return c.finish(reason == core.None)
}

// tellAnswered tells the core that the head of a response has come.
func (c *conn) tellAnswered() { c.server.core.Answered(&c.x, c.upHead.Status, c.drainField()) }

// drainField is the value of the response's field by which the endpoint tells that it
// drains.
func (c *conn) drainField() []byte {
	name := c.x.DrainHeader()
	if name == "" {
		return nil
	}
	return c.resp.Peek(name)
}

// responseFraming says how the body of the response is framed (RFC 9112 §6.3).
func (c *conn) responseFraming() framing {
	status := c.upHead.Status
	switch n := c.responseLength(); {
	case string(c.x.Method) == "HEAD" || status == fasthttp.StatusNoContent || status == fasthttp.StatusNotModified:
		return bodyless
	case n >= 0:
		return byLength
	case n == -1:
		return byChunks
	default:
		return byClose
	}
}

// bodyGone says whether the request's body has been sent, or its last piece is being
// written: an answer may come before the pump hears that its write is done. Only
// then is the connection of use after the response.
func (c *conn) bodyGone() bool {
	return !c.pump.started || (c.pump.last.Load() && !c.pump.failed.Load())
}

// responseLength is the length of the response's body, -1 when it is chunked, less when
// it ends with the connection.
func (c *conn) responseLength() int64 {
	switch {
	case !c.verbatim:
		return int64(c.resp.ContentLength())
	case c.upHead.Chunked:
		return -1
	case c.upHead.ContentLength < 0:
		return -2
	default:
		return c.upHead.ContentLength
	}
}

// copyHead appends the response's head as it lies in the buffer, and takes it off.
func (c *conn) copyHead(dst []byte, to framing) []byte {
	b, _ := c.up.Reader.Peek(c.upHead.Len)
	dst = c.upHead.AppendHead(dst, b)
	_, _ = c.up.Reader.Discard(len(b))
	if c.listener.Via {
		dst = append(dst, "Via: "+core.Via+"\r\n"...)
	}
	return c.appendFraming(c.x.AppendCookie(dst), to)
}

// appendFraming ends the head of a response.
func (c *conn) appendFraming(dst []byte, to framing) []byte {
	if to == byChunks {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	return append(c.appendConnection(dst), "\r\n"...)
}

// appendHead appends the response's head as it goes to the client.
func (c *conn) appendHead(dst []byte, to framing) []byte {
	if c.verbatim {
		return c.copyHead(dst, to)
	}
	dst = appendStatusLine(dst, c.resp.StatusCode(), c.resp.StatusMessage())
	nominated := c.responseNominated()
	edits := c.x.ResponseEdits()
	keepLength := (to == byLength || to == bodyless) && c.resp.StatusCode() != fasthttp.StatusNoContent
	for name, value := range c.resp.All() {
		switch {
		case core.HopByHop(name) || string(name) == "Transfer-Encoding":
			continue
		case string(name) == "Content-Length" && !keepLength:
			continue
		case nominated != nil && named(nominated, name):
			continue
		case edits != nil && edits.Drops(name):
			continue
		case c.listener.RequestID && string(name) == core.RequestIDName:
			continue
		}
		dst = appendField(dst, name, value)
	}
	if c.listener.Via {
		dst = append(dst, "Via: "+core.Via+"\r\n"...)
	}
	dst = c.x.AppendCookie(c.appendRequestID(dst))
	if edits != nil {
		dst = c.x.AppendEdits(dst, edits)
	}
	return c.appendFraming(dst, to)
}

// appendConnection says whether the connection goes on, where that is not what the
// version implies.
func (c *conn) appendConnection(dst []byte) []byte {
	switch {
	case !c.keep:
		return append(dst, "Connection: close\r\n"...)
	case c.head.Minor == 0:
		return append(dst, "Connection: keep-alive\r\n"...)
	default:
		return dst
	}
}

func appendStatusLine(dst []byte, status int, message []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	if len(message) == 0 {
		dst = append(dst, fasthttp.StatusMessage(status)...)
	} else {
		dst = append(dst, message...)
	}
	return append(dst, "\r\n"...)
}

func appendField(dst, name, value []byte) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), "\r\n"...)
}

// responseNominated returns the values of the response's Connection fields when
// they name others beside the usual tokens, nil otherwise.
func (c *conn) responseNominated() [][]byte {
	v := c.resp.Peek(fasthttp.HeaderConnection)
	if len(v) == 0 {
		return nil
	}
	values := c.resp.PeekAll(fasthttp.HeaderConnection)
	if len(values) == 1 && (wire.EqualFold(v, "keep-alive") || wire.EqualFold(v, "close")) {
		return nil
	}
	return values
}

// named says whether one of the lists names the field; framing cannot be named away.
func named(lists [][]byte, name []byte) (yes bool) {
	if string(name) == "Content-Length" {
		return false
	}
	for _, list := range lists {
		wire.Tokens(list, func(t []byte) {
			yes = yes || (len(t) == len(name) && equalFold(t, name))
		})
	}
	return yes
}

func equalFold(a, b []byte) bool {
	for i := range a {
		if a[i]|0x20 != b[i]|0x20 {
			return false
		}
	}
	return true
}

// relayInterim passes an interim response on.
func (c *conn) relayInterim() error {
	dst := appendStatusLine(c.out[:0], c.resp.StatusCode(), c.resp.StatusMessage())
	for name, value := range c.resp.All() {
		if !core.HopByHop(name) && string(name) != "Transfer-Encoding" && string(name) != "Content-Length" {
			dst = appendField(dst, name, value)
		}
	}
	dst = append(dst, "\r\n"...)
	c.out = dst
	c.watch.Arm(c.until(c.now(), c.server.core.BodyIdle(&c.x)))
	err := c.write(c.out)
	if !c.body.streamed {
		c.watch.Arm(0) // what follows is the endpoint's to wait for
	}
	return err
}

// relayBody sends what is in c.out, then the body. The Reason is why the response
// was cut, None when it was not.
func (c *conn) relayBody(a *core.Attempt, from, to framing) core.Reason {
	switch from {
	case bodyless:
		c.last = c.ends()
		return c.flush(a, c.answered)
	case byLength:
		return c.relayLength(a, c.responseLength())
	case byChunks:
		return c.relayChunks(a, to)
	default:
		return c.relayUntilClose(a, to)
	}
}

// flush writes c.out to the client, if there is anything in it.
func (c *conn) flush(a *core.Attempt, now int64) core.Reason {
	if len(c.out) == 0 {
		return core.None
	}
	c.watch.Arm(c.until(now, a.Policy.IdleTimeout))
	if err := c.write(c.out); err != nil {
		return core.ClientGone
	}
	c.out = c.out[:0]
	return core.None
}

// relayLength relays a body of n bytes: what is at hand goes out with the head.
func (c *conn) relayLength(a *core.Attempt, n int64) core.Reason {
	br := c.up.Reader
	b, _ := br.Peek(int(min(n, int64(br.Buffered()))))
	c.out = append(c.out, b...)
	_, _ = br.Discard(len(b))
	n -= int64(len(b))
	c.x.Sent += uint64(len(b))
	c.last = n == 0 && c.ends()
	if reason := c.flush(a, c.answered); reason != core.None {
		return reason
	}
	if n < spliceMin {
		return c.relayRest(a, n)
	}
	if _, plain, ok := c.up.Plain(); ok {
		return c.spliceResponse(a, plain, n)
	}
	return c.copyResponse(a, n)
}

// ends says whether the connection closes once the response is sent, without lingering.
func (c *conn) ends() bool {
	return !c.keep && c.body.taken && c.br.Buffered() == c.body.buffered
}

// relayRest copies n bytes through c.out, which is empty.
func (c *conn) relayRest(a *core.Attempt, n int64) core.Reason {
	for n > 0 {
		begin := c.now()
		c.awaitEndpoint(a, begin)
		room := c.out[:cap(c.out)]
		m, err := c.up.Fill(room[:min(n, int64(len(room)))])
		now := c.now()
		c.x.Upstream += now - begin
		if m == 0 && err != nil {
			return c.cutReason()
		}
		c.out = room[:m]
		n -= int64(m)
		c.x.Sent += uint64(m)
		if reason := c.flush(a, now); reason != core.None {
			return reason
		}
	}
	return core.None
}

// spliceResponse moves n bytes within the kernel from the endpoint's plain connection.
func (c *conn) spliceResponse(a *core.Attempt, plain syscall.RawConn, n int64) core.Reason {
	p := wire.TakePipe()
	if p == nil {
		return c.copyResponse(a, n)
	}
	defer p.Release()
	begin := c.now()
	defer func() { c.x.Upstream += c.now() - begin }()
	for n > 0 {
		c.armBoth(a)
		if m, err := p.Fill(plain, int(min(n, wire.PipeSize))); err != nil || m == 0 {
			return c.cutReason()
		}
		for p.Held() > 0 {
			c.armBoth(a)
			m, err := p.Drain(c.raw)
			n -= int64(m)
			c.x.Sent += uint64(m)
			if err != nil {
				return core.ClientGone
			}
		}
	}
	return core.None
}

// armBoth gives both sides an idle timeout from now on: while one is waited for, the
// other's must not come.
func (c *conn) armBoth(a *core.Attempt) {
	at := c.until(c.now(), a.Policy.IdleTimeout)
	c.watch.Arm(at)
	c.up.Watch.Arm(at)
}

// cutReason is why a response that had begun was cut on the endpoint's side.
func (c *conn) cutReason() core.Reason {
	switch {
	case c.gone.Load():
		return core.ClientGone
	case c.up.Watch.Fired() && c.deadline > 0 && c.now() >= c.deadline:
		return core.TotalTimeout
	case c.up.Watch.Fired():
		return core.UpstreamTimeout
	default:
		return core.UpstreamReset
	}
}

// BeforeRead implements upstream.Waiter: what is there goes out before a wait for
// the endpoint.
func (c *conn) BeforeRead() error {
	now := c.now()
	if c.flush(c.attempt, now) != core.None {
		return errGone
	}
	c.awaitEndpoint(c.attempt, now)
	return nil
}

// awaitEndpoint gives the endpoint an idle timeout from now on. The client has none
// meanwhile, unless its body is still awaited.
func (c *conn) awaitEndpoint(a *core.Attempt, now int64) {
	if c.bodyGone() {
		c.watch.Arm(0)
	}
	c.up.Watch.Arm(c.until(now, a.Policy.IdleTimeout))
}

// brokenReason is why the reading of a body failed.
func (c *conn) brokenReason(err error) core.Reason {
	switch {
	case errors.Is(err, errGone):
		return core.ClientGone
	case errors.Is(err, wire.ErrChunk):
		return core.UpstreamProtocol
	default:
		return c.cutReason()
	}
}

// relayChunks relays a chunked body. What came before a cut belongs to the client;
// the end does not follow.
func (c *conn) relayChunks(a *core.Attempt, to framing) core.Reason {
	c.upChunks.Reset(c.up.Reader)
	c.attempt, c.up.Waiter = a, c
	for {
		b, err := c.upChunks.Next()
		switch {
		case errors.Is(err, io.EOF):
			return c.endChunks(a, to)
		case err != nil:
			reason := c.brokenReason(err)
			if reason != core.ClientGone {
				_ = c.flush(a, c.now()) // the reason is the endpoint's
			}
			return reason
		}
		if reason := c.addData(a, b, to); reason != core.None {
			return reason
		}
		c.upChunks.Advance(len(b))
	}
}

// addData appends data to c.out in the client's framing, flushing as it fills.
func (c *conn) addData(a *core.Attempt, b []byte, to framing) core.Reason {
	const overhead = 32
	if len(c.out) > 0 && len(c.out)+len(b)+overhead > cap(c.out) {
		if reason := c.flush(a, c.now()); reason != core.None {
			return reason
		}
	}
	if to == byChunks {
		c.out = append(append(wire.AppendChunkHeader(c.out, len(b)), b...), "\r\n"...)
	} else {
		c.out = append(c.out, b...)
	}
	c.x.Sent += uint64(len(b))
	return core.None
}

// endChunks ends a chunked body with its trailers.
func (c *conn) endChunks(a *core.Attempt, to framing) core.Reason {
	if to == byChunks {
		c.out = append(c.out, "0\r\n"...)
		c.out = appendTrailers(c.out, c.upChunks.Trailers())
		c.out = append(c.out, "\r\n"...)
	}
	c.last = c.ends()
	return c.flush(a, c.now())
}

// relayUntilClose relays a body that ends with the connection.
func (c *conn) relayUntilClose(a *core.Attempt, to framing) core.Reason {
	c.attempt, c.up.Waiter = a, c
	br := c.up.Reader
	for {
		_, err := br.Peek(1)
		switch {
		case errors.Is(err, io.EOF):
			return c.endChunks(a, to)
		case err != nil:
			return c.brokenReason(err)
		}
		b, _ := br.Peek(br.Buffered())
		if reason := c.addData(a, b, to); reason != core.None {
			return reason
		}
		_, _ = br.Discard(len(b))
	}
}

// responseCloses says whether the endpoint means to close the connection.
func (c *conn) responseCloses() bool {
	if c.verbatim {
		return c.upHead.Has(wire.HasClose)
	}
	return c.resp.ConnectionClose()
}

// finishUpstream gives the connection to the endpoint back, if it can serve
// another request.
func (c *conn) finishUpstream(whole bool) {
	whole = c.drop() && whole
	if c.pump.started {
		if cause := c.stopPump(); cause != nil || !c.body.taken {
			c.keep = false
			whole = false
		}
	}
	up := c.up
	c.up = nil
	if whole && !c.responseCloses() && up.Reader.Buffered() == 0 {
		up.Release()
		return
	}
	up.Close()
}

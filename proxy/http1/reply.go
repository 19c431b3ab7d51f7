package http1

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"usher/proxy/core"
	"usher/proxy/wire"
)

// lingerTime and lingerBytes bound how long a connection that closes with input
// unread takes that input: without it the client could lose the answer to a reset.
const (
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)

// refuse answers a head that could not be read.
func (c *conn) refuse(err error) bool {
	c.x.Start = c.now()
	var r *wire.Refused
	if !errors.As(err, &r) {
		return false
	}
	return c.fail(core.RefusalReason(r.Status), r.Why)
}

// fail answers for usher and records the request. The connection goes on if the
// request was read to its end, in time, and was well formed.
func (c *conn) fail(reason core.Reason, why string) bool {
	if reason == core.Answered {
		return c.answerOwn(c.x.Own())
	}
	c.keep = c.keep && c.body.taken && reason < core.BadRequest && !c.watch.Fired()
	if reason != core.ClientGone {
		c.answer(reason, why)
	}
	c.end(reason)
	return c.finish(true)
}

// failBody answers a request whose body could not be read.
func (c *conn) failBody(cause error) bool {
	c.keep = false
	switch {
	case errors.Is(cause, errTooLarge):
		return c.fail(core.BodyTooLarge, "the request's body is larger than this listener takes")
	case errors.Is(cause, wire.ErrChunk):
		return c.fail(core.BadRequest, cause.Error())
	case c.watch.Fired():
		return c.fail(core.RequestTimeout, "the request's body did not come in time")
	default:
		return c.fail(core.ClientGone, "")
	}
}

// finish ends a request: what is left of its body is taken off the connection, or
// the connection ends.
func (c *conn) finish(whole bool) bool {
	if c.body.buffered > 0 {
		_, _ = c.br.Discard(c.body.buffered)
	}
	if c.keep && whole {
		return true
	}
	if whole && c.sent > 0 && (!c.body.taken || c.br.Buffered() > 0) {
		c.turn.linger = true
	}
	return false
}

// answer writes an answer of usher's own.
func (c *conn) answer(reason core.Reason, why string) {
	text := reason.String()
	if why != "" {
		text += ": " + why
	}
	c.sent = c.x.Status(reason)
	body, contentType := []byte(text+"\n"), "text/plain; charset=utf-8"
	if page := c.server.core.Page(&c.x, reason); page != nil {
		body, contentType = page.Body, page.Type
	}
	c.out = appendStatusLine(c.out[:0], c.sent, nil)
	c.out = append(append(c.out, "Content-Type: "...), contentType...)
	c.out = append(append(c.out, "\r\nX-Usher-Reason: "...), reason.String()...)
	c.out = append(c.out, "\r\n"...)
	if reason == core.Unauthorized {
		c.out = append(append(append(c.out, "WWW-Authenticate: "...), c.x.Challenge()...), "\r\n"...)
	}
	if reason == core.Overloaded {
		c.out = append(c.out, "Retry-After: 1\r\n"...)
	}
	c.appendOwn(body)
}

// answerOwn sends the answer of a route that asks no endpoint, and says whether the
// connection goes on. A body of the request that is not at hand is not waited for.
func (c *conn) answerOwn(own *core.Own) bool {
	c.takeAtHand()
	c.keep = c.keep && c.body.taken
	c.sent = own.Status
	if string(c.x.Method) != "HEAD" {
		c.x.Sent = uint64(len(own.Body))
	}
	c.out = appendStatusLine(c.out[:0], c.sent, nil)
	c.out = append(c.out, own.Fields...)
	c.appendOwn(own.Body)
	c.end(core.None)
	return c.finish(true)
}

// takeAtHand takes the request's body if it is at hand: the connection can go on then.
func (c *conn) takeAtHand() {
	if n := c.head.ContentLength; !c.body.taken && !c.head.Chunked && n <= int64(c.br.Buffered()) {
		c.body.buffered, c.body.taken = int(n), true
		c.x.Received = uint64(n)
	}
}

// answerOptions answers OPTIONS *, which asks about usher itself.
func (c *conn) answerOptions() bool {
	c.keep = c.keep && c.body.taken
	c.sent = fasthttp.StatusOK
	c.out = appendStatusLine(c.out[:0], c.sent, nil)
	c.appendOwn(nil)
	c.end(core.None)
	return c.finish(true)
}

// appendOwn completes an answer of usher's own and writes it. A failed write ends
// the connection by itself.
func (c *conn) appendOwn(body []byte) {
	c.out = append(c.out, "Date: "...)
	c.out = fasthttp.AppendHTTPDate(c.out, time.Now())
	if c.sent != fasthttp.StatusNoContent && c.sent != fasthttp.StatusNotModified {
		c.out = append(c.out, "\r\nContent-Length: "...)
		c.out = strconv.AppendInt(c.out, int64(len(body)), 10)
	}
	c.out = append(c.out, "\r\n"...)
	c.out = c.appendRequestID(c.out)
	c.out = append(c.appendConnection(c.out), "\r\n"...)
	if string(c.x.Method) == "HEAD" {
		body = nil
	}
	if len(c.out)+len(body) <= cap(c.out) {
		c.out, body = append(c.out, body...), nil
	}
	c.watch.Arm(c.listener.IdleDeadline(c.now()))
	if c.watch.Fired() {
		// The head did not come in time: the deadline is lifted for the answer.
		_ = c.nc.SetDeadline(time.Now().Add(lingerTime))
	}
	err := c.write(c.out)
	if err == nil && len(body) > 0 { // too large to lie in a buffer that others use after
		err = c.write(body)
	}
	if err != nil {
		c.keep = false
	}
}

// appendRequestID appends the name of the request, where the listener gives them and
// the request was read.
func (c *conn) appendRequestID(dst []byte) []byte {
	if !c.listener.RequestID || c.x.Method == nil {
		return dst
	}
	return appendField(dst, []byte(core.RequestIDName), c.x.RequestID())
}

// linger takes what the client still sends, for a while, after the answer.
func (c *conn) linger() {
	if c.nc.CloseWrite() != nil {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	buf := c.out[:cap(c.out)]
	for total := 0; total < lingerBytes; {
		n, err := c.nc.Read(buf)
		if err != nil {
			return
		}
		total += n
	}
}

// appendTrailers appends the lines of a response's trailer section but for those
// that would frame, route or authorise (RFC 9110 §6.5.1).
func appendTrailers(dst, lines []byte) []byte {
	for len(lines) > 0 {
		line, rest, _ := bytes.Cut(lines, []byte("\r\n"))
		lines = rest
		name, _, _ := bytes.Cut(line, []byte(":"))
		if !forbiddenTrailer(name) {
			dst = append(append(dst, line...), "\r\n"...)
		}
	}
	return dst
}

func forbiddenTrailer(name []byte) bool {
	for _, f := range []string{
		"transfer-encoding", "content-length", "host", "connection", "trailer", "te", "upgrade",
		"keep-alive", "proxy-connection", "set-cookie", "content-encoding", "content-type",
		"content-range", "location", "www-authenticate", "authorization", "cache-control",
	} {
		if wire.EqualFold(name, f) {
			return true
		}
	}
	return false
}

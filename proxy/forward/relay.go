package forward

import (
	"errors"
	"io"
	"strconv"
	"syscall"

	"github.com/valyala/fasthttp"

	"usher/proxy/core"
	"usher/proxy/wire"
)

// relay passes the endpoint's response on and records the request. It says whether the
// client has all of it.
func (t *Trip) relay(a *core.Attempt) (whole bool) {
	t.tellAnswered()
	t.pump.headSeen.Store(true)
	t.hold.asked.Store(false)
	from := t.responseFraming()
	to := t.client.Frame(from, core.None)
	t.Out = t.client.EndHead(t.appendHead(t.Out[:0], to), to)
	t.forwarder.Core.NoteResponse(&t.X, t.Out)
	t.Sent = t.upHead.Status
	reason := t.relayBody(a, from, to)
	whole = reason == core.None
	if whole {
		t.concluded(nil)
	} else {
		whole = t.cutGRPC(a, reason, to)
	}
	t.finishUpstream(reason == core.None && from != ByClose)
	if !whole {
		t.client.Truncate(to)
	}
	t.end(reason)
	return whole
}

// tellAnswered tells the core that the head of a response has come.
func (t *Trip) tellAnswered() { t.forwarder.Core.Answered(&t.X, t.upHead.Status, t.drainField()) }

// drainField is the value of the response's field by which the endpoint tells that it
// drains.
func (t *Trip) drainField() []byte {
	name := t.X.DrainHeader()
	if name == "" {
		return nil
	}
	return t.resp.Peek(name)
}

// responseFraming says how the body of the response is framed (RFC 9112 §6.3).
func (t *Trip) responseFraming() Framing {
	status := t.upHead.Status
	switch n := t.responseLength(); {
	case string(t.X.Method) == "HEAD" || status == fasthttp.StatusNoContent || status == fasthttp.StatusNotModified:
		return Bodyless
	case n >= 0:
		return ByLength
	case n == -1:
		return ByChunks
	default:
		return ByClose
	}
}

// BodyGone says whether the request's body has been sent, or its last piece is being
// written: an answer may come before the pump hears that its write is done. Only
// then is the connection of use after the response.
func (t *Trip) BodyGone() bool {
	return !t.pump.started || (t.pump.last.Load() && !t.pump.failed.Load())
}

// responseLength is the length of the response's body, -1 when it is chunked, less when
// it ends with the connection.
func (t *Trip) responseLength() int64 {
	switch {
	case !t.verbatim:
		return int64(t.resp.ContentLength())
	case t.upHead.Chunked:
		return -1
	case t.upHead.ContentLength < 0:
		return -2
	default:
		return t.upHead.ContentLength
	}
}

// copyHead appends the response's head as it lies in the buffer, and takes it off.
func (t *Trip) copyHead(dst []byte) []byte {
	b, _ := t.up.Reader.Peek(t.upHead.Len)
	dst = t.upHead.AppendHead(dst, b)
	_, _ = t.up.Reader.Discard(len(b))
	if t.X.Listener.Via {
		dst = append(dst, "Via: "+core.Via+"\r\n"...)
	}
	return t.X.AppendDebug(t.X.AppendCookie(append(dst, t.X.Listener.HSTS...)))
}

// appendHead appends the response's head as it goes to the client, without its end.
func (t *Trip) appendHead(dst []byte, to Framing) []byte {
	if t.verbatim {
		return t.copyHead(dst)
	}
	dst = appendStatusLine(dst, t.resp.StatusCode(), t.resp.StatusMessage())
	nominated := t.responseNominated()
	edits := t.X.ResponseEdits()
	keepLength := (to == ByLength || to == Bodyless) && t.resp.StatusCode() != fasthttp.StatusNoContent
	for name, value := range t.resp.All() {
		switch {
		case core.HopByHop(name) || string(name) == "Transfer-Encoding":
			continue
		case string(name) == "Content-Length" && !keepLength:
			continue
		case nominated != nil && named(nominated, name):
			continue
		case edits != nil && edits.Drops(name):
			continue
		case t.X.Listener.RequestID && string(name) == core.RequestIDName:
			continue
		}
		dst = appendField(dst, name, value)
	}
	if t.X.Listener.Via {
		dst = append(dst, "Via: "+core.Via+"\r\n"...)
	}
	dst = t.X.AppendDebug(t.X.AppendCookie(append(t.appendRequestID(dst), t.X.Listener.HSTS...)))
	if edits != nil {
		dst = t.X.AppendEdits(dst, edits)
	}
	return dst
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
func (t *Trip) responseNominated() [][]byte {
	v := t.resp.Peek(fasthttp.HeaderConnection)
	if len(v) == 0 {
		return nil
	}
	values := t.resp.PeekAll(fasthttp.HeaderConnection)
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
func (t *Trip) relayInterim() error {
	dst := appendStatusLine(t.Out[:0], t.resp.StatusCode(), t.resp.StatusMessage())
	for name, value := range t.resp.All() {
		if !core.HopByHop(name) && string(name) != "Transfer-Encoding" && string(name) != "Content-Length" {
			dst = appendField(dst, name, value)
		}
	}
	dst = append(dst, "\r\n"...)
	t.Out = dst
	t.watch.Arm(t.Until(t.now(), t.forwarder.Core.BodyIdle(&t.X)))
	err := t.client.Interim(t.Out)
	if !t.Body.Streamed {
		t.watch.Arm(0) // what follows is the endpoint's to wait for
	}
	return err
}

// relayBody sends what is in t.Out, then the body. The Reason is why the response
// was cut, None when it was not.
func (t *Trip) relayBody(a *core.Attempt, from, to Framing) core.Reason {
	switch from {
	case Bodyless:
		return t.flush(a, t.answered, true)
	case ByLength:
		return t.relayLength(a, t.responseLength())
	case ByChunks:
		return t.relayChunks(a, to)
	default:
		return t.relayUntilClose(a, to)
	}
}

// flush writes t.Out to the client, if there is anything in it; end says that nothing
// follows.
func (t *Trip) flush(a *core.Attempt, now int64, end bool) core.Reason {
	if len(t.Out) == 0 && !end {
		return core.None
	}
	t.watch.Arm(t.Until(now, a.Policy.IdleTimeout))
	if err := t.client.Write(t.Out, end); err != nil {
		return core.ClientGone
	}
	t.Out = t.Out[:0]
	return core.None
}

// relayLength relays a body of n bytes: what is at hand goes out with the head.
func (t *Trip) relayLength(a *core.Attempt, n int64) core.Reason {
	br := t.up.Reader
	b, _ := br.Peek(int(min(n, int64(br.Buffered()))))
	t.Out = append(t.Out, b...)
	_, _ = br.Discard(len(b))
	n -= int64(len(b))
	t.X.Sent += uint64(len(b))
	if reason := t.flush(a, t.answered, n == 0); reason != core.None {
		return reason
	}
	if n < spliceMin {
		return t.relayRest(a, n)
	}
	_, plain, ok := t.up.Plain()
	if raw, takes := t.client.Bulk(); ok && takes {
		return t.spliceResponse(a, plain, raw, n)
	}
	return t.copyResponse(a, n)
}

// relayRest copies n bytes through t.Out, which is empty.
func (t *Trip) relayRest(a *core.Attempt, n int64) core.Reason {
	for n > 0 {
		begin := t.now()
		t.awaitEndpoint(a, begin)
		room := t.Out[:cap(t.Out)]
		m, err := t.up.Fill(room[:min(n, int64(len(room)))])
		now := t.now()
		t.X.Upstream += now - begin
		if m == 0 && err != nil {
			return t.cutReason()
		}
		t.Out = room[:m]
		n -= int64(m)
		t.X.Sent += uint64(m)
		if reason := t.flush(a, now, n == 0); reason != core.None {
			return reason
		}
	}
	return core.None
}

// spliceResponse moves n bytes within the kernel from the endpoint's plain connection to
// the client's.
func (t *Trip) spliceResponse(a *core.Attempt, plain, raw syscall.RawConn, n int64) core.Reason {
	p := wire.TakePipe()
	if p == nil {
		return t.copyResponse(a, n)
	}
	defer p.Release()
	begin := t.now()
	defer func() { t.X.Upstream += t.now() - begin }()
	for n > 0 {
		t.armBoth(a)
		if m, err := p.Fill(plain, int(min(n, wire.PipeSize))); err != nil || m == 0 {
			return t.cutReason()
		}
		for p.Held() > 0 {
			t.armBoth(a)
			m, err := p.Drain(raw)
			n -= int64(m)
			t.X.Sent += uint64(m)
			if err != nil {
				return core.ClientGone
			}
		}
	}
	return core.None
}

// armBoth gives both sides an idle timeout from now on: while one is waited for, the
// other's must not come.
func (t *Trip) armBoth(a *core.Attempt) {
	at := t.Until(t.now(), a.Policy.IdleTimeout)
	t.watch.Arm(at)
	t.up.Watch.Arm(at)
}

// cutReason is why a response that had begun was cut on the endpoint's side.
func (t *Trip) cutReason() core.Reason {
	switch {
	case t.hold.gone.Load():
		return core.ClientGone
	case t.late():
		return t.X.OutOfTime()
	case t.up.Watch.Fired():
		return core.UpstreamTimeout
	default:
		return core.UpstreamReset
	}
}

// BeforeRead implements upstream.Waiter: what is there goes out before a wait for
// the endpoint.
func (t *Trip) BeforeRead() error {
	now := t.now()
	if t.flush(t.attempt, now, false) != core.None {
		return errGone
	}
	t.awaitEndpoint(t.attempt, now)
	return nil
}

// awaitEndpoint gives the endpoint an idle timeout from now on. The client has none
// meanwhile, unless its body is still awaited; the request's own deadline is the endpoint's
// to keep, so that the client can be told.
func (t *Trip) awaitEndpoint(a *core.Attempt, now int64) {
	if t.BodyGone() {
		t.watch.Arm(0)
	} else {
		t.watch.Arm(after(now, a.Policy.IdleTimeout))
	}
	t.up.Watch.Arm(t.Until(now, a.Policy.IdleTimeout))
}

// brokenReason is why the reading of a body failed.
func (t *Trip) brokenReason(err error) core.Reason {
	switch {
	case errors.Is(err, errGone):
		return core.ClientGone
	case errors.Is(err, wire.ErrChunk):
		return core.UpstreamProtocol
	default:
		return t.cutReason()
	}
}

// relayChunks relays a chunked body. What came before a cut belongs to the client;
// the end does not follow.
func (t *Trip) relayChunks(a *core.Attempt, to Framing) core.Reason {
	t.upChunks.Reset(t.up.Reader)
	t.attempt, t.up.Waiter = a, t
	for {
		b, err := t.upChunks.Next()
		switch {
		case errors.Is(err, io.EOF):
			trailers := dropTrailers(t.upChunks.Trailers())
			t.concluded(trailers)
			return t.endBody(a, trailers, to)
		case err != nil:
			reason := t.brokenReason(err)
			if reason != core.ClientGone {
				_ = t.flush(a, t.now(), false) // the reason is the endpoint's
			}
			return reason
		}
		if reason := t.addData(a, b, to); reason != core.None {
			return reason
		}
		t.upChunks.Advance(len(b))
	}
}

// addData appends data to t.Out in the client's framing, flushing as it fills.
func (t *Trip) addData(a *core.Attempt, b []byte, to Framing) core.Reason {
	const overhead = 32
	if len(t.Out) > 0 && len(t.Out)+len(b)+overhead > cap(t.Out) {
		if reason := t.flush(a, t.now(), false); reason != core.None {
			return reason
		}
	}
	t.Out = t.client.AppendData(t.Out, b, to)
	t.X.Sent += uint64(len(b))
	return core.None
}

// endBody ends a body without a length, with its trailers, if it has any.
func (t *Trip) endBody(a *core.Attempt, trailers []byte, to Framing) core.Reason {
	t.Out = t.client.AppendEnd(t.Out, trailers, to)
	return t.flush(a, t.now(), true)
}

// relayUntilClose relays a body that ends with the connection.
func (t *Trip) relayUntilClose(a *core.Attempt, to Framing) core.Reason {
	t.attempt, t.up.Waiter = a, t
	br := t.up.Reader
	for {
		_, err := br.Peek(1)
		switch {
		case errors.Is(err, io.EOF):
			return t.endBody(a, nil, to)
		case err != nil:
			return t.brokenReason(err)
		}
		b, _ := br.Peek(br.Buffered())
		if reason := t.addData(a, b, to); reason != core.None {
			return reason
		}
		_, _ = br.Discard(len(b))
	}
}

// responseCloses says whether the endpoint means to close the connection.
func (t *Trip) responseCloses() bool {
	if t.verbatim {
		return t.upHead.Has(wire.HasClose)
	}
	return t.resp.ConnectionClose()
}

// finishUpstream gives the connection to the endpoint back, if it can serve
// another request.
func (t *Trip) finishUpstream(whole bool) {
	whole = t.drop() && whole
	if t.pump.started {
		cause := t.stopPump()
		whole = whole && cause == nil && t.Body.Taken
	}
	up := t.up
	t.up = nil
	if whole && !t.responseCloses() && up.Reader.Buffered() == 0 {
		up.Release()
		return
	}
	up.Close()
}

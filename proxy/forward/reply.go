package forward

import (
	"errors"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"usher/proxy/core"
	"usher/proxy/wire"
)

// Refuse answers a head that could not be read, err, and says whether there was anything
// to answer.
func (t *Trip) Refuse(err error) bool {
	t.X.Start = t.now()
	var r *wire.Refused
	if !errors.As(err, &r) {
		return false
	}
	return t.Fail(core.RefusalReason(r.Status), r.Why)
}

// Fail answers for usher and records the request: by the route's own answer where the
// reason is core.Answered. It says whether the client has it.
func (t *Trip) Fail(reason core.Reason, why string) (whole bool) {
	if reason == core.Answered {
		return t.answerOwn(t.X.Own())
	}
	whole = true
	if reason != core.ClientGone {
		whole = t.answer(reason, why) == nil
	}
	t.end(reason)
	return whole
}

// failBody answers a request whose body could not be read.
func (t *Trip) failBody(cause error) bool {
	t.Body.Taken = false
	switch {
	case errors.Is(cause, errTooLarge):
		return t.Fail(core.BodyTooLarge, "the request's body is larger than this listener takes")
	case errors.Is(cause, wire.ErrChunk):
		return t.Fail(core.BadRequest, cause.Error())
	case t.watch.Fired():
		return t.Fail(core.RequestTimeout, "the request's body did not come in time")
	default:
		return t.Fail(core.ClientGone, "")
	}
}

// answer writes an answer of usher's own.
func (t *Trip) answer(reason core.Reason, why string) error {
	text := reason.String()
	if why != "" {
		text += ": " + why
	}
	if t.X.GRPC() {
		return t.answerGRPC(reason, text)
	}
	t.Sent = t.X.Status(reason)
	body, contentType := []byte(text+"\n"), "text/plain; charset=utf-8"
	if page := t.forwarder.Core.Page(&t.X, reason); page != nil {
		body, contentType = page.Body, page.Type
	}
	out := appendStatusLine(t.Out[:0], t.Sent, nil)
	out = append(append(out, "Content-Type: "...), contentType...)
	out = append(append(out, "\r\nX-Usher-Reason: "...), reason.String()...)
	out = append(out, "\r\n"...)
	if reason == core.Unauthorized {
		out = append(append(append(out, "WWW-Authenticate: "...), t.X.Challenge()...), "\r\n"...)
	}
	if reason == core.Overloaded {
		out = append(out, "Retry-After: 1\r\n"...)
	}
	t.Out = out
	return t.writeOwn(body, reason)
}

// answerOwn sends the answer of a route that asks no endpoint. A body of the request that
// is not at hand is not waited for.
func (t *Trip) answerOwn(own *core.Own) (whole bool) {
	t.Sent = own.Status
	if string(t.X.Method) != "HEAD" {
		t.X.Sent = uint64(len(own.Body))
	}
	t.Out = append(appendStatusLine(t.Out[:0], t.Sent, nil), own.Fields...)
	err := t.writeOwn(own.Body, core.Answered)
	t.end(core.None)
	return err == nil
}

// AnswerOptions answers OPTIONS *, which asks about usher itself. It says whether the
// client has the answer.
func (t *Trip) AnswerOptions() (whole bool) {
	t.Sent = fasthttp.StatusOK
	t.Out = appendStatusLine(t.Out[:0], t.Sent, nil)
	err := t.writeOwn(nil, core.Answered)
	t.end(core.None)
	return err == nil
}

// writeOwn completes an answer of usher's own and writes it.
func (t *Trip) writeOwn(body []byte, reason core.Reason) error {
	to := t.client.Frame(ByLength, reason)
	out := t.Out
	out = append(out, "Date: "...)
	out = fasthttp.AppendHTTPDate(out, time.Now())
	if t.Sent != fasthttp.StatusNoContent && t.Sent != fasthttp.StatusNotModified {
		out = append(out, "\r\nContent-Length: "...)
		out = strconv.AppendInt(out, int64(len(body)), 10)
	}
	out = t.appendRequestID(append(append(out, "\r\n"...), t.X.Listener.HSTS...))
	out = t.client.EndHead(t.X.AppendDebug(out), to)
	t.forwarder.Core.NoteResponse(&t.X, out)
	if string(t.X.Method) == "HEAD" {
		body = nil
	}
	t.X.Said = uint64(len(body))
	if len(out)+len(body) <= cap(out) {
		out, body = append(out, body...), nil
	}
	t.Out = out
	t.watch.Arm(t.X.Listener.IdleDeadline(t.now()))
	err := t.client.Write(out, len(body) == 0)
	if err == nil && len(body) > 0 { // too large to lie in a buffer that others use after
		err = t.client.Write(body, true)
	}
	return err
}

// appendRequestID appends the name of the request, where the listener gives them and
// the request was read.
func (t *Trip) appendRequestID(dst []byte) []byte {
	if !t.X.Listener.RequestID || t.X.Method == nil {
		return dst
	}
	return appendField(dst, []byte(core.RequestIDName), t.X.RequestID())
}

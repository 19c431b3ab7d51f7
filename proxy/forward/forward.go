package forward

import (
	"errors"

	"github.com/valyala/fasthttp"

	"usher/proxy/core"
	"usher/proxy/upstream"
	"usher/proxy/wire"
)

// Forward tries endpoints until one answers or the core gives up, and passes on what has
// come of that. It says whether the client has a whole answer. Where the endpoint agreed to
// another protocol (Upgrade) nothing is passed on: switched is the try, and the adapter
// goes on with Switch.
func (t *Trip) Forward() (whole bool, switched *core.Attempt) {
	t.watch.Arm(0) // what follows is the endpoints' to wait for, but for a body that is streamed
	for {
		if t.watch.Fired() {
			return t.Fail(core.ClientGone, ""), nil // the connection was cut
		}
		a, reason := t.forwarder.Core.Next(&t.X)
		if reason != core.None {
			return t.Fail(reason, ""), nil
		}
		if !t.copiesHead() {
			t.X.Parsed() // so that it is known whether the codec takes it
		}
		if t.Malformed != nil {
			return t.Fail(core.BadRequest, "malformed head"), nil
		}
		t.Deadline = a.Deadline
		err := t.try(a)
		switch {
		case err == nil && t.upHead.Status == fasthttp.StatusSwitchingProtocols:
			return false, a
		case err == nil && !t.unwanted():
			return t.relay(a), nil
		case err == nil:
			t.dropResponse()
		default:
			if again, whole := t.failed(err); !again {
				return whole, nil
			}
		}
		if reason := t.pause(t.X.Pause()); reason != core.None {
			return t.Fail(reason, ""), nil
		}
	}
}

// failed says whether there is to be another try after one that brought no response.
// Otherwise the request is answered.
func (t *Trip) failed(err *upstream.Error) (again, whole bool) {
	if cause := t.abandon(); cause != nil && err.Kind != upstream.Connect {
		return false, t.failBody(cause)
	}
	if t.hold.gone.Load() {
		return false, t.Fail(core.ClientGone, "")
	}
	again, reason := t.forwarder.Core.Failed(&t.X, err)
	if !again {
		whole = t.Fail(reason, t.X.Why(reason))
	}
	return again, whole
}

// try sends the request to one endpoint and reads the head of its response.
func (t *Trip) try(a *core.Attempt) *upstream.Error {
	begin := t.lately()
	t.Out = t.appendRequest(t.Out[:0], a)
	uerr := t.connectAndConverse(a, begin)
	t.answered = t.now()
	t.X.Upstream += t.answered - begin
	if uerr == nil && t.X.GRPC() {
		t.replied()
	}
	return uerr
}

// connectAndConverse takes connections until one is not stale.
func (t *Trip) connectAndConverse(a *core.Attempt, begin int64) *upstream.Error {
	for {
		up, begin, uerr := t.connect(a, begin)
		if uerr != nil {
			return uerr
		}
		t.up = up
		t.X.Connected(up)
		t.take(up, begin)
		up.Watch.Arm(t.Until(begin, a.Timeout))
		err := t.converse(a, begin)
		switch {
		case err == nil && !t.settle():
			return &upstream.Error{Kind: upstream.Out, Err: errMoved}
		case err == nil:
			return nil
		case errors.Is(err, upstream.ErrStale):
			t.drop()
			up.Close()
			t.up = nil
		default:
			return t.upstreamError(t.up, err)
		}
	}
}

// connect takes a connection and says since when its endpoint can be asked: the wait for a
// place or for the connection is not the endpoint's time. One that is idle takes none.
func (t *Trip) connect(a *core.Attempt, begin int64) (up *upstream.Conn, ready int64, err *upstream.Error) {
	up, err = a.Pool.Get(a.Fresh, a.Policy.ConnectTimeout)
	if err == nil && up.Reused {
		return up, begin, nil
	}
	if err != nil && err.Kind == upstream.Full {
		up, err = t.await(a)
	}
	return up, t.now(), err
}

// converse sends what is in t.Out and reads the head of the response. The try began at
// begin; t.up is another connection then if a second try was faster.
func (t *Trip) converse(a *core.Attempt, begin int64) error {
	up := t.up
	t.interim = false
	if !t.Body.Streamed {
		up.Send(t.Out)
		if t.hedged(a) {
			return t.race(a, begin)
		}
		return t.readResponse(up)
	}
	if up.Reused && !up.Alive() {
		return upstream.ErrStale
	}
	if _, err := up.Write(t.Out); err != nil {
		return err
	}
	t.startPump(a)
	return t.readResponse(up)
}

// copiesHead says whether the fields go on as the client wrote them. Otherwise the codec
// reads them.
func (t *Trip) copiesHead() bool {
	return t.X.Head == nil && t.Head.Verbatim() && !t.Head.Chunked
}

// appendRequest appends the head as it goes to the endpoint, and a buffered body.
func (t *Trip) appendRequest(dst []byte, a *core.Attempt) []byte {
	if t.copiesHead() {
		dst = append(append(dst, t.X.Method...), ' ')
		dst = append(append(dst, a.Target...), " HTTP/1.1\r\nHost: "...)
		dst = append(append(dst, a.Host...), "\r\n"...)
		dst = t.Head.AppendFields(dst, t.Wrote)
	} else {
		dst = appendParsed(dst, t.X.Parsed(), a)
	}
	for i := range t.X.Fields {
		dst = t.X.Fields[i].AppendTo(dst)
	}
	if len(t.Upgrade) > 0 {
		dst = t.AppendUpgrade(dst)
	}
	dst = append(dst, "\r\n"...)
	switch {
	case t.whole:
		dst = append(dst, t.kept...)
	case t.Body.Buffered > 0:
		dst = append(dst, t.client.Buffered()...)
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
func (t *Trip) readResponse(up *upstream.Conn) error {
	for ; ; t.interim = true {
		if err := t.scanResponse(up); err != nil {
			return err
		}
		status := t.upHead.Status
		if t.verbatim = t.mayCopyHead(status); t.verbatim {
			return nil
		}
		if err := t.resp.Read(up.Reader); err != nil {
			return err
		}
		switch {
		case status >= 200 && status <= 599:
			return nil
		case status == fasthttp.StatusSwitchingProtocols && len(t.Upgrade) > 0 && t.agreed():
			return nil
		case status < 100 || status > 199 || status == fasthttp.StatusSwitchingProtocols:
			return errStatus
		}
		t.unmovable()
		if status == fasthttp.StatusEarlyHints && t.Head.Minor == 1 {
			if err := t.relayInterim(); err != nil {
				return err
			}
		}
	}
}

// mayCopyHead says whether the scanned head of a response may go on as it is written,
// but for the lines that concern one connection. Otherwise the codec reads it.
func (t *Trip) mayCopyHead(status int) bool {
	return t.upHead.Verbatim() && (!t.upHead.Chunked || t.upHead.ContentLength < 0) &&
		status >= 200 && status <= 599 && status != fasthttp.StatusNoContent &&
		!t.X.Retries(status) && !t.X.RetriesCall(t.upHead.GRPCStatus) &&
		t.X.ResponseEdits() == nil && t.X.DrainHeader() == "" && !t.X.Listener.RequestID
}

// scanResponse reads until a whole head is in the buffer, and checks it.
func (t *Trip) scanResponse(up *upstream.Conn) error {
	t.upHead.Reset()
	for have := 1; ; have = up.Reader.Buffered() + 1 {
		if _, err := up.Reader.Peek(have); err != nil {
			return err
		}
		b, _ := up.Reader.Peek(up.Reader.Buffered())
		if err := t.upHead.ScanResponse(b); !errors.Is(err, wire.ErrMore) {
			return err
		}
	}
}

// upstreamError says what kind of failure a try met. An endpoint that has sent anything,
// an interim response or a part of a head, works on the request: that is not a Reset,
// after which it could be sent again.
//
// Once the time for the request is over that is the failure, whatever it looks like: the
// endpoint may know of the deadline and keep it before usher does.
func (t *Trip) upstreamError(up *upstream.Conn, err error) *upstream.Error {
	if known, ok := errors.AsType[*upstream.Error](err); ok && !t.late() {
		return known
	}
	e := &upstream.Error{Kind: upstream.Protocol, Reused: up.Reused, Err: err}
	switch {
	case t.late():
		e.Kind, e.Reused = upstream.Total, false
	case t.hold.moved.Load():
		e.Kind, e.Reused = upstream.Out, false
	case up.Watch.Fired():
		e.Kind = upstream.Timeout
	case !upstream.EOF(err):
	case t.interim || up.Reader.Buffered() > 0:
		e.Kind = upstream.Partial
	default:
		e.Kind = upstream.Reset
	}
	return e
}

// abandon ends a try: the connection to the endpoint closes, and the sending of
// the body ends. It returns what the body was cut for on the client's side, nil
// when that was well.
func (t *Trip) abandon() (cause error) {
	if t.up == nil {
		return nil
	}
	if t.pump.started {
		cause = t.stopPump()
		t.keepBody()
	}
	t.drop()
	t.up.Close()
	t.up = nil
	return cause
}

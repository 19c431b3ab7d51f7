package core

import (
	"net/textproto"
	"strings"
	"time"

	"usher/metrics"
	"usher/metrics/tracing"
	"usher/proxy/upstream"
	"usher/proxy/wire"
	"usher/routetable"
)

// recording is what is recorded of an exchange. Most are not: theirs is nil.
type recording struct {
	server  *tracing.Server
	request tracing.Request
	// try is the one under way; nil: none is.
	try *tracing.Try
	// names are the fields that a client's word on traces stands in.
	names []string
	// epoch is when the sweeper's clock began.
	epoch time.Time
	// fields are those of the try.
	fields []tracing.Field
}

// TraceID names the trace that the request is recorded in; zero: it is not recorded. It is
// known from Begin until End has returned.
func (x *Exchange) TraceID() (id [16]byte) {
	if x.recording != nil {
		id = x.recording.server.TraceID()
	}
	return id
}

// record begins to record the request, if it is one of those that are.
func (c *Core) record(x *Exchange) {
	var head tracing.Head
	if x.Flags&wire.HasTrace != 0 {
		head = headOf{x}
	}
	if context, yes := c.Tracer.Decide(head); yes {
		c.beginRecording(x, head, context)
	}
}

// headOf is the head of an exchange for package tracing. To turn Source into its interface
// would take a search for each request.
type headOf struct{ *Exchange }

// Field implements tracing.Head.
func (h headOf) Field(name string, nth int) (value []byte, ok bool) { return h.Source.Field(name, nth) }

// Traceparent implements tracing.Head.
func (h headOf) Traceparent() []byte { return h.Source.Traceparent() }

// B3 implements tracing.Head.
func (h headOf) B3() []byte { return h.Source.B3() }

// beginRecording keeps what the head tells: a tunnel has no head any more when it ends.
func (c *Core) beginRecording(x *Exchange, head tracing.Head, context tracing.Context) {
	r := &recording{names: c.Tracer.Names(), epoch: time.Now().Add(-time.Duration(c.Sweeper.Now()))}
	r.server = c.Tracer.Begin(context, head, r.wall(x.Start))
	agent, _ := x.Source.Field("user-agent", 0)
	id, _ := x.Source.Field("x-request-id", 0)
	r.request = tracing.Request{
		Listener: x.Listener.Name, Method: string(x.Method), Path: string(wire.Path(x.Target)),
		Scheme: x.Listener.Scheme, Host: string(x.Host), Client: string(x.clientIP()), Peer: string(x.Peer.IP),
		UserAgent: string(agent), RequestID: string(id), Version: strings.TrimPrefix(x.Source.Protocol(), "HTTP/"),
		Generation: x.table.Version, Call: x.GRPC(),
	}
	x.recording = r
}

// wall is a moment on the sweeper's clock.
func (r *recording) wall(at int64) time.Time { return r.epoch.Add(time.Duration(at)) }

// disownTrace takes out of the head what the client says of the trace: each try says it anew.
func (x *Exchange) disownTrace() {
	for _, name := range x.recording.names {
		if x.Source.HasField(name) {
			x.head().Del(name)
		}
	}
}

// recordTry begins the span of the try at an endpoint, and adds the fields that tell the
// endpoint of it. It is called after rewrite.
func (c *Core) recordTry(x *Exchange, e *routetable.Endpoint, target []byte) *tracing.Try {
	r := x.recording
	t := r.server.Try(r.wall(c.Sweeper.Now()))
	t.Method, t.Path, t.Scheme = r.request.Method, string(wire.Path(target)), "http"
	if e.TLS != nil {
		t.Scheme = "https"
	}
	t.Address, t.Endpoint, t.Service = e.Address, e.ID, x.cluster.Services[e.ServiceIndex]
	t.Generation, t.Resent, t.HTTP2, t.Call = r.request.Generation, x.tries()-1, e.HTTP2, r.request.Call
	if x.retrial.under {
		t.Cause = x.retrial.cause.String()
	}
	r.fields = t.AppendFields(r.fields[:0])
	for _, f := range r.fields {
		if !x.route.RequestEdits.Drops([]byte(textproto.CanonicalMIMEHeaderKey(f.Name))) {
			x.Fields = append(x.Fields, Field{Name: f.Name, Text: f.Value})
		}
	}
	return t
}

// Connected tells what the request is sent on.
func (x *Exchange) Connected(up *upstream.Conn) {
	if x.recording != nil {
		x.recording.try.Connection(up.Reused)
	}
}

// recordFailure ends the span of a try that brought no response. One that found no
// connection free was none.
func (c *Core) recordFailure(x *Exchange, err *upstream.Error) {
	t := x.recording.try
	switch err.Kind {
	case upstream.Full:
		x.recording.try = nil
		return
	case upstream.Connect:
		t.Connected = false // the one before it was stale
	}
	t.Error = x.reasonOf(err).String()
	c.endTry(x)
}

// recordAnswer notes the head of a response.
func (x *Exchange) recordAnswer(status int) {
	t := x.recording.try
	t.Status = status
	if x.call.known {
		t.Code = int(x.call.status)
	}
}

// endTry ends the span of the try under way.
func (c *Core) endTry(x *Exchange) {
	r := x.recording
	r.try.End(r.wall(c.Sweeper.Now()))
	r.try = nil
}

// recordOvertaking ends the span of a try whose hedge was faster, and goes on with that.
func (c *Core) recordOvertaking(x *Exchange, h *Hedged) {
	x.recording.try.Error, x.recording.try.GivenUp = "hedge_won", true
	c.endTry(x)
	x.recording.try = h.try
}

// recordLeaving ends the span of a hedge that is not the one of its exchange.
func (h *Hedged) recordLeaving(outcome metrics.HedgeOutcome) {
	switch {
	case h.try.Error != "": // no connection was made
	case outcome == metrics.HedgeFailed:
		h.try.Error = "hedge_failed"
	default:
		h.try.Error, h.try.GivenUp = "hedge_lost", true
	}
	h.try.End(time.Now())
}

// endRecording makes the spans that are still open, from what was counted. service is the
// place of the one that answered.
func (x *Exchange) endRecording(s *metrics.Sample, status int, reason Reason, service int, now int64) {
	r := x.recording
	if x.route != nil {
		x.recordRoute(x.cluster.Services[service])
	}
	if r.try != nil && x.call.known {
		r.try.Code = int(x.call.status)
	}
	r.finish(s, status, reason, now)
	x.recording = nil
}

// recordRoute notes where the request went, and the name it got on its way.
func (x *Exchange) recordRoute(service string) {
	q := &x.recording.request
	q.Route, q.Service = x.route.ID, service
	if id := x.knownID(); id != nil {
		q.RequestID = string(id)
	}
}

// finish makes the spans that are still open.
func (r *recording) finish(s *metrics.Sample, status int, reason Reason, now int64) {
	end, word := r.wall(now), reason.String()
	if t := r.try; t != nil {
		if word != "" {
			t.Error, t.GivenUp = word, reason == ClientGone
		}
		t.End(end)
	}
	q := &r.request
	q.Reason, q.Status, q.Code = word, status, int(s.Call)-1
	q.Received, q.Sent = s.Received, s.Sent
	q.Cut = reason != None && reason != ClientGone && status > 0 && status < 400
	r.server.End(q, end)
}

package tracing

import (
	"context"
	"net"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Server is the span of a request that is recorded.
type Server struct {
	tracer  *Tracer
	context Context
	state   trace.TraceState
	id      [8]byte
	start   time.Time
}

// Begin begins the span of a request that Decide has spoken for; head is what was given to
// it. The span is not made before End.
func (t *Tracer) Begin(c Context, head Head, start time.Time) *Server {
	s := &Server{tracer: t, context: c, id: newSpanID(), start: start}
	if c.stated {
		s.state = stateOf(head)
	}
	return s
}

// TraceID is the name of the trace.
func (s *Server) TraceID() [16]byte { return s.context.Trace }

// Request is what the span of a request tells. Empty words and zeros are left out, but for
// those that say otherwise.
type Request struct {
	Listener, Method, Path, Scheme, Host, Client, Peer, UserAgent, RequestID string
	// Version is that of HTTP: 1.0, 1.1 or 2.
	Version string
	// Route, Service and Reason are usher's words. Generation is the number of the table.
	Route, Service, Reason string
	Generation             uint64
	// Status is what was sent; 0: nothing.
	Status int
	// Call says that it is one of gRPC, and Code how that ended.
	Call bool
	Code int
	// Received and Sent are the bytes of the bodies.
	Received, Sent uint64
	// Cut says that the client has a part of the answer only.
	Cut bool
}

// End makes the span. Nothing else is to be called afterwards, but for the End of tries that
// are still under way.
func (s *Server) End(r *Request, end time.Time) {
	ctx := context.Background()
	if s.context.Parent != [8]byte{} {
		ctx = trace.ContextWithRemoteSpanContext(ctx, s.spanContext(s.context.Parent, s.context.flags))
	}
	name := spanMethod(r.Method)
	if r.Route != "" {
		name += " " + r.Route
	}
	span := s.open(ctx, s.id, name, trace.SpanKindServer, s.start, r.attributes())
	if why, failed := r.failure(); failed {
		span.SetStatus(codes.Error, r.Reason)
		span.SetAttributes(attribute.String("error.type", why))
	}
	span.End(trace.WithTimestamp(end))
}

// spanContext is that of a span of the trace.
func (s *Server) spanContext(span [8]byte, flags byte) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: s.context.Trace, SpanID: span, TraceFlags: trace.TraceFlags(flags), TraceState: s.state,
	})
}

// open makes a span with the name that it was given.
func (s *Server) open(
	ctx context.Context, id [8]byte, name string, kind trace.SpanKind, start time.Time, kv []attribute.KeyValue,
) trace.Span {
	_, span := s.tracer.tracer.Start(&ids{ctx, s.context.Trace, id}, name,
		trace.WithSpanKind(kind), trace.WithTimestamp(start), trace.WithAttributes(kv...))
	return span
}

// failure says whether the request failed on the server's side, and how.
func (r *Request) failure() (why string, failed bool) {
	switch {
	case r.Call:
		failed = grpcFault(r.Code)
		why = strconv.Itoa(r.Code)
	default:
		failed = r.Status >= 500 || r.Cut
		why = strconv.Itoa(r.Status)
	}
	if r.Reason != "" {
		why = r.Reason
	}
	return why, failed
}

// grpcFault says whether a status of gRPC is the server's fault: unknown,
// deadline_exceeded, unimplemented, internal, unavailable, data_loss.
func grpcFault(code int) bool {
	switch code {
	case 2, 4, 12, 13, 14, 15:
		return true
	default:
		return false
	}
}

// spanMethod is the method as a span's name has it: clients can make up others.
func spanMethod(method string) string {
	if known(method) {
		return method
	}
	return "HTTP"
}

func known(method string) bool {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY":
		return true
	default:
		return false
	}
}

// pairs are the attributes of a span; what is empty is left out.
type pairs []attribute.KeyValue

func (p *pairs) text(key, value string) {
	if value != "" {
		*p = append(*p, attribute.String(key, value))
	}
}

func (p *pairs) number(key string, n int64) {
	if n > 0 {
		*p = append(*p, attribute.Int64(key, n))
	}
}

// longestMethod is how much is told of a method that is not a known one.
const longestMethod = 32

func (p *pairs) method(method string) {
	if known(method) {
		p.text("http.request.method", method)
		return
	}
	p.text("http.request.method", "_OTHER")
	p.text("http.request.method_original", method[:min(len(method), longestMethod)])
}

// hostPort are the attributes of an address; one without a port is told without.
func (p *pairs) hostPort(address string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		p.text("server.address", address)
		return
	}
	p.text("server.address", host)
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		p.number("server.port", int64(n))
	}
}

// call are the attributes of a call of gRPC, whose path is "/service/method". A code below 0
// is not known.
func (p *pairs) call(path string, code int) {
	p.text("rpc.system", "grpc")
	if service, method, ok := cutCall(path); ok {
		p.text("rpc.service", service)
		p.text("rpc.method", method)
	}
	if code >= 0 {
		*p = append(*p, attribute.Int("rpc.grpc.status_code", code))
	}
}

func (r *Request) attributes() []attribute.KeyValue {
	p := make(pairs, 0, 24)
	p.method(r.Method)
	p.text("url.path", r.Path)
	p.text("url.scheme", r.Scheme)
	p.hostPort(r.Host)
	p.text("client.address", r.Client)
	p.text("network.peer.address", r.Peer)
	p.text("network.protocol.name", "http")
	p.text("network.protocol.version", r.Version)
	p.text("user_agent.original", r.UserAgent)
	if r.RequestID != "" {
		p = append(p, attribute.StringSlice("http.request.header.x-request-id", []string{r.RequestID}))
	}
	p.number("http.request.body.size", int64(r.Received))
	p.number("http.response.body.size", int64(r.Sent))
	p.number("http.response.status_code", int64(r.Status))
	p.text("usher.listener", r.Listener)
	p.text("usher.route", r.Route)
	p.text("usher.service", r.Service)
	p.text("usher.reason", r.Reason)
	p.number("usher.generation", int64(r.Generation))
	if r.Call {
		p.call(r.Path, r.Code)
	}
	return p
}

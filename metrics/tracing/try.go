package tracing

import (
	"context"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Try is the span of one try at one endpoint. Whoever makes the try sets what it tells
// before End.
type Try struct {
	server *Server
	id     [8]byte
	start  time.Time

	Method, Scheme, Path, Address, Endpoint, Service string
	Generation                                       uint64
	// Resent counts the tries before it.
	Resent int
	// Cause is what an earlier try failed for; empty: it is the first. Hedge says that it
	// runs beside one that waits.
	Cause string
	Hedge bool
	// HTTP2 says which version of HTTP the endpoint is spoken to by.
	HTTP2 bool
	// Connected says that there was a connection; Reused that it had served before.
	Connected, Reused bool
	// Status is that of the response; 0: there was none.
	Status int
	// Call says that it is one of gRPC, and Code how that ended, -1: it is not known.
	Call bool
	Code int
	// Error is how the try failed; empty: it did not. Given up says that nobody is to blame.
	Error   string
	GivenUp bool
}

// Try begins the span of a try. It may be called from the goroutine of a hedge, too.
func (s *Server) Try(start time.Time) *Try {
	return &Try{server: s, id: newSpanID(), start: start, Code: -1}
}

// Connection notes what the request was sent on.
func (t *Try) Connection(reused bool) { t.Connected, t.Reused = true, reused }

// Field is a field by which an endpoint is told of the trace.
type Field struct{ Name, Value string }

// AppendFields appends what tells the endpoint that its own spans are below this one.
func (t *Try) AppendFields(dst []Field) []Field {
	c := &t.server.context
	for _, f := range t.server.tracer.formats {
		switch f {
		case w3c:
			dst = append(dst, Field{"traceparent", c.traceparent(t.id)})
			if t.server.state.Len() > 0 {
				dst = append(dst, Field{"tracestate", t.server.state.String()})
			}
		case b3Single:
			dst = append(dst, Field{"b3", c.b3(t.id)})
		default:
			dst = c.appendB3Multi(dst, t.id)
		}
	}
	return dst
}

// appendB3Multi appends the fields of B3's other form.
func (c *Context) appendB3Multi(dst []Field, span [8]byte) []Field {
	dst = append(dst,
		Field{"x-b3-traceid", trace.TraceID(c.Trace).String()}, Field{"x-b3-spanid", trace.SpanID(span).String()})
	if c.debug {
		return append(dst, Field{"x-b3-flags", "1"})
	}
	return append(dst, Field{"x-b3-sampled", "1"})
}

// End makes the span.
func (t *Try) End(end time.Time) {
	s := t.server
	ctx := trace.ContextWithSpanContext(context.Background(), s.spanContext(s.id, s.context.flags|flagSampled))
	name := spanMethod(t.Method)
	if t.Service != "" {
		name += " " + t.Service
	}
	span := s.open(ctx, t.id, name, trace.SpanKindClient, t.start, t.attributes())
	if why, failed := t.failure(); failed {
		span.SetAttributes(attribute.String("error.type", why))
		if !t.GivenUp {
			span.SetStatus(codes.Error, t.Error)
		}
	}
	span.End(trace.WithTimestamp(end))
}

// failure says whether the try failed, and how.
func (t *Try) failure() (why string, failed bool) {
	switch {
	case t.Error != "":
		return t.Error, true
	case t.Call && t.Code > 0:
		return strconv.Itoa(t.Code), true
	case t.Status >= 400:
		return strconv.Itoa(t.Status), true
	default:
		return "", false
	}
}

func (t *Try) attributes() []attribute.KeyValue {
	p := make(pairs, 0, 20)
	p.method(t.Method)
	p.text("url.full", t.Scheme+"://"+t.Address+t.Path)
	p.text("url.scheme", t.Scheme)
	p.hostPort(t.Address)
	p.text("network.protocol.name", "http")
	if t.HTTP2 {
		p.text("network.protocol.version", "2")
	} else {
		p.text("network.protocol.version", "1.1")
	}
	p.number("http.request.resend_count", int64(t.Resent))
	p.number("http.response.status_code", int64(t.Status))
	p.text("usher.endpoint.id", t.Endpoint)
	p.text("usher.service", t.Service)
	p.number("usher.generation", int64(t.Generation))
	p.text("usher.retry.cause", t.Cause)
	if t.Hedge {
		p = append(p, attribute.Bool("usher.hedge", true))
	}
	if t.Connected {
		p = append(p, attribute.Bool("usher.connection.reused", t.Reused))
	}
	if t.Call {
		p.call(t.Path, t.Code)
	}
	return p
}

// cutCall cuts "/service/method".
func cutCall(path string) (service, method string, ok bool) {
	path, ok = strings.CutPrefix(path, "/")
	if !ok {
		return "", "", false
	}
	return strings.Cut(path, "/")
}

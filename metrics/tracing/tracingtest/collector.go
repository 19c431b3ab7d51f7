// Package tracingtest has a collector of traces for tests. It is a double: it speaks OTLP as
// one does, over gRPC and over HTTP with protobuf, by the published definitions
// (go.opentelemetry.io/proto/otlp), and keeps what it gets in memory.
package tracingtest

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// patience is how long a test waits for spans.
const patience = 20 * time.Second

// Span is one that was received.
type Span struct {
	Trace, ID, Parent, State string
	Name                     string
	Kind                     trace.Span_SpanKind
	Start, End               time.Time
	// Attributes and Resource are in text.
	Attributes, Resource map[string]string
	// Failed says that its status is an error, and Message what it says.
	Failed  bool
	Message string
}

// Server says whether it is the span of a request that came, rather than of one sent on.
func (s *Span) Server() bool { return s.Kind == trace.Span_SPAN_KIND_SERVER }

// Collector receives spans. Its methods may be called from any goroutine.
type Collector struct {
	// Address is host:port; both protocols have one of their own.
	HTTP, GRPC string

	mu      sync.Mutex
	spans   []Span
	headers http.Header
	refuse  bool
	// news is closed when something has come.
	news chan struct{}
	// stuck is closed when exports are answered again; nil: they are.
	stuck    chan struct{}
	attempts int
}

// New starts a Collector that ends with the test.
func New(tb testing.TB) *Collector {
	tb.Helper()
	c := &Collector{news: make(chan struct{})}
	var serving sync.WaitGroup
	overHTTP := &http.Server{Handler: http.HandlerFunc(c.serveHTTP), ReadHeaderTimeout: patience}
	overGRPC := grpc.NewServer()
	collector.RegisterTraceServiceServer(overGRPC, service{collector: c})
	c.HTTP = serve(tb, &serving, func(l net.Listener) { _ = overHTTP.Serve(l) })
	c.GRPC = serve(tb, &serving, func(l net.Listener) { _ = overGRPC.Serve(l) })
	tb.Cleanup(func() {
		c.Answer()
		_ = overHTTP.Close()
		overGRPC.Stop()
		serving.Wait()
	})
	return c
}

func serve(tb testing.TB, serving *sync.WaitGroup, run func(net.Listener)) (address string) {
	tb.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	serving.Go(func() { run(l) })
	return l.Addr().String()
}

// Environment returns what sends the spans of a process here: protocol is "grpc" or
// "http/protobuf". Spans leave after a few milliseconds.
func (c *Collector) Environment(protocol string) map[string]string {
	address := c.HTTP
	if protocol == "grpc" {
		address = c.GRPC
	}
	return map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + address,
		"OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
		"OTEL_BSP_SCHEDULE_DELAY":     "20",
	}
}

// Stick has exports wait until Answer is called, Refuse has them fail.
func (c *Collector) Stick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stuck == nil {
		c.stuck = make(chan struct{})
	}
}

// Refuse has exports fail for good.
func (c *Collector) Refuse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse = true
}

// Answer ends what Stick and Refuse began.
func (c *Collector) Answer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse = false
	if c.stuck != nil {
		close(c.stuck)
		c.stuck = nil
	}
}

// Attempts is how many exports have come, whatever became of them.
func (c *Collector) Attempts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.attempts
}

// Header returns what the last export said in a field.
func (c *Collector) Header(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.headers.Get(name)
}

// Spans returns what has come.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span(nil), c.spans...)
}

// Wait waits until so many spans have come that which picks, and returns them in the order
// of their beginning; nil picks all.
func (c *Collector) Wait(tb testing.TB, n int, which func(*Span) bool) []Span {
	tb.Helper()
	over := time.NewTimer(patience)
	defer over.Stop()
	for {
		c.mu.Lock()
		news := c.news
		c.mu.Unlock()
		if got := pick(c.Spans(), which); len(got) >= n {
			return got
		}
		select {
		case <-news:
		case <-over.C:
			tb.Fatalf("%d spans of %d have come: %+v", len(pick(c.Spans(), which)), n, c.Spans())
		}
	}
}

func pick(spans []Span, which func(*Span) bool) (picked []Span) {
	for i := range spans {
		if which == nil || which(&spans[i]) {
			at := len(picked)
			for at > 0 && picked[at-1].Start.After(spans[i].Start) {
				at--
			}
			picked = append(picked[:at], append([]Span{spans[i]}, picked[at:]...)...)
		}
	}
	return picked
}

// service is the Collector as the service of gRPC.
type service struct {
	collector.UnimplementedTraceServiceServer
	collector *Collector
}

// Export implements TraceServiceServer.
func (s service) Export(
	ctx context.Context, r *collector.ExportTraceServiceRequest,
) (*collector.ExportTraceServiceResponse, error) {
	h := http.Header{}
	md, _ := metadata.FromIncomingContext(ctx)
	for k, v := range md {
		h[http.CanonicalHeaderKey(k)] = v
	}
	if !s.collector.take(ctx, h, r) {
		return nil, status.Error(codes.PermissionDenied, "refused by the test")
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func (c *Collector) serveHTTP(w http.ResponseWriter, r *http.Request) {
	request := &collector.ExportTraceServiceRequest{}
	if err := read(r, request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !c.take(r.Context(), r.Header, request) {
		http.Error(w, "refused by the test", http.StatusForbidden)
		return
	}
	body, err := proto.Marshal(&collector.ExportTraceServiceResponse{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(body)
}

func read(r *http.Request, m proto.Message) error {
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-protobuf" {
		return fmt.Errorf("%s of %q is not OTLP", r.Method, r.Header.Get("Content-Type"))
	}
	var from io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(from)
		if err != nil {
			return fmt.Errorf("gzip: %w", err)
		}
		from = z
	}
	body, err := io.ReadAll(from)
	if err != nil {
		return fmt.Errorf("read the body: %w", err)
	}
	return proto.Unmarshal(body, m)
}

// take keeps what came, and says whether it did.
func (c *Collector) take(ctx context.Context, h http.Header, r *collector.ExportTraceServiceRequest) bool {
	c.mu.Lock()
	stuck := c.stuck
	c.headers = h
	c.attempts++
	c.mu.Unlock()
	if stuck != nil {
		select {
		case <-stuck:
		case <-ctx.Done():
			return false
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse {
		return false
	}
	for _, rs := range r.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				c.spans = append(c.spans, spanOf(s, textOf(rs.Resource.GetAttributes())))
			}
		}
	}
	close(c.news)
	c.news = make(chan struct{})
	return true
}

func spanOf(s *trace.Span, resource map[string]string) Span {
	return Span{
		Trace: hex.EncodeToString(s.TraceId), ID: hex.EncodeToString(s.SpanId),
		Parent: hex.EncodeToString(s.ParentSpanId), State: s.TraceState,
		Name: s.Name, Kind: s.Kind,
		Start: time.Unix(0, int64(s.StartTimeUnixNano)), End: time.Unix(0, int64(s.EndTimeUnixNano)),
		Attributes: textOf(s.Attributes), Resource: resource,
		Failed: s.Status.GetCode() == trace.Status_STATUS_CODE_ERROR, Message: s.Status.GetMessage(),
	}
}

func textOf(kv []*common.KeyValue) map[string]string {
	m := map[string]string{}
	for _, a := range kv {
		m[a.Key] = valueOf(a.Value)
	}
	return m
}

func valueOf(v *common.AnyValue) string {
	switch v := v.GetValue().(type) {
	case *common.AnyValue_StringValue:
		return v.StringValue
	case *common.AnyValue_IntValue:
		return fmt.Sprint(v.IntValue)
	case *common.AnyValue_BoolValue:
		return fmt.Sprint(v.BoolValue)
	case *common.AnyValue_ArrayValue:
		var parts []string
		for _, e := range v.ArrayValue.GetValues() {
			parts = append(parts, valueOf(e))
		}
		return strings.Join(parts, ",")
	default:
		return fmt.Sprint(v)
	}
}

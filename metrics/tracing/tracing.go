package tracing

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Options are what a Tracer is told beside the environment.
type Options struct {
	// Version is usher's.
	Version string
	Log     *slog.Logger
	// Console is where the exporter of that name writes.
	Console io.Writer
}

// Tracer records requests. Its methods may be called from any goroutine. Nil is tracing
// that is off: it may be asked for Collect, Describe and Shutdown alone.
type Tracer struct {
	sampler sampler
	formats []format
	names   []string
	// w3cAlone says that no other format than W3C's is read.
	w3cAlone bool

	tracer   trace.Tracer
	provider *sdk.TracerProvider
	gates    []*gate
	// cancel ends the exports under way.
	cancel context.CancelFunc
	log    *slog.Logger

	mu sync.Mutex
	// told is when a failing export was logged last, silent how many have failed since.
	told   time.Time
	silent int
}

// New returns a Tracer as the environment says, nil where that asks for none. What it says
// wrong is logged and does not keep usher from starting.
func New(ctx context.Context, o Options) *Tracer {
	s := readEnvironment(os.Getenv)
	for _, w := range s.warnings {
		o.Log.Warn("tracing: " + w)
	}
	if len(s.exporters) == 0 {
		return nil
	}
	t := &Tracer{sampler: s.sampler, formats: s.formats, names: namesOf(s.formats), log: o.Log}
	t.w3cAlone = len(s.formats) == 1 && s.formats[0] == w3c
	ended, cancel := context.WithCancel(context.Background())
	t.cancel = cancel
	var options []sdk.TracerProviderOption
	for _, name := range s.exporters {
		exporter, err := newExporter(ctx, name, s.protocol, o.Console)
		if err != nil {
			o.Log.Warn("tracing: no traces are sent", "exporter", name, "err", err)
			continue
		}
		options = append(options, sdk.WithSpanProcessor(t.process(ended, exporter, s.queue)))
	}
	if len(options) == 0 {
		cancel()
		return nil
	}
	t.provider = sdk.NewTracerProvider(append(options, sdk.WithResource(newResource(ctx, o)),
		sdk.WithSampler(sdk.AlwaysSample()), sdk.WithIDGenerator(given{}))...)
	t.tracer = t.provider.Tracer("usher", trace.WithInstrumentationVersion(o.Version))
	o.Log.Info("tracing", "exporters", s.exporters, "protocol", s.protocol, "endpoint", redacted(s.endpoint),
		"sampler", s.samplerName, "propagators", s.formatNames)
	return t
}

func newExporter(ctx context.Context, name, protocol string, console io.Writer) (sdk.SpanExporter, error) {
	switch {
	case name == "console":
		return stdouttrace.New(stdouttrace.WithWriter(console))
	case protocol == protocolGRPC:
		return otlptracegrpc.New(ctx)
	default:
		return otlptracehttp.New(ctx)
	}
}

// process returns the way of spans to an exporter.
func (t *Tracer) process(ended context.Context, exporter sdk.SpanExporter, queue int) sdk.SpanProcessor {
	g := &gate{limit: int64(queue)}
	g.SpanProcessor = sdk.NewBatchSpanProcessor(
		&counted{SpanExporter: exporter, gate: g, ended: ended, tell: t.exported}, sdk.WithMaxQueueSize(queue))
	t.gates = append(t.gates, g)
	return g
}

// newResource says who records: the environment's word goes before usher's own.
func newResource(ctx context.Context, o Options) *resource.Resource {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	r, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(
			attribute.String("service.name", "usher"),
			attribute.String("service.version", o.Version),
			attribute.String("service.instance.id", hex.EncodeToString(id[:])),
		),
		resource.WithFromEnv())
	if err != nil {
		o.Log.Warn("tracing: a part of OTEL_RESOURCE_ATTRIBUTES or of the host's name is left out", "err", err)
	}
	return r
}

// tellEvery is how often exports that fail are logged.
const tellEvery = time.Minute

// exported logs exports that fail, now and then.
func (t *Tracer) exported(spans int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		if t.silent > 0 || !t.told.IsZero() {
			t.told, t.silent = time.Time{}, 0
		}
		return
	}
	t.silent += spans
	if now := time.Now(); t.told.IsZero() || now.Sub(t.told) >= tellEvery {
		t.log.Warn("tracing: spans could not be sent", "spans", t.silent, "err", err)
		t.told, t.silent = now, 0
	}
}

// Names are the fields that tell of a trace in the formats in use, in lower case: those of
// a client do not go on with a request that is recorded.
func (t *Tracer) Names() []string { return t.names }

func namesOf(formats []format) (names []string) {
	single := false
	for _, f := range formats {
		switch {
		case f == w3c:
			names = append(names, "traceparent", "tracestate")
		case !single:
			single = true
			names = append(names, "b3",
				"x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags")
		}
	}
	return names
}

// Shutdown sends what is left. When ctx ends it gives up, and returns why. Requests that
// end later are not recorded.
func (t *Tracer) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	defer t.cancel()
	done := make(chan error, 1)
	go func() { done <- t.provider.Shutdown(context.Background()) }()
	select {
	case err := <-done:
		return wrap(err)
	case <-ctx.Done():
		t.cancel()
		return errors.Join(ctx.Err(), wrap(<-done)) // soon: each export is over
	}
}

func wrap(err error) error {
	if err != nil {
		return fmt.Errorf("end of tracing: %w", err)
	}
	return nil
}

// ids is a context that gives the next span its names.
type ids struct {
	context.Context //nolint:containedctx // it is one
	trace           trace.TraceID
	span            trace.SpanID
}

type idsKey struct{}

// Value implements context.Context.
func (c *ids) Value(key any) any {
	if key == (idsKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// given names spans as their context says.
type given struct{}

// NewIDs implements trace.IDGenerator.
func (given) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	c := ctx.Value(idsKey{}).(*ids) //nolint:forcetypeassert // every span is made by open
	return c.trace, c.span
}

// NewSpanID implements trace.IDGenerator.
func (given) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	return ctx.Value(idsKey{}).(*ids).span //nolint:forcetypeassert // as above
}

var descSpans = prometheus.NewDesc("usher_trace_spans_total",
	"Spans of requests that were recorded, by what became of them: exported, failed or dropped.",
	[]string{"result"}, nil)

// Describe implements prometheus.Collector.
func (t *Tracer) Describe(ch chan<- *prometheus.Desc) { ch <- descSpans }

// Collect implements prometheus.Collector.
func (t *Tracer) Collect(ch chan<- prometheus.Metric) {
	var exported, failed, dropped uint64
	if t != nil {
		for _, g := range t.gates {
			exported += g.exported.Load()
			failed += g.failed.Load()
			dropped += g.dropped.Load()
		}
	}
	send := func(result string, n uint64) {
		ch <- prometheus.MustNewConstMetric(descSpans, prometheus.CounterValue, float64(n), result)
	}
	send("exported", exported)
	send("failed", failed)
	send("dropped", dropped)
}

package tracing

import (
	"context"
	"sync/atomic"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// gate stands in front of the SDK's queue and counts: that one drops without a word. Spans
// that are being exported count as waiting, so that its bound is that of the memory.
type gate struct {
	sdk.SpanProcessor
	limit   int64
	waiting atomic.Int64
	// exported, failed and dropped count spans.
	exported, failed, dropped atomic.Uint64
}

// OnEnd implements trace.SpanProcessor. It does not wait.
func (g *gate) OnEnd(s sdk.ReadOnlySpan) {
	if g.waiting.Add(1) > g.limit {
		g.waiting.Add(-1)
		g.dropped.Add(1)
		return
	}
	g.SpanProcessor.OnEnd(s)
}

// counted is an exporter behind a gate.
type counted struct {
	sdk.SpanExporter
	gate *gate
	// ended is over when the process waits for no export any more.
	ended context.Context //nolint:containedctx // it ends exports of other contexts
	// tell is told of each export, and what came of it.
	tell func(spans int, err error)
}

// ExportSpans implements trace.SpanExporter. What goes wrong is told here alone: the SDK
// would tell the whole process.
func (c *counted) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ended, cancel)()
	err := c.SpanExporter.ExportSpans(ctx, spans)
	c.gate.waiting.Add(-int64(len(spans)))
	if err != nil {
		c.gate.failed.Add(uint64(len(spans)))
	} else {
		c.gate.exported.Add(uint64(len(spans)))
	}
	c.tell(len(spans), err)
	return nil
}

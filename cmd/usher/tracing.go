package main

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"

	"usher/metrics/tracing"
)

// traceFlush is how long an end waits for the spans that are left to be sent.
const traceFlush = 5 * time.Second

// trace has requests recorded, if the environment asks for it.
func (a *app) trace(console io.Writer) {
	// What the libraries have to say that concerns no single export, they say to the process.
	// What they say twice of the environment, New does.
	otel.SetLogger(logr.FromSlogHandler(warnings{a.log.With("part", "tracing").Handler()}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
	a.tracer = tracing.New(a.ctx, tracing.Options{Version: version, Log: a.log.Logger, Console: console})
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { a.log.Warn("tracing", "err", err) }))
	a.metrics.Register(a.tracer)
	a.proxy.Trace(a.tracer)
}

// warnings are what is worth an operator's notice of what a library logs.
type warnings struct{ slog.Handler }

// Enabled implements slog.Handler.
func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

// endTracing sends the spans that are left, of requests that have all ended.
func (a *app) endTracing() {
	ctx, cancel := context.WithTimeout(context.Background(), traceFlush)
	defer cancel()
	if err := a.tracer.Shutdown(ctx); err != nil {
		a.log.Warn("spans were lost at the end", "err", err)
	}
}

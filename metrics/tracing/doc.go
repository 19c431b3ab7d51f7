// Package tracing records requests as spans and sends them to a collector by OTLP, as the
// standard OTEL_* environment says. docs/tracing.md has what of it is understood.
//
// Whether a request is recorded is decided here, by the rules of OpenTelemetry's samplers
// but without its SDK: for a request that is not, nothing is allocated and nothing is
// written. Of one that is, the spans are made in the SDK when they end, with all that is
// known of them by then; until then there are their IDs, which go to the endpoints.
//
// Goroutines: a [Server] belongs to the goroutine that serves its request, each [Try] to
// the one that makes it. Ending a span never waits: it goes to a bounded queue, and is
// dropped and counted where that is full. The goroutine that empties the queue belongs to
// the [Tracer], whose Shutdown waits for it.
package tracing

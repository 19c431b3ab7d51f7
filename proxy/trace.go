package proxy

import "usher/metrics/tracing"

// Trace has requests recorded by t; nil records none. It comes before the first Listen.
func (p *Proxy) Trace(t *tracing.Tracer) { p.core.Tracer = t }

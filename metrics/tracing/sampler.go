package tracing

import (
	"encoding/binary"
	"math/rand/v2"
)

// sampler decides as those of OpenTelemetry's SDK do, of which a test says that it agrees.
type sampler struct {
	// parent says that what was decided before stands.
	parent bool
	// bound is how many of 1<<63 traces are recorded, by the names they have.
	bound uint64
}

// everyTrace is the bound that all traces are below.
const everyTrace = 1 << 63

// boundOf is the bound for a share of the traces.
func boundOf(share float64) uint64 {
	switch {
	case share >= 1:
		return everyTrace
	case share > 0:
		return uint64(share * everyTrace)
	default:
		return 0
	}
}

// Decide says whether a request is recorded, and as a part of what. h is its head, nil
// where no field of it tells of a trace. It may be called from any goroutine.
func (t *Tracer) Decide(h Head) (c Context, yes bool) {
	s := t.sampler
	if h != nil {
		if s.parent && t.w3cAlone && refuses(h.Traceparent()) {
			return c, false
		}
		c = extract(h, t.formats)
	}
	switch {
	case s.parent && c.verdict == denied:
		return c, false
	case s.parent && c.verdict == accepted:
		yes = true
	case c.named():
		return c, s.takes(binary.BigEndian.Uint64(c.Trace[8:]))
	}
	if c.named() {
		return c, yes
	}
	low := rand.Uint64()
	if !yes && !s.takes(low) {
		return c, false
	}
	c.name(low)
	return c, true
}

// takes says whether the trace whose name ends with low is recorded.
func (s sampler) takes(low uint64) bool { return low>>1 < s.bound }

// name makes up the first half of the trace's name; low is the rest.
func (c *Context) name(low uint64) {
	for !c.named() {
		binary.BigEndian.PutUint64(c.Trace[:8], rand.Uint64())
		binary.BigEndian.PutUint64(c.Trace[8:], low)
	}
}

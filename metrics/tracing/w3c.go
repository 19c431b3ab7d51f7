package tracing

import (
	"encoding/hex"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// traceparentLen is the length of version 00: version, trace, parent and flags.
const traceparentLen = 2 + 1 + 32 + 1 + 16 + 1 + 2

// parseTraceparent reads a traceparent (W3C Trace Context §3.2). Of versions to come the
// part is read that is known, as they promise to keep it.
func parseTraceparent(b []byte) (c Context, ok bool) {
	if len(b) < traceparentLen || b[2] != '-' || b[35] != '-' || b[52] != '-' {
		return c, false
	}
	var version, flags [1]byte
	future := hexOf(version[:], b[:2])
	if !future && string(b[:2]) != "00" || version[0] == 0xff {
		return c, false
	}
	if len(b) > traceparentLen && (!future || b[traceparentLen] != '-') {
		return c, false
	}
	if !hexOf(flags[:], b[53:55]) && string(b[53:55]) != "00" {
		return c, false
	}
	if !hexOf(c.Trace[:], b[3:35]) || !hexOf(c.Parent[:], b[36:52]) {
		return Context{}, false
	}
	c.flags, c.verdict, c.stated = flags[0]&(flagSampled|flagRandom), denied, true
	if c.flags&flagSampled != 0 {
		c.verdict = accepted
	}
	return c, true
}

// traceparent is what an endpoint is told by a span of its own.
func (c *Context) traceparent(span [8]byte) string {
	b := make([]byte, 0, traceparentLen)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, c.Trace[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, span[:])
	b = append(b, '-')
	return string(hex.AppendEncode(b, []byte{c.flags | flagSampled}))
}

// stateMost is how long a tracestate may be to be kept whole: what W3C Trace Context
// (§3.3.1.5) wants everybody to be able to pass on. It is held by each span that waits for
// its export.
const stateMost = 512

// memberMost is the length of the members that go before others where it is too long.
const memberMost = 128

// stateOf reads the tracestate behind a traceparent: all of its fields are one list. What is
// not well formed is dropped whole.
func stateOf(h Head) trace.TraceState {
	var members []string
	for i := 0; ; i++ {
		value, ok := h.Field("tracestate", i)
		if !ok {
			break
		}
		for member := range strings.SplitSeq(string(value), ",") {
			if member = strings.Trim(member, " \t"); member != "" {
				members = append(members, member)
			}
		}
	}
	state, err := trace.ParseTraceState(strings.Join(members, ","))
	if err != nil {
		return trace.TraceState{}
	}
	if len(strings.Join(members, ",")) <= stateMost {
		return state
	}
	state, _ = trace.ParseTraceState(strings.Join(shorten(members), ",")) // a part of what is well formed
	return state
}

// shorten drops members until the rest is short enough: the longest first, then those that
// changed least lately.
func shorten(members []string) (kept []string) {
	left := stateMost + 1
	for _, member := range members {
		if len(member) > memberMost {
			continue
		}
		if left -= len(member) + 1; left < 0 {
			break
		}
		kept = append(kept, member)
	}
	return kept
}

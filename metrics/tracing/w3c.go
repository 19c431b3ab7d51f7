package tracing

import (
	"encoding/binary"
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
	version, ok1 := hexByte(b)
	flags, ok2 := hexByte(b[53:])
	if !ok1 || !ok2 || version == 0xff {
		return c, false
	}
	if len(b) > traceparentLen && (version == 0 || b[traceparentLen] != '-') {
		return c, false
	}
	if !hexOf(c.Trace[:], b[3:35]) || !hexOf(c.Parent[:], b[36:52]) {
		return Context{}, false
	}
	c.flags, c.verdict, c.stated = flags&(flagSampled|flagRandom), denied, true
	if c.flags&flagSampled != 0 {
		c.verdict = accepted
	}
	return c, true
}

// refuses says whether b is a traceparent of version 00 whose trace is not recorded. It is
// what most requests bring to whom traces all of them and records a few, so that it is seen
// without reading what the trace is called. Words are zeros alone if all of their bits
// together are those of "00000000".
func refuses(b []byte) bool {
	if len(b) != traceparentLen || string(b[:3]) != "00-" || b[35] != '-' || string(b[52:54]) != "-0" {
		return false
	}
	if flags := b[54]; flags != '0' && flags != '2' {
		return false
	}
	word := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at : at+8]) }
	t1, t2, t3, t4, s1, s2 := word(3), word(11), word(19), word(27), word(36), word(44)
	return notHex(t1)|notHex(t2)|notHex(t3)|notHex(t4)|notHex(s1)|notHex(s2) == 0 &&
		t1|t2|t3|t4 != each*'0' && s1|s2 != each*'0'
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

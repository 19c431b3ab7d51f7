package tracing

import "encoding/hex"

// B3 is Zipkin's (github.com/openzipkin/b3-propagation), in one field or in several.

// extractB3 reads either form; the single field goes before.
func extractB3(h Head) (c Context, ok bool) {
	if c, ok = parseB3(h.B3()); ok {
		return c, true
	}
	return extractB3Multi(h)
}

// parseB3 reads "trace-span[-state[-parent]]", or a state alone.
func parseB3(b []byte) (c Context, ok bool) {
	if len(b) == 1 {
		ok = c.state(b[0])
		return c, ok
	}
	at := 16
	if len(b) > 32 && b[16] != '-' {
		at = 32
	}
	if len(b) < at+17 || b[at] != '-' || !c.ids(b[:at], b[at+1:at+17]) {
		return Context{}, false
	}
	b = b[at+17:]
	if len(b) == 0 {
		return c, true // whether it is recorded is left to us
	}
	if b[0] != '-' || len(b) < 2 || !c.state(b[1]) {
		return Context{}, false
	}
	var parent [8]byte
	if b = b[2:]; len(b) > 0 && (b[0] != '-' || !hexOf(parent[:], b[1:])) {
		return Context{}, false
	}
	return c, true
}

// extractB3Multi reads the fields of the other form.
func extractB3Multi(h Head) (c Context, ok bool) {
	sampled, flags := only(h, "x-b3-sampled"), only(h, "x-b3-flags")
	switch string(sampled) {
	case "1", "true":
		c.state('1')
	case "0", "false":
		c.state('0')
	case "":
	default:
		return c, false
	}
	if string(flags) == "1" {
		c.state('d')
	}
	trace, span := only(h, "x-b3-traceid"), only(h, "x-b3-spanid")
	if len(trace) == 0 && len(span) == 0 {
		return c, c.verdict != undecided
	}
	if !c.ids(trace, span) {
		return Context{}, false
	}
	return c, true
}

// ids reads the names of trace and span; a trace may have one of half the length.
func (c *Context) ids(trace, span []byte) (ok bool) {
	dst := c.Trace[:]
	if len(trace) == 16 {
		dst = c.Trace[8:]
	}
	return hexOf(dst, trace) && hexOf(c.Parent[:], span)
}

// state takes a sampling state; ok: it is one.
func (c *Context) state(s byte) (ok bool) {
	switch s {
	case '0':
		c.verdict = denied
	case '1':
		c.verdict, c.flags = accepted, flagSampled
	case 'd':
		c.verdict, c.flags, c.debug = accepted, flagSampled, true
	default:
		return false
	}
	return true
}

// b3 is what an endpoint is told in one field.
func (c *Context) b3(span [8]byte) string {
	b := make([]byte, 0, 32+1+16+2)
	b = append(hex.AppendEncode(b, c.Trace[:]), '-')
	b = append(hex.AppendEncode(b, span[:]), '-')
	if c.debug {
		return string(append(b, 'd'))
	}
	return string(append(b, '1'))
}

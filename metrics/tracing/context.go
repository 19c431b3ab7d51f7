package tracing

import "math/rand/v2"

// Context is the trace that a request belongs to, as far as its head tells or it was made
// up here.
type Context struct {
	// Trace names the trace, and Parent the span of whoever sent the request; zero: nobody
	// did who records.
	Trace  [16]byte
	Parent [8]byte
	// flags are those of traceparent.
	flags byte
	// debug says that the trace is to be kept whatever it costs, in B3.
	debug bool
	// stated says that a tracestate belongs to it.
	stated  bool
	verdict verdict
}

// The flags of traceparent.
const (
	flagSampled = 1
	flagRandom  = 2
)

// verdict is what was decided of a trace before its request came here.
type verdict uint8

const (
	undecided verdict = iota
	accepted
	denied
)

func (c *Context) named() bool { return c.Trace != [16]byte{} }

// Head is a request's head as its client sent it.
type Head interface {
	// Field returns the value of the nth field of that name, given in lower case; ok: there
	// is one.
	Field(name string, nth int) (value []byte, ok bool)
}

// only returns the field of that name, nil where there is none or more than one: nobody can
// tell which of them counts.
func only(h Head, name string) []byte {
	value, _ := h.Field(name, 0)
	if _, more := h.Field(name, 1); more {
		return nil
	}
	return value
}

// format is a way to tell of a trace in a head.
type format uint8

const (
	w3c format = iota
	b3Single
	b3Multi
)

// extract reads what the head tells, in the formats that are understood; of several the
// last that tells something counts.
func extract(h Head, formats []format) (c Context) {
	for _, f := range formats {
		found, ok := Context{}, false
		if f == w3c {
			found, ok = parseTraceparent(only(h, "traceparent"))
		} else {
			found, ok = extractB3(h)
		}
		if ok && (found.named() || !c.named()) {
			c = found
		}
	}
	return c
}

// hexOf reads lower-case hexadecimal into dst, which it fills; ok: it is that, and not zero.
func hexOf(dst, src []byte) (ok bool) {
	if len(src) != 2*len(dst) {
		return false
	}
	var any byte
	for i := range dst {
		hi, lo := digit(src[2*i]), digit(src[2*i+1])
		if hi|lo > 15 {
			return false
		}
		dst[i] = hi<<4 | lo
		any |= dst[i]
	}
	return any != 0
}

// digit is the value of a lower-case hexadecimal digit, 255 for what is none.
func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	default:
		return 255
	}
}

// newSpanID makes up the name of a span. It is no secret.
func newSpanID() (id [8]byte) {
	for id == [8]byte{} {
		putUint64(id[:], rand.Uint64())
	}
	return id
}

func putUint64(b []byte, n uint64) {
	for i := range 8 {
		b[i] = byte(n >> (56 - 8*i))
	}
}

package tracing

import (
	"encoding/binary"
	"math/rand/v2"
)

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
	// Traceparent and B3 return the values of the fields of these names; empty where there
	// is none, or more than one: nobody can tell which of them counts.
	Traceparent() []byte
	B3() []byte
}

// only returns the field of another name in the same way.
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
			found, ok = parseTraceparent(h.Traceparent())
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
// The length of dst is a multiple of 4.
// Eight digits are read at once, one in each byte of a word.
func hexOf(dst, src []byte) (ok bool) {
	if len(src) != 2*len(dst) {
		return false
	}
	wrong, sum := uint64(0), uint32(0)
	for len(dst) >= 4 && len(src) >= 8 {
		n, w := hexWord(binary.LittleEndian.Uint64(src))
		binary.LittleEndian.PutUint32(dst, n)
		wrong, sum = wrong|w, sum|n
		dst, src = dst[4:], src[8:]
	}
	return wrong == 0 && sum != 0
}

// each is a 1 in every byte of a word.
const each = 0x0101010101010101

// hexWord reads eight digits, the first in the lowest byte of x; wrong is 0 if they are some.
func hexWord(x uint64) (n uint32, wrong uint64) {
	v := hexValues(x)
	wrong = notHex(x)
	v = (v<<4 | v>>8) & 0x00ff00ff00ff00ff // two digits are a byte
	v = (v | v>>8) & 0x0000ffff0000ffff
	return uint32(v | v>>16), wrong
}

// hexValues are the values of eight digits: 0x30 to 0x39 are digits, 0x61 to 0x66 letters.
func hexValues(x uint64) uint64 { return x&(each*0x0f) + x>>6&each*9 }

// notHex is 0 where all of eight bytes are lower-case hexadecimal digits.
func notHex(x uint64) (wrong uint64) {
	letter, v := x>>6&each, hexValues(x)
	wrong = v & (each * 0xf0)                       // more than 15
	wrong |= (v+each*6)>>4&each ^ letter            // a digit above 9, a letter below 10
	wrong |= v + each*'0' + letter*('a'-10-'0') ^ x // not written so
	return wrong
}

// hexByte reads two digits.
func hexByte(b []byte) (n byte, ok bool) {
	word := [8]byte{'0', '0', '0', '0', '0', '0', b[0], b[1]}
	v, wrong := hexWord(binary.LittleEndian.Uint64(word[:]))
	return byte(v >> 24), wrong == 0
}

// newSpanID makes up the name of a span. It is no secret.
func newSpanID() (id [8]byte) {
	for id == [8]byte{} {
		binary.BigEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}

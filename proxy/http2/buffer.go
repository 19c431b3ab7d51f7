package http2

import "sync"

// Buffers come in three sizes, from pools; a larger one is made and left to the collector.
const (
	small  = 4 << 10
	middle = 16 << 10
	large  = 64 << 10
)

var smalls = sync.Pool{New: func() any { return new([small]byte) }}

var middles = sync.Pool{New: func() any { return new([middle]byte) }}

var larges = sync.Pool{New: func() any { return new([large]byte) }}

// getBuffer returns an empty buffer with room for n bytes.
func getBuffer(n int) []byte {
	switch {
	case n <= small:
		return smalls.Get().(*[small]byte)[:0] //nolint:forcetypeassert // the pool holds nothing else
	case n <= middle:
		return middles.Get().(*[middle]byte)[:0] //nolint:forcetypeassert // likewise
	case n <= large:
		return larges.Get().(*[large]byte)[:0] //nolint:forcetypeassert // likewise
	default:
		return make([]byte, 0, n)
	}
}

// putBuffer gives a buffer back; nil is none.
func putBuffer(b []byte) {
	switch cap(b) {
	case small:
		smalls.Put((*[small]byte)(b[:small]))
	case middle:
		middles.Put((*[middle]byte)(b[:middle]))
	case large:
		larges.Put((*[large]byte)(b[:large]))
	}
}

// reserve returns b with room for n more bytes. b is given back if it had to be moved.
func reserve(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	twice := 2 * cap(b)
	if cap(b) < large {
		twice = min(twice, large)
	}
	moved := append(getBuffer(max(len(b)+n, twice)), b...)
	putBuffer(b)
	return moved
}

// body is what has come of a request's body and was not taken yet. The connection's mutex
// guards it.
type body struct {
	buf []byte
	// from is where what was not read begins.
	from int
	// lent is the buffer that the Handler reads from.
	lent []byte
}

func (b *body) len() int { return len(b.buf) - b.from }

func (b *body) append(p []byte) {
	if b.from > 0 && cap(b.buf)-len(b.buf) < len(p) {
		b.buf = b.buf[:copy(b.buf, b.buf[b.from:])]
		b.from = 0
	}
	b.buf = append(reserve(b.buf, len(p)), p...)
}

// lend takes out what is there. It is valid until giveBack.
func (b *body) lend() []byte {
	b.lent = b.buf
	p := b.buf[b.from:]
	b.buf, b.from = nil, 0
	return p
}

func (b *body) giveBack() {
	putBuffer(b.lent)
	b.lent = nil
}

// read copies what is there to p.
func (b *body) read(p []byte) int {
	n := copy(p, b.buf[b.from:])
	b.from += n
	if b.from == len(b.buf) {
		b.drop()
	}
	return n
}

// drop forgets what was not taken.
func (b *body) drop() {
	putBuffer(b.buf)
	b.buf, b.from = nil, 0
}

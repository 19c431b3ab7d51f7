package wire

import "encoding/binary"

// record follows TLS records as they come in pieces (RFC 8446 §5.1).
type record struct {
	// header is that of the next record as far as it has come, have bytes; rest is what is
	// missing of the last one.
	header [5]byte
	have   int
	rest   int
}

// took goes on behind b.
func (r *record) took(b []byte) {
	for len(b) > 0 {
		if r.rest > 0 {
			n := min(r.rest, len(b))
			r.rest -= n
			b = b[n:]
			continue
		}
		n := copy(r.header[r.have:], b)
		r.have += n
		b = b[n:]
		if r.have == len(r.header) {
			r.have, r.rest = 0, int(binary.BigEndian.Uint16(r.header[3:]))
		}
	}
}

// partial says whether a record has not come whole.
func (r *record) partial() bool { return r.have > 0 || r.rest > 0 }

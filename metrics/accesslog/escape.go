package accesslog

import (
	"encoding/binary"
	"unicode/utf8"
	"unsafe"
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plain says whether no byte of b needs to be escaped in any format: all is visible ASCII
// but for the quote and the backslash. It may say no where that is so.
func plain(b []byte) bool {
	if len(b) < 8 {
		for _, c := range b {
			if c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
				return false
			}
		}
		return true
	}
	for i := 0; i < len(b)-8; i += 8 {
		if special(binary.LittleEndian.Uint64(b[i:])) {
			return false
		}
	}
	return !special(binary.LittleEndian.Uint64(b[len(b)-8:]))
}

// special says whether one of eight bytes is no ASCII, below a space, or one of three. A
// borrow can only find another one above a byte that is special itself.
func special(w uint64) bool {
	below := w - ones*' '
	quote := (w ^ ones*'"') - ones
	slash := (w ^ ones*'\\') - ones
	del := (w ^ ones*0x7f) - ones
	return (w|below|quote|slash|del)&highs != 0
}

const hexDigits = "0123456789abcdef"

// appendJSON appends b as the inside of a JSON string (RFC 8259 §7): valid UTF-8 on one
// line, in which no terminal or reader finds a control character.
func appendJSON(dst, b []byte) []byte {
	for len(b) > 0 {
		switch c := b[0]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
			b = b[1:]
		case c < ' ' || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			b = b[1:]
		case c < utf8.RuneSelf:
			dst = append(dst, c)
			b = b[1:]
		default:
			r, size := utf8.DecodeRune(b)
			switch {
			case r == utf8.RuneError && size == 1:
				dst = append(dst, `\ufffd`...)
			case unprintable(r):
				dst = append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15])
				dst = append(dst, hexDigits[r>>4&15], hexDigits[r&15])
			default:
				dst = append(dst, b[:size]...)
			}
			b = b[size:]
		}
	}
	return dst
}

// unprintable says whether a character above ASCII ends a line or changes how others are
// shown: controls, separators, and what turns the direction of writing.
func unprintable(r rune) bool {
	return r < 0xa0 || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff
}

// appendText appends b as nginx and Apache write it: what is not visible ASCII, and what
// might end a quoted string, in hexadecimal.
func appendText(dst, b []byte) []byte {
	for _, c := range b {
		if c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			dst = append(dst, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// bytesOf returns the bytes of s, which nobody may write to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

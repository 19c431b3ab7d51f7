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

// plain returns the length of the longest beginning of b, within a few bytes, in which no
// byte needs a second look: all is visible ASCII but for the quote and the backslash.
func plain(b []byte) (n int) {
	for ; len(b)-n >= 8; n += 8 {
		w := binary.LittleEndian.Uint64(b[n:])
		// In each byte the high bit is set where it is no ASCII, below a space, or one of
		// three; a borrow can only set one above a byte that has set its own.
		below := w - ones*' '
		quote := (w ^ ones*'"') - ones
		slash := (w ^ ones*'\\') - ones
		del := (w ^ ones*0x7f) - ones
		if (w|below|quote|slash|del)&highs != 0 {
			return n
		}
	}
	return n
}

const hexDigits = "0123456789abcdef"

// appendJSON appends b as the inside of a JSON string (RFC 8259 §7): valid UTF-8 on one
// line, in which no terminal or reader finds a control character.
func appendJSON(dst, b []byte) []byte {
	n := plain(b)
	dst = append(dst, b[:n]...)
	for b = b[n:]; len(b) > 0; {
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
				dst = append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
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
	n := plain(b)
	dst = append(dst, b[:n]...)
	for _, c := range b[n:] {
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

package http2

// Classes of bytes, as bits of classes.
const (
	inName   = 1 << iota // a token without capitals (RFC 9113 §8.2.1)
	inMethod             // a token
	inValue              // field-vchar, obs-text, SP, HTAB
	inTarget             // visible ASCII
)

// classes gives the classes of each byte.
var classes = func() (t [256]uint8) { //nolint:gochecknoglobals // a constant table
	for c := 0x21; c < 0x7f; c++ {
		t[c] |= inValue | inTarget
	}
	for c := 0x80; c <= 0xff; c++ {
		t[c] |= inValue
	}
	t[' '] |= inValue
	t['\t'] |= inValue
	for _, c := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz" {
		t[c] |= inName | inMethod
	}
	for c := 'A'; c <= 'Z'; c++ {
		t[c] |= inMethod
	}
	return t
}()

// all says whether every byte of s, which may be empty, is of the class.
func all(s string, class uint8) bool {
	for i := range len(s) {
		if classes[s[i]]&class == 0 {
			return false
		}
	}
	return true
}

// isValue says whether s may be a field's value: nothing in it ends a line, and no white
// space is at its ends.
func isValue(s string) bool {
	return all(s, inValue) && (s == "" || !blank(s[0]) && !blank(s[len(s)-1]))
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

package wire

// Classes of bytes, as bits of charClass.
const (
	isToken  = 1 << iota // RFC 9110 §5.6.2 tchar
	isValue              // field-vchar, obs-text, SP, HTAB: what a value may hold
	isTarget             // visible ASCII but '#'
	isHost               // what a host and its port may hold
)

// charClass gives the classes of each byte.
var charClass = func() (t [256]uint8) { //nolint:gochecknoglobals // a constant table
	for c := 0x21; c < 0x7f; c++ {
		t[c] |= isValue | isTarget
	}
	t['#'] &^= isTarget
	for c := 0x80; c <= 0xff; c++ {
		t[c] |= isValue
	}
	t[' '] |= isValue
	t['\t'] |= isValue
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] |= isToken
	}
	for c := '0'; c <= '9'; c++ {
		t[c] |= isToken | isHost
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c] |= isToken | isHost
		t[c-'a'+'A'] |= isToken | isHost
	}
	// reg-name's sub-delims are left out but for those seen in practice.
	for _, c := range "-._~:[]%!$&'()*+,;=" {
		t[c] |= isHost
	}
	return t
}()

// all says whether every byte of b, which may be empty, is of the class.
func all(b []byte, class uint8) bool {
	for _, c := range b {
		if charClass[c]&class == 0 {
			return false
		}
	}
	return true
}

// IsToken says whether b is a token (RFC 9110 §5.6.2).
func IsToken(b []byte) bool { return len(b) > 0 && all(b, isToken) }

// IsTokenByte says whether c may be part of a token.
func IsTokenByte(c byte) bool { return charClass[c]&isToken != 0 }

// IsValueByte says whether c may be part of a field's value.
func IsValueByte(c byte) bool { return charClass[c]&isValue != 0 }

// EqualFold compares b with s, which is in lower case ASCII, ignoring b's case.
func EqualFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		if lower(b[i]) != s[i] {
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

// trim takes optional white space (RFC 9110 §5.6.3) off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// Tokens calls f with each element of a comma-separated list, empty ones left out.
func Tokens(list []byte, f func(token []byte)) {
	for len(list) > 0 {
		i := 0
		for i < len(list) && list[i] != ',' {
			i++
		}
		if t := trim(list[:i]); len(t) > 0 {
			f(t)
		}
		list = list[min(i+1, len(list)):]
	}
}

package http2

import (
	"strconv"

	"golang.org/x/net/http2/hpack"
)

// section is what a header block is.
type section uint8

const (
	headSection section = iota
	trailerSection
	// skipped is a block that nobody wants: it is decoded for HPACK's table alone.
	skipped
)

// translator makes the text of an HTTP/1.1 head of the fields of a header block, strictly
// (RFC 9113 §8.2, §8.3). It belongs to the reader and is used again for each block.
type translator struct {
	section section
	// max bounds the size of the fields as RFC 9113 §6.5.2 counts it; size is what they
	// have come to.
	max, size int
	// text is what has been written, malformed what is wrong with the block.
	text      []byte
	malformed string

	method, scheme, path, authority string
	// pseudo are the pseudo-fields seen; begun says that others have followed.
	pseudo uint8
	begun  bool
	hosted bool
	// length is the Content-Length, -1 for none.
	length int64
	// cookie joins the cookie fields (RFC 9113 §8.2.3).
	cookie []byte
}

// The pseudo-fields.
const (
	sawMethod = 1 << iota
	sawScheme
	sawPath
	sawAuthority
)

// fieldCost is what each field counts beside its bytes (RFC 9113 §6.5.2).
const fieldCost = 32

// begin makes the translator ready for a block whose text goes to dst.
func (t *translator) begin(s section, dst []byte) {
	*t = translator{section: s, max: t.max, text: dst[:0], length: -1, cookie: t.cookie[:0]}
}

// tooLarge says that the fields are more than what is taken.
func (t *translator) tooLarge() bool { return t.size > t.max }

// field takes the next field; it is what the HPACK decoder calls.
func (t *translator) field(f hpack.HeaderField) {
	t.size += len(f.Name) + len(f.Value) + fieldCost
	if t.malformed != "" || t.tooLarge() || t.section == skipped {
		return
	}
	if len(f.Name) > 0 && f.Name[0] == ':' {
		t.pseudoField(f.Name, f.Value)
		return
	}
	if t.section == headSection && !t.begun {
		t.requestLine()
	}
	switch {
	case f.Name == "" || !all(f.Name, inName):
		t.refuse("field name is no token in lower case (RFC 9113 §8.2.1)")
	case !isValue(f.Value):
		t.refuse("field value with a control character, or white space at its ends (RFC 9113 §8.2.1)")
	default:
		t.regular(f.Name, f.Value)
	}
}

func (t *translator) refuse(why string) {
	if t.malformed == "" {
		t.malformed = why
	}
}

// pseudoField takes note of one (RFC 9113 §8.3).
func (t *translator) pseudoField(name, value string) {
	var bit uint8
	switch name {
	case ":method":
		bit, t.method = sawMethod, value
	case ":scheme":
		bit, t.scheme = sawScheme, value
	case ":path":
		bit, t.path = sawPath, value
	case ":authority":
		bit, t.authority = sawAuthority, value
	}
	switch {
	case t.section == trailerSection:
		t.refuse("pseudo-field in a trailer section (RFC 9113 §8.1)")
	case bit == 0:
		t.refuse("unknown pseudo-field (RFC 9113 §8.3)")
	case t.begun:
		t.refuse("pseudo-field after a field (RFC 9113 §8.3)")
	case t.pseudo&bit != 0:
		t.refuse("doubled pseudo-field (RFC 9113 §8.3)")
	}
	t.pseudo |= bit
}

// requestLine writes the request line and the Host once all pseudo-fields are known.
func (t *translator) requestLine() {
	t.begun = true
	if why := t.checkPseudo(); why != "" {
		t.refuse(why)
		return
	}
	t.text = append(append(t.text, t.method...), ' ')
	t.text = append(append(t.text, t.path...), " HTTP/1.1\r\n"...)
	if t.pseudo&sawAuthority != 0 {
		t.host(t.authority)
	}
}

// checkPseudo returns what is wrong with the pseudo-fields (RFC 9113 §8.3.1). A CONNECT
// becomes the request line that it is in HTTP/1.1, for the Handler to refuse.
func (t *translator) checkPseudo() string {
	const connect = sawMethod | sawAuthority
	if t.method == "CONNECT" && t.pseudo == connect {
		t.path = t.authority
	} else if t.method == "CONNECT" || t.pseudo|sawAuthority != connect|sawScheme|sawPath {
		return "missing pseudo-field (RFC 9113 §8.3.1)"
	} else if t.scheme != "http" && t.scheme != "https" {
		return "scheme is neither http nor https"
	} else if t.path == "" || t.path[0] != '/' && (t.path != "*" || t.method != "OPTIONS") {
		return "malformed :path (RFC 9113 §8.3.1)"
	}
	switch {
	case t.method == "" || !all(t.method, inMethod):
		return "method is no token"
	case !all(t.path, inTarget):
		return "malformed :path (RFC 9113 §8.3.1)"
	case t.pseudo&sawAuthority != 0 && !isAuthority(t.authority):
		return "malformed :authority (RFC 9113 §8.3.1)"
	}
	return ""
}

// isAuthority says whether s can be a host; whether it is one the scanner of the text says.
func isAuthority(s string) bool {
	for i := range len(s) {
		if s[i] == '@' || s[i] == '/' {
			return false
		}
	}
	return s != "" && all(s, inTarget)
}

func (t *translator) host(value string) {
	t.hosted = true
	t.authority = value
	t.line("host", value)
}

func (t *translator) line(name, value string) {
	t.text = append(append(t.text, name...), ": "...)
	t.text = append(append(t.text, value...), "\r\n"...)
}

// regular takes a field that is no pseudo-field. The switch on the length keeps those
// that mean nothing here cheap.
func (t *translator) regular(name, value string) {
	switch len(name) {
	case 2:
		if name == "te" && !equalFold(value, "trailers") {
			t.refuse("TE other than trailers (RFC 9113 §8.2.2)")
		}
	case 4:
		if name == "host" {
			t.hostField(value)
			return
		}
	case 6:
		if name == "cookie" {
			t.addCookie(value)
			return
		}
	case 14:
		if name == "content-length" {
			t.setLength(value)
		}
	case 7, 10, 16, 17:
		if ofConnection(name) {
			t.refuse("connection-specific field (RFC 9113 §8.2.2)")
		}
	}
	if t.section == headSection {
		t.line(name, value)
	}
}

// ofConnection says whether a field concerns one connection of HTTP/1.1.
func ofConnection(name string) bool {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return true
	}
	return false
}

// hostField takes a Host: it is one with :authority, or stands for it.
func (t *translator) hostField(value string) {
	switch {
	case t.section == trailerSection:
	case !t.hosted && isAuthority(value):
		t.host(value)
	case !t.hosted:
		t.refuse("malformed Host")
	case !equalFold(value, t.authority):
		t.refuse("Host other than :authority, or doubled (RFC 9113 §8.3.1)")
	}
}

func (t *translator) addCookie(value string) {
	if len(t.cookie) > 0 {
		t.cookie = append(t.cookie, "; "...)
	}
	t.cookie = append(t.cookie, value...)
}

func (t *translator) setLength(value string) {
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil || len(value) > 18 || t.length >= 0 { // 18 digits, as with HTTP/1.1
		t.refuse("malformed or doubled Content-Length")
		return
	}
	t.length = int64(n)
}

// end is called when the block is complete. The text lacks the lines that frame the body
// and the blank one, which finishHead appends.
func (t *translator) end() {
	if t.section != headSection || t.malformed != "" || t.tooLarge() {
		return
	}
	if !t.begun {
		t.requestLine()
	}
	if len(t.cookie) > 0 {
		t.text = append(append(append(t.text, "cookie: "...), t.cookie...), "\r\n"...)
	}
	if !t.hosted {
		t.refuse("neither :authority nor Host (RFC 9113 §8.3.1)")
	}
}

// finishHead appends what is left to be said of a head: how its body is framed, as
// HTTP/1.1 would say it. declared is the Content-Length, -1 for none; n bytes of the body
// are there, and whole says that this is all of it.
func finishHead(text []byte, declared int64, n int, whole bool) []byte {
	switch {
	case declared >= 0:
	case !whole:
		text = append(text, "transfer-encoding: chunked\r\n"...)
	case n > 0 || wantsLength(text):
		text = append(text, "content-length: "...)
		text = append(strconv.AppendInt(text, int64(n), 10), "\r\n"...)
	}
	return append(text, "\r\n"...)
}

// wantsLength says whether a request without a body says so (RFC 9110 §8.6).
func wantsLength(text []byte) bool {
	return len(text) > 5 && (string(text[:5]) == "POST " || string(text[:4]) == "PUT " ||
		string(text[:min(6, len(text))]) == "PATCH ")
}

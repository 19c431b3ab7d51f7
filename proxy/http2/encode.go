package http2

import "bytes"

// The representations of HPACK that usher uses (RFC 7541 §6): fields of the static table
// by their index, all others as literals that nobody indexes. So a block means the same
// wherever it stands: streams encode theirs at the same time, without a lock, and the
// client's table takes no memory. The client is told once that it may drop its table.
const (
	indexed     = 0x80
	literal     = 0x00
	emptyTable  = 0x20
	literalBits = 4
	stringBits  = 7
	statusIndex = 8 // :status 200, and the name of others
)

// appendResponse appends the header block of a response given as the text of an HTTP/1.1
// head, with or without its blank line, and returns its status; 0: that is no response.
// Fields that concern one connection of HTTP/1.1 are left out.
func appendResponse(dst, head []byte) (block []byte, status int) {
	line, rest, _ := bytes.Cut(head, crlf)
	if status = statusOf(line); status == 0 {
		return dst, 0
	}
	return appendFields(appendStatus(dst, status), rest), status
}

var crlf = []byte("\r\n")

// statusOf reads the status of "HTTP/1.1 200 OK".
func statusOf(line []byte) int {
	const from, to = len("HTTP/1.1 "), len("HTTP/1.1 200")
	if len(line) < to || line[from-1] != ' ' {
		return 0
	}
	n := 0
	for _, c := range line[from:to] {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	if n < 100 {
		return 0
	}
	return n
}

func appendStatus(dst []byte, status int) []byte {
	for i, s := range [...]int{200, 204, 206, 304, 400, 404, 500} {
		if s == status {
			return append(dst, indexed|byte(statusIndex+i))
		}
	}
	return append(dst, literal|statusIndex, 3, '0'+byte(status/100), '0'+byte(status/10%10), '0'+byte(status%10))
}

// appendFields appends the field lines of text, up to a blank one.
func appendFields(dst, text []byte) []byte {
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, crlf)
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 {
			if len(line) == 0 {
				break
			}
			continue
		}
		dst = appendField(dst, line[:colon], trim(line[colon+1:]))
	}
	return dst
}

// appendField appends one field, unless it must not go on.
func appendField(dst, name, value []byte) []byte {
	at := len(dst)
	dst = appendInt(append(dst, literal), stringBits, 0, len(name))
	from := len(dst)
	for _, c := range name {
		dst = append(dst, lower(c))
	}
	name = dst[from:]
	if ofConnection(string(name)) {
		return dst[:at]
	}
	if i := staticName(string(name)); i > 0 {
		dst = appendInt(dst[:at], literalBits, literal, i)
	}
	return append(appendInt(dst, stringBits, 0, len(value)), value...)
}

// appendInt appends an integer behind the bits of a prefix (RFC 7541 §5.1).
func appendInt(dst []byte, bits int, prefix byte, n int) []byte {
	most := 1<<bits - 1
	if n < most {
		return append(dst, prefix|byte(n))
	}
	dst = append(dst, prefix|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}

// staticName returns where the static table has the name of a response's field, 0 for
// nowhere (RFC 7541 appendix A).
func staticName(name string) int { //nolint:funlen // a table
	switch name {
	case "accept-ranges":
		return 18
	case "access-control-allow-origin":
		return 20
	case "age":
		return 21
	case "allow":
		return 22
	case "cache-control":
		return 24
	case "content-disposition":
		return 25
	case "content-encoding":
		return 26
	case "content-language":
		return 27
	case "content-length":
		return 28
	case "content-location":
		return 29
	case "content-range":
		return 30
	case "content-type":
		return 31
	case "date":
		return 33
	case "etag":
		return 34
	case "expires":
		return 36
	case "last-modified":
		return 44
	case "link":
		return 45
	case "location":
		return 46
	case "proxy-authenticate":
		return 48
	case "refresh":
		return 52
	case "retry-after":
		return 53
	case "server":
		return 54
	case "set-cookie":
		return 55
	case "strict-transport-security":
		return 56
	case "vary":
		return 59
	case "via":
		return 60
	case "www-authenticate":
		return 61
	}
	return 0
}

func trim(b []byte) []byte {
	for len(b) > 0 && blank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && blank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

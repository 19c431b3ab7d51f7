package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"strconv"
	"time"
)

// Refused is a request head that usher does not take, and the status that says so.
// The connection closes after the answer.
type Refused struct {
	Status int
	// Why says what is wrong with the request, for its sender.
	Why string
}

// Error implements error.
func (r *Refused) Error() string { return r.Why }

// ErrMore says that the head goes on beyond the bytes at hand.
var ErrMore = errors.New("head is not complete")

func bad(why string) *Refused { return &Refused{400, why} }

// What a head is refused for. Each names the rule it breaks.
var (
	errBareLF       = bad("line ends in a bare LF (RFC 9112 §2.2)")
	errBareCR       = bad("bare CR in a line (RFC 9112 §2.2)")
	errStatusLine   = bad("malformed status line (RFC 9112 §4)")
	errRequestLine  = bad("malformed request line (RFC 9112 §3)")
	errMethod       = bad("method is not a token (RFC 9110 §9.1)")
	errTarget       = bad("malformed request target (RFC 9112 §3.2)")
	errUserinfo     = bad("userinfo in the target or host (RFC 9110 §4.2.4)")
	errScheme       = bad("target of another scheme than http (RFC 9112 §3.2.2)")
	errConnect      = &Refused{405, "CONNECT is not served"}
	errVersion      = &Refused{505, "only HTTP/1.0 and HTTP/1.1 are served (RFC 9110 §15.6.6)"}
	errFieldName    = bad("field name is not a token (RFC 9112 §5.1)")
	errFieldValue   = bad("control character in a field value (RFC 9110 §5.5)")
	errFold         = bad("folded field line (RFC 9112 §5.2)")
	errHost         = bad("missing, doubled or malformed Host (RFC 9112 §3.2)")
	errLength       = bad("malformed Content-Length (RFC 9112 §6.3)")
	errLengthTwice  = bad("more than one Content-Length (RFC 9112 §6.3)")
	errBothFramings = bad("Content-Length beside Transfer-Encoding (RFC 9112 §6.1)")
	errCoding       = &Refused{501, "only the chunked transfer coding is served (RFC 9112 §6.1)"}
	errCodingOld    = bad("Transfer-Encoding in HTTP/1.0 (RFC 9112 §6.1)")
	errExpect       = &Refused{417, "only Expect: 100-continue is served (RFC 9110 §10.1.1)"}
)

// Flags note which fields a head has that a proxy must treat, so that the others
// are not searched for.
type Flags uint32

// The flags.
const (
	HasConnection Flags = 1 << iota // Connection, with any token
	HasNominated                    // Connection names other fields
	HasClose                        // Connection: close
	HasKeepAlive                    // Connection: keep-alive
	HasHopByHop                     // Keep-Alive, Proxy-*, TE, Trailer, Upgrade
	HasUpgrade                      // Connection: upgrade
	HasExpect                       // Expect: 100-continue
	HasForwarded                    // Forwarded, X-Forwarded-*, X-Real-Ip
	HasUnderscore                   // a name with an underscore
	HasLoop                         // CDN-Loop
	HasEscapes                      // percent-encoding in the target
	HasGRPC                         // Content-Type: application/grpc
	HasTrace                        // a field that names a trace or decides on one: traceparent, B3's
	HasDebug                        // X-Usher-Debug
	hasHost
	hasTraceparent
	hasB3
	unusual // see Verbatim
)

// Head is what the scanner learned of a message's head. Its spans are offsets from
// the head's first byte.
type Head struct {
	// Method, Target and Host are a request's, Status is a response's.
	Method, Target, Host Span
	Status               int
	// Minor is the 1 of HTTP/1.1.
	Minor int
	// ContentLength is -1 when there is none.
	ContentLength int64
	Chunked       bool
	Flags         Flags
	// Len is the length of the head, the blank line included.
	Len int
	// CallTimeout is a request's grpc-timeout; it is above 0 if there is one, and it means
	// something. GRPCStatus is the grpc-status of a response that has it in its head, -1
	// for none.
	CallTimeout time.Duration
	GRPCStatus  int
	// Traceparent and B3 are the values of a request's fields of these names; empty where
	// there is none, or more than one.
	Traceparent, B3 Span

	// next is the offset of the first line not read yet, fields that of the first field.
	next, fields int
	started      bool
	// apart are the lines that do not go on as they are, in order.
	apart  [maxApart]Span
	nApart int
}

// maxApart is how many lines that do not go on a head may have and still be forwarded
// verbatim.
const maxApart = 6

// Span is a part of the head.
type Span struct{ From, To int }

// Of returns the part of head that s spans.
func (s Span) Of(head []byte) []byte { return head[s.From:s.To] }

// Reset makes h ready for another head.
func (h *Head) Reset() { *h = Head{ContentLength: -1, GRPCStatus: -1} }

// Fresh says whether nothing was read yet.
func (h *Head) Fresh() bool { return h.next == 0 }

// Has says whether any of the flags is set.
func (h *Head) Has(f Flags) bool { return h.Flags&f != 0 }

// Verbatim says whether the fields may go on as they are written, but for the lines
// set apart: nothing in them can be read in two ways.
func (h *Head) Verbatim() bool { return h.Flags&(unusual|HasNominated|HasUnderscore) == 0 }

// HasField says whether a field of that name, given in lower case, is in the scanned head.
func (h *Head) HasField(head []byte, name string) bool {
	for rest := head[h.fields:h.Len]; len(rest) > len(name); {
		if rest[len(name)] == ':' && EqualFold(rest[:len(name)], name) {
			return true
		}
		rest = rest[bytes.IndexByte(rest, '\n')+1:]
	}
	return false
}

// Field returns the value of a field of the scanned head, the nth of that name, which is
// given in lower case; ok: there is one. The bytes are head's.
func (h *Head) Field(head []byte, name string, nth int) (value []byte, ok bool) {
	for rest := head[h.fields:h.Len]; len(rest) > len(name); {
		end := bytes.IndexByte(rest, '\n')
		if rest[len(name)] == ':' && EqualFold(rest[:len(name)], name) {
			if nth == 0 {
				return trim(rest[len(name)+1 : end-1]), true
			}
			nth--
		}
		rest = rest[end+1:]
	}
	return nil, false
}

// AppendFields appends the field lines of the head that go on, and returns dst. head is
// what was scanned. Left out are those that concern one connection alone (RFC 9110
// §7.6.1), Host, Expect, and a response's Transfer-Encoding; Content-Length is last.
func (h *Head) AppendFields(dst, head []byte) []byte {
	from := h.fields
	for _, line := range h.apart[:h.nApart] {
		dst = append(dst, head[from:line.From]...)
		from = line.To
	}
	dst = append(dst, head[from:h.Len-2]...)
	if h.ContentLength < 0 {
		return dst
	}
	dst = strconv.AppendInt(append(dst, "Content-Length: "...), h.ContentLength, 10)
	return append(dst, "\r\n"...)
}

// AppendHead appends a response's head as AppendFields does its fields: the blank line is
// not there.
func (h *Head) AppendHead(dst, head []byte) []byte {
	return h.AppendFields(append(dst, head[:h.fields]...), head)
}

// ScanRequest reads the head of a request at the front of b. With ErrMore it wants
// to be called again with the same bytes and more behind them; it goes on where it
// stopped. Any other error is a *Refused.
func (h *Head) ScanRequest(b []byte) error {
	for {
		line, err := h.line(b)
		if err != nil {
			return err
		}
		at := h.next
		h.next += len(line) + 2
		switch {
		case !h.started:
			err = h.requestLine(line, at)
			h.fields = h.next
		case len(line) == 0:
			h.Len = h.next
			return h.finish(b)
		default:
			err = h.field(line, at)
		}
		if err != nil {
			return err
		}
	}
}

// line returns the line at h.next without its CRLF.
func (h *Head) line(b []byte) ([]byte, error) {
	rest := b[h.next:]
	n := bytes.IndexByte(rest, '\n')
	if n < 0 {
		return nil, ErrMore
	}
	if n == 0 || rest[n-1] != '\r' {
		return nil, errBareLF
	}
	return rest[:n-1], nil
}

// requestLine reads "method target version" (RFC 9112 §3).
func (h *Head) requestLine(line []byte, at int) error {
	h.started = true
	m := bytes.IndexByte(line, ' ')
	v := bytes.LastIndexByte(line, ' ')
	if m <= 0 || v <= m+1 {
		return errRequestLine
	}
	if !IsToken(line[:m]) {
		return errMethod
	}
	h.Method = Span{at, at + m}
	h.Target = Span{at + m + 1, at + v}
	if err := h.version(line[v+1:]); err != nil {
		return err
	}
	if string(line[:m]) == "CONNECT" {
		return errConnect
	}
	target := line[m+1 : v]
	if !all(target, isTarget) {
		return errTarget
	}
	if bytes.IndexByte(target, '%') >= 0 {
		h.Flags |= HasEscapes
	}
	return nil
}

func (h *Head) version(v []byte) error {
	switch string(v) {
	case "HTTP/1.1":
		h.Minor = 1
	case "HTTP/1.0":
		h.Minor = 0
	default:
		if len(v) == 8 && string(v[:5]) == "HTTP/" && v[6] == '.' && digit(v[5]) && digit(v[7]) {
			return errVersion
		}
		return errRequestLine
	}
	return nil
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// field reads one field line (RFC 9112 §5).
func (h *Head) field(line []byte, at int) error {
	if line[0] == ' ' || line[0] == '\t' {
		return errFold
	}
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return errFieldName
	}
	name := line[:colon]
	for _, c := range name {
		if charClass[c]&isToken == 0 {
			return errFieldName
		}
		if c == '_' {
			h.Flags |= HasUnderscore
		}
	}
	value := trim(line[colon+1:])
	if !all(value, isValue) {
		if bytes.IndexByte(value, '\r') >= 0 {
			return errBareCR
		}
		return errFieldValue
	}
	return h.known(name, value, Span{at, at + colon + 1 + leading(line[colon+1:])})
}

// leading is the length of the white space in front of b.
func leading(b []byte) (n int) {
	for n < len(b) && (b[n] == ' ' || b[n] == '\t') {
		n++
	}
	return n
}

// known takes note of the fields that decide framing, routing and hygiene. at spans
// from the beginning of the line to that of the value. The switch on the length keeps
// other fields cheap.
func (h *Head) known(name, value []byte, at Span) error {
	switch len(name) {
	case 2:
		h.hopByHop(name, "te", at)
		h.trace(name, value, at)
	case 4:
		if EqualFold(name, "host") {
			return h.host(value, at)
		}
	case 6:
		if EqualFold(name, "expect") {
			h.setApart(at)
			return h.expect(value)
		}
	case 7:
		h.hopByHop(name, "upgrade", at)
		h.hopByHop(name, "trailer", at)
	case 8:
		h.flagIf(name, "cdn-loop", HasLoop)
	case 9:
		h.flagIf(name, "forwarded", HasForwarded)
		h.flagIf(name, "x-real-ip", HasForwarded)
	case 10:
		h.hopByHop(name, "keep-alive", at)
		h.flagIf(name, "x-b3-flags", HasTrace)
		if EqualFold(name, "connection") {
			h.connection(value, at)
		}
	case 11:
		h.trace(name, value, at)
	case 12:
		if EqualFold(name, "content-type") {
			h.contentType(value)
		} else if EqualFold(name, "grpc-timeout") {
			h.callTimeout(value)
		} else {
			h.trace(name, value, at)
		}
	case 13:
		if EqualFold(name, "x-usher-debug") {
			h.Flags |= HasDebug
			h.setApart(at)
		}
	case 14:
		if EqualFold(name, "content-length") {
			return h.length(value, at)
		}
	case 16:
		h.hopByHop(name, "proxy-connection", at)
	case 17:
		if EqualFold(name, "transfer-encoding") {
			return h.coding(value)
		}
	}
	if len(name) > 11 && EqualFold(name[:12], "x-forwarded-") {
		h.Flags |= HasForwarded
	} else if len(name) > 16 && EqualFold(name[:6], "proxy-") {
		h.hopByHop(name, "proxy-authenticate", at)
		h.hopByHop(name, "proxy-authorization", at)
	}
	return nil
}

func (h *Head) flagIf(name []byte, s string, f Flags) {
	if EqualFold(name, s) {
		h.Flags |= f
	}
}

// trace notes a field that tells of a trace.
func (h *Head) trace(name, value []byte, at Span) {
	switch {
	case EqualFold(name, "b3"):
		h.once(&h.B3, hasB3, value, at)
	case EqualFold(name, "traceparent"):
		h.once(&h.Traceparent, hasTraceparent, value, at)
	default:
		h.flagIf(name, "x-b3-traceid", HasTrace)
		h.flagIf(name, "x-b3-sampled", HasTrace)
	}
}

// once notes the value of a field that tells of a trace, and of none where there are more:
// seen says that there was one.
func (h *Head) once(s *Span, seen Flags, value []byte, at Span) {
	*s = Span{at.To, at.To + len(value)}
	if h.Has(seen) {
		*s = Span{}
	}
	h.Flags |= seen | HasTrace
}

// hopByHop notes a field that concerns this connection alone.
func (h *Head) hopByHop(name []byte, s string, at Span) {
	if EqualFold(name, s) {
		h.Flags |= HasHopByHop
		h.setApart(at)
	}
}

// setApart notes that the line just read does not go on as it is.
func (h *Head) setApart(at Span) {
	if h.nApart == maxApart {
		h.Flags |= unusual
		return
	}
	h.apart[h.nApart] = Span{at.From, h.next}
	h.nApart++
}

func (h *Head) host(value []byte, at Span) error {
	if h.Has(hasHost) {
		return errHost
	}
	h.Flags |= hasHost
	h.Host = Span{at.To, at.To + len(value)}
	h.setApart(at)
	return nil
}

func (h *Head) expect(value []byte) error {
	if !EqualFold(value, "100-continue") {
		return errExpect
	}
	h.Flags |= HasExpect
	return nil
}

// connection notes what the tokens of Connection ask for (RFC 9110 §7.6.1).
func (h *Head) connection(value []byte, at Span) {
	h.Flags |= HasConnection
	h.setApart(at)
	Tokens(value, func(t []byte) {
		switch {
		case EqualFold(t, "close"):
			h.Flags |= HasClose
		case EqualFold(t, "keep-alive"):
			h.Flags |= HasKeepAlive
		case EqualFold(t, "upgrade"):
			h.Flags |= HasUpgrade
		default:
			h.Flags |= HasNominated
		}
	})
}

func (h *Head) length(value []byte, at Span) error {
	if h.ContentLength >= 0 {
		return errLengthTwice
	}
	n, ok := parseLength(value)
	if !ok {
		return errLength
	}
	h.ContentLength = n
	h.setApart(at) // written anew: no white space or zeros that another might read otherwise
	return nil
}

// parseLength reads 1*DIGIT that fits in 18 digits.
func parseLength(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if !digit(c) {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

func (h *Head) coding(value []byte) error {
	switch {
	case h.Chunked:
		return errCoding
	case EqualFold(value, "chunked"):
		h.Chunked = true
		return nil
	case EqualFold(value, "identity"):
		return bad("Transfer-Encoding: identity (RFC 9112 §7)")
	default:
		return errCoding
	}
}

// finish checks what only the whole head shows.
func (h *Head) finish(b []byte) error {
	switch {
	case h.Chunked && h.Minor == 0:
		return errCodingOld
	case h.Chunked && h.ContentLength >= 0:
		return errBothFramings
	}
	if !h.Has(hasHost) {
		if h.Minor == 1 {
			return errHost
		}
		return nil
	}
	return checkHost(h.Host.Of(b), h.Minor == 0)
}

// checkHost refuses what is not host[:port] (RFC 9110 §7.2). An HTTP/1.0 client
// may send it empty.
func checkHost(host []byte, emptyOK bool) error {
	if len(host) == 0 {
		if emptyOK {
			return nil
		}
		return errHost
	}
	if bytes.IndexByte(host, '@') >= 0 {
		return errUserinfo
	}
	if !all(host, isHost) {
		return errHost
	}
	name, port := SplitHost(host)
	if len(name) == 0 || !allDigits(port) || bytes.ContainsAny(name, ":[]") && !isBracketed(name) {
		return errHost
	}
	return nil
}

// isBracketed says whether name is an IPv6 address in brackets (RFC 3986 §3.2.2). A zone
// means something on its sender's machine alone.
func isBracketed(name []byte) bool {
	n := len(name)
	if name[0] != '[' || name[n-1] != ']' {
		return false
	}
	ip, err := netip.ParseAddr(string(name[1 : n-1]))
	return err == nil && ip.Is6() && ip.Zone() == ""
}

func allDigits(b []byte) bool {
	for _, c := range b {
		if !digit(c) {
			return false
		}
	}
	return true
}

// SplitHost splits host[:port]; an address in brackets keeps them.
func SplitHost(host []byte) (name, port []byte) {
	i := bytes.LastIndexByte(host, ':')
	if i < 0 || bytes.IndexByte(host[i:], ']') >= 0 {
		return host, nil
	}
	return host[:i], host[i+1:]
}

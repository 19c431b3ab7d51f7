package accesslog

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"time"

	"usher/config"
	"usher/config/redact"
	"usher/metrics"
)

// encoder is what the writing of entries needs beside the program. It has one user at a
// time.
type encoder struct {
	*program
	// offset makes wall time of the clock of entries, in nanoseconds.
	offset int64
	// second is the one that utc and local are the texts of.
	second     int64
	utc, local []byte
	// request and response are the values found in the heads of the entry at hand.
	request, response [][]byte
	// placed remembers how places are written, see place.
	placed [places]placed
	// masked is where a target is written without its secrets.
	masked []byte
}

// allRetries are the bits of all causes of a retry.
const allRetries = 2<<metrics.RetryOut - 1

// maxValue is how many bytes of a value are logged.
const maxValue = 8 << 10

// line appends an entry, its end included.
func (n *encoder) line(dst []byte, e *Entry) []byte {
	if n.all {
		return n.standard(dst, e)
	}
	n.findHeads(e)
	begin, absent := len(dst), n.absent(e)
	for i := range n.steps {
		s := &n.steps[i]
		switch {
		case absent>>s.what&1 == 0:
			dst = n.value(append(dst, s.lead...), s, e)
		case !n.json:
			dst = append(append(dst, s.lead...), '-')
		}
	}
	if n.json {
		dst = object(dst, begin)
	}
	return append(dst, '\n')
}

// findHeads looks for what is wanted of the heads.
func (n *encoder) findHeads(e *Entry) {
	if n.reads {
		n.request = n.program.request.find(e.Head, n.request)
	}
	if len(n.program.response.list) > 0 {
		n.response = n.program.response.find(e.Response, n.response)
	}
}

// absent has a bit for each value that there is not.
func (n *encoder) absent(e *Entry) (bits uint64) {
	lack := func(w what, yes bool) {
		if yes {
			bits |= 1 << w
		}
	}
	lack(requestID, len(e.RequestID) == 0)
	lack(traceID, e.Trace == [16]byte{})
	lack(listener, e.Listener == "")
	lack(clientIP, len(e.Client) == 0)
	lack(peer, len(e.Peer) == 0)
	lack(method, len(e.Method) == 0)
	lack(scheme, e.Scheme == "")
	lack(host, len(e.Host) == 0)
	lack(target, len(e.Target) == 0)
	lack(protocol, e.Protocol == "")
	lack(requestLine, len(e.Method) == 0 && e.Protocol == "")
	lack(reason, e.Reason == "")
	lack(grpcStatus, e.GRPC == 0)
	lack(received, n.json && e.Received == 0)
	lack(upstream, e.Upstream <= 0)
	lack(route, e.Route == "")
	lack(service, e.Service == "")
	lack(endpoint, e.Endpoint == "")
	lack(endpointAddress, e.Address == "")
	lack(attempts, e.Attempts <= 0)
	lack(retryReasons, e.Retries&allRetries == 0)
	lack(hedged, !e.Hedged)
	lack(generation, e.Generation == 0)
	t := e.TLS
	lack(tlsVersion, t == nil || t.Version == "")
	lack(tlsCipher, t == nil || t.Cipher == "")
	lack(tlsName, t == nil || t.Name == "")
	lack(tlsIdentity, t == nil || t.Identity == "")
	if n.reads {
		own := len(n.request) - 2 // the last two have values of their own
		lack(userAgent, len(n.request[own]) == 0)
		lack(referer, len(n.request[own+1]) == 0)
		lack(requestHeaders, !some(n.request[:own]))
	}
	lack(responseHeaders, !some(n.response))
	return bits
}

// some says whether one of the values is there.
func some(values [][]byte) bool {
	for _, v := range values {
		if len(v) > 0 {
			return true
		}
	}
	return false
}

// object makes an object of the members behind begin, each of which has a comma in front.
func object(dst []byte, begin int) []byte {
	if len(dst) == begin {
		dst = append(dst, '{')
	}
	dst[begin] = '{'
	return append(dst, '}')
}

// value appends a value that there is.
func (n *encoder) value(dst []byte, s *step, e *Entry) []byte {
	switch s.what {
	case timeStart:
		return n.quote(n.time(dst, e.Start+n.offset))
	case timeLocal:
		n.setSecond((e.Start + n.offset) / 1e9)
		return append(dst, n.local...)
	case requestID:
		return n.bytes(dst, e.RequestID)
	case traceID:
		return n.quote(hex.AppendEncode(dst, e.Trace[:]))
	case listener:
		return n.text(dst, e.Listener)
	case clientIP:
		return n.bytes(dst, e.Client)
	case peer:
		return n.peer(dst, e)
	case method:
		return n.bytes(dst, e.Method)
	case scheme:
		return n.quote(append(dst, e.Scheme...))
	case host:
		return n.bytes(dst, e.Host)
	case target:
		return n.quote(n.target(dst, e.Target))
	case protocol:
		return n.quote(append(dst, e.Protocol...))
	case requestLine:
		return n.requestLine(dst, e)
	case status:
		return appendStatus(dst, e.Status)
	case reason:
		return n.quote(append(dst, e.Reason...))
	case received:
		return strconv.AppendUint(dst, e.Received, 10)
	case sent:
		return strconv.AppendUint(dst, e.Sent, 10)
	case took:
		return appendSeconds(dst, e.Duration)
	case upstream:
		return appendSeconds(dst, e.Upstream)
	default:
		return n.later(dst, s, e)
	}
}

// later is value for where a request went.
func (n *encoder) later(dst []byte, s *step, e *Entry) []byte {
	switch s.what {
	case route:
		return n.text(dst, e.Route)
	case service:
		return n.text(dst, e.Service)
	case endpoint:
		return n.text(dst, e.Endpoint)
	case endpointAddress:
		return n.text(dst, e.Address)
	case attempts:
		return strconv.AppendUint(dst, uint64(e.Attempts), 10)
	case generation:
		return strconv.AppendUint(dst, e.Generation, 10)
	case userAgent:
		return n.bytes(dst, n.request[len(n.request)-2])
	default:
		return n.rare(dst, s, e)
	}
}

// rare is value for what few entries have.
func (n *encoder) rare(dst []byte, s *step, e *Entry) []byte {
	switch s.what {
	case grpcStatus:
		return n.grpc(dst, e.GRPC)
	case retryReasons:
		return n.retries(dst, e.Retries)
	case hedged:
		return append(dst, "true"...)
	case referer:
		return n.quote(n.target(dst, n.request[len(n.request)-1]))
	case requestHeaders:
		own := len(n.request) - 2
		return n.headers(dst, n.program.request.list[:own], n.request[:own])
	case responseHeaders:
		return n.headers(dst, n.program.response.list, n.response)
	case requestHeader:
		return n.headerOr(dst, n.program.request.list, n.request, s.at)
	case responseHeader:
		return n.headerOr(dst, n.program.response.list, n.response, s.at)
	case tlsVersion:
		return n.quote(append(dst, e.TLS.Version...))
	case tlsCipher:
		return n.quote(append(dst, e.TLS.Cipher...))
	case tlsName:
		return n.text(dst, e.TLS.Name)
	case tlsIdentity:
		return n.text(dst, e.TLS.Identity)
	default:
		return dst
	}
}

// quote ends a string, where that is to be done.
func (n *encoder) quote(dst []byte) []byte {
	if n.json {
		dst = append(dst, '"')
	}
	return dst
}

// bytes appends what others have written, as a string.
func (n *encoder) bytes(dst, b []byte) []byte {
	if len(b) <= maxValue && plain(b) {
		return n.quote(append(dst, b...))
	}
	return n.quote(n.escape(dst, b))
}

func (n *encoder) text(dst []byte, s string) []byte { return n.bytes(dst, bytesOf(s)) }

// escape appends what others have written.
func (n *encoder) escape(dst, b []byte) []byte {
	if len(b) > maxValue {
		return append(n.escape(dst, b[:maxValue]), "..."...)
	}
	switch {
	case plain(b):
		return append(dst, b...)
	case n.json:
		return appendJSON(dst, b)
	default:
		return appendText(dst, b)
	}
}

// target appends a target, or a URL, without the secrets of its query.
func (n *encoder) target(dst, b []byte) []byte {
	if bytes.IndexByte(b, '?') < 0 {
		return n.escape(dst, b)
	}
	n.masked = n.rules.AppendTarget(n.masked[:0], b)
	return n.escape(dst, n.masked)
}

// requestLine appends what the log formats of servers call the request.
func (n *encoder) requestLine(dst []byte, e *Entry) []byte {
	if len(e.Method) > 0 {
		dst = append(n.escape(dst, e.Method), ' ')
		dst = append(n.target(dst, e.Target), ' ')
	}
	return append(dst, e.Protocol...)
}

func (n *encoder) peer(dst []byte, e *Entry) []byte {
	if len(e.Peer) > 0 && bytes.IndexByte(e.Peer, ':') >= 0 { // IPv6
		dst = append(append(append(dst, '['), e.Peer...), ']')
	} else {
		dst = append(dst, e.Peer...)
	}
	return n.quote(strconv.AppendInt(append(dst, ':'), int64(e.PeerPort), 10))
}

func (n *encoder) grpc(dst []byte, c metrics.Call) []byte {
	code := int(c) - 1
	if code >= len(n.statuses) {
		code = int(config.GRPCUnknown)
	}
	return n.quote(append(dst, n.statuses[code]...))
}

// retries appends the causes of the further tries, as a list in JSON.
func (n *encoder) retries(dst []byte, bits uint8) []byte {
	from := len(dst)
	for c := metrics.RetryConnect; c <= metrics.RetryOut; c++ {
		switch {
		case bits&(1<<c) == 0:
		case n.json:
			dst = append(append(append(dst, `,"`...), c.String()...), '"')
		default:
			dst = append(append(dst, ','), c.String()...)
		}
	}
	if !n.json {
		return append(dst[:from], dst[from+1:]...)
	}
	dst[from] = '['
	return append(dst, ']')
}

// header appends the value of a header field that is there.
func (n *encoder) header(dst []byte, h *header, value []byte) []byte {
	switch {
	case h.secret:
		return append(dst, redact.Mask...)
	case h.target:
		return n.target(dst, value)
	default:
		return n.escape(dst, value)
	}
}

// headerOr appends the value of a header field in a template.
func (n *encoder) headerOr(dst []byte, list []header, values [][]byte, at int) []byte {
	if len(values[at]) == 0 {
		return append(dst, '-')
	}
	return n.header(dst, &list[at], values[at])
}

// headers appends the header fields that are there, as an object.
func (n *encoder) headers(dst []byte, list []header, values [][]byte) []byte {
	begin := len(dst)
	for i := range list {
		if len(values[i]) > 0 {
			dst = n.quote(n.header(append(dst, list[i].lead...), &list[i], values[i]))
		}
	}
	return object(dst, begin)
}

// time appends the wall time at, in nanoseconds, as RFC 3339 has it.
func (n *encoder) time(dst []byte, at int64) []byte {
	n.setSecond(at / 1e9)
	ms := uint32(at % 1e9 / 1e6)
	return append(append(dst, n.utc...), byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

// setSecond makes the texts those of a second.
func (n *encoder) setSecond(second int64) {
	if second == n.second && n.utc != nil {
		return
	}
	n.second = second
	t := time.Unix(second, 0)
	n.utc = t.UTC().AppendFormat(n.utc[:0], "2006-01-02T15:04:05.")
	n.local = t.AppendFormat(n.local[:0], "02/Jan/2006:15:04:05 -0700")
}

// appendStatus appends a status, which mostly has three digits.
func appendStatus(dst []byte, status int) []byte {
	if status < 100 || status > 999 {
		return strconv.AppendInt(dst, int64(status), 10)
	}
	u := uint(status)
	return append(dst, byte('0'+u/100), byte('0'+u/10%10), byte('0'+u%10))
}

// appendSeconds appends a duration in seconds, with six decimals.
func appendSeconds(dst []byte, d time.Duration) []byte {
	us := uint64(max(d, 0) / time.Microsecond)
	dst = strconv.AppendUint(dst, us/1e6, 10)
	rest := uint32(us % 1e6)
	return append(
		dst, '.', byte('0'+rest/1e5), byte('0'+rest/1e4%10), byte('0'+rest/1e3%10), byte('0'+rest/100%10),
		byte('0'+rest/10%10), byte('0'+rest%10),
	)
}

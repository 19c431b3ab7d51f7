package accesslog

import (
	"encoding/hex"
	"strconv"
	"time"

	"usher/config"
	"usher/metrics"
	"usher/metrics/redact"
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
	// masked is where a target is written without its secrets.
	masked []byte
}

// maxValue is how many bytes of a value are logged.
const maxValue = 8 << 10

// line appends an entry, its end included.
func (n *encoder) line(dst []byte, e *Entry) []byte {
	if n.reads {
		n.request = find(n.program.request, e.Head, n.request)
	}
	if len(n.program.response) > 0 {
		n.response = find(n.program.response, e.Response, n.response)
	}
	begin := len(dst)
	for i := range n.steps {
		s := &n.steps[i]
		before := len(dst)
		dst = append(dst, s.lead...)
		if s.what == nothing {
			continue
		}
		from := len(dst)
		dst = n.value(dst, s, e)
		switch {
		case len(dst) > from:
		case n.json:
			dst = dst[:before]
		default:
			dst = append(dst, '-')
		}
	}
	if n.json {
		dst = object(dst, begin)
	}
	return append(dst, '\n')
}

// object makes an object of the members behind begin, each of which has a comma in front.
func object(dst []byte, begin int) []byte {
	if len(dst) == begin {
		dst = append(dst, '{')
	}
	dst[begin] = '{'
	return append(dst, '}')
}

// value appends a value; nothing where there is none.
func (n *encoder) value(dst []byte, s *step, e *Entry) []byte {
	switch s.what {
	case timeStart, timeLocal:
		return n.time(dst, s.what, e.Start+n.offset)
	case requestID:
		return n.bytes(dst, e.RequestID)
	case traceID:
		return n.trace(dst, e)
	case listener:
		return n.text(dst, e.Listener)
	case clientIP:
		return n.bytes(dst, e.Client)
	case peer:
		return n.peer(dst, e)
	case method:
		return n.bytes(dst, e.Method)
	case scheme:
		return n.word(dst, e.Scheme)
	case host:
		return n.bytes(dst, e.Host)
	case target:
		return n.target(dst, e.Target)
	case protocol:
		return n.word(dst, e.Protocol)
	case requestLine:
		return n.requestLine(dst, e)
	case status:
		return strconv.AppendInt(dst, int64(e.Status), 10)
	case reason:
		return n.word(dst, e.Reason)
	case grpcStatus:
		return n.grpc(dst, e.GRPC)
	case received:
		return strconv.AppendUint(dst, e.Received, 10)
	case sent:
		return strconv.AppendUint(dst, e.Sent, 10)
	case took:
		return appendSeconds(dst, e.Duration)
	case upstream:
		if e.Upstream > 0 {
			dst = appendSeconds(dst, e.Upstream)
		}
		return dst
	default:
		return n.more(dst, s, e)
	}
}

// more is value for what is not asked of usher alone.
func (n *encoder) more(dst []byte, s *step, e *Entry) []byte {
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
		return positive(dst, uint64(e.Attempts))
	case retryReasons:
		return n.retries(dst, e.Retries)
	case hedged:
		if e.Hedged {
			dst = append(dst, "true"...)
		}
		return dst
	case generation:
		return positive(dst, e.Generation)
	case userAgent:
		return n.header(dst, n.program.request, n.request, len(n.request)-2)
	case referer:
		return n.header(dst, n.program.request, n.request, len(n.request)-1)
	case requestHeaders:
		own := len(n.request) - 2 // the others have fields of their own
		return n.headers(dst, n.program.request[:own], n.request[:own])
	case responseHeaders:
		return n.headers(dst, n.program.response, n.response)
	case requestHeader:
		return n.header(dst, n.program.request, n.request, s.at)
	case responseHeader:
		return n.header(dst, n.program.response, n.response, s.at)
	default:
		return n.tls(dst, s.what, e.TLS)
	}
}

func (n *encoder) tls(dst []byte, w what, t *TLS) []byte {
	if t == nil {
		return dst
	}
	switch w {
	case tlsVersion:
		return n.word(dst, t.Version)
	case tlsCipher:
		return n.word(dst, t.Cipher)
	case tlsName:
		return n.text(dst, t.Name)
	case tlsIdentity:
		return n.text(dst, t.Identity)
	default:
		return dst
	}
}

// bytes appends what others have written.
func (n *encoder) bytes(dst, b []byte) []byte {
	if len(b) == 0 {
		return dst
	}
	cut := len(b) > maxValue
	if cut {
		b = b[:maxValue]
	}
	if !n.json {
		dst = appendText(dst, b)
		if cut {
			dst = append(dst, "..."...)
		}
		return dst
	}
	dst = appendJSON(append(dst, '"'), b)
	if cut {
		dst = append(dst, "..."...)
	}
	return append(dst, '"')
}

func (n *encoder) text(dst []byte, s string) []byte { return n.bytes(dst, bytesOf(s)) }

// word appends what usher has written itself: there is nothing to escape.
func (n *encoder) word(dst []byte, s string) []byte {
	if !n.json || s == "" {
		return append(dst, s...)
	}
	return append(append(append(dst, '"'), s...), '"')
}

// target appends a target, or a URL, without the secrets of its query.
func (n *encoder) target(dst, b []byte) []byte {
	for _, c := range b {
		if c == '?' {
			n.masked = n.rules.AppendTarget(n.masked[:0], b)
			return n.bytes(dst, n.masked)
		}
	}
	return n.bytes(dst, b)
}

// requestLine appends what the log formats of servers call the request.
func (n *encoder) requestLine(dst []byte, e *Entry) []byte {
	if len(e.Method) == 0 {
		return append(dst, e.Protocol...)
	}
	dst = append(n.bytes(dst, e.Method), ' ')
	return append(append(n.target(dst, e.Target), ' '), e.Protocol...)
}

func (n *encoder) peer(dst []byte, e *Entry) []byte {
	if !e.Peer.IsValid() {
		return dst
	}
	if n.json {
		dst = append(dst, '"')
	}
	if e.Peer.Is4() {
		dst = e.Peer.AppendTo(dst)
	} else {
		dst = append(e.Peer.AppendTo(append(dst, '[')), ']')
	}
	dst = strconv.AppendInt(append(dst, ':'), int64(e.PeerPort), 10)
	if n.json {
		dst = append(dst, '"')
	}
	return dst
}

func (n *encoder) trace(dst []byte, e *Entry) []byte {
	if e.Trace == [16]byte{} {
		return dst
	}
	var text [2 * len(e.Trace)]byte
	hex.Encode(text[:], e.Trace[:])
	return n.bytes(dst, text[:])
}

func (n *encoder) grpc(dst []byte, c metrics.Call) []byte {
	if c == 0 {
		return dst
	}
	code := int(c) - 1
	if code >= len(n.statuses) {
		code = int(config.GRPCUnknown)
	}
	return n.word(dst, n.statuses[code])
}

// retries appends the causes of the further tries, as a list in JSON.
func (n *encoder) retries(dst []byte, bits uint8) []byte {
	if bits&(2<<metrics.RetryOut-1) == 0 {
		return dst
	}
	from := len(dst)
	for c := metrics.RetryConnect; c <= metrics.RetryOut; c++ {
		if bits&(1<<c) == 0 {
			continue
		}
		dst = n.word(append(dst, ','), c.String())
	}
	if !n.json {
		return append(dst[:from], dst[from+1:]...)
	}
	dst[from] = '['
	return append(dst, ']')
}

// header appends the value of a header field.
func (n *encoder) header(dst []byte, list []header, values [][]byte, at int) []byte {
	switch v := values[at]; {
	case len(v) == 0:
		return dst
	case list[at].secret:
		return n.word(dst, redact.Mask)
	case list[at].target:
		return n.target(dst, v)
	default:
		return n.bytes(dst, v)
	}
}

// headers appends the header fields that are there, as an object.
func (n *encoder) headers(dst []byte, list []header, values [][]byte) []byte {
	begin := len(dst)
	for i := range list {
		if len(values[i]) > 0 {
			dst = n.header(append(dst, list[i].lead...), list, values, i)
		}
	}
	if len(dst) == begin {
		return dst
	}
	return object(dst, begin)
}

// time appends the wall time at in the form of the format.
func (n *encoder) time(dst []byte, w what, at int64) []byte {
	second, rest := at/1e9, at%1e9
	if second != n.second || n.utc == nil {
		n.second = second
		t := time.Unix(second, 0)
		n.utc = t.UTC().AppendFormat(n.utc[:0], "2006-01-02T15:04:05.")
		n.local = t.AppendFormat(n.local[:0], "02/Jan/2006:15:04:05 -0700")
	}
	if w == timeLocal {
		return append(dst, n.local...)
	}
	if n.json {
		dst = append(dst, '"')
	}
	ms := rest / 1e6
	dst = append(append(dst, n.utc...), byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
	if n.json {
		dst = append(dst, '"')
	}
	return dst
}

// appendSeconds appends a duration in seconds, with six decimals.
func appendSeconds(dst []byte, d time.Duration) []byte {
	us := uint64(max(d, 0) / time.Microsecond)
	dst = strconv.AppendUint(dst, us/1e6, 10)
	rest := us % 1e6
	return append(
		dst, '.', byte('0'+rest/1e5), byte('0'+rest/1e4%10), byte('0'+rest/1e3%10), byte('0'+rest/100%10),
		byte('0'+rest/10%10), byte('0'+rest%10),
	)
}

func positive(dst []byte, v uint64) []byte {
	if v > 0 {
		dst = strconv.AppendUint(dst, v, 10)
	}
	return dst
}

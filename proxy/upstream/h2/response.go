package h2

import (
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"usher/proxy/wire"
)

// block is what a block of fields says, as it is read. What is wrong with it is told at
// its end: it must be read whole, for what it does to the table.
type block struct {
	// lines are its fields as lines, but for those that frame the response.
	lines []byte
	// size is its length as RFC 9113 §6.5.2 counts, wire what it came in, in so many frames.
	size, wire, frames int
	// trailers says that a head came before. status is 0 until it has come.
	trailers bool
	status   int
	// length is the Content-Length, -1: none.
	length int64
	// announced says that trailers may follow.
	announced bool
	// regular says that a field was there that is no pseudo-field.
	regular bool
	// problem is the first that was wrong; empty: nothing is.
	problem string
}

// reset begins a block of a stream, nil for one that is gone.
func (b *block) reset(st *Stream) {
	*b = block{lines: b.lines[:0], length: -1, trailers: st != nil && st.final}
}

func (b *block) bad(why string) {
	if b.problem == "" {
		b.problem = why
	}
}

// emit takes a field.
func (b *block) emit(f hpack.HeaderField) {
	if b.size += int(f.Size()); b.size > maxHead {
		b.bad("its fields are too large")
	}
	if b.problem != "" {
		return
	}
	if strings.HasPrefix(f.Name, ":") {
		b.pseudo(f)
		return
	}
	b.regular = true
	value := strings.Trim(f.Value, " \t") // not allowed, and no harm: gRPC's messages may end so
	if !validName(f.Name) || !validValue(value) {
		b.bad("a malformed field")
		return
	}
	if b.known(f.Name, value) {
		b.lines = append(append(append(append(b.lines, f.Name...), ": "...), value...), "\r\n"...)
	}
}

// pseudo takes :status, once and before the fields (RFC 9113 §8.3.2).
func (b *block) pseudo(f hpack.HeaderField) {
	if f.Name != ":status" || b.status > 0 || b.regular || b.trailers {
		b.bad("pseudo-field " + strconv.Quote(f.Name) + " is out of place")
		return
	}
	n, err := strconv.ParseUint(f.Value, 10, 16)
	if err != nil || len(f.Value) != 3 || n < 100 || n > 599 || n == fasthttp.StatusSwitchingProtocols {
		b.bad("its status is none")
		return
	}
	b.status = int(n)
}

// known takes note of the fields that frame a response, and says whether the field goes on
// as it is. Those of one connection are none of HTTP/2 (RFC 9113 §8.2.2).
func (b *block) known(name, value string) (goesOn bool) {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		b.bad("field " + name)
		return false
	case "content-length":
		n, ok := parseLength([]byte(value))
		if !ok || b.length >= 0 {
			b.bad("its content-length")
		}
		b.length = n
		return false
	case "trailer":
		b.announced = true
	case "content-type":
		b.announced = b.announced || strings.HasPrefix(value, "application/grpc")
	}
	return true
}

// validName says whether a name is one, in lower case (RFC 9113 §8.2.1).
func validName(name string) bool {
	for i := range len(name) {
		if c := name[i]; !wire.IsTokenByte(c) || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return name != ""
}

func validValue(value string) bool {
	for i := range len(value) {
		if !wire.IsValueByte(value[i]) {
			return false
		}
	}
	return true
}

// maxInterim bounds the heads that were not read yet.
const maxInterim = 2 * maxHead

// fields takes a block that has come, with s.mu held.
func (st *Stream) fields(b *block, end bool) {
	if st.remoteEnded {
		return // it was told that the stream has ended
	}
	switch {
	case b.problem != "":
		st.malformed(http2.ErrCodeProtocol, b.problem)
	case b.trailers && !end:
		st.malformed(http2.ErrCodeProtocol, "fields within the body")
	case b.trailers:
		st.trailers = append(st.trailers[:0], b.lines...)
		st.endRemote()
	case b.status == 0:
		st.malformed(http2.ErrCodeProtocol, "it has no status")
	case b.status < 200:
		st.interim(b, end)
	default:
		st.head(b, end)
	}
}

// interim takes the head of an interim response.
func (st *Stream) interim(b *block, end bool) {
	if end {
		st.malformed(http2.ErrCodeProtocol, "it ends with an interim response")
		return
	}
	if len(st.text)-st.at > maxInterim {
		st.malformed(http2.ErrCodeEnhanceYourCalm, "a flood of interim responses")
		return
	}
	st.heard = true
	st.text = append(append(appendStatus(st.text, b.status), b.lines...), "\r\n"...)
	st.session.give(st)
}

// head takes the head of the final response, and decides how the text frames its body.
func (st *Stream) head(b *block, end bool) {
	st.heard, st.final = true, true
	st.text = append(appendStatus(st.text, b.status), b.lines...)
	bodyless := st.isHead || b.status == fasthttp.StatusNoContent || b.status == fasthttp.StatusNotModified
	st.want = b.length
	switch {
	case bodyless:
		if b.length >= 0 && b.status != fasthttp.StatusNoContent {
			st.text = appendLength(st.text, b.length)
		}
		st.want = 0
	case end:
		if b.length > 0 {
			st.malformed(http2.ErrCodeProtocol, "no body, in spite of its content-length")
			return
		}
		st.text = appendLength(st.text, 0)
		st.want = 0
	case b.length >= 0 && !b.announced:
		st.text = appendLength(st.text, b.length)
	default:
		st.chunked = true
		st.text = append(st.text, "Transfer-Encoding: chunked\r\n"...)
	}
	st.text = append(st.text, "\r\n"...)
	if end {
		st.endRemote()
	}
	st.session.give(st)
}

func appendStatus(dst []byte, status int) []byte {
	dst = strconv.AppendInt(append(dst, "HTTP/1.1 "...), int64(status), 10)
	return append(append(append(dst, ' '), fasthttp.StatusMessage(status)...), "\r\n"...)
}

func appendLength(dst []byte, n int64) []byte {
	return append(strconv.AppendInt(append(dst, "Content-Length: "...), n, 10), "\r\n"...)
}

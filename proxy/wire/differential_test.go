package wire_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"usher/proxy/wire"
)

// requests seed FuzzRequest: heads with what stands behind them.
func requests() (all []string) {
	const post = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n"
	all = append(all, heads...)
	for _, body := range bodies {
		all = append(all, post+body, post+body+"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
	}
	return append(
		all,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nx: 2\r\nX:\r\nCookie: a=b\r\nCookie: c=\"d\"\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nA_B: 1\r\na-b-C: \xff\r\n!#$%: \t \r\n\r\n",
	)
}

// FuzzRequest reads whole requests, bodies and all, as usher does and as net/http does.
// Whatever both accept they understand alike: every field, every byte of the body, and
// where the next request begins.
func FuzzRequest(f *testing.F) {
	for _, s := range requests() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := scan(b)
		if err != nil {
			return
		}
		if _, err := wire.ParseTarget(h.Method.Of(b), h.Target.Of(b)); err != nil {
			return
		}
		src := bytes.NewReader(b)
		br := bufio.NewReaderSize(src, len(b)+16)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		sameFields(t, b[:h.Len], req)
		ours, left, err := body(&h, b)
		if err != nil {
			return // refused or cut: net/http may be more lenient
		}
		theirs, err := io.ReadAll(req.Body)
		if err != nil {
			t.Fatalf("%q: usher reads the body %q, net/http fails: %v", b, ours, err)
		}
		if rest := br.Buffered() + src.Len(); string(theirs) != string(ours) || rest != left {
			t.Fatalf("%q: usher reads %q and leaves %d bytes, net/http %q and %d", b, ours, left, theirs, rest)
		}
	})
}

// body reads the body behind a scanned head and says how many bytes are behind it.
func body(h *wire.Head, b []byte) (data []byte, left int, err error) {
	rest := b[h.Len:]
	if !h.Chunked {
		n := max(0, h.ContentLength)
		if int64(len(rest)) < n {
			return nil, 0, io.ErrUnexpectedEOF
		}
		return rest[:n], len(rest) - int(n), nil
	}
	src := bytes.NewReader(rest)
	br := bufio.NewReaderSize(src, 16<<10)
	var c wire.Chunked
	c.Reset(br)
	data, err = io.ReadAll(&c)
	return data, br.Buffered() + src.Len(), err
}

// sameFields compares the fields of a head as the codec forwards them and as net/http
// reads them. net/http takes those that frame and route out of its list, and makes a
// Cache-Control of a Pragma.
func sameFields(t *testing.T, head []byte, req *http.Request) {
	t.Helper()
	var codec fasthttp.RequestHeader
	codec.DisableSpecialHeader()
	if err := codec.Read(bufio.NewReaderSize(bytes.NewReader(head), len(head)+16)); err != nil {
		return
	}
	var ours, theirs []string
	lines := strings.Split(string(codec.AppendBytes(nil)), "\r\n")
	for _, line := range lines[1 : len(lines)-2] {
		name, value, _ := strings.Cut(line, ": ")
		switch key := strings.ToLower(name); key {
		case "host", "transfer-encoding", "trailer", "cache-control":
		default:
			ours = append(ours, key+": "+value)
		}
	}
	for name, values := range req.Header {
		for _, value := range values {
			if name != "Cache-Control" && name != "Trailer" {
				theirs = append(theirs, strings.ToLower(name)+": "+value)
			}
		}
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	if !slices.Equal(ours, theirs) {
		t.Fatalf("%q: usher forwards %q, net/http reads %q", head, ours, theirs)
	}
}

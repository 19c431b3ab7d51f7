package wire_test

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"usher/proxy/wire"
)

// heads are requests that seed the fuzzers and the split tests.
var heads = []string{
	"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /api%2Fadmin/%41%zz?x=%23 HTTP/1.1\r\nHost: shop.example.com:8080\r\nAccept: */*\r\nUser-Agent: x\r\n\r\n",
	"GET //evil/?u=http://z HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	"GET http://b.example/x HTTP/1.1\r\nHost: a\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
	"POST / HTTP/1.1\r\nhost:a\r\ntransfer-encoding:chunked\r\nTrailer: x\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 05\r\nConnection: close, X-A\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: b\r\nCDN-Loop: c\r\nTE: trailers\r\nX_Y: z\r\nUpgrade: h2c\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: \t \r\nY:\xff\t1 \r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
	"GET / HTTP/1.1\nHost: a\n\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r2\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
	"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
	"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
	"GET / HTTP/1.1\r\n\r\n",
	"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
}

func scan(b []byte) (wire.Head, error) {
	var h wire.Head
	h.Reset()
	err := h.ScanRequest(b)
	return h, err
}

func TestScanRequest(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: a\r\n"
	for _, tc := range []struct {
		name, head   string
		method, host string
		target       string
		minor        int
		length       int64
		chunked      bool
		flags        wire.Flags
	}{
		{"least", get + "\r\n", "GET", "a", "/", 1, -1, false, 0},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "GET", "", "/", 0, -1, false, 0},
		{"HTTP/1.0, Host empty", "GET / HTTP/1.0\r\nHost:\r\n\r\n", "GET", "", "/", 0, -1, false, 0},
		{"white space around Host", "GET / HTTP/1.1\r\nHost: \t a:80\t \r\n\r\n", "GET", "a:80", "/", 1, -1, false, 0},
		{"length", get + "Content-Length: 10\r\n\r\n", "GET", "a", "/", 1, 10, false, 0},
		{"length 0", get + "content-length:0\r\n\r\n", "GET", "a", "/", 1, 0, false, 0},
		{
			"length of 18 digits", get + "Content-Length: 999999999999999999\r\n\r\n",
			"GET", "a", "/", 1, 999999999999999999, false, 0,
		},
		{"chunked", get + "Transfer-Encoding: Chunked\r\n\r\n", "GET", "a", "/", 1, -1, true, 0},
		{"escapes", "GET /%41?%42 HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "a", "/%41?%42", 1, -1, false, wire.HasEscapes},
		{"close", get + "Connection: CLOSE\r\n\r\n", "GET", "a", "/", 1, -1, false, wire.HasConnection | wire.HasClose},
		{
			"tokens", get + "Connection: ,keep-alive , x\r\nconnection: Upgrade\r\n\r\n", "GET", "a", "/", 1, -1, false,
			wire.HasConnection | wire.HasKeepAlive | wire.HasNominated | wire.HasUpgrade,
		},
		{"empty Connection", get + "Connection:\r\n\r\n", "GET", "a", "/", 1, -1, false, wire.HasConnection},
		{"expect", get + "Expect: 100-Continue\r\n\r\n", "GET", "a", "/", 1, -1, false, wire.HasExpect},
		{"underscore", get + "X_Y: _\r\n\r\n", "GET", "a", "/", 1, -1, false, wire.HasUnderscore},
		{"loop", get + "cdn-loop: a\r\n\r\n", "GET", "a", "/", 1, -1, false, wire.HasLoop},
		{"X-Forwarded-", get + "x-forwarded-any: a\r\n\r\n", "GET", "a", "/", 1, -1, false, wire.HasForwarded},
		{"Forwarded", get + "Forwarded: a\r\n\r\n", "GET", "a", "/", 1, -1, false, wire.HasForwarded},
		{"X-Real-IP", get + "X-Real-IP: a\r\n\r\n", "GET", "a", "/", 1, -1, false, wire.HasForwarded},
		{"TE", get + "TE: a\r\n\r\n", "GET", "a", "/", 1, -1, false, wire.HasHopByHop},
		{"Proxy-", get + "Proxy-Any: a\r\n\r\n", "GET", "a", "/", 1, -1, false, 0},
		{"Proxy-Authenticate", get + "proxy-Authenticate: a\r\n\r\n", "GET", "a", "/", 1, -1, false, wire.HasHopByHop},
		{"Proxy-Connection", get + "Proxy-connection: a\r\n\r\n", "GET", "a", "/", 1, -1, false, wire.HasHopByHop},
		{"Keep-Alive", get + "Keep-Alive: a\r\n\r\n", "GET", "a", "/", 1, -1, false, wire.HasHopByHop},
		{"Trailer", get + "Trailer: a\r\n\r\n", "GET", "a", "/", 1, -1, false, wire.HasHopByHop},
		{"Upgrade", get + "Upgrade: a\r\n\r\n", "GET", "a", "/", 1, -1, false, wire.HasHopByHop},
		{"names alike", get + "Hosts: a\r\nContent-Lengths: b\r\nTes: c\r\n\r\n", "GET", "a", "/", 1, -1, false, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := []byte(tc.head + "behind the head")
			h, err := scan(b)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(h.Method.Of(b)); got != tc.method {
				t.Errorf("method %q, want %q", got, tc.method)
			}
			if got := string(h.Target.Of(b)); got != tc.target {
				t.Errorf("target %q, want %q", got, tc.target)
			}
			if got := string(h.Host.Of(b)); got != tc.host {
				t.Errorf("host %q, want %q", got, tc.host)
			}
			if h.Minor != tc.minor || h.ContentLength != tc.length || h.Chunked != tc.chunked || h.Len != len(tc.head) {
				t.Errorf("got %+v", h)
			}
			all := wire.HasConnection | wire.HasNominated | wire.HasClose | wire.HasKeepAlive | wire.HasHopByHop |
				wire.HasUpgrade | wire.HasExpect | wire.HasForwarded | wire.HasUnderscore | wire.HasLoop |
				wire.HasEscapes
			if got := h.Flags & all; got != tc.flags {
				t.Errorf("flags %b, want %b", got, tc.flags)
			}
		})
	}
}

// However the bytes arrive, the result is that of the whole.
func TestScanRequestSplit(t *testing.T) {
	for _, head := range heads {
		whole, wantErr := scan([]byte(head))
		for cut := range len(head) {
			var h wire.Head
			h.Reset()
			err := h.ScanRequest([]byte(head[:cut]))
			if errors.Is(err, wire.ErrMore) {
				err = h.ScanRequest([]byte(head))
			}
			if h != whole && err == nil || !errors.Is(err, wantErr) && err != nil && err.Error() != wantErr.Error() ||
				(err == nil) != (wantErr == nil) {
				t.Errorf("%q cut at %d: got %+v, %v; want %+v, %v", head, cut, h, err, whole, wantErr)
			}
		}
		if h, err := bytewise([]byte(head)); (err == nil) != (wantErr == nil) || err == nil && h != whole {
			t.Errorf("%q bytewise: got %+v, %v; want %+v, %v", head, h, err, whole, wantErr)
		}
	}
}

// bytewise feeds the scanner one more byte at a time.
func bytewise(b []byte) (wire.Head, error) {
	var h wire.Head
	h.Reset()
	for n := range len(b) + 1 {
		if err := h.ScanRequest(b[:n:n]); !errors.Is(err, wire.ErrMore) {
			return h, err
		}
	}
	return h, wire.ErrMore
}

// FuzzScanRequest compares the scanner with net/http and with fasthttp's codec,
// which reads what the scanner passed: what two of them accept they must
// understand alike, and the head must end at the same byte.
func FuzzScanRequest(f *testing.F) {
	for _, head := range heads {
		f.Add([]byte(head))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := scan(b)
		if split, splitErr := bytewise(b); (splitErr == nil) != (err == nil) || err == nil && split != h {
			t.Fatalf("bytewise: %+v, %v; at once: %+v, %v", split, splitErr, h, err)
		}
		if err != nil {
			var r *wire.Refused
			if !errors.Is(err, wire.ErrMore) && (!errors.As(err, &r) || r.Status < 400 || r.Why == "") {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		head := b[:h.Len]
		if !bytes.HasSuffix(head, []byte("\r\n\r\n")) || bytes.Contains(head[:h.Len-4], []byte("\r\n\r\n")) {
			t.Fatalf("the head %q does not end at its first blank line", head)
		}
		target, err := wire.ParseTarget(h.Method.Of(b), h.Target.Of(b))
		if err != nil {
			return // refused behind the scanner
		}
		likeNetHTTP(t, b, &h, target)
		likeFasthttp(t, b, &h)
	})
}

func likeNetHTTP(t *testing.T, b []byte, h *wire.Head, target wire.Target) {
	t.Helper()
	br := bufio.NewReaderSize(bytes.NewReader(b[:h.Len]), len(b)+16)
	req, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	length := h.ContentLength
	if h.Chunked || length < 0 && req.ContentLength == 0 {
		length = req.ContentLength
	}
	host := h.Host.Of(b)
	if target.Authority != nil {
		host = target.Authority
	}
	chunked := slices.Equal(req.TransferEncoding, []string{"chunked"})
	if req.Method != string(h.Method.Of(b)) || req.RequestURI != string(h.Target.Of(b)) || req.Host != string(host) ||
		req.ContentLength != length || chunked != h.Chunked || chunked && req.ContentLength != -1 ||
		req.ProtoMinor != h.Minor || br.Buffered() != 0 {
		t.Fatalf("net/http understands %q as %+v, the scanner as %+v", b[:h.Len], req, h)
	}
}

func likeFasthttp(t *testing.T, b []byte, h *wire.Head) {
	t.Helper()
	var req fasthttp.RequestHeader
	req.DisableSpecialHeader()
	r := bytes.NewReader(b)
	br := bufio.NewReaderSize(r, len(b)+16)
	if err := req.Read(br); err != nil {
		return
	}
	if used := len(b) - br.Buffered() - r.Len(); used != h.Len {
		t.Fatalf("fasthttp ends the head %q at %d, the scanner at %d", b, used, h.Len)
	}
	length := ""
	if h.ContentLength >= 0 {
		length = strconv.FormatInt(h.ContentLength, 10)
	}
	got := ""
	for name, value := range req.All() {
		if strings.EqualFold(string(name), "Content-Length") {
			got += string(value)
		}
	}
	if n, err := strconv.ParseInt(got, 10, 64); err == nil {
		got = strconv.FormatInt(n, 10) // leading zeros
	}
	if string(req.Method()) != string(h.Method.Of(b)) || string(req.RequestURI()) != string(h.Target.Of(b)) ||
		string(req.Peek("Host")) != string(h.Host.Of(b)) || got != length ||
		strings.EqualFold(string(req.Peek("Transfer-Encoding")), "chunked") != h.Chunked {
		t.Fatalf("fasthttp understands %q as %q, the scanner as %+v", b[:h.Len], req.String(), h)
	}
}

func BenchmarkScanRequest(b *testing.B) {
	long := "GET /api/v1/orders/12345?expand=items&page=2 HTTP/1.1\r\nHost: shop.example.com\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
		"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n" +
		"Connection: keep-alive\r\nX-Forwarded-For: 192.0.2.1\r\nX-Request-Id: 0123456789abcdef\r\n\r\n"
	for _, bc := range []struct{ name, head string }{{"small", heads[0]}, {"browser", long}} {
		b.Run(bc.name, func(b *testing.B) {
			head := []byte(bc.head)
			var h wire.Head
			b.ReportAllocs()
			b.SetBytes(int64(len(head)))
			for b.Loop() {
				h.Reset()
				if err := h.ScanRequest(head); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestScanRequestAllocatesNothing(t *testing.T) {
	head := []byte(heads[1])
	var h wire.Head
	if n := testing.AllocsPerRun(1000, func() {
		h.Reset()
		_ = h.ScanRequest(head)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHasField(t *testing.T) {
	head := []byte("GET /x-a: HTTP/1.1\r\nHost: a\r\nX-Client-Cert: x-b: 1\r\nx-LAST:\r\n\r\nx-body: 1\r\n")
	var h wire.Head
	h.Reset()
	if err := h.ScanRequest(head); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"host": true, "x-client-cert": true, "x-last": true, "x-a": false, "x-b": false, "x-client": false,
		"client-cert": false, "x-body": false, "get /x-a": false, strings.Repeat("x", 200): false,
	} {
		if h.HasField(head, name) != want {
			t.Errorf("%q: got %t", name, !want)
		}
	}
}

func TestField(t *testing.T) {
	head := []byte("GET / HTTP/1.1\r\nHost: a\r\nb3:  0 \r\nTracestate: a=1\r\ntracestate:\r\nTRACESTATE:b=2\r\n\r\n" +
		"b3: 1\r\n")
	var h wire.Head
	h.Reset()
	if err := h.ScanRequest(head); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		nth  int
		want string
		ok   bool
	}{
		{"b3", 0, "0", true},
		{"b3", 1, "", false},
		{"tracestate", 0, "a=1", true},
		{"tracestate", 1, "", true},
		{"tracestate", 2, "b=2", true},
		{"tracestate", 3, "", false},
		{"traceparent", 0, "", false},
	} {
		if got, ok := h.Field(head, c.name, c.nth); string(got) != c.want || ok != c.ok {
			t.Errorf("%s %d: got %q %t", c.name, c.nth, got, ok)
		}
	}
}

func TestHasTrace(t *testing.T) {
	for field, want := range map[string]bool{
		"traceparent": true, "TraceParent": true, "b3": true, "B3": true, "X-B3-TraceId": true,
		"X-B3-Sampled": true, "x-b3-flags": true,
		"tracestate": false, "X-B3-SpanId": false, "te": false, "user-agent": false, "grpc-timeout": false,
	} {
		var h wire.Head
		h.Reset()
		if err := h.ScanRequest([]byte("GET / HTTP/1.1\r\nHost: a\r\n" + field + ": 1S\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		if h.Has(wire.HasTrace) != want {
			t.Errorf("%s: got %t", field, !want)
		}
	}
}

func TestTraceFields(t *testing.T) {
	for fields, want := range map[string][2]string{
		"":                                           {},
		"traceparent: a \r\n":                        {"a", ""},
		"B3:b\r\nTraceParent:\ta\r\n":                {"a", "b"},
		"b3: 0\r\nb3: 0\r\n":                         {},
		"b3: 0\r\nb3: 0\r\nb3: 0\r\n":                {},
		"traceparent: a\r\nb3: b\r\nb3: c\r\n":       {"a", ""},
		"traceparent: \r\ntraceparent: a\r\n":        {},
		"tracestate: a\r\nx-b3-traceid: a\r\n":       {},
		"traceparent: a\r\nX: y\r\ntraceparent:\r\n": {},
	} {
		var h wire.Head
		h.Reset()
		head := []byte("GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n")
		if err := h.ScanRequest(head); err != nil {
			t.Fatal(err)
		}
		if got := [2]string{string(h.Traceparent.Of(head)), string(h.B3.Of(head))}; got != want {
			t.Errorf("%q: got %q", fields, got)
		}
	}
}

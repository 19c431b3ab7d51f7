package http2_test

import (
	"bytes"
	"strings"
	"testing"

	xhttp2 "golang.org/x/net/http2"
)

// TestMalformed: a request that breaks RFC 9113 §8 is reset, and the connection goes on.
func TestMalformed(t *testing.T) {
	s := newScene(t, echo, nil)
	get := []string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "example.com"}
	with := func(more ...string) []string { return append(append([]string{}, get...), more...) }
	without := func(name string) (out []string) {
		for i := 0; i < len(get); i += 2 {
			if get[i] != name {
				out = append(out, get[i], get[i+1])
			}
		}
		return out
	}
	changed := func(name, value string) []string { return append([]string{name, value}, without(name)...) }
	for name, fields := range map[string][]string{
		"capital in a name":            with("X-Name", "1"),
		"space in a name":              with("x name", "1"),
		"colon in a name":              with("x:name", "1"),
		"empty name":                   with("", "1"),
		"CR LF in a value":             with("x", "1\r\ninjected: 1"),
		"LF in a value":                with("x", "1\n2"),
		"NUL in a value":               with("x", "1\x002"),
		"control character in a value": with("x", "1\x7f"),
		"space before a value":         with("x", " 1"),
		"tab behind a value":           with("x", "1\t"),
		"pseudo-field behind a field":  append([]string{"x", "1"}, get...),
		"doubled :path":                with(":path", "/b"),
		"unknown pseudo-field":         append([]string{":other", "1"}, get...),
		":status":                      append([]string{":status", "200"}, get...),
		"extended CONNECT":             append([]string{":protocol", "websocket"}, changed(":method", "CONNECT")...),
		"CONNECT with a path":          changed(":method", "CONNECT"),
		"no :method":                   without(":method"),
		"no :scheme":                   without(":scheme"),
		"no :path":                     without(":path"),
		"neither :authority nor host":  without(":authority"),
		"empty :method":                changed(":method", ""),
		"space in :method":             changed(":method", "GET /x"),
		"empty :path":                  changed(":path", ""),
		":path without a slash":        changed(":path", "a"),
		"absolute :path":               changed(":path", "http://other/"),
		"asterisk for GET":             changed(":path", "*"),
		"space in :path":               changed(":path", "/a HTTP/1.1"),
		"CR LF in :path":               changed(":path", "/\r\nx: y"),
		"non-ASCII :path":              changed(":path", "/\xff"),
		"another :scheme":              changed(":scheme", "ftp"),
		"empty :authority":             changed(":authority", ""),
		"userinfo in :authority":       changed(":authority", "a@example.com"),
		"CR LF in :authority":          changed(":authority", "a\r\nb"),
		"path in :authority":           changed(":authority", "a/b"),
		"host other than :authority":   with("host", "other.com"),
		"two hosts":                    append(without(":authority"), "host", "a", "host", "b"),
		"userinfo in host":             append(without(":authority"), "host", "u@a"),
		"connection":                   with("connection", "close"),
		"keep-alive":                   with("keep-alive", "1"),
		"proxy-connection":             with("proxy-connection", "close"),
		"transfer-encoding":            with("transfer-encoding", "chunked"),
		"upgrade":                      with("upgrade", "websocket"),
		"te other than trailers":       with("te", "gzip"),
		"doubled content-length":       with("content-length", "0", "content-length", "0"),
		"negative content-length":      with("content-length", "-1"),
		"content-length with a plus":   with("content-length", "+0"),
		"empty content-length":         with("content-length", ""),
		"content-length of a list":     with("content-length", "0, 0"),
		"content-length beyond 2^63":   with("content-length", "9999999999999999999"),
		"content-length without body":  with("content-length", "1"),
	} {
		t.Run(name, func(t *testing.T) {
			r := s.greet()
			r.open(1, true, r.block(fields...))
			if o := r.outcome(1); !o.reset || o.code != xhttp2.ErrCodeProtocol {
				t.Fatalf("%+v", o)
			}
			r.open(3, true, r.request("GET", "/"))
			if o := r.outcome(3); o.status != "200" {
				t.Errorf("afterwards: %+v", o)
			}
		})
	}
}

// TestHeads: the text that the Handler is handed.
func TestHeads(t *testing.T) {
	s := newScene(t, echo, nil)
	for name, c := range map[string]struct {
		fields []string
		body   string
		head   string
	}{
		"authority": {
			fields: []string{":path", "/a?b#", ":authority", "a:80", ":scheme", "https", ":method", "GET"},
			head:   "GET /a?b# HTTP/1.1\r\nhost: a:80\r\n\r\n",
		},
		"host": {
			fields: []string{":method", "GET", ":scheme", "http", ":path", "/", "x", "1", "host", "a"},
			head:   "GET / HTTP/1.1\r\nx: 1\r\nhost: a\r\n\r\n",
		},
		"both": {
			fields: []string{
				":method", "GET", ":scheme", "http", ":path", "/", ":authority", "A", "host", "a", "x", "",
			},
			head: "GET / HTTP/1.1\r\nhost: A\r\nx: \r\n\r\n",
		},
		"asterisk": {
			fields: []string{":method", "OPTIONS", ":scheme", "http", ":path", "*", ":authority", "a"},
			head:   "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
		},
		"CONNECT": {
			fields: []string{":method", "CONNECT", ":authority", "a:443"},
			head:   "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n",
		},
		"cookies and te": {
			fields: []string{
				":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a",
				"cookie", "a=1", "te", "Trailers", "cookie", "b=2", "x", "\x80",
			},
			head: "GET / HTTP/1.1\r\nhost: a\r\nte: Trailers\r\nx: \x80\r\ncookie: a=1; b=2\r\n\r\n",
		},
		"body with a length": {
			fields: []string{
				":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a", "content-length", "04",
			},
			body: "body",
			head: "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 04\r\n\r\n",
		},
		"body at hand": {
			fields: []string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a"},
			body:   "body",
			head:   "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n",
		},
		"POST without a body": {
			fields: []string{":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a"},
			head:   "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.greet()
			var together bytes.Buffer // so that all of it comes in one read
			f := xhttp2.NewFramer(&together, nil)
			r.must(f.WriteHeaders(xhttp2.HeadersFrameParam{
				StreamID: 1, EndStream: c.body == "", EndHeaders: true, BlockFragment: r.block(c.fields...),
			}))
			if c.body != "" {
				r.must(f.WriteData(1, true, []byte(c.body)))
			}
			r.send(r.nc.Write(together.Bytes()))
			o := r.outcome(1)
			if got, want := string(o.body), c.head+c.body; o.status != "200" || got != want {
				t.Errorf("%s\n got %q\nwant %q", o.status, got, want)
			}
		})
	}
}

// TestLengths: a body that is not as long as was said is an error, whenever that shows.
func TestLengths(t *testing.T) {
	s := newScene(t, hello, nil)
	for name, c := range map[string]struct {
		length string
		parts  []string
		ok     bool
	}{
		"equal":        {"4", []string{"bo", "dy"}, true},
		"less":         {"5", []string{"bo", "dy"}, false},
		"more":         {"3", []string{"bo", "dy"}, false},
		"none":         {"1", []string{""}, false},
		"zero":         {"0", []string{""}, true},
		"none for all": {"0", []string{"b", ""}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.greet()
			r.open(1, false, r.request("POST", "/", "content-length", c.length))
			for i, p := range c.parts {
				r.must(r.WriteData(1, i == len(c.parts)-1, []byte(p)))
			}
			o := r.outcome(1)
			if c.ok && o.status != "200" || !c.ok && (!o.reset || o.code != xhttp2.ErrCodeProtocol) {
				t.Errorf("%+v", o)
			}
		})
	}
}

// TestRequestTrailers: they are looked at, and go nowhere.
func TestRequestTrailers(t *testing.T) {
	s := newScene(t, echo, nil)
	for name, c := range map[string]struct {
		fields []string
		ok     bool
	}{
		"plain":               {[]string{"x-sum", "1", "authorization", "Basic x"}, true},
		"pseudo-field":        {[]string{":path", "/"}, false},
		"capital":             {[]string{"X-Sum", "1"}, false},
		"connection-specific": {[]string{"transfer-encoding", "chunked"}, false},
		"too many":            {[]string{"x", strings.Repeat("x", 17<<10)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.greet()
			r.open(1, false, r.request("POST", "/", "content-length", "4"))
			r.must(r.WriteData(1, false, []byte("body")))
			b := r.block(c.fields...)
			first := b[:min(len(b), 16<<10)]
			r.must(r.WriteHeaders(xhttp2.HeadersFrameParam{
				StreamID: 1, EndStream: true, EndHeaders: len(first) == len(b), BlockFragment: first,
			}))
			if len(first) < len(b) {
				r.must(r.WriteContinuation(1, true, b[len(first):]))
			}
			o := r.outcome(1)
			if c.ok && (!bytes.HasSuffix(o.body, []byte("\r\n\r\nbody")) || bytes.Contains(o.body, []byte("x-sum"))) {
				t.Errorf("%+v", o)
			}
			if !c.ok && (!o.reset || o.code != xhttp2.ErrCodeProtocol) {
				t.Errorf("%+v", o)
			}
		})
	}
}

// TestTooLarge: a head beyond the limit is told to the Handler, and the table of HPACK stays
// right.
func TestTooLarge(t *testing.T) {
	s := newScene(t, echo, nil)
	r := s.greet()
	for i, fields := range [][]string{
		{"x", strings.Repeat("x", 15<<10), "y", strings.Repeat("y", 2<<10)},
		{"in-table", "1", "x", strings.Repeat("x", 16<<10)},
	} {
		id := uint32(2*i + 1)
		b := r.request("GET", "/", fields...)
		r.must(r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, EndStream: true, BlockFragment: b[:8000]}))
		r.must(r.WriteContinuation(id, false, b[8000:9000]))
		r.must(r.WriteContinuation(id, true, b[9000:]))
		if o := r.outcome(id); o.status != "431" {
			t.Fatalf("%+v", o)
		}
	}
	r.open(5, true, r.request("GET", "/", "in-table", "1"))
	if o := r.outcome(5); o.status != "200" || !strings.Contains(string(o.body), "in-table: 1") {
		t.Errorf("%+v", o)
	}
}

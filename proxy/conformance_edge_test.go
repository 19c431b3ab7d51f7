package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"usher/proxy/proxytest"
)

// raw starts an origin that answers the request for /n with the n-th answer, and closes
// the connection behind it.
func raw(t *testing.T, answers ...string) string {
	t.Helper()
	return proxytest.Raw(t, func(c *proxytest.Conn) {
		req, _, _ := c.Request()
		if req == nil {
			return
		}
		if n, err := strconv.Atoi(strings.TrimPrefix(req.URL.Path, "/")); err == nil {
			c.Reply("%s", answers[n])
		}
	}).Addr
}

// A response without a length is whole when its connection has ended, whatever the
// version of the origin.
func TestConformUnknownLength(t *testing.T) {
	origin := raw(
		t,
		"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nServer: old\r\nConnection: close\r\n\r\nhello",
		"HTTP/1.0 200 OK\r\nServer: old\r\nContent-Length: 5\r\n\r\nhello",
	)
	conform(t, proxytest.Options{Services: proxytest.Origins(origin)}, func(t *testing.T, f *fixture) {
		for n := range 3 {
			r := f.get(fmt.Sprintf("/%d", n))
			if r.StatusCode != 200 || r.text != "hello" || r.err != nil || r.Header.Get("Server") != "old" {
				t.Errorf("%d: got %d %q (%v) %v", n, r.StatusCode, r.text, r.err, r.Header)
			}
		}
		head := f.do(f.request(http.MethodHead, "/0", http.NoBody))
		if head.text != "" || head.err != nil || head.ContentLength != -1 {
			t.Errorf("HEAD: got %q (%v), length %d", head.text, head.err, head.ContentLength)
		}
	})
}

// Wherever a body is cut, the client has an error, and only what the origin sent.
func TestConformCuts(t *testing.T) {
	const length = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
	answers := []string{
		length + "hello", chunked + "5\r\nhello\r\n", chunked + "5\r\nhello", chunked + "a\r\nhello",
		chunked + "5\r\nhello\r\n0\r\n", chunked + "5\r\nhello\r\nx\r\n", chunked + "5\r\nhello\r\n0\r\nX: y\r\n",
	}
	origin := raw(t, answers...)
	conform(t, proxytest.Options{Services: proxytest.Origins(origin)}, func(t *testing.T, f *fixture) {
		for n, answer := range answers {
			if r := f.get(fmt.Sprintf("/%d", n)); r.err == nil || r.text != "hello" {
				t.Errorf("%q: got %q (%v), want hello and an error", answer, r.text, r.err)
			}
		}
	})
}

// The fields that tell of the content are the origin's, also where there is no content;
// none is made up.
func TestConformContentFields(t *testing.T) {
	fields := http.Header{
		"Date": {"Thu, 01 Jan 1970 00:00:00 GMT"}, "Server": {"mine"}, "Content-Type": {"a/b; c=d"},
		"Content-Encoding": {"x"}, "Content-Language": {"de"}, "Etag": {`W/"1"`}, "Last-Modified": {"never"},
	}
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for name, values := range fields {
			w.Header()[name] = values
		}
		status, _ := strconv.Atoi(r.URL.Path[1:])
		w.WriteHeader(status)
	})
	conform(t, proxytest.Options{Services: proxytest.Origins(origin)}, func(t *testing.T, f *fixture) {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			for _, status := range []int{200, 204, 206, 304, 404, 500} {
				r := f.do(f.request(method, fmt.Sprintf("/%d", status), http.NoBody))
				r.Header.Del("Content-Length")
				if r.StatusCode != status || r.err != nil || len(r.Header) > len(fields) {
					t.Errorf("%s %d: got %d (%v) %v", method, status, r.StatusCode, r.err, r.Header)
				}
				for name, want := range fields {
					if got := r.Header[name]; len(got) > 0 && !slices.Equal(got, want) {
						t.Errorf("%s %d: %s is %q, want %q", method, status, name, got, want)
					}
				}
				if status == 200 && len(r.Header) != len(fields) {
					t.Errorf("%s: fields are missing: %v", method, r.Header)
				}
			}
		}
	})
}

// The first byte reaches the client while the origin waits to send the second, with a
// length and without.
func TestConformFirstByte(t *testing.T) {
	next := make(chan struct{})
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", "2")
		}
		_, _ = io.WriteString(w, "a")
		w.(http.Flusher).Flush()
		select {
		case <-next:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "b")
	})
	conform(t, proxytest.Options{Services: proxytest.Origins(origin)}, func(t *testing.T, f *fixture) {
		for _, path := range []string{"/length", "/chunked"} {
			resp, err := f.client.RoundTrip(f.request(http.MethodGet, path, http.NoBody))
			if err != nil {
				t.Fatal(err)
			}
			first := make([]byte, 1)
			if _, err := io.ReadFull(resp.Body, first); err != nil || first[0] != 'a' {
				t.Errorf("%s: got %q (%v)", path, first, err)
			}
			next <- struct{}{}
			rest, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(rest) != "b" || err != nil {
				t.Errorf("%s: then %q (%v)", path, rest, err)
			}
		}
	})
}

// Of the interim responses those that carry something are relayed, in their order.
func TestConformInterim(t *testing.T) {
	origin := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProcessing)
		for _, link := range []string{"</a>", "</b>"} {
			w.Header().Set("Link", link)
			w.WriteHeader(http.StatusEarlyHints)
		}
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "ok")
	})
	conform(t, proxytest.Options{Services: proxytest.Origins(origin)}, func(t *testing.T, f *fixture) {
		var got []string
		req := f.request(http.MethodGet, "/", http.NoBody)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				got = append(got, strconv.Itoa(code)+" "+header.Get("Link"))
				return nil
			},
		}))
		r := f.do(req)
		if r.text != "ok" || r.Header.Get("Link") != "" || !slices.Equal(got, []string{"103 </a>", "103 </b>"}) {
			t.Errorf("got %q %v behind %q", r.text, r.Header, got)
		}
	})
}

// A client that expects 100 and is refused sends no body, and none reaches the origin.
func TestConformExpectRefused(t *testing.T) {
	var asked atomic.Int32
	origin := serve(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	o := proxytest.Options{Services: []proxytest.Service{{
		Name: "origin", Routes: []string{"/there"}, Addresses: []string{origin},
	}}}
	conform(t, o, func(t *testing.T, f *fixture) {
		var told atomic.Bool
		req := f.request(http.MethodPost, "/elsewhere", strings.NewReader("hello"))
		req.Header.Set("Expect", "100-continue")
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got100Continue: func() { told.Store(true) },
		}))
		if r := f.do(req); r.StatusCode != 404 || told.Load() || asked.Load() != 0 {
			t.Errorf("got %d, told %v, the origin was asked %d times", r.StatusCode, told.Load(), asked.Load())
		}
	})
}

// Trailers reach the client behind a body of any size, and also behind none.
func TestConformTrailersOfAnyBody(t *testing.T) {
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Path[1:])
		w.Header().Set("Trailer", "X-Sum")
		w.(http.Flusher).Flush()
		_, _ = w.Write(pattern(n))
		w.Header().Set("X-Sum", sum(pattern(n)))
	})
	conform(t, proxytest.Options{Services: proxytest.Origins(origin)}, func(t *testing.T, f *fixture) {
		for _, n := range sizes {
			r := f.get(fmt.Sprintf("/%d", n))
			if want := sum(pattern(n)); r.err != nil || sum([]byte(r.text)) != want || r.Trailer.Get("X-Sum") != want {
				t.Errorf("%d: got %d bytes (%v), trailers %v", n, len(r.text), r.err, r.Trailer)
			}
		}
	})
}

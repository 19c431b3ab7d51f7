package proxy_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// sizes are lengths of bodies around those of buffers.
var sizes = []int{0, 1, 2, 4095, 4096, 16383, 16384, 16385, 65535, 65536, 65537, 1 << 18, 5 << 20}

// pattern is a body of n bytes that is nowhere like itself.
func pattern(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = r.Read(b) // never fails
	return b
}

func sum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// onlyReader hides the length of a body.
type onlyReader struct{ io.Reader }

func TestConformBodies(t *testing.T) {
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("X-Length", strconv.FormatInt(r.ContentLength, 10))
		w.Header().Set("X-Sum", sum(b))
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		} else {
			w.(http.Flusher).Flush()
		}
		_, _ = w.Write(b)
	})
	conform(t, proxytest.Options{Services: proxytest.Origins(origin)}, func(t *testing.T, f *fixture) {
		for _, n := range sizes {
			want := pattern(n)
			for _, known := range []bool{true, false} {
				for _, path := range []string{"/length", "/chunked"} {
					var body io.Reader = bytes.NewReader(want)
					if !known {
						body = onlyReader{body}
					}
					r := f.do(f.request(http.MethodPost, path, body))
					if r.StatusCode != 200 || r.err != nil || r.Header.Get("X-Sum") != sum(want) {
						t.Fatalf("%d up, known %v: got %d (%v) %v", n, known, r.StatusCode, r.err, r.Header)
					}
					if sum([]byte(r.text)) != sum(want) {
						t.Errorf("%d down by %s: got %d bytes", n, path, len(r.text))
					}
					if known && r.Header.Get("X-Length") != strconv.Itoa(n) {
						t.Errorf("%d: the origin saw the length %s", n, r.Header.Get("X-Length"))
					}
					if path == "/length" && r.ContentLength != int64(n) {
						t.Errorf("%d: the client saw the length %d", n, r.ContentLength)
					}
				}
			}
		}
	})
}

func TestConformBodyless(t *testing.T) {
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"a"`)
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(http.StatusNoContent)
		case "/304":
			w.WriteHeader(http.StatusNotModified)
		case "/length":
			w.Header().Set("Content-Length", "5")
		}
	})
	conform(t, proxytest.Options{Services: proxytest.Origins(origin)}, func(t *testing.T, f *fixture) {
		for _, tc := range []struct {
			method, path string
			status       int
			length       int64
		}{
			{"GET", "/204", 204, 0},
			{"GET", "/304", 304, 0},
			{"HEAD", "/204", 204, -1},
			{"HEAD", "/304", 304, -1},
			{"HEAD", "/length", 200, 5},
			{"HEAD", "/", 200, -1},
		} {
			r := f.do(f.request(tc.method, tc.path, http.NoBody))
			if r.StatusCode != tc.status || r.text != "" || r.err != nil || r.Header.Get("Etag") != `"a"` ||
				r.ContentLength != tc.length {
				t.Errorf("%s %s: got %d %v %q (%v) %d", tc.method, tc.path, r.StatusCode, r.Header, r.text, r.err,
					r.ContentLength)
			}
		}
	})
}

func TestConformTrailers(t *testing.T) {
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "ok")
		w.Header().Set("X-Sum", "5")
		w.Header().Set(http.TrailerPrefix+"X-Late", "6")
		w.Header().Set(http.TrailerPrefix+"X-Said", r.Trailer.Get("Authorization"))
	})
	conform(t, proxytest.Options{Services: proxytest.Origins(origin)}, func(t *testing.T, f *fixture) {
		req := f.request(http.MethodPost, "/", onlyReader{strings.NewReader("hello")})
		req.Trailer = http.Header{"Authorization": {"x"}}
		r := f.do(req)
		if r.text != "ok" || r.Trailer.Get("X-Sum") != "5" || r.Trailer.Get("X-Late") != "6" {
			t.Errorf("got %q, trailers %v", r.text, r.Trailer)
		}
		if got := r.Trailer.Get("X-Said"); got != "" {
			t.Errorf("a trailer of the request reached the origin: %q", got)
		}
	})
}

// A body that is cut is an error to the client, never an end.
func TestConformTruncation(t *testing.T) {
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", "100000")
		}
		_, _ = w.Write(pattern(50000))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	conform(t, proxytest.Options{Services: proxytest.Origins(origin)}, func(t *testing.T, f *fixture) {
		for _, path := range []string{"/length", "/chunked"} {
			if r := f.get(path); r.err == nil {
				t.Errorf("%s: the cut passed for an end after %d bytes", path, len(r.text))
			}
		}
	})
}

// An upload that the client gives up reaches the origin as one that is cut.
func TestConformUploadCut(t *testing.T) {
	read := make(chan error, 1)
	began := make(chan struct{}, 1)
	origin := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = r.Body.Read(make([]byte, 1))
		began <- struct{}{}
		_, err := io.Copy(io.Discard, r.Body)
		read <- err
	})
	conform(t, proxytest.Options{Services: proxytest.Origins(origin)}, func(t *testing.T, f *fixture) {
		for _, known := range []bool{true, false} {
			pr, pw := io.Pipe()
			req := f.request(http.MethodPost, "/", pr)
			if known {
				req.ContentLength = 1 << 20
			}
			go func() {
				_, _ = pw.Write(pattern(400 << 10))
				waitFor(t, began)
				pw.CloseWithError(errors.New("gave up"))
			}()
			if resp, err := f.client.RoundTrip(req); err == nil {
				resp.Body.Close()
				if resp.StatusCode < 400 {
					t.Errorf("got %d", resp.StatusCode)
				}
			}
			select {
			case err := <-read:
				if err == nil {
					t.Error("the origin saw a whole body")
				}
			case <-time.After(proxytest.Patience):
				t.Error("the origin still waits")
			}
		}
	})
}

// The first event of a stream arrives before the second is sent, and the client's
// leaving ends it.
func TestConformEventStream(t *testing.T) {
	seen, left := make(chan struct{}), make(chan struct{}, 1)
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := 0; ; i++ {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-seen:
			case <-r.Context().Done():
				left <- struct{}{}
				return
			}
		}
	})
	conform(t, proxytest.Options{Services: proxytest.Origins(origin)}, func(t *testing.T, f *fixture) {
		resp, err := f.client.RoundTrip(f.request(http.MethodGet, "/", http.NoBody))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		for i := range 5 {
			want := fmt.Sprintf("data: %d\n\n", i)
			b := make([]byte, len(want))
			if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != want {
				t.Fatalf("got %q (%v), want %q", b, err, want)
			}
			seen <- struct{}{}
		}
		resp.Body.Close()
		late := time.After(proxytest.Patience)
		for {
			select {
			case seen <- struct{}{}: // the next event; at the latest its write tells usher
			case <-left:
				return
			case <-late:
				t.Fatal("the origin is still streaming")
			}
		}
	})
}

func TestConformMaxBodySize(t *testing.T) {
	var ran sync.Map // by path, which each transport has its own of
	origin := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			n, _ := ran.LoadOrStore(r.URL.Path, new(atomic.Int32))
			n.(*atomic.Int32).Add(1)
		}
	})
	o := proxytest.Options{Listeners: []config.Listener{{MaxBodySize: 1000}}, Services: proxytest.Origins(origin)}
	conform(t, o, func(t *testing.T, f *fixture) {
		path := "/" + url.PathEscape(t.Name())
		for _, known := range []bool{true, false} {
			for n, status := range map[int]int{1000: 200, 1001: 413} {
				var body io.Reader = bytes.NewReader(pattern(n))
				if !known {
					body = onlyReader{body}
				}
				if r := f.do(f.request(http.MethodPost, path, body)); r.StatusCode != status {
					t.Errorf("%d bytes, known %v: got %d, want %d", n, known, r.StatusCode, status)
				}
			}
		}
		n, _ := ran.LoadOrStore("/"+t.Name(), new(atomic.Int32))
		if n := n.(*atomic.Int32).Load(); n != 2 {
			t.Errorf("the origin saw %d whole bodies, want 2", n)
		}
	})
}

// A client that expects 100 is told when to go on.
func TestConformExpectContinue(t *testing.T) {
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	conform(t, proxytest.Options{Services: proxytest.Origins(origin)}, func(t *testing.T, f *fixture) {
		var told atomic.Bool
		req := f.request(http.MethodPost, "/", strings.NewReader("hello"))
		req.Header.Set("Expect", "100-continue")
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got100Continue: func() { told.Store(true) },
		}))
		if r := f.do(req); r.text != "hello" || !told.Load() {
			t.Errorf("got %d %q, told %v", r.StatusCode, r.text, told.Load())
		}
	})
}

// Many requests at once, of all kinds, each with its own answer.
func TestConformConcurrency(t *testing.T) {
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Path", r.URL.Path)
		_, _ = w.Write(b)
	})
	conform(t, proxytest.Options{Services: proxytest.Origins(origin, origin)}, func(t *testing.T, f *fixture) {
		errs := make(chan error, 8)
		for g := range cap(errs) {
			go func() {
				errs <- f.requests(g)
			}()
		}
		for range cap(errs) {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}

// requests sends a series of requests of their own and returns what was wrong.
func (f *fixture) requests(series int) error {
	for i := range 40 {
		want := pattern((series*7919 + i*104729) % 100_000)
		var body io.Reader = bytes.NewReader(want)
		if i%2 == 1 {
			body = onlyReader{body}
		}
		path := fmt.Sprintf("/%d/%d", series, i)
		resp, err := f.client.RoundTrip(f.request(http.MethodPost, path, body))
		if err != nil {
			return err
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, want) || resp.Header.Get("X-Path") != path {
			return fmt.Errorf("%s: got %d, %d bytes of %d (%w)", path, resp.StatusCode, len(got), len(want), err)
		}
	}
	return nil
}

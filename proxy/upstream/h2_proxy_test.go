package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"

	"usher/config"
)

// Trailers, interim responses and the absence of bodies reach the client as they are.
func TestH2Heads(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		origin := tr.serve(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/trailers":
				w.Header().Set("Trailer", "X-Sum")
				_, _ = io.WriteString(w, "hello")
				w.Header().Set("X-Sum", "5")
			case "/early":
				w.Header().Set("Link", "</a.css>")
				w.WriteHeader(103)
				w.Header().Set("Content-Length", "2")
				_, _ = io.WriteString(w, "ok")
			case "/304":
				w.Header().Set("ETag", `"x"`)
				w.WriteHeader(304)
			default:
				w.Header().Set("X-Te", r.Header.Get("Te"))
				_, _ = io.WriteString(w, "hello")
			}
		})
		u := tr.proxied(t, config.Policy{}, origin.Addr)
		c := u.Dial()
		if r := c.Get("/trailers"); r.Text != "hello" || r.Trailer.Get("X-Sum") != "5" {
			t.Errorf("got %q %v", r.Text, r.Trailer)
		}
		if r := c.Get("/304"); r.StatusCode != 304 || r.Header.Get("ETag") != `"x"` {
			t.Errorf("got %s %v", r.Status, r.Header)
		}
		for _, method := range []string{"HEAD", "GET"} {
			c.Send("%s / HTTP/1.1\r\nHost: a\r\nTE: gzip\r\nContent-Type: application/grpc\r\n\r\n", method)
			if r := c.Read(method); r.Header.Get("X-Te") != "trailers" || (r.Text != "") != (method == "GET") {
				t.Errorf("%s: got %v %q", method, r.Header, r.Text)
			}
		}
		early := 0
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				if code == 103 && h.Get("Link") == "</a.css>" {
					early++
				}
				return nil
			},
		})
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+u.Addr()+"/early", nil)
		transport := &http.Transport{DisableKeepAlives: true}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if b, err := io.ReadAll(resp.Body); string(b) != "ok" || err != nil || early != 1 {
			t.Errorf("got %q, %v, %d early hints", b, err, early)
		}
	})
}

// Bytes go both ways at a time, as soon as they are there.
func TestH2Streams(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		origin := tr.serve(t, func(w http.ResponseWriter, r *http.Request) {
			flush := http.NewResponseController(w).Flush
			_ = flush()
			buf := make([]byte, 100)
			for {
				n, err := r.Body.Read(buf)
				_, _ = w.Write(bytes.ToUpper(buf[:n]))
				_ = flush()
				if err != nil {
					return
				}
			}
		})
		u := tr.proxied(t, config.Policy{}, origin.Addr)
		c := u.Dial()
		c.Send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
		r := c.Begin("POST")
		body := bufio.NewReader(r.Body)
		for i := range 20 {
			line := fmt.Sprintf("line %d\n", i)
			c.Send("%x\r\n%s\r\n", len(line), line)
			if got, err := body.ReadString('\n'); got != strings.ToUpper(line) || err != nil {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		c.Send("0\r\n\r\n")
		if b, err := io.ReadAll(body); len(b) > 0 || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
		u.Clean(1, 1)
	})
}

// Large bodies arrive whole, many at a time over one connection.
func TestH2Large(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(rand.Uint32())
	}
	sum := sha256.New()
	for range size / len(block) {
		sum.Write(block)
	}
	want := fmt.Sprintf("%x", sum.Sum(nil))
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		origin := tr.serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				sum := sha256.New()
				_, _ = io.Copy(sum, r.Body)
				_, _ = fmt.Fprintf(w, "%x", sum.Sum(nil))
				return
			}
			if r.URL.Path == "/length" {
				w.Header().Set("Content-Length", fmt.Sprint(size))
			}
			for range size / len(block) {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		})
		u := tr.proxied(t, config.Policy{MaxConnections: 1}, origin.Addr)
		var wg sync.WaitGroup
		for _, path := range []string{"/length", "/chunks"} {
			wg.Go(func() {
				resp, err := get(t.Context(), "http://"+u.Addr()+path)
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = resp.Body.Close() }()
				sum := sha256.New()
				n, err := io.Copy(sum, resp.Body)
				if got := fmt.Sprintf("%x", sum.Sum(nil)); n != size || got != want || err != nil {
					t.Errorf("%s: %d bytes, %s, %v", path, n, got, err)
				}
			})
		}
		for _, length := range []int64{size, -1} {
			wg.Go(func() {
				blocks := make([]io.Reader, size/len(block))
				for i := range blocks {
					blocks[i] = bytes.NewReader(block)
				}
				body := io.MultiReader(blocks...)
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+u.Addr()+"/", body)
				req.ContentLength = length
				resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = resp.Body.Close() }()
				if b, err := io.ReadAll(resp.Body); string(b) != want || err != nil {
					t.Errorf("upload: got %q, %v", b, err)
				}
			})
		}
		wg.Wait()
		u.Clean(4, 1)
	})
}

// get makes a request on a connection of its own.
func get(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
}

// A client that does not read, and one that does not send, keep no other waiting.
func TestH2SlowClient(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		sent := make(chan int, 1)
		origin := tr.serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/large" {
				_, _ = io.Copy(w, r.Body)
				return
			}
			total := 0
			for total < 64<<20 {
				n, err := w.Write(make([]byte, 64<<10))
				if total += n; err != nil {
					break
				}
			}
			sent <- total
		})
		u := tr.proxied(t, config.Policy{MaxConnections: 1}, origin.Addr)
		slow := u.Dial()
		_ = slow.SetReadBuffer(4096)
		slow.Send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
		upload := u.Dial()
		upload.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx")
		slow.Begin("GET")
		for range 20 {
			c := u.Dial()
			body := strings.Repeat("x", 100_000)
			c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			c.OK("POST", body)
			c.Close()
		}
		select {
		case n := <-sent:
			t.Errorf("%d bytes were taken that nobody reads", n)
		default:
		}
		slow.Cut()
		upload.Cut()
		if n := receive(t, sent); n > 32<<20 {
			t.Errorf("%d bytes were taken that nobody reads", n)
		}
		if n := origin.accepted.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
		u.Clean(0, 1)
	})
}

// A client that leaves takes its request along, and nobody else's.
func TestH2ClientLeaves(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		asked, left, let := make(chan string, 4), make(chan struct{}, 4), make(chan struct{})
		origin := tr.serve(t, func(w http.ResponseWriter, r *http.Request) {
			asked <- r.URL.Path
			select {
			case <-r.Context().Done():
				left <- struct{}{}
			case <-let:
				_, _ = io.WriteString(w, "ok")
			}
		})
		u := tr.proxied(t, config.Policy{}, origin.Addr)
		stays, leaves := u.Dial(), u.Dial()
		stays.Send("GET /stays HTTP/1.1\r\nHost: a\r\n\r\n")
		receive(t, asked)
		leaves.Send("GET /leaves HTTP/1.1\r\nHost: a\r\n\r\n")
		receive(t, asked)
		leaves.Close()
		receive(t, left)
		close(let)
		stays.OK("GET", "ok")
		if n := origin.accepted.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
		u.Clean(1, 1)
	})
}

// Trailers may be as large as a head: the details of a status of gRPC can be.
func TestH2LargeTrailers(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		details := strings.Repeat("d", 15<<10)
		origin := tr.serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "Grpc-Status-Details-Bin")
			_, _ = io.WriteString(w, "hello")
			w.Header().Set("Grpc-Status-Details-Bin", details)
		})
		u := tr.proxied(t, config.Policy{}, origin.Addr)
		c, err := net.Dial("tcp", u.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		got, err := io.ReadAll(c) // net/http takes no trailers of this size
		want := "\r\n\r\n5\r\nhello\r\n0\r\ngrpc-status-details-bin: " + details + "\r\n\r\n"
		if err != nil || !strings.HasSuffix(string(got), want) {
			t.Errorf("got %d bytes, %v: %.200q", len(got), err, got)
		}
	})
}

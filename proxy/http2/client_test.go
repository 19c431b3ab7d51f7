package http2_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"usher/proxy/http2"
)

// onBoth runs a test over TCP and over TLS, with net/http's client on the other side.
func onBoth(t *testing.T, h http2.Handler, test func(t *testing.T, c *client)) {
	t.Helper()
	t.Run("h2c", func(t *testing.T) {
		s := newScene(t, h, nil)
		test(t, newClient(t, s, "http"))
	})
	t.Run("TLS", func(t *testing.T) {
		s := newSecureScene(t, h, nil)
		test(t, newClient(t, s, "https"))
	})
}

// client is net/http's.
type client struct {
	*http.Client
	t     *testing.T
	scene *scene
	url   string
}

func newClient(t *testing.T, s *scene, scheme string) *client {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetUnencryptedHTTP2(true)
	tr.Protocols.SetHTTP2(true)
	if s.tls != nil {
		tr.TLSClientConfig = &tls.Config{RootCAs: s.pool}
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &client{&http.Client{Transport: tr, Timeout: patience}, t, s, scheme + "://" + s.addr()}
}

// answer is what a response was.
type answer struct {
	code            int
	header, trailer http.Header
}

// do sends a request and returns the response and its body.
func (c *client) do(req *http.Request) (answer, []byte) {
	c.t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if resp.ProtoMajor != 2 {
		c.t.Fatalf("answered in %s", resp.Proto)
	}
	return answer{resp.StatusCode, resp.Header, resp.Trailer}, body
}

func (c *client) request(method, path string, body io.Reader) *http.Request {
	c.t.Helper()
	req, err := http.NewRequest(method, c.url+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	return req
}

func TestRequestHead(t *testing.T) {
	onBoth(t, echo, func(t *testing.T, c *client) {
		req := c.request("GET", "/a%2Fb?q=1&r=%20", nil)
		req.Header["X-One"] = []string{"1", "2"}
		req.Header.Set("User-Agent", "test")
		req.AddCookie(&http.Cookie{Name: "a", Value: "1"})
		req.AddCookie(&http.Cookie{Name: "b", Value: "2"})
		resp, body := c.do(req)
		want := []string{
			"GET /a%2Fb?q=1&r=%20 HTTP/1.1", "host: " + c.scene.addr(), "x-one: 1", "x-one: 2", "user-agent: test",
			"cookie: a=1; b=2",
		}
		lines := strings.Split(strings.TrimSuffix(string(body), "\r\n\r\n"), "\r\n")
		if resp.code != 200 || len(lines) != len(want) || lines[0] != want[0] || lines[1] != want[1] {
			t.Fatalf("%d, %q", resp.code, lines)
		}
		for _, line := range want {
			if !bytes.Contains(body, []byte(line+"\r\n")) {
				t.Errorf("the head lacks %q: %q", line, lines)
			}
		}
	})
}

// TestUploads: bodies of all sizes come whole, whether their length is known or not.
func TestUploads(t *testing.T) {
	onBoth(t, echo, func(t *testing.T, c *client) {
		for _, n := range []int{0, 1, 1000, 16383, 16384, 16385, 65535, 65536, 70000, 1 << 20} {
			for _, known := range []bool{true, false} {
				t.Run(fmt.Sprintf("%d bytes, known=%t", n, known), func(t *testing.T) { upload(t, c, n, known) })
			}
		}
	})
}

func upload(t *testing.T, c *client, n int, known bool) {
	t.Helper()
	sent := make([]byte, n)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	var body io.Reader = bytes.NewReader(sent)
	if !known {
		body = io.MultiReader(body)
	}
	_, got := c.do(c.request("POST", "/", body))
	head, got, _ := bytes.Cut(got, []byte("\r\n\r\n"))
	if !bytes.Equal(got, sent) {
		t.Fatalf("sent %d bytes, got %d others", n, len(got))
	}
	framed := bytes.Contains(head, fmt.Appendf(nil, "\r\ncontent-length: %d", n)) !=
		bytes.Contains(head, []byte("\r\ntransfer-encoding: chunked"))
	if !framed {
		t.Errorf("not framed: %q", head)
	}
}

// TestParallel: many requests on one connection at once.
func TestParallel(t *testing.T) {
	onBoth(t, echo, func(t *testing.T, c *client) {
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				for range 10 {
					want := strings.Repeat(fmt.Sprint(i), i*100)
					_, got := c.do(c.request("POST", "/", strings.NewReader(want)))
					if _, got, _ := bytes.Cut(got, []byte("\r\n\r\n")); string(got) != want {
						t.Errorf("%d: got %d bytes, want %d", i, len(got), len(want))
					}
				}
			})
		}
		wg.Wait()
	})
}

// TestSlowReader: a response that is not read holds neither another nor much memory.
func TestSlowReader(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	h := handlerFunc(func(s *http2.Stream) {
		_ = s.Respond([]byte("HTTP/1.1 200 OK\r\n\r\n"), data)
	})
	onBoth(t, h, func(t *testing.T, c *client) {
		for range 3 {
			slow, err := c.Do(c.request("GET", "/slow", nil))
			if err != nil {
				t.Fatal(err)
			}
			for range 5 {
				if _, got := c.do(c.request("GET", "/", nil)); !bytes.Equal(got, data) {
					t.Fatalf("got %d other bytes", len(got))
				}
			}
			got, err := io.ReadAll(slow.Body)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("the slow one got %d bytes, %v", len(got), err)
			}
			slow.Body.Close()
		}
	})
}

func TestTrailers(t *testing.T) {
	h := handlerFunc(func(s *http2.Stream) {
		if _, err := io.Copy(io.Discard, s); err != nil {
			return
		}
		_ = s.WriteHead([]byte("HTTP/1.1 200 OK\r\nTrailer: Grpc-Status\r\nConnection: close\r\n\r\n"), false)
		_ = s.WriteData([]byte("body"), false)
		_ = s.WriteTrailers([]byte("Grpc-Status: 0\r\nGrpc-Message: fine\r\n"))
	})
	onBoth(t, h, func(t *testing.T, c *client) {
		req := c.request("POST", "/", io.MultiReader(strings.NewReader("some")))
		req.Trailer = http.Header{"X-Sum": {"1"}}
		resp, body := c.do(req)
		if string(body) != "body" || resp.trailer.Get("Grpc-Status") != "0" ||
			resp.trailer.Get("Grpc-Message") != "fine" {
			t.Errorf("%q, %v", body, resp.trailer)
		}
		if resp.header.Get("Connection") != "" {
			t.Error("Connection went on")
		}
	})
}

// aborted is an Aborter that tells.
type aborted chan struct{}

func (a aborted) Abort() { close(a) }

// TestCancel: a client that gives up ends what its Handler waits for, be it the client or
// something else.
func TestCancel(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error, 1)
	h := handlerFunc(func(s *http2.Stream) {
		if bytes.HasPrefix(s.Head(), []byte("POST /body ")) {
			began <- struct{}{}
			_, err := io.Copy(io.Discard, s)
			ended <- err
			return
		}
		wait := make(aborted)
		held := s.Hold(wait)
		began <- struct{}{}
		<-wait
		if !held || s.Drop() || !s.Gone() {
			t.Error("not held, or not aborted")
		}
		ended <- s.WriteHead([]byte("HTTP/1.1 200 OK\r\n\r\n"), true)
	})
	onBoth(t, h, func(t *testing.T, c *client) {
		for _, path := range []string{"/body", "/wait"} {
			body, w := io.Pipe()
			ctx, cancel := context.WithCancel(context.Background())
			req := c.request("POST", path, body).WithContext(ctx)
			failed := make(chan error, 1)
			go func() {
				resp, err := c.Do(req)
				if err == nil {
					resp.Body.Close()
				}
				failed <- err
			}()
			<-began
			cancel()
			if err := <-failed; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if err := <-ended; !errors.Is(err, http2.ErrGone) {
				t.Errorf("the Handler met %v", err)
			}
			w.Close()
		}
	})
}

// TestInterim: informational responses reach the client, before the final one.
func TestInterim(t *testing.T) {
	h := handlerFunc(func(s *http2.Stream) {
		if err := s.WriteHead([]byte("HTTP/1.1 100 Continue\r\n\r\n"), false); err != nil {
			t.Error(err)
		}
		if _, err := io.Copy(io.Discard, s); err != nil {
			t.Error(err)
		}
		_ = s.WriteHead([]byte("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"), false)
		_ = s.WriteHead([]byte("HTTP/1.1 204 No Content\r\n\r\n"), true)
	})
	onBoth(t, h, func(t *testing.T, c *client) {
		var seen []string
		trace := &httptrace.ClientTrace{
			Got100Continue: func() { seen = append(seen, "100") },
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				seen = append(seen, fmt.Sprint(code, h.Get("Link")))
				return nil
			},
		}
		req := c.request("POST", "/", strings.NewReader("body"))
		req.Header.Set("Expect", "100-continue")
		resp, _ := c.do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
		got := strings.Join(seen, ",")
		if resp.code != 204 || !strings.Contains(got, "100") ||
			!strings.Contains(got, "103</a.css>; rel=preload") {
			t.Errorf("%d after %s", resp.code, got)
		}
	})
}

// TestEarlyAnswer: a response that does not wait for the request's body is one.
func TestEarlyAnswer(t *testing.T) {
	h := handlerFunc(func(s *http2.Stream) {
		_ = s.Respond([]byte("HTTP/1.1 413 Too Large\r\n\r\n"), []byte("no"))
	})
	onBoth(t, h, func(t *testing.T, c *client) {
		for range 20 {
			resp, body := c.do(c.request("POST", "/", bytes.NewReader(make([]byte, 1<<20))))
			if resp.code != 413 || string(body) != "no" {
				t.Fatalf("%d %q", resp.code, body)
			}
		}
	})
}

// TestCutAnswer: a response that does not come to its end does not look as if it had.
func TestCutAnswer(t *testing.T) {
	h := handlerFunc(func(s *http2.Stream) {
		switch {
		case bytes.HasPrefix(s.Head(), []byte("GET /panic ")):
			panic("a fault of the Handler")
		case bytes.HasPrefix(s.Head(), []byte("GET /body ")):
			_ = s.WriteHead([]byte("HTTP/1.1 200 OK\r\n\r\n"), false)
			_ = s.WriteData([]byte("half"), false)
		case bytes.HasPrefix(s.Head(), []byte("GET /reset ")):
			_ = s.WriteHead([]byte("HTTP/1.1 200 OK\r\n\r\n"), false)
			s.Reset(http2.InternalError)
			if err := s.WriteData([]byte("late"), true); !errors.Is(err, http2.ErrReset) {
				t.Errorf("after a reset: %v", err)
			}
		}
	})
	onBoth(t, h, func(t *testing.T, c *client) {
		for _, path := range []string{"/nothing", "/panic", "/body", "/reset"} {
			resp, err := c.Do(c.request("GET", path, nil))
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if err == nil || !strings.Contains(err.Error(), "INTERNAL_ERROR") {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
}

// TestLongHead: a response's head may be larger than a frame.
func TestLongHead(t *testing.T) {
	long := strings.Repeat("x", 20000)
	h := handlerFunc(func(s *http2.Stream) {
		head := "HTTP/1.1 200 OK\r\n"
		for i := range 5 {
			head += fmt.Sprintf("X-Long-%d: %s\r\n", i, long)
		}
		_ = s.Respond([]byte(head+"\r\n"), []byte("body"))
	})
	onBoth(t, h, func(t *testing.T, c *client) {
		resp, body := c.do(c.request("GET", "/", nil))
		if string(body) != "body" || len(resp.header) < 5 || resp.header.Get("X-Long-4") != long {
			t.Errorf("%q, %d fields", body, len(resp.header))
		}
	})
}

// TestDeadline: the deadline of a stream ends its waits, and leaves it able to answer.
func TestDeadline(t *testing.T) {
	met := make(chan error, 1)
	var scene *scene
	h := handlerFunc(func(s *http2.Stream) {
		s.Watch().Arm(scene.sweeper.Now() + int64(10*time.Millisecond))
		_, err := s.Next()
		met <- err
		_ = s.Respond([]byte("HTTP/1.1 408 Request Timeout\r\n\r\n"), []byte("late"))
	})
	scene = newScene(t, h, nil)
	c := newClient(t, scene, "http")
	for range 3 { // a stream whose deadline was over is used again
		body, w := io.Pipe()
		resp, got := c.do(c.request("POST", "/", body))
		if err := <-met; !errors.Is(err, http2.ErrLate) || resp.code != 408 || string(got) != "late" {
			t.Errorf("%v, %d %q", err, resp.code, got)
		}
		w.Close()
	}
}

// TestSmallReads: a client that gives its windows back in small pieces is no abuser.
func TestSmallReads(t *testing.T) {
	const size = 64 << 20
	onBoth(t, handlerFunc(func(s *http2.Stream) {
		_ = s.Respond([]byte("HTTP/1.1 200 OK\r\n\r\n"), make([]byte, size))
	}), func(t *testing.T, c *client) {
		resp, err := c.Do(c.request("GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		buf, n := make([]byte, 4<<10), 0
		for {
			m, err := resp.Body.Read(buf)
			if n += m; errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("after %d bytes: %v", n, err)
			}
		}
		if n != size {
			t.Errorf("%d bytes", n)
		}
	})
}

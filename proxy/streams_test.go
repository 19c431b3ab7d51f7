package proxy_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// startStreams starts an usher and a client that speaks HTTP/2 to it.
func startStreams(t *testing.T, o proxytest.Options) (*proxytest.Usher, *http.Transport) {
	t.Helper()
	o.Listeners = []config.Listener{{Protocol: "https"}}
	u := proxytest.Start(t, o)
	c := http2Client((*http.Protocols).SetHTTP2)
	c.TLSClientConfig = proxytest.ClientTLS(t, "h2")
	t.Cleanup(c.CloseIdleConnections)
	return u, c
}

func requestTo(ctx context.Context, u *proxytest.Usher, method, path string, body io.Reader) *http.Request {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+u.Addr()+path, body)
	if err != nil {
		panic(err)
	}
	return req
}

// A stream that its client breaks off ends the wait for the endpoint, and costs the other
// streams of the connection nothing.
func TestStreamBrokenOff(t *testing.T) {
	t.Parallel()
	asked, gone := make(chan struct{}, 1), make(chan struct{})
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		for {
			req, _, _ := c.Request()
			switch {
			case req == nil:
				return
			case req.URL.Path == "/quick":
				c.Reply(proxytest.OK)
			default:
				asked <- struct{}{}
				_, _ = c.R.ReadByte() // the end
				close(gone)
				return
			}
		}
	})
	u, c := startStreams(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		resp, err := c.RoundTrip(requestTo(ctx, u, "GET", "/slow", nil))
		if err == nil {
			resp.Body.Close()
		}
		failed <- err
	}()
	waitFor(t, asked)
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	waitFor(t, gone)
	resp, err := c.RoundTrip(requestTo(t.Context(), u, "GET", "/quick", nil))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("the next one: %v", err)
	}
	resp.Body.Close()
	u.Quiet()
	if n := u.Counter("usher_connections_total", map[string]string{"listener": "web"}); n != 1 {
		t.Errorf("%v connections, want 1", n)
	}
}

// A body that comes too slowly is answered 408, whether it is waited for or sent on.
func TestStreamSlowBody(t *testing.T) {
	t.Parallel()
	for _, length := range []int64{100, 100_000, -1} {
		u, c := startStreams(t, proxytest.Options{
			Policy:   config.Policy{IdleTimeout: 200 * time.Millisecond},
			Services: proxytest.Origins(proxytest.Echo(t).Addr),
		})
		r, w := io.Pipe()
		req := requestTo(t.Context(), u, "POST", "/", r)
		req.ContentLength = length
		go func() { _, _ = io.WriteString(w, "the beginning") }()
		resp, err := c.RoundTrip(req)
		if err != nil {
			t.Fatalf("length %d: %v", length, err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestTimeout || resp.Header.Get("X-Usher-Reason") != "request_timeout" {
			t.Errorf("length %d: got %s %v", length, resp.Status, resp.Header)
		}
		w.Close()
		u.Quiet()
	}
}

// The drain answers what was asked, and has the client go.
func TestStreamsShutdown(t *testing.T) {
	t.Parallel()
	h := hold(t)
	u, c := startStreams(t, proxytest.Options{Services: proxytest.Origins(h.Addr)})
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			resp, err := c.RoundTrip(requestTo(t.Context(), u, "GET", "/", nil))
			if err != nil {
				t.Errorf("got %v", err)
				return
			}
			defer resp.Body.Close()
			if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "ok" {
				t.Errorf("got %q, %v", b, err)
			}
		})
	}
	for range 10 {
		waitFor(t, h.asked)
	}
	done := make(chan int)
	go func() { done <- u.Proxy.Shutdown(t.Context()) }()
	close(h.release)
	wg.Wait()
	if n := <-done; n != 0 {
		t.Errorf("%d were cut", n)
	}
}

// When the time for the drain is over the streams are cut, whatever they wait for.
func TestStreamsCut(t *testing.T) {
	t.Parallel()
	h := hold(t)
	defer close(h.release)
	u, c := startStreams(t, proxytest.Options{Services: proxytest.Origins(h.Addr)})
	failed := make(chan error, 1)
	go func() {
		resp, err := c.RoundTrip(requestTo(t.Context(), u, "GET", "/", nil))
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		failed <- err
	}()
	waitFor(t, h.asked)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if n := u.Proxy.Shutdown(ctx); n != 1 {
		t.Errorf("%d were cut, want 1", n)
	}
	if err := <-failed; err == nil {
		t.Error("the client was answered")
	}
	u.Quiet()
}

// A response that its endpoint cuts short is not ended, but broken off.
func TestStreamTruncated(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"a length": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive5",
		"chunks":   chunked + "5\r\nfive5\r\n",
	} {
		origin := proxytest.Raw(t, func(c *proxytest.Conn) {
			if req, _, _ := c.Request(); req != nil {
				c.Reply("%s", answer)
			}
		})
		u, c := startStreams(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
		resp, err := c.RoundTrip(requestTo(t.Context(), u, "GET", "/", nil))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil || len(b) > 5 {
			t.Errorf("%s: got %q, %v", name, b, err)
		}
		u.Quiet()
	}
}

// CONNECT is refused, and says why.
func TestStreamConnect(t *testing.T) {
	t.Parallel()
	u, c := startStreams(t, proxytest.Options{Services: proxytest.Origins(proxytest.Echo(t).Addr)})
	req := requestTo(t.Context(), u, http.MethodConnect, "", nil)
	req.Host = "example.com:443"
	resp, err := c.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("X-Usher-Reason") != "method_not_allowed" {
		t.Errorf("got %s %v", resp.Status, resp.Header)
	}
}

// A head that a listener takes is served however large it is, also where the codec reads it.
func TestStreamLargeHead(t *testing.T) {
	t.Parallel()
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		for {
			req, _, _ := c.Request()
			if req == nil {
				return
			}
			if len(req.Header.Get("X-Large")) != 40<<10 {
				c.Reply("HTTP/1.1 500 Short\r\nContent-Length: 0\r\n\r\n")
				return
			}
			c.Reply(proxytest.OK)
		}
	})
	bounds := config.DefaultHTTP2()
	bounds.MaxHeaderSize = 64 << 10
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{Protocol: "https", HTTP2: bounds}}, Services: proxytest.Origins(origin.Addr),
	})
	c := http2Client((*http.Protocols).SetHTTP2)
	c.TLSClientConfig = proxytest.ClientTLS(t, "h2")
	t.Cleanup(c.CloseIdleConnections)
	for _, read := range []string{"X-Plain", "X_Underscored"} {
		req := requestTo(t.Context(), u, "GET", "/", nil)
		req.Header.Set("X-Large", strings.Repeat("x", 40<<10))
		req.Header[read] = []string{"1"}
		resp, err := c.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", read, resp.Status)
		}
	}
}

// What a client does wrong is counted.
func TestStreamFaultIsCounted(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{H2C: true}}, Services: proxytest.Origins(proxytest.Echo(t).Addr),
	})
	c := u.Dial()
	c.Send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n%s", "\x00\x00\x00\x07\x00\x00\x00\x00\x00") // a GOAWAY, not SETTINGS
	_, _ = io.Copy(io.Discard, c.R)
	ended := u.Counter("usher_http2_errors_total", map[string]string{"listener": "web", "code": "PROTOCOL_ERROR"})
	if ended != 1 {
		t.Errorf("%v are counted", ended)
	}
}

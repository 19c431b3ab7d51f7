package proxy_test

import (
	"bufio"
	"io"
	"slices"
	"strings"
	"testing"

	"usher/config"
	"usher/proxy/proxytest"
)

// toWebSocket asks for a protocol, switching grants it.
const (
	toWebSocket = "GET /ws HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	switching   = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)

// agreeing starts an origin that answers each request with a 101 and then calls talk.
func agreeing(tb testing.TB, talk func(c *proxytest.Conn)) *proxytest.Origin {
	tb.Helper()
	return proxytest.Raw(tb, func(c *proxytest.Conn) {
		if c.Head() != "" && c.Reply(switching) {
			talk(c)
		}
	})
}

// echoing is an origin that returns what it gets, and its end.
func echoing(tb testing.TB) *proxytest.Origin {
	tb.Helper()
	return agreeing(tb, func(c *proxytest.Conn) { _, _ = io.Copy(c.Conn, c.R) })
}

// switched opens a tunnel.
func switched(tb testing.TB, u *proxytest.Usher) *proxytest.Client {
	tb.Helper()
	c := u.Dial()
	c.Send(toWebSocket)
	if r := c.Begin("GET"); r.StatusCode != 101 {
		tb.Fatalf("got %s %v", r.Status, r.Header)
	}
	return c
}

// says sends text and waits until it comes back.
func says(tb testing.TB, c *proxytest.Client, text string) {
	tb.Helper()
	c.Send("%s", text)
	receives(tb, c.R, text)
}

// receives reads text and fails the test unless it is that.
func receives(tb testing.TB, r *bufio.Reader, text string) {
	tb.Helper()
	b := make([]byte, len(text))
	if n, err := io.ReadFull(r, b); err != nil || string(b) != text {
		tb.Fatalf("got %q (%v), want %q", b[:n], err, text)
	}
}

// tunnels is the number of tunnels to the service called origin.
func tunnels(u *proxytest.Usher) int64 { return u.Metrics.Downstream.Upgraded("origin") }

func TestTunnel(t *testing.T) {
	t.Parallel()
	origin := echoing(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	c := switched(t, u)
	for _, text := range []string{"hello", "\x00\xff", strings.Repeat("x", 100_000), "bye"} {
		says(t, c, text)
	}
	_, endpoints := u.InFlight()
	listener := u.Metrics.Downstream.Listener("web")
	if tunnels(u) != 1 || endpoints != 1 || listener.Open.Value() != 1 || listener.InFlight.Value() != 0 {
		t.Errorf("%d tunnels, %d requests at the endpoint, %d connections, %d requests",
			tunnels(u), endpoints, listener.Open.Value(), listener.InFlight.Value())
	}
	if n := u.Counter("usher_requests_total", nil); n != 0 {
		t.Errorf("%v requests are counted before the tunnel ends", n)
	}
	_ = c.CloseWrite()
	c.Closed()
	u.Quiet()
	proxytest.Eventually(t, "the connection is gone", func() bool { return listener.Open.Value() == 0 })
	const carried = 100_010
	for name, want := range map[string]float64{
		"usher_requests_total":            1,
		"usher_request_body_bytes_total":  carried,
		"usher_response_body_bytes_total": carried,
		"usher_request_errors_total":      0,
	} {
		if got := u.Counter(name, nil); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	of := map[string]string{"code": "101", "service": "origin"}
	if u.Counter("usher_requests_total", of) != 1 || tunnels(u) != 0 {
		t.Error("the tunnel is not counted as a 101 of its service, or still open")
	}
}

// What concerns one connection is usher's to say, what concerns the protocol passes.
func TestTunnelHeads(t *testing.T) {
	t.Parallel()
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		head := c.Head()
		c.Reply("%s", "HTTP/1.1 101 Fine\r\nUpgrade: WebSocket\r\nConnection: X-Hop, upgrade\r\nX-Hop: 1\r\n"+
			"Keep-Alive: timeout=5\r\nContent-Length: 5\r\nSec-WebSocket-Accept: yes\r\n\r\n"+head)
	})
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	c := u.Dial()
	c.Send("%s", "GET /ws?a=%2f HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Mine, UPGRADE\r\nX-Mine: 1\r\n"+
		"Upgrade: h2c, foo, WebSocket\r\nSec-WebSocket-Key: abc\r\nTE: trailers\r\n\r\n")
	head, err := io.ReadAll(c.R)
	if err != nil {
		t.Fatal(err)
	}
	answer, request, _ := strings.Cut(string(head), "\r\n\r\n")
	lines := strings.Split(answer, "\r\n")
	slices.Sort(lines)
	want := []string{"Connection: Upgrade", "HTTP/1.1 101 Fine", "Sec-Websocket-Accept: yes", "Upgrade: WebSocket"}
	if !slices.Equal(lines, want) {
		t.Errorf("the client got %q, want %q", lines, want)
	}
	if !strings.HasPrefix(request, "GET /ws?a=%2f HTTP/1.1\r\n") {
		t.Errorf("the endpoint got %q", request)
	}
	for line, times := range map[string]int{
		"\r\nConnection: Upgrade\r\n": 1, "\r\nUpgrade: WebSocket\r\n": 1, "\r\nSec-Websocket-Key: abc\r\n": 1,
		"\r\nX-Forwarded-For: 127.0.0.1\r\n": 1, "X-Mine": 0, "Te:": 0, "h2c": 0,
	} {
		if n := strings.Count(request, line); n != times {
			t.Errorf("the endpoint got %q %d times, want %d: %q", line, n, times, request)
		}
	}
}

// What is not let through is asked of the endpoint as an ordinary request.
func TestNoTunnel(t *testing.T) {
	t.Parallel()
	none := config.Policy{Upgrades: []string{}}
	large := strings.Repeat("x", 20_000)
	for _, tc := range []struct {
		name    string
		policy  config.Policy
		request string
	}{
		{"no list", none, toWebSocket},
		{"not on the list", config.Policy{Upgrades: []string{"tcp"}}, toWebSocket},
		{"h2c", config.Policy{}, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n" +
			"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"},
		{"without Connection", config.Policy{}, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"},
		{"without Upgrade", config.Policy{}, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n"},
		{"with a version", config.Policy{}, "GET / HTTP/1.1\r\nHost: a\r\n" +
			"Connection: Upgrade\r\nUpgrade: websocket/2\r\n\r\n"},
		{"HTTP/1.0", config.Policy{}, "GET / HTTP/1.0\r\n" +
			"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"},
		{"large body", config.Policy{}, "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Content-Length: 20000\r\n\r\n" + large},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Echo(t)
			u := proxytest.Start(t, proxytest.Options{Policy: tc.policy, Services: proxytest.Origins(origin.Addr)})
			c := u.Dial()
			for range 2 { // the connection goes on
				c.Send("%s", tc.request)
				r := c.Read("GET")
				if r.StatusCode != 200 {
					t.Fatalf("got %s", r.Status)
				}
				for _, word := range []string{"Upgrade", "upgrade", "Http2"} {
					if strings.Contains(r.Text, word) {
						t.Errorf("the endpoint got %q", r.Text)
					}
				}
			}
		})
	}
}

// A 101 that is not to what was asked for is no answer.
func TestTunnelNotAgreed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, fields string }{
		{"no token", "Connection: Upgrade\r\n"},
		{"another", "Connection: Upgrade\r\nUpgrade: websockets\r\n"},
		{"two", "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"},
		{"two fields", "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			left := make(chan bool, 1)
			origin := proxytest.Raw(t, func(c *proxytest.Conn) {
				for c.Head() != "" {
					if c.Nth > 1 {
						c.Reply(proxytest.OK)
						continue
					}
					c.Reply("%s", "HTTP/1.1 101 x\r\n"+tc.fields+"\r\n"+proxytest.OK)
					left <- c.Gone()
				}
			})
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			c := u.Dial()
			c.Send(toWebSocket)
			if r := c.Read("GET"); r.StatusCode != 502 || r.Header.Get("X-Usher-Reason") != "upstream_protocol" {
				t.Errorf("got %s %v", r.Status, r.Header)
			}
			if !<-left {
				t.Error("the endpoint's connection stays open")
			}
			c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			c.OK("GET", "ok")
			u.Quiet()
		})
	}
}

// A refusal is an ordinary answer, and both connections serve the next request.
func TestTunnelRefused(t *testing.T) {
	t.Parallel()
	origin := proxytest.Answering(t, "HTTP/1.1 403 Forbidden\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno")
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{MaxTunnels: 1}}, Services: proxytest.Origins(origin.Addr),
	})
	c := u.Dial()
	for range 3 { // each gives its place back
		c.Send(toWebSocket)
		if r := c.Read("GET"); r.StatusCode != 403 || r.Text != "no" || r.Close || r.Header.Get("Upgrade") != "" {
			t.Fatalf("got %s %q %v", r.Status, r.Text, r.Header)
		}
	}
	// What follows a refused request is a request.
	c.Send("%s", toWebSocket+"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	for range 2 {
		if r := c.Read("GET"); r.StatusCode != 403 {
			t.Fatalf("got %s", r.Status)
		}
	}
	if n := origin.Accepted(); n != 1 {
		t.Errorf("the endpoint saw %d connections, want 1", n)
	}
}

// After a 101 the next client gets another connection to the endpoint, whether the
// tunnel is still open or not.
func TestTunnelIsNotReused(t *testing.T) {
	t.Parallel()
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		for {
			switch head := c.Head(); {
			case head == "":
				return
			case strings.HasPrefix(head, "GET /ws "):
				c.Reply(switching)
				_, _ = io.Copy(c.Conn, c.R)
				return
			default:
				c.Reply(proxytest.OK)
			}
		}
	})
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	ordinary := u.Dial()
	ordinary.Get("/")
	u.Quiet()                // the answer is there before the connection is given back
	tunnel := switched(t, u) // on the connection that the first request has left
	if n := origin.Accepted(); n != 1 {
		t.Fatalf("the endpoint saw %d connections, want 1", n)
	}
	ordinary.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	ordinary.OK("GET", "ok")
	says(t, tunnel, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	_ = tunnel.CloseWrite()
	tunnel.Closed()
	ordinary.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	ordinary.OK("GET", "ok")
	if n := origin.Accepted(); n != 2 {
		t.Errorf("the endpoint saw %d connections, want 2", n)
	}
}

// What either side sends along with the handshake is not lost, nor does it overtake.
func TestTunnelEarlyBytes(t *testing.T) {
	t.Parallel()
	for _, size := range []int{5, 10_000, 1 << 20} {
		early := strings.Repeat("early", size/5)
		origin := proxytest.Raw(t, func(c *proxytest.Conn) {
			if _, body, _ := c.Request(); body != "body" {
				return
			}
			c.Reply("%s", switching+early)
			b := make([]byte, len(early))
			if _, err := io.ReadFull(c.R, b); err != nil || string(b) != early {
				c.Reply("the endpoint got something else")
				return
			}
			c.Reply("all")
		})
		u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
		c := u.Dial()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = io.WriteString(c.TCPConn, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"+
				"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nbody"+early)
		}()
		if r := c.Begin("GET"); r.StatusCode != 101 {
			t.Fatalf("got %s", r.Status)
		}
		receives(t, c.R, early+"all")
		<-sent
	}
}

func TestTunnelLimit(t *testing.T) {
	t.Parallel()
	origin := echoing(t)
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{MaxTunnels: 2}}, Services: proxytest.Origins(origin.Addr),
	})
	first, _ := switched(t, u), switched(t, u)
	c := u.Dial()
	for range 2 {
		c.Send(toWebSocket)
		r := c.Read("GET")
		reason, after := r.Header.Get("X-Usher-Reason"), r.Header.Get("Retry-After")
		if r.StatusCode != 503 || reason != "overloaded" || after != "1" || r.Close {
			t.Fatalf("got %s %v", r.Status, r.Header)
		}
	}
	if n := origin.Accepted(); n != 2 {
		t.Errorf("the endpoint saw %d connections, want 2", n)
	}
	_ = first.CloseWrite()
	first.Closed()
	proxytest.Eventually(t, "there is room", func() bool { return tunnels(u) == 1 })
	// The place is given back just behind the count.
	proxytest.Eventually(t, "the next one is taken", func() bool {
		c.Send(toWebSocket)
		r := c.Begin("GET")
		if r.StatusCode != 101 {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		return r.StatusCode == 101
	})
	says(t, c, "hello")
}

// Other protocols pass as the service's list says.
func TestTunnelOfAnotherProtocol(t *testing.T) {
	t.Parallel()
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		if strings.Contains(c.Head(), "\r\nUpgrade: SPDY/3.1\r\n") {
			c.Reply("HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: spdy/3.1\r\n\r\n")
			_, _ = io.Copy(c.Conn, c.R)
		}
	})
	u := proxytest.Start(t, proxytest.Options{
		Policy: config.Policy{Upgrades: []string{"spdy/3.1"}}, Services: proxytest.Origins(origin.Addr),
	})
	c := u.Dial()
	c.Send("POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n")
	if r := c.Begin("POST"); r.StatusCode != 101 || r.Header.Get("Upgrade") != "SPDY/3.1" {
		t.Fatalf("got %s %v", r.Status, r.Header)
	}
	says(t, c, "hello")
}

// A tunnel outlives a change of its listener's settings.
func TestTunnelOutlivesSettings(t *testing.T) {
	t.Parallel()
	origin := echoing(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	c := switched(t, u)
	u.Listen(config.Listener{MaxBodySize: 1})
	says(t, c, "hello")
	u.Proxy.Drain()
	says(t, c, "hello again")
}

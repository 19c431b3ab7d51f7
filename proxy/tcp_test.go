package proxy_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
	"usher/proxy/upstream/upstreamtest"
	"usher/watcher"
)

// dbPort is what rules know the listener of these tests by.
const dbPort = 3306

// db is a listener of connections.
func db() config.Listener { return config.Listener{Protocol: config.ProtocolTCP, Port: dbPort} }

// dbService is a service that takes the connections to db.
func dbService(addresses ...string) []proxytest.Service {
	return []proxytest.Service{{Name: "origin", Routes: []string{":3306 proto=tcp"}, Addresses: addresses}}
}

// startDB starts a usher that carries connections to the addresses.
func startDB(tb testing.TB, p config.Policy, addresses ...string) *proxytest.Usher {
	tb.Helper()
	return proxytest.Start(tb, proxytest.Options{
		Listeners: []config.Listener{db()}, Policy: p, Services: dbService(addresses...),
	})
}

// returningTCP is an origin that returns what it gets, and its end.
func returningTCP(tb testing.TB) *proxytest.Origin {
	tb.Helper()
	return proxytest.Raw(tb, func(c *proxytest.Conn) { _, _ = io.Copy(c.Conn, c.R) })
}

// open is the number of connections that the listener counts.
func open(u *proxytest.Usher) int64 { return u.Metrics.Downstream.Listener("web").Open.Value() }

// gone waits until no connection is counted.
func gone(t *testing.T, u *proxytest.Usher) {
	t.Helper()
	proxytest.Eventually(t, "no connection is open", func() bool { return open(u) == 0 })
	u.Quiet()
}

// reset fails the test unless what is left to read ends in a reset; text comes before it.
func isReset(t *testing.T, r io.Reader, text string) {
	t.Helper()
	b, err := io.ReadAll(r)
	if string(b) != text || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %.100q, %v, want %.100q and a reset", b, err, text)
	}
}

// isRefused fails the test unless the next connection is reset, which its client may see
// before it has it.
func isRefused(t *testing.T, u *proxytest.Usher) {
	t.Helper()
	c, err := proxytest.TryDial(t, u.Addr())
	if err == nil {
		isReset(t, c.R, "")
	} else if !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
}

func reasons(u *proxytest.Usher, reason string) float64 {
	return u.Counter("usher_request_errors_total", map[string]string{"reason": reason})
}

func TestTCP(t *testing.T) {
	t.Parallel()
	origin := returningTCP(t)
	u := startDB(t, config.Policy{}, origin.Addr)
	c := u.Dial()
	for _, text := range []string{"hello", "\x00\xff", strings.Repeat("x", 100_000), "bye"} {
		says(t, c, text)
	}
	if _, endpoints := u.InFlight(); endpoints != 1 || open(u) != 1 || tunnels(u) != 0 {
		t.Errorf("%d at the endpoint, %d open, %d upgraded", endpoints, open(u), tunnels(u))
	}
	_ = c.CloseWrite()
	c.Closed()
	gone(t, u)
	const carried = 100_010
	for name, want := range map[string]float64{
		"usher_requests_total":            1,
		"usher_connections_total":         1,
		"usher_request_body_bytes_total":  carried,
		"usher_response_body_bytes_total": carried,
		"usher_request_errors_total":      0,
	} {
		if got := u.Counter(name, nil); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	of := map[string]string{"code": "200", "service": "origin", "route": ":3306", "listener": "web"}
	if u.Counter("usher_requests_total", of) != 1 {
		t.Error("the connection is not counted as one of its route and service")
	}
}

// An endpoint that speaks first is heard before its client has said anything.
func TestTCPServerSpeaksFirst(t *testing.T) {
	t.Parallel()
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		c.Reply("220 ready\r\n")
		line, _ := c.R.ReadString('\n')
		c.Reply("%s", "221 "+line)
	})
	u := startDB(t, config.Policy{}, origin.Addr)
	c := u.Dial()
	receives(t, c.R, "220 ready\r\n")
	c.Send("bye\n")
	receives(t, c.R, "221 bye\n")
	c.Closed()
	c.Close()
	gone(t, u)
}

// What one side has ended, the other may still answer, however soon the end came.
func TestTCPHalfClose(t *testing.T) {
	t.Parallel()
	heard := make(chan string, 1)
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		if b, _ := c.R.ReadByte(); b == 'c' { // the client ends first
			rest, _ := io.ReadAll(c.R)
			c.Reply("%s", "after "+string(rest))
			return
		}
		c.Reply("bye")
		_ = c.CloseWrite()
		rest, _ := io.ReadAll(c.R)
		heard <- string(rest)
	})
	u := startDB(t, config.Policy{}, origin.Addr)
	c := u.Dial()
	c.Send("client")
	_ = c.CloseWrite()
	receives(t, c.R, "after lient")
	c.Closed()

	c = u.Dial()
	c.Send("e")
	receives(t, c.R, "bye")
	c.Closed()
	c.Send("still here")
	_ = c.CloseWrite()
	if got := waitAndGet(t, heard); got != "still here" {
		t.Errorf("the endpoint got %q", got)
	}
	gone(t, u)
	if n := u.Counter("usher_request_errors_total", nil); n != 0 {
		t.Errorf("%v errors are counted", n)
	}
}

// Much, both ways at the same time.
func TestTCPLarge(t *testing.T) {
	t.Parallel()
	size := int64(1 << 30)
	if testing.Short() || proxytest.Race {
		size = 16 << 20
	}
	sums := make(chan []byte, 1)
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		_ = c.SetDeadline(time.Now().Add(12 * proxytest.Patience))
		read := make(chan struct{})
		go func() {
			defer close(read)
			h := sha256.New()
			_, _ = io.Copy(h, c.Conn)
			sums <- h.Sum(nil)
		}()
		_, _ = io.Copy(c.Conn, noise(1, size))
		_ = c.CloseWrite()
		<-read
	})
	u := startDB(t, config.Policy{}, origin.Addr)
	c := u.Dial()
	_ = c.SetDeadline(time.Now().Add(12 * proxytest.Patience))
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(c.TCPConn, noise(2, size))
		sent <- errors.Join(err, c.CloseWrite())
	}()
	h := sha256.New()
	if n, err := io.Copy(h, c.R); err != nil || n != size || !same(h, noise(1, size)) {
		t.Errorf("the client got %d bytes (%v), or other ones", n, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	want := sha256.New()
	_, _ = io.Copy(want, noise(2, size))
	if got := <-sums; string(got) != string(want.Sum(nil)) {
		t.Error("the endpoint got something else")
	}
	gone(t, u)
	if got := u.Counter("usher_response_body_bytes_total", nil); got != float64(size) {
		t.Errorf("%v bytes to the client are counted", got)
	}
}

// An abrupt end of one side is one of the other, and what was said before it arrives.
func TestTCPResets(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		switch b, _ := c.R.ReadByte(); b {
		case 'r':
			c.Reply("last words")
			c.Reset()
		case 'w': // it breaks off with input unread
			c.Reply("enough")
			_, _ = c.R.Peek(1 << 10)
			_ = c.Close()
		default:
			c.Reply("hello")
			_, err := io.Copy(io.Discard, c.R)
			ended <- err
		}
	})
	u := startDB(t, config.Policy{}, origin.Addr)
	c := u.Dial()
	c.Send("r")
	isReset(t, c.R, "last words")
	gone(t, u)
	if reasons(u, "upstream_reset") != 1 {
		t.Error("the endpoint's reset is not counted")
	}

	c = u.Dial()
	c.Send("c")
	receives(t, c.R, "hello")
	c.Cut()
	if err := waitAndGet(t, ended); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the endpoint sees %v, want a reset", err)
	}
	gone(t, u)
	if reasons(u, "client_gone") != 1 {
		t.Error("the client's reset is not counted")
	}

	c = u.Dial()
	c.Send("w")
	receives(t, c.R, "enough")
	for { // until it is told
		if _, err := io.WriteString(c.TCPConn, strings.Repeat("x", 1<<16)); err != nil {
			break
		}
	}
	gone(t, u)
}

// Who goes nowhere is reset, and counted with the reason.
func TestTCPNowhere(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		reason   string
		services []proxytest.Service
	}{
		{"no_route", nil},
		{"no_route", []proxytest.Service{
			{Name: "a", Routes: []string{":3307", "/"}, Addresses: []string{"127.0.0.1:1"}},
		}},
		{"no_healthy_endpoint", []proxytest.Service{
			{Name: "a", Routes: []string{":3306"}, Addresses: []string{"127.0.0.1:1"}, Status: watcher.Critical},
		}},
		{"connect_failed", dbService(proxytest.Nowhere(t))},
		{"access_denied", []proxytest.Service{
			{Name: "a", Routes: []string{":3306 deny=ip:127.0.0.0/8"}, Addresses: []string{"127.0.0.1:1"}},
		}},
		{"unauthorized", []proxytest.Service{
			{Name: "a", Routes: []string{":3306 auth=staff"}, Addresses: []string{"127.0.0.1:1"}},
		}},
	} {
		u := proxytest.Start(t, proxytest.Options{Listeners: []config.Listener{db()}, Services: tc.services})
		isRefused(t, u)
		gone(t, u)
		if reasons(u, tc.reason) != 1 {
			t.Errorf("%s is not counted", tc.reason)
		}
	}
}

// A connection that cannot be made is made to another endpoint, and the dead one is left
// out after that.
func TestTCPRetry(t *testing.T) {
	t.Parallel()
	origin := returningTCP(t)
	u := startDB(t, config.Policy{}, proxytest.Nowhere(t), origin.Addr)
	proxytest.Eventually(t, "the dead endpoint is left out", func() bool {
		says(t, u.Dial(), "hello")
		return u.Counter("usher_upstream_ejections_total", nil) > 0
	})
	before := u.Counter("usher_upstream_connect_errors_total", nil)
	for range 10 {
		says(t, u.Dial(), "hello")
	}
	if n := u.Counter("usher_upstream_connect_errors_total", nil); before == 0 || n > before+1 { // one may be a probe
		t.Errorf("the dead endpoint was tried %v times, and %v times after that", before, n-before)
	}
	retried := map[string]string{"reason": "connect_failed", "outcome": "answered"}
	if u.Counter("usher_upstream_retries_total", retried) == 0 {
		t.Error("no retry is counted")
	}
}

// An endpoint that takes connections and breaks them off is left out.
func TestTCPBroken(t *testing.T) {
	t.Parallel()
	broken := proxytest.Raw(t, func(c *proxytest.Conn) {
		_, _ = c.R.ReadByte()
		c.Reset()
	})
	well := returningTCP(t)
	u := startDB(t, config.Policy{}, broken.Addr, well.Addr)
	proxytest.Eventually(t, "the endpoint is left out", func() bool {
		c := u.Dial()
		defer c.Close()
		_, _ = io.WriteString(c.TCPConn, "x")
		_, _ = c.R.ReadByte()
		return u.Counter("usher_upstream_ejections_total", nil) > 0
	})
	for range 10 {
		c := u.Dial()
		says(t, c, "hello")
	}
}

// The least loaded endpoint is the one with the fewest connections.
func TestTCPLeastConnections(t *testing.T) {
	t.Parallel()
	a, b := returningTCP(t), returningTCP(t)
	u := startDB(t, config.Policy{Balance: "least_request"}, a.Addr, b.Addr)
	for range 10 {
		says(t, u.Dial(), "hello")
	}
	if a.Open() != 5 || b.Open() != 5 {
		t.Errorf("%d and %d connections, want 5 and 5", a.Open(), b.Open())
	}
}

// Connections beyond what endpoints and services may have wait, go elsewhere, or are reset.
func TestTCPLimits(t *testing.T) {
	t.Parallel()
	a, b := returningTCP(t), returningTCP(t)
	u := startDB(t, config.Policy{MaxConnections: 1}, a.Addr, b.Addr)
	first, second := u.Dial(), u.Dial()
	says(t, first, "hello")
	says(t, second, "hello")
	if a.Accepted() != 1 || b.Accepted() != 1 {
		t.Errorf("%d and %d connections, want one each", a.Accepted(), b.Accepted())
	}
	isRefused(t, u)
	if reasons(u, "overloaded") != 1 {
		t.Error("the third is not counted")
	}

	u = startDB(t, config.Policy{MaxConnections: 1, MaxPending: 1, PendingTimeout: proxytest.Patience}, a.Addr)
	first = u.Dial()
	says(t, first, "hello")
	second = u.Dial()
	second.Send("waiting")
	_ = first.CloseWrite()
	receives(t, second.R, "waiting")

	u = startDB(t, config.Policy{MaxRequests: 1}, a.Addr)
	first = u.Dial()
	says(t, first, "hello")
	isRefused(t, u)
	_ = first.CloseWrite()
	first.Closed()
	gone(t, u)
	says(t, u.Dial(), "hello")
}

// The limits of a listener hold for connections as they do for HTTP.
func TestTCPListenerLimits(t *testing.T) {
	t.Parallel()
	l := db()
	l.MaxConnections = 1
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{l}, Services: dbService(returningTCP(t).Addr),
	})
	first := u.Dial()
	says(t, first, "hello")
	u.Dial().Closed()
	_ = first.CloseWrite()
	gone(t, u)
	says(t, u.Dial(), "hello")
}

// To an endpoint that speaks TLS, usher does.
func TestTCPUpstreamTLS(t *testing.T) {
	t.Parallel()
	authority := upstreamtest.NewAuthority(t)
	pair, _, _ := authority.Issue("db.internal")
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		secure := tls.Server(c.Conn, cfg)
		line, err := bufio.NewReader(secure).ReadString('\n')
		if err != nil || secure.ConnectionState().NegotiatedProtocol != "" {
			t.Errorf("%q, %v, %+v", line, err, secure.ConnectionState())
		}
		_, _ = io.WriteString(secure, "got "+line)
		_ = secure.Close()
	})
	p := config.Policy{}
	p.Upstream.Protocol, p.Upstream.TLS.PEM.CA = "https", authority.PEM
	p.Upstream.TLS.ServerName = "db.internal"
	u := startDB(t, p, origin.Addr)
	c := u.Dial()
	c.Send("hello\n")
	receives(t, c.R, "got hello\n")
	c.Closed()
	c.Close()
	gone(t, u)
}

// Connections outlive a change of their listener's settings, and of its protocol.
func TestTCPOutlivesSettings(t *testing.T) {
	t.Parallel()
	u := startDB(t, config.Policy{}, returningTCP(t).Addr)
	c := u.Dial()
	says(t, c, "hello")
	u.Listen(config.Listener{Protocol: config.ProtocolTCP, Port: 1})
	says(t, c, "hello")
	isRefused(t, u)
	u.Listen(config.Listener{})
	says(t, c, "hello")
	if r := u.Dial().Get("/"); r.StatusCode != 404 {
		t.Errorf("got %s", r.Status)
	}
	u.Proxy.Drain()
	says(t, c, "hello again")
}

// Many connections that come, say something and go, while tables are swapped, leave
// nothing behind.
func TestTCPStorm(t *testing.T) {
	t.Parallel()
	a, b := returningTCP(t), returningTCP(t)
	u := startDB(t, config.Policy{Balance: "least_request"}, a.Addr, b.Addr)
	ctx, cancel := context.WithCancel(t.Context())
	var swaps, clients sync.WaitGroup
	swaps.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			u.Publish(dbService([][]string{{a.Addr}, {b.Addr}, {a.Addr, b.Addr}}[i%3]...)...)
		}
	})
	for range 8 {
		clients.Go(func() {
			for i := range 50 {
				nc, err := net.Dial("tcp", u.Addr())
				if err != nil {
					t.Error(err)
					return
				}
				_ = nc.SetDeadline(time.Now().Add(proxytest.Patience))
				b := make([]byte, 5)
				_, werr := nc.Write([]byte("hello"))
				if _, err := io.ReadFull(nc, b); err != nil || werr != nil || string(b) != "hello" {
					t.Errorf("got %q, %v, %v", b, err, werr)
				}
				if i%2 == 0 {
					_ = nc.(*net.TCPConn).SetLinger(0) //nolint:forcetypeassert // it is TCP
				}
				nc.Close()
			}
		})
	}
	clients.Wait()
	cancel()
	swaps.Wait()
	gone(t, u)
}

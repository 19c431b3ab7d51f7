package proxy_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// secureClient is a raw client over TLS.
type secureClient struct {
	*tls.Conn
	r *bufio.Reader
	t *testing.T
}

func startSecure(t *testing.T, c config.Listener, origins ...string) *proxytest.Usher {
	t.Helper()
	c.Protocol = "https"
	return proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{c}, Services: proxytest.Origins(origins...),
	})
}

func dialSecure(t *testing.T, u *proxytest.Usher) *secureClient {
	t.Helper()
	d := tls.Dialer{Config: proxytest.ClientTLS(t, "http/1.1")}
	nc, err := d.DialContext(t.Context(), "tcp", u.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(proxytest.Patience))
	return &secureClient{nc.(*tls.Conn), bufio.NewReader(nc), t} //nolint:forcetypeassert // a tls.Dialer's
}

func (c *secureClient) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, s); err != nil {
		c.t.Fatal(err)
	}
}

// ok reads a response and returns its body.
func (c *secureClient) ok(method string) string {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		c.t.Fatalf("got %s %q (%v)", resp.Status, b, err)
	}
	return string(b)
}

// Requests arrive in whatever records: several in one, and one in many.
func TestSecureRecords(t *testing.T) {
	t.Parallel()
	c := dialSecure(t, startSecure(t, config.Listener{}, proxytest.Echo(t).Addr))
	c.send(strings.Repeat(asterisk, 5))
	for range 5 {
		c.ok("OPTIONS")
	}
	for _, b := range asterisk {
		c.send(string(b))
	}
	c.ok("OPTIONS")
	head := "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\nX-Fill: " + strings.Repeat("f", 12000) + "\r\n\r\n"
	c.send(head + strings.Repeat("b", 200000) + asterisk)
	c.ok("POST")
	c.ok("OPTIONS")
}

// What is said last of all is that nothing follows: a body that ends with the connection
// is whole.
func TestSecureFarewell(t *testing.T) {
	t.Parallel()
	u := startSecure(t, config.Listener{}, proxytest.Echo(t).Addr)
	for _, request := range []string{
		"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", "nonsense\r\n\r\n",
	} {
		c := dialSecure(t, u)
		c.send(request)
		if b, err := io.ReadAll(c.r); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 ") {
			t.Errorf("%q: got %q (%v), want an answer and a farewell", request, b, err)
		}
	}
}

// A body that ends with the connection, but too soon, ends without a farewell: who got one
// would take it for the whole.
func TestSecureTruncated(t *testing.T) {
	t.Parallel()
	sent := make(chan struct{})
	breakOff := sync.OnceFunc(func() { close(sent) })
	defer breakOff()
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		if req, _, _ := c.Request(); req != nil {
			c.Reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
			<-sent
		}
	})
	c := dialSecure(t, startSecure(t, config.Listener{}, origin.Addr))
	c.send("GET / HTTP/1.0\r\n\r\n")
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = c.r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(c.r, got); err != nil || string(got) != "hello" {
		t.Errorf("got %q (%v)", got, err)
	}
	breakOff()
	if rest, err := io.ReadAll(c.r); err == nil {
		t.Errorf("then %q and a farewell, as if that were all", rest)
	}
}

// An authority that asks for its proof by TLS 1.2 sees the end of the handshake.
func TestSecureChallenge(t *testing.T) {
	t.Parallel()
	u := startSecure(t, config.Listener{}, proxytest.Echo(t).Addr)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := proxytest.ClientTLS(t, "acme-tls/1")
		cfg.MaxVersion = version
		nc, err := (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", u.Addr())
		if err != nil {
			t.Errorf("%s: %v", tls.VersionName(version), err)
			continue
		}
		if _, err := io.ReadAll(nc); err != nil {
			t.Errorf("%s: %v, want a farewell", tls.VersionName(version), err)
		}
		nc.Close()
	}
}

// A client that leaves says farewell first: the wait for its endpoint ends nevertheless.
func TestSecureClientLeaves(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		if req, _, _ := c.Request(); req != nil {
			_, _ = c.R.ReadByte() // the end
			close(gone)
		}
	})
	u := startSecure(t, config.Listener{}, origin.Addr)
	c := dialSecure(t, u)
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	proxytest.Eventually(t, "the origin is asked", func() bool { _, n := u.InFlight(); return n == 1 })
	c.Close()
	waitFor(t, gone)
	u.Quiet()
}

// A client that says nothing, or half of what it must, is not waited for.
func TestSecureSilence(t *testing.T) {
	t.Parallel()
	u := startSecure(t, config.Listener{HeaderTimeout: 100 * time.Millisecond}, proxytest.Echo(t).Addr)
	for _, said := range []string{"", "\x16\x03\x01\x02\x00\x01", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"} {
		c := u.Dial()
		c.Send("%s", said)
		if _, err := io.ReadAll(c.R); errors.Is(err, net.ErrClosed) {
			t.Errorf("%q: %v", said, err)
		}
	}
	open := u.Metrics.Downstream.Listener("web").Open
	proxytest.Eventually(t, "all have ended", func() bool { return open.Value() == 0 })
}

// A quiet connection over TLS gives up its goroutine, and serves the next request all the
// same; the drain says farewell to it.
func TestSecureParked(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for connections to be parked")
	}
	u := startSecure(t, config.Listener{}, proxytest.Echo(t).Addr)
	before := runtime.NumGoroutine()
	clients := make([]*secureClient, 50)
	for i := range clients {
		clients[i] = dialSecure(t, u)
		clients[i].send(asterisk)
		clients[i].ok("OPTIONS")
	}
	for range 2 {
		proxytest.Eventually(t, "they are parked", func() bool { return runtime.NumGoroutine() < before+10 })
		for _, c := range clients {
			_ = c.SetDeadline(time.Now().Add(proxytest.Patience))
			c.send(asterisk)
			c.ok("OPTIONS")
		}
	}
	if n := u.Proxy.Shutdown(t.Context()); n != 0 {
		t.Errorf("%d were cut", n)
	}
	for _, c := range clients {
		if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
			t.Fatalf("got %v, want a farewell", err)
		}
	}
}

// A shutdown waits for those that have begun to speak, and not for those that have not.
func TestSecureShutdown(t *testing.T) {
	t.Parallel()
	u := startSecure(t, config.Listener{}, proxytest.Echo(t).Addr)
	silent := u.Dial()
	open := u.Metrics.Downstream.Listener("web").Open
	half, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", u.Addr())
	if err != nil {
		t.Fatal(err)
	}
	begun, goOn := make(chan struct{}), make(chan struct{})
	slow := tls.Client(&slowHello{Conn: half, begun: begun, goOn: goOn}, proxytest.ClientTLS(t, "http/1.1"))
	defer slow.Close()
	got := make(chan string, 1)
	go func() {
		_, _ = io.WriteString(slow, asterisk)
		b, _ := io.ReadAll(slow)
		got <- string(b)
	}()
	waitFor(t, begun)
	proxytest.Eventually(t, "both have arrived", func() bool { return u.Proxy.Arriving("web") == 2 })
	proxytest.Eventually(t, "one is heard", func() bool { return u.Proxy.Heard("web") == 1 })
	done := make(chan int)
	go func() { done <- u.Proxy.Shutdown(t.Context()) }()
	if _, err := silent.R.ReadByte(); err == nil {
		t.Error("the silent one is answered")
	}
	close(goOn)
	if answer := <-got; !strings.HasPrefix(answer, "HTTP/1.1 200") {
		t.Errorf("the other got %q", answer)
	}
	if n := <-done; n != 0 || open.Value() != 0 {
		t.Errorf("%d were cut, %d are open", n, open.Value())
	}
}

// Who has sent a part of what tells how it is to be served has begun to speak, wherever it
// is read.
func TestShutdownHearsBeginnings(t *testing.T) {
	t.Parallel()
	h2c := believing(config.Listener{H2C: true}, true)
	beside := config.Listener{Protocol: "https", Passthrough: true}
	for name, tc := range map[string]struct {
		listener config.Listener
		before   string
	}{
		"https behind a proxy": {believing(config.Listener{Protocol: "https"}, true), v1Line("203.0.113.7")},
		"beside pass-through":  {beside, ""},
		"h2c behind a proxy":   {h2c, v1Line("203.0.113.7")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := proxytest.Start(t, proxytest.Options{
				Listeners: []config.Listener{tc.listener}, Services: proxytest.Origins(proxytest.Echo(t).Addr),
			})
			nc := u.Dial()
			var client net.Conn = &slowHello{
				Conn: nc.TCPConn, before: tc.before, begun: make(chan struct{}), goOn: make(chan struct{}),
			}
			slow := client.(*slowHello) //nolint:forcetypeassert // it is one
			if tc.listener.Protocol == "https" {
				client = tls.Client(slow, proxytest.ClientTLS(t, "http/1.1"))
			}
			got := make(chan string, 1)
			go func() {
				_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
				b, _ := io.ReadAll(client)
				got <- string(b)
			}()
			waitFor(t, slow.begun)
			proxytest.Eventually(t, "it is heard", func() bool { return u.Proxy.Heard("web") == 1 })
			done := make(chan int)
			go func() { done <- u.Proxy.Shutdown(t.Context()) }()
			proxytest.Eventually(t, "no more are taken", func() bool { return len(u.Proxy.Addresses()) == 0 })
			close(slow.goOn)
			if answer := <-got; !strings.HasPrefix(answer, "HTTP/1.1 200") {
				t.Errorf("it got %q", answer)
			}
			<-done
		})
	}
}

// A request of which not even the first record is whole has begun all the same: a shutdown
// waits for it, and it must come in time.
func TestSecureHalfRecord(t *testing.T) {
	t.Parallel()
	u := startSecure(t, config.Listener{HeaderTimeout: 300 * time.Millisecond}, proxytest.Echo(t).Addr)
	half := func() (client *tls.Conn, goOn chan struct{}) {
		slow := &slowHello{Conn: u.Dial().TCPConn, begun: make(chan struct{}), goOn: make(chan struct{}), said: true}
		client = tls.Client(slow, proxytest.ClientTLS(t, "http/1.1"))
		_, _ = io.WriteString(client, asterisk)
		resp, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		slow.said = false
		go func() { _, _ = io.WriteString(client, asterisk) }()
		waitFor(t, slow.begun)
		return client, slow.goOn
	}
	client, goOn := half()
	if _, err := io.ReadAll(client); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the rest is waited for longer than a head")
	}
	close(goOn)
	client.Close()
	client, goOn = half()
	done := make(chan int)
	go func() { done <- u.Proxy.Shutdown(t.Context()) }()
	proxytest.Eventually(t, "no more are taken", func() bool { return len(u.Proxy.Addresses()) == 0 })
	close(goOn)
	if b, _ := io.ReadAll(client); !strings.HasPrefix(string(b), "HTTP/1.1 200") {
		t.Errorf("got %q", b)
	}
	if n := <-done; n != 0 {
		t.Errorf("%d were cut", n)
	}
}

// slowHello sends the first byte of what its client says, behind what is to come before it,
// and the rest when it may.
type slowHello struct {
	net.Conn
	before      string
	begun, goOn chan struct{}
	said        bool
}

func (s *slowHello) Write(b []byte) (int, error) {
	if s.said {
		return s.Conn.Write(b)
	}
	s.said = true
	if _, err := s.Conn.Write(append([]byte(s.before), b[0])); err != nil {
		return 0, err
	}
	close(s.begun)
	<-s.goOn
	n, err := s.Conn.Write(b[1:])
	return n + 1, err
}

// A listener that takes HTTP/2 without TLS takes HTTP/1.1 as well, however little of it
// comes at a time.
func TestPrefaceOrNot(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{H2C: true}}, Services: proxytest.Origins(proxytest.Echo(t).Addr),
	})
	whole := u.Dial()
	whole.Send(asterisk + asterisk)
	whole.OK("OPTIONS", "")
	whole.OK("OPTIONS", "")
	bytewise := u.Dial()
	for _, b := range "PRI" + asterisk { // a method that begins like the preface
		bytewise.Send("%c", b)
	}
	if r := bytewise.Read("PRIOPTIONS"); r.StatusCode != http.StatusBadRequest {
		t.Errorf("got %s", r.Status)
	}
}

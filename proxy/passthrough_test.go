package proxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
	"usher/proxy/upstream/upstreamtest"
)

// naming starts an origin over TLS with a certificate for names, which says its name and
// what it was sent.
func naming(tb testing.TB, a *upstreamtest.Authority, name string, names ...string) *proxytest.Origin {
	tb.Helper()
	pair, _, _ := a.Issue(names...)
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	return proxytest.Raw(tb, func(c *proxytest.Conn) {
		secure := tls.Server(c.Conn, cfg)
		r := bufio.NewReader(secure)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				_ = secure.Close()
				return
			}
			_, _ = io.WriteString(secure, name+": "+line)
		}
	})
}

// pass is a listener that passes TLS on.
func pass() config.Listener {
	return config.Listener{Protocol: config.ProtocolPassthrough, Port: 443, HeaderTimeout: proxytest.Patience}
}

// asks connects to an address, asks for a name, and returns what the server says to hello.
func asks(t *testing.T, address, name string, roots *x509.CertPool) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), proxytest.Patience)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{ServerName: name, RootCAs: roots, MinVersion: tls.VersionTLS12}}
	nc, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(proxytest.Patience))
	if _, err := io.WriteString(nc, "hello\n"); err != nil {
		return "", err
	}
	return bufio.NewReader(nc).ReadString('\n')
}

// TLS goes to where the name leads that its client asks for, as it is.
func TestPassthrough(t *testing.T) {
	t.Parallel()
	a := upstreamtest.NewAuthority(t)
	one := naming(t, a, "one", "a.example.com")
	two := naming(t, a, "two", "*.example.com", "*.b.example.com")
	three := naming(t, a, "three", "x.b.example.com")
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{pass()},
		Services: []proxytest.Service{
			{Name: "one", Routes: []string{"a.example.com proto=tcp"}, Addresses: []string{one.Addr}},
			{Name: "two", Routes: []string{"*.example.com/ proto=tcp"}, Addresses: []string{two.Addr}},
			{Name: "three", Routes: []string{"x.b.example.com:443 proto=tcp"}, Addresses: []string{three.Addr}},
			{Name: "web", Routes: []string{"a.example.org/", "/"}, Addresses: []string{one.Addr}},
		},
	})
	for name, want := range map[string]string{
		"a.example.com": "one", "A.Example.COM": "one", "c.example.com": "two", "y.b.example.com": "two",
		"x.b.example.com": "three",
	} {
		if got, err := asks(t, u.Addr(), name, a.Pool()); got != want+": hello\n" {
			t.Errorf("%s: got %q, %v, want %s", name, got, err, want)
		}
	}
	for _, name := range []string{"a.example.org", "example.com"} {
		_, err := asks(t, u.Addr(), name, a.Pool())
		if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("%s: got %v, want the alert unrecognized_name", name, err)
		}
	}
	gone(t, u)
	if n := reasons(u, "no_route"); n != 2 {
		t.Errorf("%v connections without a route are counted", n)
	}
	of := map[string]string{"route": "a.example.com/ proto=tcp", "service": "one", "code": "200"}
	if n := u.Counter("usher_requests_total", of); n != 2 {
		t.Errorf("%v connections to one are counted", n)
	}
}

// A hello may come in pieces; what is none, or does not come, ends.
func TestPassthroughHello(t *testing.T) {
	t.Parallel()
	a := upstreamtest.NewAuthority(t)
	origin := naming(t, a, "one", "a.example.com")
	l := pass()
	l.HeaderTimeout = 500 * time.Millisecond
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{l},
		Services: []proxytest.Service{
			{Name: "one", Routes: []string{"a.example.com proto=tcp"}, Addresses: []string{origin.Addr}},
		},
	})
	slow := &pieces{TCPConn: u.Dial().TCPConn}
	secure := tls.Client(slow, &tls.Config{
		ServerName: "a.example.com", RootCAs: a.Pool(), MinVersion: tls.VersionTLS12,
	})
	_, _ = io.WriteString(secure, "hello\n")
	if got, err := bufio.NewReader(secure).ReadString('\n'); got != "one: hello\n" {
		t.Errorf("got %q, %v", got, err)
	}
	_ = secure.Close()

	c := u.Dial()
	c.Send("GET / HTTP/1.1\r\n\r\n")
	isReset(t, c.R, "")
	late, silent := u.Dial(), u.Dial()
	late.Send("\x16\x03")
	_, _ = io.Copy(io.Discard, late.R)
	_, _ = io.Copy(io.Discard, silent.R)
	gone(t, u)
	if reasons(u, "bad_request") != 1 || reasons(u, "request_timeout") != 1 {
		t.Errorf("%v and %v are counted", reasons(u, "bad_request"), reasons(u, "request_timeout"))
	}
	if n := u.Counter("usher_requests_total", nil); n != 3 {
		t.Errorf("%v connections are counted, want 3: one has said nothing", n)
	}
}

// pieces is a connection whose writes go out in small segments.
type pieces struct{ *net.TCPConn }

func (p *pieces) Write(b []byte) (n int, err error) {
	_ = p.SetNoDelay(true)
	for n < len(b) && err == nil {
		var m int
		m, err = p.TCPConn.Write(b[n:min(n+50, len(b))])
		n += m
	}
	return n, err
}

// A drain waits for who has said a part of for whom it is.
func TestPassthroughShutdownHalf(t *testing.T) {
	t.Parallel()
	a := upstreamtest.NewAuthority(t)
	passed := naming(t, a, "one", "*.pass.test")
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{pass()},
		Services: []proxytest.Service{
			{Name: "one", Routes: []string{"*.pass.test proto=tcp"}, Addresses: []string{passed.Addr}},
		},
	})
	slow := &slowHello{Conn: u.Dial().TCPConn, begun: make(chan struct{}), goOn: make(chan struct{})}
	client := tls.Client(slow, &tls.Config{ServerName: "x.pass.test", RootCAs: a.Pool(), MinVersion: tls.VersionTLS12})
	got := make(chan string, 1)
	go func() {
		_, _ = io.WriteString(client, "hello\n")
		line, _ := bufio.NewReader(client).ReadString('\n')
		client.Close()
		got <- line
	}()
	waitFor(t, slow.begun)
	proxytest.Eventually(t, "it is there", func() bool { return open(u) == 1 })
	done := make(chan int)
	go func() { done <- u.Proxy.Shutdown(t.Context()) }()
	proxytest.Eventually(t, "no more are taken", func() bool { return len(u.Proxy.Addresses()) == 0 })
	close(slow.goOn)
	if answer := <-got; answer != "one: hello\n" {
		t.Errorf("got %q", answer)
	}
	if n := <-done; n != 0 {
		t.Errorf("%d connections were cut", n)
	}
}

// A drain does not wait for who has not said yet for whom it is.
func TestPassthroughShutdown(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{Listeners: []config.Listener{pass()}})
	c := u.Dial()
	proxytest.Eventually(t, "it is there", func() bool { return open(u) == 1 })
	if n := u.Proxy.Shutdown(t.Context()); n != 0 {
		t.Errorf("%d connections were cut", n)
	}
	if _, err := c.R.ReadByte(); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

package proxy_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
	"usher/proxy/upstream/upstreamtest"
)

// On one port what a route claims by name is passed on, and the clients of the rest are
// met by usher.
func TestPassthroughBesideHTTPS(t *testing.T) {
	t.Parallel()
	a := upstreamtest.NewAuthority(t)
	passed := naming(t, a, "one", "*.pass.test")
	web := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{believing(config.Listener{Protocol: "https", Passthrough: true}, false)},
		Services: []proxytest.Service{
			{Name: "one", Routes: []string{"*.pass.test proto=tcp"}, Addresses: []string{passed.Addr}},
			{Name: "web", Addresses: []string{web.Addr}},
		},
	})
	if got, err := asks(t, u.Addr(), "x.pass.test", a.Pool()); got != "one: hello\n" {
		t.Errorf("passed on: got %q, %v", got, err)
	}
	for _, alpn := range []string{"http/1.1", "h2"} {
		cfg := proxytest.ClientTLS(t, alpn)
		transport := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: alpn == "h2"}
		resp, err := (&http.Client{Transport: transport, Timeout: proxytest.Patience}).Get("https://" + u.Addr() + "/")
		if err != nil {
			t.Fatalf("%s: %v", alpn, err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		transport.CloseIdleConnections()
		if resp.StatusCode != 200 || !strings.Contains(string(body), "X-Forwarded-Proto: https") {
			t.Errorf("%s: got %s %q", alpn, resp.Status, body)
		}
	}
	// A PROXY header goes before both.
	for _, name := range []string{"x.pass.test", "localhost"} {
		c := u.Dial()
		c.Send("%s", v1Line("203.0.113.7"))
		cfg := proxytest.ClientTLS(t, "http/1.1")
		if name == "x.pass.test" {
			cfg = &tls.Config{ServerName: name, RootCAs: a.Pool(), MinVersion: tls.VersionTLS12}
		}
		secure := tls.Client(c.TCPConn, cfg)
		_, _ = io.WriteString(secure, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		line, err := bufio.NewReader(secure).ReadString('\n')
		if err != nil || line != "one: GET / HTTP/1.1\r\n" && !strings.HasPrefix(line, "HTTP/1.1 200 ") {
			t.Errorf("%s: got %q, %v", name, line, err)
		}
		secure.Close()
	}
	if !strings.Contains(web.Received(), "X-Forwarded-For: 203.0.113.7\r\n") {
		t.Errorf("the endpoint got %q", web.Received())
	}
	c := u.Dial()
	c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	_, _ = io.Copy(io.Discard, c.R) // refused by the handshake
	gone(t, u)
}

// A client that says nothing, or half a hello, is not waited for longer than for a
// handshake, nor by a drain.
func TestPassthroughBesideHTTPSSlow(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{Protocol: "https", Passthrough: true, HeaderTimeout: 200 * time.Millisecond}},
	})
	half := u.Dial()
	half.Send("\x16\x03\x01\x02")
	_, _ = io.Copy(io.Discard, half.R)
	silent := u.Dial()
	if n := u.Proxy.Shutdown(t.Context()); n != 0 {
		t.Errorf("%d connections were cut", n)
	}
	_, _ = io.Copy(io.Discard, silent.R)
}

// What was read behind a PROXY header is not lost where HTTP/2 is looked for.
func TestProxyHeaderH2C(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{believing(config.Listener{H2C: true}, true)},
		Services:  proxytest.Origins(origin.Addr),
	})
	c := u.Dial()
	c.Send("%s", v1Line("203.0.113.7")+"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if r := c.Read("GET"); !strings.Contains(r.Text, "X-Forwarded-For: 203.0.113.7\r\n") {
		t.Errorf("got %s %q", r.Status, r.Text)
	}
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	c = u.Dial()
	c.Send("%s", v1Line("203.0.113.7")+preface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	head := make([]byte, 9)
	if _, err := io.ReadFull(c.R, head); err != nil || head[3] != 4 { // SETTINGS
		t.Errorf("got %q, %v", head, err)
	}
}

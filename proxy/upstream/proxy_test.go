package upstream_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
	"usher/proxy/upstream/upstreamtest"
)

// mirror starts an origin that sends each request's body back, framed as the path asks.
func (tr *transport) mirror(t *testing.T) *proxytest.Origin {
	t.Helper()
	return tr.raw(t, func(p *peer) {
		for {
			req, body, _ := p.Request()
			if req == nil {
				return
			}
			switch req.URL.Path {
			case "/length":
				p.Reply("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			case "/chunks":
				half := len(body) / 2
				p.Reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n",
					half, body[:half], len(body)-half, body[half:])
			default:
				p.Reply("HTTP/1.1 200 OK\r\n\r\n%s", body)
				return
			}
		}
	})
}

// What goes through the proxy is the same over TLS as it is plainly, in every framing
// and size, and connections are used again.
func TestProxyBodies(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, tr *transport) {
		origin := tr.mirror(t)
		u := proxytest.Start(t, proxytest.Options{Policy: tr.policy(), Services: proxytest.Origins(origin.Addr)})
		c := u.Dial()
		for _, size := range []int{2, 10 << 10, 100 << 10, 3<<20 + 1} {
			body := strings.Repeat("0123456789abcde\n", size/16+1)[:size]
			for _, path := range []string{"/length", "/chunks"} {
				c.Send("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", path, size, body)
				c.OK("POST", body)
				c.Send("POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", path)
				c.Send("%x\r\n%s\r\n0\r\n\r\n", size, body)
				c.OK("POST", body)
			}
		}
		if n := origin.Accepted(); n != 1 {
			t.Errorf("%d connections were made, want that one is used again", n)
		}
		if tr.authority == nil {
			c.Send("POST /close HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok")
			c.OK("POST", "ok")
		}
	})
}

// A body that ends with the connection is whole when the peer says goodbye by TLS.
func TestProxyUntilCloseNotify(t *testing.T) {
	t.Parallel()
	tr := transports(t)[1]
	origin := tr.mirror(t) // closes its TLS when it is done
	u := proxytest.Start(t, proxytest.Options{Policy: tr.policy(), Services: proxytest.Origins(origin.Addr)})
	c := u.Dial()
	c.Send("POST /close HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok")
	c.OK("POST", "ok")
}

// A rule that says proto=https is served by TLS: by the name of its host=, or without
// verification.
func TestProxyProto(t *testing.T) {
	t.Parallel()
	tr := transports(t)[1]
	a, b := tr.ok(t), tr.ok(t)
	policy := tr.policy()
	policy.Upstream.Protocol = "" // the rule says it
	u := proxytest.Start(t, proxytest.Options{
		Policy: policy,
		Services: []proxytest.Service{
			{Name: "a", Routes: []string{"/named proto=https host=origin.test"}, Addresses: []string{a.Addr}},
			{Name: "b", Routes: []string{"/other proto=https host=other.test"}, Addresses: []string{b.Addr}},
		},
	})
	c := u.Dial()
	c.Send("GET /named HTTP/1.1\r\nHost: a\r\n\r\n")
	c.OK("GET", "ok")
	if !strings.Contains(a.Received(), "Host: origin.test\r\n") {
		t.Errorf("got %q", a.Received())
	}
	c.Send("GET /other HTTP/1.1\r\nHost: a\r\n\r\n")
	if r := c.Read("GET"); r.StatusCode != 502 || r.Header.Get("X-Usher-Reason") != "connect_failed" {
		t.Errorf("got %s %v", r.Status, r.Header)
	}
	if b.Received() != "" {
		t.Errorf("a request went to one that is somebody else: %q", b.Received())
	}

	patient := config.Policy{ConnectTimeout: proxytest.Patience}
	unverified := proxytest.Start(t, proxytest.Options{Policy: patient, Services: []proxytest.Service{
		{Name: "b", Routes: []string{"/ proto=https tlsskipverify=true host=other.test"}, Addresses: []string{b.Addr}},
	}})
	c = unverified.Dial()
	c.Send(request)
	c.OK("GET", "ok")
}

// What keeps TLS from beginning is a failure to connect.
func TestProxyHandshakeFails(t *testing.T) {
	t.Parallel()
	tr := transports(t)[1]
	silent := proxytest.Raw(t, func(c *proxytest.Conn) { c.Gone() })
	stranger, _, _ := upstreamtest.NewAuthority(t).Issue("127.0.0.1")
	strange := transport{authority: tr.authority, server: &tls.Config{Certificates: []tls.Certificate{stranger}}}
	policy := tr.policy()
	policy.ConnectTimeout = 100 * time.Millisecond
	for name, tc := range map[string]struct {
		address, reason string
		status          int
	}{
		"silent":   {silent.Addr, "connect_timeout", 504},
		"stranger": {strange.ok(t).Addr, "connect_failed", 502},
	} {
		p := policy
		if name == "stranger" {
			p.ConnectTimeout = proxytest.Patience
		}
		u := proxytest.Start(t, proxytest.Options{Policy: p, Services: proxytest.Origins(tc.address)})
		c := u.Dial()
		// A POST may be sent elsewhere, or answered: nothing of it was sent.
		c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
		if r := c.Read("POST"); r.StatusCode != tc.status || r.Header.Get("X-Usher-Reason") != tc.reason {
			t.Errorf("%s: got %s %v", name, r.Status, r.Header)
		}
	}
}

// An origin that cuts its answer (R14 of the reliability tests): the client never sees a
// clean end, and the connection is not used again.
func TestOriginCutsAnswer(t *testing.T) {
	t.Parallel()
	const part = "0123456789"
	ends := map[string]func(p *peer){
		"reset": func(p *peer) { p.reset() },
		"end":   func(p *peer) { _ = p.tcp.CloseWrite() },
	}
	eachTransport(t, func(t *testing.T, tr *transport) {
		for framing, head := range map[string]string{
			"length":       "Content-Length: 2000\r\n\r\n",
			"large length": "Content-Length: 2000000\r\n\r\n",
			"chunks":       "Transfer-Encoding: chunked\r\n\r\n400\r\n",
			"between chunks": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n",
				len(part), part, len(part)),
			"until close": "\r\n",
		} {
			for end, cut := range ends {
				if framing == "until close" && end == "end" && tr.authority == nil {
					continue // that is how such a body ends
				}
				t.Run(framing+" "+end, func(t *testing.T) {
					t.Parallel()
					cutsAnswer(t, tr, "HTTP/1.1 200 OK\r\n"+head+part, cut)
				})
			}
		}
	})
}

// cutsAnswer has an origin cut its first answer after what is given, once the client has
// seen a part of it.
func cutsAnswer(t *testing.T, tr *transport, given string, cut func(p *peer)) {
	seen := make(chan struct{})
	origin := tr.raw(t, func(p *peer) {
		p.Request()
		if p.Nth > 1 {
			p.Reply(proxytest.OK)
			p.Gone()
			return
		}
		p.Reply("%s", given)
		select {
		case <-seen:
		case <-t.Context().Done():
		}
		cut(p)
		p.Gone()
	})
	u := proxytest.Start(t, proxytest.Options{Policy: tr.policy(), Services: proxytest.Origins(origin.Addr)})
	c := u.Dial()
	c.Send(request)
	resp := c.Begin("GET")
	if _, err := io.ReadFull(resp.Body, make([]byte, 10)); err != nil {
		t.Errorf("the beginning does not come: %v", err)
	}
	close(seen)
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the cut passed for an end after %q", b)
	}
	again := u.Dial()
	again.Send(request)
	again.OK("GET", "ok")
	if n := origin.Accepted(); n != 2 {
		t.Errorf("%d connections, want that the cut one is not used again", n)
	}
}

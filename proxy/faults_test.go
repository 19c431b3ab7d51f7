package proxy_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// How a side stops in the middle of what it says.
const (
	halts  = "halts"  // it says no more, and waits for the other side to close
	closes = "closes" // it closes, which is a reset where it has not read all
	resets = "resets"
	stalls = "stalls" // it stays open and says nothing
)

// stop carries out one of them, and tells a connection that usher keeps.
func stop(t *testing.T, c *proxytest.Conn, how string) {
	t.Helper()
	switch how {
	case resets:
		c.Reset()
		return
	case closes:
		return
	case halts:
		_ = c.CloseWrite()
	}
	if !c.Gone() {
		t.Errorf("usher keeps a connection that %s", how)
	}
}

// framed is a short response. head is all of it up to its body, interim responses
// included.
type framed struct {
	name, method, fields, interim, head, rest string
	// body is what the rest means.
	body   string
	status int
	// closed says that the body ends with the connection.
	closed bool
}

const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n"

// short are responses of each framing, to be cut at every byte.
func short() []framed {
	const hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
	return []framed{
		{name: "length", head: ok, rest: "hello", body: "hello"},
		{name: "empty", head: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{
			name: "chunked", head: "HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n",
			rest: "5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX: y\r\n\r\n", body: "hello world",
		},
		{name: "close", head: "HTTP/1.1 200 OK\r\n\r\n", rest: "hello", body: "hello", closed: true},
		{name: "204", head: "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", status: 204},
		{name: "304", head: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", status: 304},
		{name: "HEAD", method: "HEAD", head: ok},
		{name: "hints", interim: hints, head: hints + ok, rest: "hello", body: "hello"},
		{name: "continue", head: "HTTP/1.1 100 Continue\r\n\r\n" + ok, rest: "hello", body: "hello"},
		{name: "101", fields: upgrade, head: switching, rest: "hello", body: "hello", status: 101, closed: true},
	}
}

// answer is the whole response.
func (f *framed) answer() string { return f.head + f.rest }

// ask sends the request for the response, cut as it says.
func (f *framed) ask(c *asker, cut int, how string) heard {
	method := f.method
	if method == "" {
		method = http.MethodGet
	}
	return c.ask(method, fmt.Sprintf("%s /%s/%d/%s HTTP/1.1\r\nHost: a\r\n%s\r\n", method, f.name, cut, how, f.fields))
}

// check says what is wrong with what a client heard of a response of which cut bytes
// came; empty: nothing.
func (f *framed) check(h heard, cut int, how string) string {
	if cut < len(f.head) {
		status, reason := 502, "upstream_reset"
		if how == stalls {
			status, reason = 504, "upstream_timeout"
		}
		if h.err != nil || h.status != status || h.reason != reason {
			return fmt.Sprintf("got %s, want %d %s", h, status, reason)
		}
		if how == stalls {
			return "" // the time may be over before an interim response is passed on
		}
		return f.checkInterim(h, cut)
	}
	whole := cut == len(f.answer()) && !f.closed || f.closed && how == halts
	status := f.status
	if status == 0 {
		status = 200
	}
	switch {
	case h.status != status, h.reason != "":
		return fmt.Sprintf("got %s, want %d", h, status)
	case whole != (h.err == nil) && status != 101: // an upgraded connection shows no cut
		return fmt.Sprintf("got %s: a whole response should be %t", h, whole)
	case f.name == "chunked" && !whole && strings.HasPrefix(f.body, h.text):
	case f.name != "chunked" && h.text == f.rest[:cut-len(f.head)], h.text == f.body:
	default:
		return fmt.Sprintf("got %s, another body", h)
	}
	return f.checkInterim(h, cut)
}

// checkInterim says what is wrong with the interim responses.
func (f *framed) checkInterim(h heard, cut int) string {
	want := 0
	if f.interim != "" && cut >= len(f.interim) {
		want = 1
	}
	if h.interim != want {
		return fmt.Sprintf("got %d interim responses, want %d", h.interim, want)
	}
	return ""
}

// cutting is an origin that answers as the path says: /framing/cut/how, and other paths
// with ok.
func cutting(t *testing.T) *proxytest.Origin {
	t.Helper()
	answers := map[string]string{}
	for _, f := range short() {
		answers[f.name] = f.answer()
	}
	return proxytest.Raw(t, func(c *proxytest.Conn) {
		for {
			req, _, _ := c.Request()
			if req == nil {
				return
			}
			parts := strings.Split(req.URL.Path, "/")
			if len(parts) < 4 {
				if !c.Reply(proxytest.OK) {
					return
				}
				continue
			}
			cut, _ := strconv.Atoi(parts[2])
			c.Reply("%s", answers[parts[1]][:cut])
			stop(t, c, parts[3])
			return
		}
	})
}

// A response that is cut at any byte is told as one, in its framing's way; its
// connection is not used again, and the next request is answered on another one.
func TestFaultsResponseCut(t *testing.T) {
	t.Parallel()
	for _, f := range short() {
		for _, how := range []string{halts, resets} {
			t.Run(f.name+" "+how, func(t *testing.T) {
				t.Parallel()
				origin := cutting(t)
				u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
				c := newAsker(t, u)
				for cut := range len(f.answer()) + 1 {
					h := f.ask(c, cut, how)
					if wrong := f.check(h, cut, how); wrong != "" {
						t.Errorf("cut at %d: %s", cut, wrong)
					}
					if next := c.ask("GET", get+"\r\n"); next.err != nil || next.text != "ok" {
						t.Errorf("cut at %d: the next request got %s", cut, next)
					}
				}
				c.leave()
				u.Clean(0, 1) // what any of them had left would still be there
			})
		}
	}
}

// A response that stops at any byte ends by its timeout, all of them at the same time:
// those whose head is whole by one, the others by the other.
func TestFaultsResponseStalls(t *testing.T) {
	t.Parallel()
	const soon = 500 * time.Millisecond
	for name, policy := range map[string]config.Policy{
		"head": {Timeout: soon, ConnectTimeout: proxytest.Patience},
		"body": {IdleTimeout: soon, TunnelIdleTimeout: soon, ConnectTimeout: proxytest.Patience},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := cutting(t)
			u := proxytest.Start(t, proxytest.Options{Policy: policy, Services: proxytest.Origins(origin.Addr)})
			var asking sync.WaitGroup
			for _, f := range short() {
				from, to := 0, len(f.head)
				if name == "body" {
					from, to = to, len(f.answer())
				}
				for cut := from; cut < to; cut++ {
					asking.Go(func() {
						c := newAsker(t, u)
						defer c.leave()
						if wrong := f.check(f.ask(c, cut, stalls), cut, stalls); wrong != "" {
							t.Errorf("%s stalls at %d: %s", f.name, cut, wrong)
						}
					})
				}
			}
			asking.Wait()
			u.Clean(0, 0)
		})
	}
}

// What comes behind a response at once spoils the connection and nothing else.
func TestFaultsGarbageBehind(t *testing.T) {
	t.Parallel()
	for _, f := range short() {
		if f.closed {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Raw(t, func(c *proxytest.Conn) {
				req, _, _ := c.Request()
				if req != nil && req.URL.Path == "/" {
					c.Reply(proxytest.OK)
				} else {
					c.Reply("%s", f.answer()+"garbage")
				}
				if !c.Gone() {
					t.Error("usher keeps a spoilt connection")
				}
			})
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			c := newAsker(t, u)
			defer c.leave()
			if wrong := f.check(f.ask(c, len(f.answer()), halts), len(f.answer()), halts); wrong != "" {
				t.Error(wrong)
			}
			u.Clean(1, 0)
			if next := c.ask("GET", get+"\r\n"); next.err != nil || next.text != "ok" {
				t.Errorf("the next request got %s", next)
			}
			if n := origin.Accepted(); n != 2 {
				t.Errorf("%d connections were made, want 2", n)
			}
		})
	}
}

// An interim response is a sign that the request is being worked on: it is not sent
// again when its connection ends behind that.
func TestFaultsBehindInterim(t *testing.T) {
	t.Parallel()
	for _, interim := range []string{"100 Continue", "103 Early Hints"} {
		t.Run(interim, func(t *testing.T) {
			t.Parallel()
			asked := make(chan struct{}, 8)
			origin := proxytest.Raw(t, func(c *proxytest.Conn) {
				for {
					req, _, _ := c.Request()
					switch {
					case req == nil:
						return
					case req.URL.Path == "/":
						c.Reply(proxytest.OK)
						continue
					}
					asked <- struct{}{}
					c.Reply("HTTP/1.1 %s\r\n\r\n", interim)
					return
				}
			})
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr, origin.Addr)})
			c := newAsker(t, u)
			defer c.leave()
			for range 2 { // so that both endpoints have a connection that was used
				c.ask("GET", get+"\r\n")
			}
			h := c.ask("GET", "GET /work HTTP/1.1\r\nHost: a\r\n\r\n")
			if h.status != 502 || h.reason != "upstream_reset" {
				t.Errorf("got %s", h)
			}
			if n := len(asked); n != 1 {
				t.Errorf("it was sent %d times", n)
			}
			u.Clean(1, 2)
		})
	}
}

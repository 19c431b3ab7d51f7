package proxy_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// asked are requests of each kind that an endpoint may fail within.
func asked() map[string]string {
	const large = 4 << 20
	body := strings.Repeat("x", large)
	return map[string]string{
		"GET":           get + "\r\n",
		"small body":    post("Content-Length: 5\r\n", "hello"),
		"large body":    post(fmt.Sprintf("Content-Length: %d\r\n", large), body),
		"chunked":       post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
		"large chunked": post("Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", large, body)),
		"upgrade":       toWebSocket,
	}
}

// An endpoint that fails before it answers, wherever in the request that is, is told as
// what it is, and holds nothing. The next request finds it well.
func TestFaultsBeforeResponse(t *testing.T) {
	t.Parallel()
	reads := map[string]func(c *proxytest.Conn){
		"at accept":       func(*proxytest.Conn) {},
		"within the head": func(c *proxytest.Conn) { _, _ = io.CopyN(io.Discard, c.R, 10) },
		"behind the head": func(c *proxytest.Conn) { c.Head() },
		"behind a part of the body": func(c *proxytest.Conn) {
			c.Head()
			_, _ = io.CopyN(io.Discard, c.R, 3)
		},
	}
	for at, read := range reads {
		for _, how := range []string{halts, closes, resets, stalls} {
			t.Run(at+" it "+how, func(t *testing.T) {
				t.Parallel()
				var scenes []*failing
				for name, request := range asked() {
					if !strings.Contains(at, "body") || strings.Contains(request, "POST") {
						scenes = append(scenes, newFailing(t, name, request, how, read))
					}
				}
				var asking sync.WaitGroup
				for _, s := range scenes {
					asking.Go(s.ask)
				}
				asking.Wait()
				for _, s := range scenes {
					s.u.Clean(1, 1)
					s.c.leave()
				}
			})
		}
	}
}

// failing is an usher with an endpoint that fails once.
type failing struct {
	name, request, how string
	u                  *proxytest.Usher
	c                  *asker
}

// newFailing starts one whose endpoint stops as it says when it has read, and then is
// well.
func newFailing(t *testing.T, name, request, how string, read func(c *proxytest.Conn)) *failing {
	t.Helper()
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		if c.Nth == 1 {
			read(c)
			stop(t, c, how)
			return
		}
		for {
			if req, _, _ := c.Request(); req == nil || !c.Reply(proxytest.OK) {
				return
			}
		}
	})
	o := proxytest.Options{Services: proxytest.Origins(origin.Addr)}
	o.Policy.Retry.Attempts = -1
	if how == stalls {
		o.Policy.Timeout, o.Policy.IdleTimeout = time.Second, time.Second
	}
	u := proxytest.Start(t, o)
	return &failing{name: name, request: request, how: how, u: u, c: newAsker(t, u)}
}

// ask sends the request, and another one. Any goroutine may call it.
func (f *failing) ask() {
	status, reason := 502, "upstream_reset"
	if f.how == stalls {
		status, reason = 504, "upstream_timeout"
	}
	h := f.c.ask("POST", f.request)
	if h.reason == "connect_failed" && f.how == resets {
		h.reason = reason // the reset was faster than the connection
	}
	if h.status != status || h.reason != reason || h.err != nil {
		f.c.t.Errorf("%s: got %s, want %d %s", f.name, h, status, reason)
	}
	next := f.c.ask("GET", get+"\r\n")
	for try := 0; f.how == stalls && next.status == 504 && try < 10; try++ {
		next = f.c.ask("GET", get+"\r\n") // a busy machine may be later than the timeout
	}
	if next.err != nil || next.text != "ok" {
		f.c.t.Errorf("%s: the next request got %s", f.name, next)
	}
}

// sent are short requests, to be cut at every byte.
func sent() map[string]string {
	return map[string]string{
		"GET":     "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"1.0":     "GET / HTTP/1.0\r\n\r\n",
		"length":  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"chunked": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
		"expect":  "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
		"upgrade": "GET / HTTP/1.1\r\nHost: a\r\n" + upgrade + "\r\n",
	}
}

// counting is an origin that counts the whole requests it gets.
func countingWhole(t *testing.T) (origin *proxytest.Origin, whole *atomic.Int64) {
	t.Helper()
	whole = new(atomic.Int64)
	return proxytest.Raw(t, func(c *proxytest.Conn) {
		for {
			req, _, _ := c.Request()
			if req == nil {
				return
			}
			whole.Add(1)
			if !c.Reply(proxytest.OK) {
				return
			}
		}
	}), whole
}

// A request that its client cuts at any byte reaches no endpoint as a whole one, and is
// answered with nothing.
func TestFaultsRequestCut(t *testing.T) {
	t.Parallel()
	for name, request := range sent() {
		for _, how := range []string{halts, closes, resets} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				origin, whole := countingWhole(t)
				u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
				for cut := range len(request) {
					c := u.Dial()
					c.Send("%s", request[:cut])
					leave(t, c, how)
				}
				u.Clean(0, len(request))
				if n := whole.Load(); n != 0 {
					t.Errorf("the endpoint got %d whole requests", n)
				}
				c := newAsker(t, u)
				defer c.leave()
				if next := c.ask("GET", get+"\r\n"); next.err != nil || next.text != "ok" {
					t.Errorf("the next request got %s", next)
				}
			})
		}
	}
}

// leave ends a client's connection, which should get no answer.
func leave(t *testing.T, c *proxytest.Client, how string) {
	t.Helper()
	switch how {
	case resets:
		c.Cut()
	case closes:
		c.Close()
	default:
		_ = c.CloseWrite()
		b, err := io.ReadAll(c.R)
		if answer := strings.TrimPrefix(string(b), "HTTP/1.1 100 Continue\r\n\r\n"); answer != "" || err != nil {
			t.Errorf("got %q (%v)", b, err)
		}
		c.Close()
	}
}

// A request that stops at any byte is answered with 408 when its time is over, all at
// the same time.
func TestFaultsRequestStalls(t *testing.T) {
	t.Parallel()
	const soon = 500 * time.Millisecond
	origin, whole := countingWhole(t)
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{HeaderTimeout: soon}},
		Policy:    config.Policy{IdleTimeout: soon, ConnectTimeout: proxytest.Patience},
		Services:  proxytest.Origins(origin.Addr),
	})
	var asking sync.WaitGroup
	for name, request := range sent() {
		for cut := 1; cut < len(request); cut++ {
			asking.Go(func() {
				c := newAsker(t, u)
				defer c.leave()
				h := c.ask("POST", request[:cut])
				if h.status != 408 || h.reason != "request_timeout" || h.err != nil {
					t.Errorf("%s stalls at %d: got %s", name, cut, h)
				}
			})
		}
	}
	asking.Wait()
	u.Clean(0, 1)
	if n := whole.Load(); n != 0 {
		t.Errorf("the endpoint got %d whole requests", n)
	}
}

// How long an endpoint takes is not the client's doing: the time for the head is over
// once that is whole.
func TestFaultsConnectingOutlastsHead(t *testing.T) {
	t.Parallel()
	deaf := proxytest.Deaf(t)
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{HeaderTimeout: 100 * time.Millisecond}},
		Policy:    config.Policy{ConnectTimeout: 500 * time.Millisecond}, Services: proxytest.Origins(deaf),
	})
	for name, request := range sent() {
		c := newAsker(t, u)
		if h := c.ask("POST", request); h.status != 504 || h.reason != "connect_timeout" {
			t.Errorf("%s: got %s, want 504", name, h)
		}
		c.leave()
	}
	u.Clean(0, 0)
}

// endless are responses without an end in sight.
func endless() map[string]string {
	return map[string]string{
		"length": "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n", "close": "HTTP/1.1 200 OK\r\n\r\n",
		"chunked": chunked, "101": switching,
	}
}

// A client that leaves within a response, or takes none of it, does not keep its
// endpoint: nothing is held for it.
func TestFaultsWithinResponse(t *testing.T) {
	t.Parallel()
	const patience = 300 * time.Millisecond
	for name, head := range endless() {
		for _, how := range []string{closes, resets, stalls} {
			t.Run(name+", the client "+how, func(t *testing.T) {
				t.Parallel()
				left := make(chan struct{})
				origin := proxytest.Raw(t, func(c *proxytest.Conn) {
					defer close(left)
					c.Head()
					c.Reply("%s", head)
					piece := strings.Repeat("x", 100000)
					if name == "chunked" {
						piece = "186a0\r\n" + piece + "\r\n"
					}
					for c.Reply("%s", piece) {
					}
				})
				u := proxytest.Start(t, proxytest.Options{
					Policy:   config.Policy{IdleTimeout: patience, TunnelIdleTimeout: patience},
					Services: proxytest.Origins(origin.Addr),
				})
				c := u.Dial()
				c.Send("%s", "GET / HTTP/1.1\r\nHost: a\r\n"+upgrade+"\r\n")
				if r := c.Begin("GET"); r.StatusCode != 200 && r.StatusCode != 101 {
					t.Fatalf("got %s", r.Status)
				}
				switch how {
				case closes:
					c.Close()
				case resets:
					c.Cut()
				}
				waitAndGet(t, left)
				u.Clean(0, 0)
			})
		}
	}
}

// A body that comes a byte at a time, each within idle_timeout, has until total_timeout.
func TestFaultsBodyTrickles(t *testing.T) {
	t.Parallel()
	origin, whole := countingWhole(t)
	u := proxytest.Start(t, proxytest.Options{
		Policy:   config.Policy{IdleTimeout: proxytest.Patience, TotalTimeout: 300 * time.Millisecond},
		Services: proxytest.Origins(origin.Addr),
	})
	c := u.Dial()
	c.Send("%s", post("Content-Length: 10000\r\n", ""))
	answered := make(chan *proxytest.Response, 1)
	go func() {
		r, err := c.TryBegin("POST")
		if err != nil {
			t.Errorf("no answer: %v", err)
		}
		answered <- r
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_, _ = c.Write([]byte("x"))
			continue
		case r := <-answered:
			if r.Response != nil && (r.StatusCode != 408 || !r.Close) {
				t.Errorf("got %s", r.Status)
			}
		}
		break
	}
	c.Close()
	u.Clean(0, 0)
	if whole.Load() > 0 {
		t.Error("the endpoint got a whole request")
	}
}

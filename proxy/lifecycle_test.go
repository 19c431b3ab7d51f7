package proxy_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// held is an origin whose answers wait until they are let go.
type held struct {
	*proxytest.Origin
	asked, release chan struct{}
}

func hold(t *testing.T) *held {
	t.Helper()
	h := &held{asked: make(chan struct{}, 16), release: make(chan struct{})}
	h.Origin = proxytest.Raw(t, func(c *proxytest.Conn) {
		for {
			if req, _, _ := c.Request(); req == nil {
				return
			}
			h.asked <- struct{}{}
			waitFor(t, h.release)
			if !c.Reply(proxytest.OK) {
				return
			}
		}
	})
	return h
}

func TestDrain(t *testing.T) {
	t.Parallel()
	h := hold(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(h.Addr)})
	running, idle := u.Dial(), u.Dial()
	running.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	waitFor(t, h.asked)
	u.Proxy.Drain()
	close(h.release)
	for _, c := range []*proxytest.Client{running, idle, u.Dial()} {
		if c != running {
			c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		}
		if r := c.Read("GET"); r.StatusCode != 200 || !r.Close {
			t.Errorf("got %d %v", r.StatusCode, r.Header)
		}
		c.Closed()
	}
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	h := hold(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(h.Addr)})
	address := u.Addr()
	fresh, idle, running, halfway := u.Dial(), u.Dial(), u.Dial(), u.Dial()
	idle.Send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
	idle.OK("OPTIONS", "")
	running.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	waitFor(t, h.asked)
	halfway.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
	in := u.Metrics.Downstream.Listener("web").InFlight
	proxytest.Eventually(t, "two requests are in flight", func() bool { return in.Value() == 2 })
	cut := make(chan int)
	go func() { cut <- u.Proxy.Shutdown(t.Context()) }()
	idle.Closed()
	fresh.Closed()
	if nc, err := net.Dial("tcp", address); err == nil {
		nc.Close()
		t.Error("the listener still accepts")
	}
	halfway.Send("lo")
	close(h.release)
	for _, c := range []*proxytest.Client{running, halfway} {
		if r := c.Read("GET"); r.StatusCode != 200 || r.Text != "ok" || !r.Close {
			t.Errorf("got %d %q %v", r.StatusCode, r.Text, r.Header)
		}
	}
	if n := <-cut; n != 0 {
		t.Errorf("%d connections were cut", n)
	}
}

// A request that has arrived when the shutdown begins is answered, even if nobody
// has looked at its connection yet.
func TestShutdownAnswersWhatArrived(t *testing.T) {
	t.Parallel()
	h := hold(t)
	close(h.release)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(h.Addr)})
	clients := make([]*proxytest.Client, 64)
	for i := range clients {
		clients[i] = u.Dial()
	}
	open := u.Metrics.Downstream.Listener("web").Open
	proxytest.Eventually(t, "all are accepted", func() bool { return open.Value() == int64(len(clients)) })
	for _, c := range clients {
		c.Send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	if n := u.Proxy.Shutdown(t.Context()); n != 0 {
		t.Errorf("%d connections were cut", n)
	}
	for _, c := range clients {
		if r := c.Read("OPTIONS"); r.StatusCode != 204 && r.StatusCode != 200 {
			t.Errorf("got %d", r.StatusCode)
		}
	}
}

// What still runs when the time is over is cut, wherever it stands.
func TestShutdownCuts(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("x", 50000)
	for _, tc := range []struct{ name, request, answer string }{
		{"within a small body", post("Content-Length: 5\r\n", "hel"), ""},
		{"within a large body", post("Content-Length: 100000\r\n", body), ""},
		{"within a chunked body", post("Transfer-Encoding: chunked\r\n", "5\r\nhel"), ""},
		{"waiting for the response", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""},
		{
			"within a response by length", "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
		},
		{
			"within a large response", "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
			"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhello",
		},
		{
			"within a chunked response", "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Raw(t, func(c *proxytest.Conn) {
				c.Head()
				c.Reply("%s", tc.answer)
				c.Gone()
			})
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			c := u.Dial()
			c.Send("%s", tc.request)
			if tc.answer != "" {
				c.Begin("GET")
			}
			in := u.Metrics.Downstream.Listener("web").InFlight
			proxytest.Eventually(t, "the request is there", func() bool { return in.Value() == 1 })
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			begin := time.Now()
			n := u.Proxy.Shutdown(ctx)
			if took := time.Since(begin); n != 1 || took > 2*time.Second {
				t.Errorf("%d were cut after %v, want 1 after 100ms", n, took)
			}
			if b, err := io.ReadAll(c.R); err == nil && strings.HasSuffix(string(b), "0\r\n\r\n") {
				t.Errorf("the client got a whole response: %q", b)
			}
		})
	}
}

// A request that is between two waits when the time is over does not begin the
// next one.
func TestShutdownCutsConnecting(t *testing.T) {
	t.Parallel()
	h := hold(t)
	u := proxytest.Start(t, proxytest.Options{
		Policy:   config.Policy{ConnectTimeout: 500 * time.Millisecond},
		Services: proxytest.Origins(proxytest.Deaf(t), h.Addr),
	})
	for range 2 { // the turn may be at either
		u.Dial().Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	in := u.Metrics.Downstream.Listener("web").InFlight
	proxytest.Eventually(t, "the requests are there", func() bool { return in.Value() == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if n, took := u.Proxy.Shutdown(ctx), time.Since(begin); n != 2 || took > 3*time.Second {
		t.Errorf("%d were cut after %v, want 2 after 100ms", n, took)
	}
}

// Close waits for nothing but what it ends itself.
func TestCloseIsPrompt(t *testing.T) {
	t.Parallel()
	h := hold(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(h.Addr)})
	u.Dial().Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	waitFor(t, h.asked)
	begin := time.Now()
	u.Proxy.Close()
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("Close took %v", took)
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	one := config.Listener{}
	two := config.Listener{Name: "two", Address: "127.0.0.2:0"}
	kept := u.Dial()
	kept.Get("/")
	web := u.Addr()

	u.Listen(one, two)
	second := proxytest.Dial(t, u.AddrOf("two"))
	if r := second.Get("/"); r.StatusCode != 200 {
		t.Fatalf("the new listener: got %d", r.StatusCode)
	}
	secondAddr := u.AddrOf("two")

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	three := config.Listener{Name: "three", Address: taken.Addr().String()}
	four := config.Listener{Name: "four", Address: "127.0.0.3:0"}
	if u.Proxy.Listen([]config.Listener{proxytest.Listener(four), proxytest.Listener(three)}) == nil {
		t.Fatal("an address in use was bound")
	}
	if got := u.Proxy.Addresses(); len(got) != 2 || got["web"] != web || got["two"] != secondAddr {
		t.Fatalf("a failed change left %v", got)
	}

	// A changed listener keeps its socket; the other one keeps its connections.
	two.MaxBodySize = 1
	u.Listen(one, two)
	if u.AddrOf("two") != secondAddr {
		t.Error("a change of settings rebound the socket")
	}
	changed := proxytest.Dial(t, secondAddr)
	changed.Send("%s", post("Content-Length: 2\r\n", "ok"))
	if r := changed.Read("POST"); r.StatusCode != 413 {
		t.Errorf("the new settings: got %d", r.StatusCode)
	}
	u.Listen(one)
	if nc, err := net.Dial("tcp", secondAddr); err == nil {
		nc.Close()
		t.Error("a removed listener still accepts")
	}
	if r := kept.Get("/"); r.StatusCode != 200 || r.Close {
		t.Errorf("the untouched listener: got %d %v", r.StatusCode, r.Header)
	}
	if u.Addr() != web {
		t.Error("the untouched listener moved")
	}
}

// Any number of listeners may be on any free port of one address.
func TestListenFreePorts(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(proxytest.Echo(t).Addr)})
	web := u.Addr()
	one, two := config.Listener{}, config.Listener{Name: "two"}
	u.Listen(one, two)
	second := u.AddrOf("two")
	if u.Addr() != web || second == "" || second == web {
		t.Fatalf("got %v, and %q before", u.Proxy.Addresses(), web)
	}
	for _, address := range []string{web, second} {
		if r := proxytest.Dial(t, address).Get("/"); r.StatusCode != 200 {
			t.Errorf("%s: got %d", address, r.StatusCode)
		}
	}
	two.MaxBodySize = 1
	u.Listen(two, one)
	if u.Addr() != web || u.AddrOf("two") != second {
		t.Errorf("after a change of settings: %v", u.Proxy.Addresses())
	}
	u.Listen(two)
	if got := u.Proxy.Addresses(); len(got) != 1 || got["two"] != second {
		t.Errorf("without the first: %v", got)
	}
}

// The connections of a changed or removed listener finish their requests.
func TestListenFinishesRequests(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		after []config.Listener
	}{
		{"changed", []config.Listener{{MaxBodySize: 1}}},
		{"removed", []config.Listener{{Name: "two", Address: "127.0.0.2:0"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := hold(t)
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(h.Addr)})
			c := u.Dial()
			c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			waitFor(t, h.asked)
			u.Listen(tc.after...)
			close(h.release)
			if r := c.Read("GET"); r.StatusCode != 200 || !r.Close {
				t.Errorf("got %d %v", r.StatusCode, r.Header)
			}
			c.Closed()
		})
	}
}

// An idle connection of a changed listener ends behind its next response, as Listen
// says: a client that sends just now loses nothing.
func TestListenKeepsIdleConnections(t *testing.T) {
	t.Parallel()
	origin := proxytest.Answering(t, proxytest.OK)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	c := u.Dial()
	c.Get("/")
	u.Listen(config.Listener{MaxBodySize: 1000})
	if r := c.Get("/"); r.StatusCode != 200 || !r.Close {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}
	c.Closed()
}

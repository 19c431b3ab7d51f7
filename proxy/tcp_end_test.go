package proxy_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// silentTCP is an origin that tells when its connection has ended, and says and ends
// nothing by itself.
func silentTCP(t *testing.T) (origin *proxytest.Origin, ended <-chan error) {
	t.Helper()
	gone := make(chan error, 8)
	return proxytest.Raw(t, func(c *proxytest.Conn) {
		_, err := io.Copy(io.Discard, c.R)
		gone <- err
	}), gone
}

// A connection that carries nothing is ended, in order: by the service's time or by the
// listener's.
func TestTCPIdle(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]struct{ policy, listener time.Duration }{
		"service": {200 * time.Millisecond, 0}, "listener": {time.Hour, 200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin, ended := silentTCP(t)
			l := db()
			l.IdleTimeout = of.listener
			u := proxytest.Start(t, proxytest.Options{
				Listeners: []config.Listener{l}, Policy: config.Policy{TunnelIdleTimeout: of.policy},
				Services: dbService(origin.Addr),
			})
			c := u.Dial()
			_, _ = io.Copy(io.Discard, c.R)
			if err := waitAndGet(t, ended); err != nil {
				t.Errorf("the endpoint sees %v, want an end in order", err)
			}
			gone(t, u)
			if n := u.Counter("usher_request_errors_total", nil); n != 0 {
				t.Errorf("%v errors are counted", n)
			}
		})
	}
}

// An endpoint that has left keeps its connections, for tunnel_drain if there is one.
func TestTCPEndpointLeaves(t *testing.T) {
	t.Parallel()
	for name, drain := range map[string]time.Duration{"none": 0, "some": 200 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old, fresh := returningTCP(t), returningTCP(t)
			u := startDB(t, config.Policy{TunnelDrain: drain}, old.Addr)
			c := u.Dial()
			says(t, c, "hello")
			u.Publish(dbService(fresh.Addr)...)
			says(t, u.Dial(), "hello")
			if fresh.Accepted() != 1 {
				t.Error("the new connection goes to the old endpoint")
			}
			if drain == 0 {
				says(t, c, "still here")
				return
			}
			proxytest.Eventually(t, "the connection ends", func() bool {
				_, err := io.WriteString(c.TCPConn, "x")
				return err != nil
			})
			proxytest.Eventually(t, "one is left", func() bool { return open(u) == 1 })
		})
	}
}

// Whoever is connected to an endpoint that is killed is told, and the next is served by
// another.
func TestTCPEndpointDies(t *testing.T) {
	t.Parallel()
	dies, lives := returningTCP(t), returningTCP(t)
	u := startDB(t, config.Policy{}, dies.Addr, lives.Addr)
	clients := []*proxytest.Client{u.Dial(), u.Dial()}
	for _, c := range clients {
		says(t, c, "hello")
	}
	dies.Close()
	ended := 0
	for _, c := range clients {
		_, werr := io.WriteString(c.TCPConn, "x")
		if _, err := c.R.ReadByte(); err != nil || werr != nil {
			ended++
		}
	}
	if ended != 1 {
		t.Errorf("%d connections ended, want 1", ended)
	}
	for range 5 {
		says(t, u.Dial(), "hello")
	}
}

// The drain leaves connections alone until its time is over; one that carries something
// then is reset: its peers are not to take what they got for all.
func TestTCPShutdown(t *testing.T) {
	t.Parallel()
	origin, ended := silentTCP(t)
	u := startDB(t, config.Policy{}, origin.Addr)
	c := u.Dial()
	c.Send("hello")
	proxytest.Eventually(t, "it is there", func() bool { return origin.Received() == "hello" })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	cut := make(chan int, 1)
	go func() { cut <- u.Proxy.Shutdown(ctx) }()
	isReset(t, c.R, "")
	if ctx.Err() == nil {
		t.Error("the connection ended before its time")
	}
	if err := waitAndGet(t, ended); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the endpoint sees %v", err)
	}
	if n := waitAndGet(t, cut); n != 1 {
		t.Errorf("%d connections were cut, want 1", n)
	}
}

// A connection that ends by itself in the drain is not cut, and carries all until then.
func TestTCPShutdownEnds(t *testing.T) {
	t.Parallel()
	u := startDB(t, config.Policy{}, returningTCP(t).Addr)
	c := u.Dial()
	says(t, c, "hello")
	cut := make(chan int, 1)
	go func() { cut <- u.Proxy.Shutdown(t.Context()) }()
	proxytest.Eventually(t, "the listener is closed", func() bool { return len(u.Proxy.Addresses()) == 0 })
	says(t, c, strings.Repeat("x", 100_000))
	_ = c.CloseWrite()
	c.Closed()
	if n := waitAndGet(t, cut); n != 0 {
		t.Errorf("%d connections were cut, want 0", n)
	}
}

// A drain that is forced ends connections at once, those that still look for an endpoint
// too.
func TestTCPShutdownForced(t *testing.T) {
	t.Parallel()
	u := startDB(t, config.Policy{ConnectTimeout: time.Minute}, proxytest.Deaf(t))
	c := u.Dial()
	proxytest.Eventually(t, "it is there", func() bool { return open(u) == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n := u.Proxy.Shutdown(ctx); n != 1 {
		t.Errorf("%d connections were cut, want 1", n)
	}
	isReset(t, c.R, "")
}

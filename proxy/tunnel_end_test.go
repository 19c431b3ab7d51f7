package proxy_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// Much, both ways at the same time, with the ends that close each way.
func TestTunnelLarge(t *testing.T) {
	t.Parallel()
	size := int64(64 << 20)
	if testing.Short() {
		size = 4 << 20
	}
	sums := make(chan []byte, 1)
	origin := agreeing(t, func(c *proxytest.Conn) {
		read := make(chan struct{})
		go func() {
			defer close(read)
			h := sha256.New()
			_, _ = io.Copy(h, c.Conn) // past the recorder: the client waits for the 101
			sums <- h.Sum(nil)
		}()
		_, _ = io.Copy(c.Conn, noise(1, size))
		_ = c.CloseWrite()
		<-read
	})
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	c := switched(t, u)
	_ = c.SetDeadline(time.Now().Add(6 * proxytest.Patience))
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(c.TCPConn, noise(2, size))
		sent <- errors.Join(err, c.CloseWrite())
	}()
	h := sha256.New()
	if n, err := io.Copy(h, c.R); err != nil || n != size || !same(h, noise(1, size)) {
		t.Errorf("the client got %d bytes (%v), the right ones: %t", n, err, same(h, noise(1, size)))
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	want := sha256.New()
	_, _ = io.Copy(want, noise(2, size))
	if got := <-sums; string(got) != string(want.Sum(nil)) {
		t.Error("the endpoint got something else")
	}
	u.Quiet()
	if got := u.Counter("usher_request_body_bytes_total", nil); got != float64(size) {
		t.Errorf("%v bytes of the client are counted", got)
	}
}

// noise is a reader of n bytes that the seed says.
func noise(seed byte, n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), n)
}

func same(h hash.Hash, r io.Reader) bool {
	want := sha256.New()
	_, _ = io.Copy(want, r)
	return string(want.Sum(nil)) == string(h.Sum(nil))
}

// What one side has ended, the other may still answer.
func TestTunnelHalfClose(t *testing.T) {
	t.Parallel()
	heard := make(chan string, 1)
	origin := agreeing(t, func(c *proxytest.Conn) {
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
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})

	c := switched(t, u)
	c.Send("client")
	_ = c.CloseWrite()
	receives(t, c.R, "after lient")
	c.Closed()

	c = switched(t, u)
	c.Send("e")
	receives(t, c.R, "bye")
	c.Closed()
	c.Send("still here")
	_ = c.CloseWrite()
	if got := waitAndGet(t, heard); got != "still here" {
		t.Errorf("the endpoint got %q", got)
	}
	u.Quiet()
	if n := u.Counter("usher_request_errors_total", nil); n != 0 {
		t.Errorf("%v errors are counted", n)
	}
}

// waitAndGet waits for a value.
func waitAndGet[T any](t *testing.T, values <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-values:
	case <-time.After(proxytest.Patience):
		t.Error("nothing came")
	}
	return v
}

// A side that breaks off ends the other, and is told as the reason.
func TestTunnelBreaks(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{"upstream_reset", "client_gone"} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			gone := make(chan bool, 1)
			origin := agreeing(t, func(c *proxytest.Conn) {
				b := make([]byte, 5)
				_, _ = io.ReadFull(c.R, b)
				if reason == "upstream_reset" {
					c.Reply("last words")
					c.Reset()
				} else {
					c.Reply("hello")
				}
				gone <- c.Gone()
			})
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			c := switched(t, u)
			c.Send("hello")
			if reason == "client_gone" {
				receives(t, c.R, "hello")
				c.Cut()
			} else {
				_, _ = io.Copy(io.Discard, c.R) // it ends, by an end or by a reset
			}
			if !waitAndGet(t, gone) {
				t.Error("the endpoint's connection stays open")
			}
			u.Quiet()
			if n := u.Counter("usher_request_errors_total", map[string]string{"reason": reason}); n != 1 {
				t.Errorf("%v ends are counted as %s", n, reason)
			}
			if n := u.Counter("usher_requests_total", map[string]string{"code": "101"}); n != 1 {
				t.Errorf("%v tunnels are counted", n)
			}
		})
	}
}

// ends waits for the end of what a peer of a tunnel gets.
func ends(t *testing.T, what string, r io.Reader) {
	t.Helper()
	b, err := io.ReadAll(r)
	if len(b) > 0 || (err != nil && !errors.Is(err, syscall.ECONNRESET)) {
		t.Errorf("%s got %q, %v, want the end", what, b, err)
	}
}

// silent is an origin that tells when its tunnel has ended, and says and ends nothing
// by itself.
func silent(t *testing.T) (origin *proxytest.Origin, ended <-chan bool) {
	t.Helper()
	gone := make(chan bool, 8)
	return agreeing(t, func(c *proxytest.Conn) { gone <- c.Gone() }), gone
}

func TestTunnelIdle(t *testing.T) {
	t.Parallel()
	origin, ended := silent(t)
	u := proxytest.Start(t, proxytest.Options{
		Policy: config.Policy{TunnelIdleTimeout: 200 * time.Millisecond}, Services: proxytest.Origins(origin.Addr),
	})
	c := switched(t, u)
	ends(t, "the client", c.R)
	if !waitAndGet(t, ended) {
		t.Error("the endpoint's connection stays open")
	}
	u.Quiet()
	if n := u.Counter("usher_request_errors_total", nil); n != 0 {
		t.Errorf("%v errors are counted", n)
	}
}

// A tunnel that usher ends waits no longer than its grace for a side that does not.
func TestTunnelEndsWithoutConsent(t *testing.T) {
	t.Parallel()
	origin, ended := silent(t)
	u := proxytest.Start(t, proxytest.Options{
		Policy: config.Policy{TunnelIdleTimeout: 200 * time.Millisecond}, Services: proxytest.Origins(origin.Addr),
	})
	c := switched(t, u)
	ends(t, "the client", c.R) // which does not close
	waitAndGet(t, ended)
	proxytest.Eventually(t, "the tunnel is over", func() bool { return tunnels(u) == 0 })
	proxytest.Eventually(t, "the client's connection is closed", func() bool {
		_, err := c.Write([]byte("x"))
		return err != nil
	})
}

// An endpoint that has left keeps its tunnels, for tunnel_drain if there is one.
func TestTunnelDrain(t *testing.T) {
	t.Parallel()
	for name, drain := range map[string]time.Duration{"none": 0, "some": 200 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old, fresh := echoing(t), echoing(t)
			u := proxytest.Start(t, proxytest.Options{
				Policy: config.Policy{TunnelDrain: drain}, Services: proxytest.Origins(old.Addr),
			})
			c := switched(t, u)
			u.Publish(proxytest.Origins(fresh.Addr)...)
			says(t, c, "hello")
			says(t, switched(t, u), "hello")
			if fresh.Accepted() != 1 {
				t.Error("the new tunnel goes to the old endpoint")
			}
			if drain > 0 {
				ends(t, "the client", c.R)
				proxytest.Eventually(t, "one tunnel is left", func() bool { return tunnels(u) == 1 })
			}
		})
	}
}

// The drain leaves tunnels alone until its time is over; then both sides get an end, and
// the tunnel is one that was cut.
func TestTunnelShutdown(t *testing.T) {
	t.Parallel()
	origin, ended := silent(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	c := switched(t, u)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	cut := make(chan int, 1)
	go func() { cut <- u.Proxy.Shutdown(ctx) }()
	ends(t, "the client", c.R)
	if ctx.Err() == nil {
		t.Error("the tunnel ended before its time")
	}
	if !waitAndGet(t, ended) {
		t.Error("the endpoint's connection stays open")
	}
	if n := waitAndGet(t, cut); n != 1 {
		t.Errorf("%d connections were cut, want 1", n)
	}
}

// A tunnel that ends by itself in the drain is not cut.
func TestTunnelShutdownEnds(t *testing.T) {
	t.Parallel()
	origin := echoing(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	c := switched(t, u)
	address := u.Addr()
	cut := make(chan int, 1)
	go func() { cut <- u.Proxy.Shutdown(t.Context()) }()
	proxytest.Eventually(t, "the listener is closed", func() bool {
		nc, err := net.Dial("tcp", address)
		if err == nil {
			nc.Close()
		}
		return err != nil
	})
	says(t, c, "still here")
	_ = c.CloseWrite()
	c.Closed()
	if n := waitAndGet(t, cut); n != 0 {
		t.Errorf("%d connections were cut, want 0", n)
	}
}

// A drain that is forced ends tunnels at once.
func TestTunnelShutdownForced(t *testing.T) {
	t.Parallel()
	origin, ended := silent(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	c := switched(t, u)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n := u.Proxy.Shutdown(ctx); n != 1 {
		t.Errorf("%d connections were cut, want 1", n)
	}
	ends(t, "the client", c.R)
	waitAndGet(t, ended)
}

// A shutdown ends tunnels that are silent for some seconds, without waiting for its time.
func TestTunnelShutdownIdle(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for seconds")
	}
	t.Parallel()
	origin, ended := silent(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	c := switched(t, u)
	_ = c.SetDeadline(time.Now().Add(3 * proxytest.Patience))
	cut := make(chan int, 1)
	go func() { cut <- u.Proxy.Shutdown(t.Context()) }()
	ends(t, "the client", c.R)
	c.Close()
	waitAndGet(t, ended)
	if n := waitAndGet(t, cut); n != 0 {
		t.Errorf("%d connections were cut, want 0", n)
	}
}

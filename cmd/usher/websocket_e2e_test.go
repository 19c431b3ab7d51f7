package main_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Every case passes without a usher between.
func TestWebSocketItself(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]*credentials{"plaintext": nil, "TLS": newCredentials(t)} {
		t.Run(name, func(t *testing.T) {
			e := startEcho(t, c)
			socketsAt(e.Listener.Addr().String(), c).matrix(t)
			e.quiet(t)
		})
	}
}

// Every case passes through usher while its table changes every few milliseconds.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	t.Run("plaintext", func(t *testing.T) {
		e := startEcho(t, nil)
		u := launch(t, withFile)
		address := func() string { return strings.TrimPrefix(u.web, "http://") }
		underSwaps(t, e, u, address, nil)
	})
	t.Run("TLS", func(t *testing.T) {
		e := startEcho(t, nil)
		c := newCredentials(t)
		u := startGateway(t, c, echoes(e, 0), "")
		underSwaps(t, e, u.usher, func() string { return u.secure }, c)
	})
	t.Run("TLS on both sides", func(t *testing.T) {
		c := newCredentials(t)
		e := startEcho(t, c)
		u := startGateway(t, c, echoes(e, 0),
			fmt.Sprintf("services: {echo: {upstream: {protocol: https, tls: {ca_file: %q}}}}\n", c.ca))
		underSwaps(t, e, u.usher, func() string { return u.secure }, c)
	})
}

// echoes is the service echo, and another one that differs from one generation to the next.
func echoes(e *echo, generation int) string {
	return "services:\n" + serviceAt("echo", "/", "", e.Listener.Addr().String()) +
		serviceAt("other", fmt.Sprintf("g%d.test/", generation), "", "127.0.0.1:1")
}

// underSwaps plays the matrix through u, whose services are in a file, while that changes.
func underSwaps(t *testing.T, e *echo, u *usher, address func() string, c *credentials) {
	t.Helper()
	u.list(echoes(e, 0))
	u.waitLog(`"msg":"services"`)
	u.waitStatus("any.test", http.StatusOK)
	before := u.metric("usher_table_builds_total")
	s := socketsAt(address(), c)
	steady, ctx := s.talk(t, "/echo")
	var swapping sync.WaitGroup
	defer swapping.Wait()
	swaps, stop := context.WithCancel(ctx)
	defer stop()
	swapping.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for generation := 1; ; generation++ {
			select {
			case <-tick.C:
				u.list(echoes(e, generation))
			case <-swaps.Done():
				return
			}
		}
	})
	s.matrix(t)
	eventually(t, patience, "the table has changed five times", func() bool {
		echoed(ctx, t, steady, websocket.MessageText, []byte("still there"))
		return u.metric("usher_table_builds_total")-before >= 5
	})
	if err := steady.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("the conversation over all of it: %v", err)
	}
	e.quiet(t)
}

// A drain lets conversations go on: those that end by themselves end well; those that do
// not are cut when its time is over, which both sides notice.
func TestWebSocketDrain(t *testing.T) {
	t.Parallel()
	t.Run("plaintext", func(t *testing.T) {
		e := startEcho(t, nil)
		u := launch(t, withFile+"defaults: {drain_timeout: 3s}\n")
		writeFile(t, u.dir+"/services.yaml", echoes(e, 0))
		u.waitLog(`"msg":"services"`)
		overDrain(t, e, u, socketsAt(strings.TrimPrefix(u.web, "http://"), nil))
	})
	t.Run("TLS", func(t *testing.T) {
		e := startEcho(t, nil)
		c := newCredentials(t)
		u := startGateway(t, c, echoes(e, 0), "defaults: {drain_timeout: 3s}\n")
		overDrain(t, e, u.usher, socketsAt(u.secure, c))
	})
}

func overDrain(t *testing.T, e *echo, u *usher, s sockets) {
	t.Helper()
	var conns []*websocket.Conn
	var ctx context.Context
	for range 6 {
		var c *websocket.Conn
		c, ctx = s.talk(t, "/echo")
		conns = append(conns, c)
	}
	u.signal(syscall.SIGTERM)
	u.waitLog(`"msg":"draining"`)
	eventually(t, patience, "no more connections are taken", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(strings.TrimPrefix(s.url, "wss://"), "ws://"))
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	for _, c := range conns {
		echoed(ctx, t, c, websocket.MessageText, []byte("in the drain"))
	}
	for i, c := range conns[:3] {
		if err := c.Close(websocket.StatusGoingAway, "bye"); err != nil {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	for i, c := range conns[3:] {
		if _, _, err := c.Read(ctx); err == nil || ctx.Err() != nil {
			t.Errorf("connection %d: %v", 3+i, err)
		}
	}
	if code := u.wait(patience); code != 4 {
		t.Errorf("usher exits with %d, want 4: it has cut connections", code)
	}
	e.quiet(t)
}

package proxy_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

const asterisk = "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"

// parkedClients returns clients whose connections are parked, which shows in the
// goroutines that are gone.
func parkedClients(t *testing.T, u *proxytest.Usher, n int) []*proxytest.Client {
	t.Helper()
	before := runtime.NumGoroutine()
	clients := make([]*proxytest.Client, n)
	for i := range clients {
		clients[i] = u.Dial()
		clients[i].Send(asterisk)
		clients[i].OK("OPTIONS", "")
	}
	if now := runtime.NumGoroutine(); now < before+n {
		t.Fatalf("%d goroutines more for %d connections", now-before, n)
	}
	proxytest.Eventually(t, "they are parked", func() bool { return runtime.NumGoroutine() < before+n/4 })
	open := u.Metrics.Downstream.Listener("web").Open
	if open.Value() != int64(n) {
		t.Errorf("%d connections open", open.Value())
	}
	for _, c := range clients {
		_ = c.SetDeadline(time.Now().Add(proxytest.Patience)) // the wait for this was long
	}
	return clients
}

// A quiet connection gives up its goroutine, and serves the next request all the same;
// so it does again.
func TestParked(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for connections to be parked")
	}
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(proxytest.Echo(t).Addr)})
	clients := parkedClients(t, u, 100)
	idle := runtime.NumGoroutine()
	for range 2 {
		for _, c := range clients {
			c.Send(asterisk + asterisk) // pipelined
		}
		for _, c := range clients {
			c.OK("OPTIONS", "")
			c.OK("OPTIONS", "")
		}
		proxytest.Eventually(t, "they are parked again", func() bool { return runtime.NumGoroutine() < idle+25 })
	}
	for _, c := range clients {
		c.Close()
	}
	open := u.Metrics.Downstream.Listener("web").Open
	proxytest.Eventually(t, "all have ended", func() bool { return open.Value() == 0 })
}

// The drain closes parked connections, and answers what has arrived on them.
func TestParkedShutdown(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for connections to be parked")
	}
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(proxytest.Echo(t).Addr)})
	clients := parkedClients(t, u, 64)
	for _, c := range clients[:32] {
		c.Send(asterisk)
	}
	if n := u.Proxy.Shutdown(t.Context()); n != 0 {
		t.Errorf("%d were cut", n)
	}
	for i, c := range clients {
		if i < 32 {
			c.OK("OPTIONS", "")
		}
		c.Closed()
	}
}

// A parked connection keeps its deadline.
func TestParkedExpires(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for connections to be parked")
	}
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{KeepaliveTimeout: 2 * time.Second}},
		Services:  proxytest.Origins(proxytest.Echo(t).Addr),
	})
	for _, c := range parkedClients(t, u, 64) {
		c.Closed()
	}
}

// Requests that come just when their connection is being parked are all answered.
func TestParkedJustThen(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for connections to be parked")
	}
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(proxytest.Echo(t).Addr)})
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			c := u.Dial()
			// Around the moment: the second is measured in ticks of 50 ms.
			for pause := 950 + i; pause > 900; pause -= 40 {
				c.Send(asterisk)
				c.OK("OPTIONS", "")
				timer := time.NewTimer(time.Duration(pause) * time.Millisecond)
				<-timer.C
			}
			c.Send(asterisk)
			c.OK("OPTIONS", "")
		})
	}
	all.Wait()
}

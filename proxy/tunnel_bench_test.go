package proxy_test

import (
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"testing"

	"usher/proxy/proxytest"
)

// returning is an origin like echoing that allocates nothing for a message.
func returning(tb testing.TB) *proxytest.Origin {
	tb.Helper()
	return agreeing(tb, func(c *proxytest.Conn) {
		b := make([]byte, 64<<10)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			if !write(c.Conn, b[:n]) {
				return
			}
		}
	})
}

func write(nc net.Conn, b []byte) bool {
	_, err := nc.Write(b)
	return err == nil
}

// A message through a tunnel allocates nothing.
func TestTunnelAllocations(t *testing.T) {
	if proxytest.Race {
		t.Skip("the race detector allocates by itself")
	}
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(returning(t).Addr)})
	c := switched(t, u)
	message := make([]byte, 200)
	const n = 2000
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection would empty the pools
	var before, after runtime.MemStats
	for i := range 2 * n {
		if i == n {
			runtime.ReadMemStats(&before)
		}
		if !write(c.TCPConn, message) {
			t.Fatal("the tunnel is gone")
		}
		if _, err := io.ReadFull(c.TCPConn, message); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if per := float64(after.Mallocs-before.Mallocs) / n; per >= 0.05 {
		t.Errorf("%.3f allocations a message", per)
	}
}

func BenchmarkTunnel(b *testing.B) {
	u := proxytest.Start(b, proxytest.Options{Services: proxytest.Origins(returning(b).Addr)})
	for name, size := range map[string]int{"message=200": 200, "message=16K": 16 << 10, "message=1M": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			c := switched(b, u)
			message, answer := make([]byte, size), make([]byte, size)
			b.ReportAllocs()
			b.SetBytes(int64(2 * size))
			for b.Loop() {
				sent := make(chan bool, 1)
				if size > 16<<10 {
					go func() { sent <- write(c.TCPConn, message) }()
				} else {
					sent <- write(c.TCPConn, message)
				}
				if _, err := io.ReadFull(c.TCPConn, answer); err != nil || !<-sent {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTunnelOpen opens and ends tunnels, through usher and without it: what differs
// is usher's part.
func BenchmarkTunnelOpen(b *testing.B) {
	origin := returning(b)
	u := proxytest.Start(b, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	for name, address := range map[string]string{"usher": u.Addr(), "direct": origin.Addr} {
		b.Run(name, func(b *testing.B) {
			answer := make([]byte, 1024)
			b.ReportAllocs()
			for b.Loop() {
				nc, err := net.Dial("tcp", address)
				if err != nil || !write(nc, []byte(toWebSocket)) {
					b.Fatal(err)
				}
				if n, err := nc.Read(answer); err != nil || string(answer[:12]) != "HTTP/1.1 101" {
					b.Fatalf("%q, %v", answer[:n], err)
				}
				_ = nc.(*net.TCPConn).CloseWrite() //nolint:forcetypeassert // it is TCP
				if _, err := io.Copy(io.Discard, nc); err != nil {
					b.Fatal(err)
				}
				nc.Close()
			}
		})
	}
}

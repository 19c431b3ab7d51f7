package proxy_test

import (
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"testing"

	"usher/config"
	"usher/proxy/proxytest"
)

// returningBytes is an origin like returningTCP that allocates nothing for a message.
func returningBytes(tb testing.TB) *proxytest.Origin {
	tb.Helper()
	return proxytest.Raw(tb, func(c *proxytest.Conn) {
		b := make([]byte, 64<<10)
		for {
			n, err := c.Read(b)
			if err != nil || !write(c.Conn, b[:n]) {
				return
			}
		}
	})
}

// A message over a connection that is carried allocates nothing.
func TestTCPAllocations(t *testing.T) {
	if proxytest.Race {
		t.Skip("the race detector allocates by itself")
	}
	u := startDB(t, config.Policy{}, returningBytes(t).Addr)
	c := u.Dial()
	message := make([]byte, 200)
	const n = 2000
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection would empty the pools
	var before, after runtime.MemStats
	for i := range 2 * n {
		if i == n {
			runtime.ReadMemStats(&before)
		}
		if !write(c.TCPConn, message) {
			t.Fatal("the connection is gone")
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

// BenchmarkTCP sends messages back and forth, small ones and bulk.
func BenchmarkTCP(b *testing.B) {
	u := startDB(b, config.Policy{}, returningBytes(b).Addr)
	for name, size := range map[string]int{"message=200": 200, "message=16K": 16 << 10, "message=1M": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			c := u.Dial()
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

// BenchmarkTCPOpen opens and ends connections, through usher and without it: what differs
// is usher's part.
func BenchmarkTCPOpen(b *testing.B) {
	origin := returningBytes(b)
	u := startDB(b, config.Policy{}, origin.Addr)
	for name, address := range map[string]string{"usher": u.Addr(), "direct": origin.Addr} {
		b.Run(name, func(b *testing.B) {
			answer := make([]byte, 5)
			b.ReportAllocs()
			for b.Loop() {
				nc, err := net.Dial("tcp", address)
				if err != nil || !write(nc, []byte("hello")) {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(nc, answer); err != nil {
					b.Fatal(err)
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

package http2_test

import (
	"sync"
	"testing"

	"usher/proxy/http2"
)

var smallAnswer = handlerFunc(func(s *http2.Stream) {
	_ = s.Respond([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n"+
		"Server: origin\r\nDate: Sat, 28 Nov 2026 10:00:00 GMT\r\n\r\n"), []byte("hello world\n"))
})

// BenchmarkRequests: a small GET, on 16 connections with 16 streams each. The client's work
// is in it, but for TLS not much.
func BenchmarkRequests(b *testing.B) {
	b.Run("h2c", func(b *testing.B) { requests(b, newScene(b, smallAnswer, nil)) })
	b.Run("TLS", func(b *testing.B) { requests(b, newSecureScene(b, smallAnswer, nil)) })
}

func requests(b *testing.B, s *scene) {
	b.Helper()
	const conns, streams = 16, 16
	bursts := make([]*burst, conns)
	for i := range bursts {
		bursts[i] = s.newBurst(streams)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for _, c := range bursts {
		wg.Go(func() {
			for range max(1, b.N/conns/streams) {
				if err := c.run(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkBodies: responses and requests of 1 MiB, one after the other.
func BenchmarkBodies(b *testing.B) {
	data := make([]byte, 1<<20)
	h := handlerFunc(func(s *http2.Stream) {
		for {
			if _, err := s.Next(); err != nil {
				break
			}
		}
		_ = s.Respond([]byte("HTTP/1.1 200 OK\r\n\r\n"), data)
	})
	for name, s := range map[string]*scene{"h2c": newScene(b, h, nil), "TLS": newSecureScene(b, h, nil)} {
		b.Run(name, func(b *testing.B) {
			c := s.newBurst(1)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if err := c.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestAllocs: a small exchange allocates nothing.
func TestAllocs(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	const streams = 16
	c := newScene(t, smallAnswer, nil).newBurst(streams)
	n := testing.AllocsPerRun(200, func() {
		if err := c.run(); err != nil {
			t.Fatal(err)
		}
	})
	if n/streams > 0.1 {
		t.Errorf("%.2f allocations for each request", n/streams)
	}
}

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

package metrics

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkScrape is a scrape of a usher in which every route has had a request: about what
// Prometheus asks for each fifteen seconds.
func BenchmarkScrape(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			s := New("1.2.3", []string{"no_route", "connect_failed"})
			web := s.Downstream.Listener("web")
			inFlight := make([]atomic.Int64, n)
			for i := range n {
				service := fmt.Sprintf("service-%d", i)
				s.Downstream.Acquire(service+".example.com/", service).Count(sample(web))
				s.Downstream.Upstream.Acquire(service).Opened(time.Millisecond)
				endpoint := s.Downstream.Endpoints.Acquire(service, fmt.Sprintf("10.0.0.1:%d", i), &inFlight[i])
				endpoint.Answered(0, http.StatusOK, time.Millisecond)
				s.Health.Acquire(service)
			}
			h := s.Handler()
			size := 0
			b.ReportAllocs()
			for b.Loop() {
				w := &sink{ResponseRecorder: httptest.NewRecorder()}
				h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
				size = w.size
			}
			b.ReportMetric(float64(size), "bytes/scrape")
		})
	}
}

// sink counts what it is given.
type sink struct {
	*httptest.ResponseRecorder
	size int
}

func (s *sink) Write(p []byte) (int, error) {
	s.size += len(p)
	return io.Discard.Write(p)
}

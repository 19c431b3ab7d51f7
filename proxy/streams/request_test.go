package streams

import (
	"sync"
	"testing"

	"usher/proxy/http2"
)

// A stream may be probed once more when it has its next request: it is the race detector
// that sees what is wrong then.
func TestProbeMeetsNext(t *testing.T) {
	t.Parallel()
	s, stream := &Server{}, &http2.Stream{}
	r := s.requestOf(stream)
	var wg sync.WaitGroup
	wg.Go(r.Probe)
	wg.Go(func() {
		if s.requestOf(stream) != r {
			t.Error("the request of a stream is another one")
		}
	})
	wg.Wait()
}

package traffic

import (
	"context"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"usher/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counters are what a test counts.
type counters struct {
	mu  sync.Mutex
	now metrics.Totals
}

func (c *counters) read() metrics.Totals {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.now
	t.Codes = map[string]uint64{"2xx": t.Codes["2xx"]}
	t.Errors = map[string]uint64{"no_route": t.Errors["no_route"]}
	return t
}

func (c *counters) add(requests, errors uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Requests += requests
	if c.now.Codes == nil {
		c.now.Codes, c.now.Errors = map[string]uint64{}, map[string]uint64{}
	}
	c.now.Codes["2xx"] += requests - errors
	c.now.Errors["no_route"] += errors
}

// A point is the difference to the one before, each two seconds, for ten minutes.
func TestSampler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c counters
		c.add(1000, 0) // before the first point: of no step
		s := New(c.read)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.Run(ctx)
		}()
		synctest.Wait()
		if got := s.Recent(); got.StepSeconds != 2 || got.Points == nil || len(got.Points) != 0 {
			t.Errorf("at first: %+v", got)
		}
		c.add(10, 4)
		<-time.After(step)
		synctest.Wait()
		p := s.Recent().Points
		if len(p) != 1 || p[0].Requests != 5 || p[0].Errors["no_route"] != 2 || p[0].Codes["2xx"] != 3 {
			t.Errorf("after a step: %+v", p)
		}
		first := p[0].At
		<-time.After(keep * step)
		synctest.Wait()
		p = s.Recent().Points
		if len(p) != keep || !p[0].At.After(first) || p[0].Requests != 0 || len(p[0].Errors) != 0 {
			t.Errorf("after ten minutes: %d points, the first %+v", len(p), p[0])
		}
		cancel()
		<-ended
	})
}

func TestQuantile(t *testing.T) {
	ms := time.Millisecond
	for name, tt := range map[string]struct {
		buckets []metrics.TotalsBucket
		share   float64
		want    float64
	}{
		"nothing":                  {nil, 0.5, 0},
		"nothing counted":          {[]metrics.TotalsBucket{{Le: ms}, {}}, 0.5, 0},
		"the middle of the first":  {[]metrics.TotalsBucket{{Le: 2 * ms, Count: 10}, {Count: 10}}, 0.5, 0.001},
		"the middle of the second": {[]metrics.TotalsBucket{{Le: ms}, {Le: 3 * ms, Count: 4}, {Count: 4}}, 0.5, 0.002},
		"on a bound": {
			[]metrics.TotalsBucket{{Le: ms, Count: 5}, {Le: 3 * ms, Count: 10}, {Count: 10}}, 0.5, 0.001,
		},
		"above the last": {[]metrics.TotalsBucket{{Le: ms, Count: 1}, {Count: 100}}, 0.99, 0.001},
		"an empty bucket between": {
			[]metrics.TotalsBucket{{Le: ms, Count: 1}, {Le: 2 * ms, Count: 1}, {Le: 4 * ms, Count: 2}, {Count: 2}},
			0.99, 0.00396,
		},
	} {
		if got := Quantile(tt.buckets, tt.share); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

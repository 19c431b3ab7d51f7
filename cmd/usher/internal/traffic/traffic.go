// Package traffic remembers the traffic of the recent past: the differences of counters that
// never fall, at equal steps. Who draws it needs no Prometheus.
package traffic

import (
	"context"
	"sync"
	"time"

	"usher/cmd/usher/internal/api"
	"usher/metrics"
)

const (
	// step is the time between two points, keep how many are remembered.
	step = 2 * time.Second
	keep = 300
)

// Sampler takes a point each step while Run runs.
type Sampler struct {
	read func() metrics.Totals

	mu     sync.Mutex
	points []api.Point
}

// New returns a Sampler of what read returns, which is called in Run's goroutine.
func New(read func() metrics.Totals) *Sampler { return &Sampler{read: read} }

// Run takes points until ctx ends.
func (s *Sampler) Run(ctx context.Context) {
	tick := time.NewTicker(step)
	defer tick.Stop()
	before, at := s.read(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, t := s.read(), time.Now()
		s.add(point(&before, &now, t.Sub(at), t))
		before, at = now, t
	}
}

func (s *Sampler) add(p api.Point) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.points) == keep {
		copy(s.points, s.points[1:])
		s.points = s.points[:keep-1]
	}
	s.points = append(s.points, p)
}

// Recent returns the points, oldest first. Any goroutine may call it; their maps are not to
// be changed.
func (s *Sampler) Recent() api.Traffic {
	s.mu.Lock()
	defer s.mu.Unlock()
	return api.Traffic{StepSeconds: step.Seconds(), Points: append([]api.Point{}, s.points...)}
}

// point is the traffic between two moments.
func point(before, now *metrics.Totals, took time.Duration, at time.Time) api.Point {
	p := api.Point{
		At: at.UTC(), Requests: rate(before.Requests, now.Requests, took),
		Errors: rates(before.Errors, now.Errors, took), Codes: rates(before.Codes, now.Codes, took),
		InFlight: now.InFlight, Connections: now.Connections,
	}
	in := between(before.Durations, now.Durations)
	p.P50, p.P99 = Quantile(in, 0.5), Quantile(in, 0.99)
	return p
}

func rate(before, now uint64, took time.Duration) float64 {
	if now <= before || took <= 0 {
		return 0
	}
	return float64(now-before) / took.Seconds()
}

func rates(before, now map[string]uint64, took time.Duration) map[string]float64 {
	out := map[string]float64{}
	for name, n := range now {
		if r := rate(before[name], n, took); r > 0 {
			out[name] = r
		}
	}
	return out
}

// between is the histogram of what came between two cumulative ones, cumulative too.
func between(before, now []metrics.TotalsBucket) []metrics.TotalsBucket {
	out := make([]metrics.TotalsBucket, len(now))
	for i, b := range now {
		if i < len(before) && before[i].Count <= b.Count {
			b.Count -= before[i].Count
		}
		out[i] = b
	}
	return out
}

// Quantile is the value, in seconds, below which a share of what a cumulative histogram
// counts lies; within a bucket it is taken to lie evenly. What is above the last bound is
// taken to be that. 0: nothing was counted.
func Quantile(buckets []metrics.TotalsBucket, share float64) float64 {
	if len(buckets) == 0 || buckets[len(buckets)-1].Count == 0 {
		return 0
	}
	rank := share * float64(buckets[len(buckets)-1].Count)
	low, below := time.Duration(0), uint64(0)
	for _, b := range buckets {
		if b.Le == 0 {
			break
		}
		if float64(b.Count) >= rank && b.Count > below {
			part := (rank - float64(below)) / float64(b.Count-below)
			return low.Seconds() + part*(b.Le-low).Seconds()
		}
		low, below = b.Le, b.Count
	}
	return low.Seconds()
}

package metrics

import (
	"fmt"
	"maps"
	"sync/atomic"
	"testing"
	"time"
)

// tries are the samples of the tries and of the requests in flight.
func tries(t *testing.T, d *Downstream) map[string]float64 {
	t.Helper()
	all := scrape(t, handler(d))
	out := only(all, "usher_upstream_requests_total")
	maps.Copy(out, only(all, "usher_upstream_requests_in_flight"))
	return out
}

func total(upstream, class string) string {
	return fmt.Sprintf(`usher_upstream_requests_total{code_class=%q,service="s",upstream=%q}`, class, upstream)
}

func inFlight(upstream string) string {
	return fmt.Sprintf(`usher_upstream_requests_in_flight{service="s",upstream=%q}`, upstream)
}

func TestEndpoints(t *testing.T) {
	d := newDownstream(nil)
	var first, second atomic.Int64
	ep := d.Endpoints.Acquire("s", "a:1", &first)
	if got := tries(t, d); len(got) != 0 {
		t.Errorf("without a request: got %v", got)
	}
	if again := d.Endpoints.Acquire("s", "a:1", &second); again != ep {
		t.Error("two instances of one address have series each")
	}
	first.Add(2)
	second.Add(1)
	ep.Answered(0, 200, 2*time.Millisecond)
	ep.Answered(7, 101, 0)
	ep.Answered(0, 404, time.Second)
	ep.Answered(0, 999, 0)
	ep.Unanswered()
	same(t, tries(t, d), map[string]float64{
		total("a:1", "none"): 2, total("a:1", "1xx"): 1, total("a:1", "2xx"): 1, total("a:1", "4xx"): 1,
		total("a:1", "5xx"): 0, inFlight("a:1"): 3,
	})
	got := scrape(t, handler(d))
	if got[`usher_upstream_request_duration_seconds_count{service="s"}`] != 2 ||
		got[`usher_upstream_request_duration_seconds_bucket{service="s",le="0.0025"}`] != 1 {
		t.Errorf("durations: %v", only(got, "usher_upstream_request_duration_seconds"))
	}
	d.Endpoints.Release(ep, &first)
	d.Endpoints.Release(ep, &second)
	if got := tries(t, d); len(got) != 6 || got[inFlight("a:1")] != 0 {
		t.Errorf("what has left is shown once more: got %v", got)
	}
	if got := only(scrape(t, handler(d)), "usher_upstream_request"); len(got) != 0 {
		t.Errorf("what has left is still shown: %v", got)
	}
}

// Only so many endpoints as allowed have series of their own, and what the others have
// counted together never falls, whoever leaves or gets series of its own.
func TestEndpointsBeyondTheLimit(t *testing.T) {
	d := newDownstream(nil)
	d.Endpoints.Limit(1)
	var gauge [3]atomic.Int64
	var eps []*Endpoint
	for i := range gauge {
		ep := d.Endpoints.Acquire("s", fmt.Sprintf("a:%d", i), &gauge[i])
		gauge[i].Add(1)
		ep.Answered(0, 200, 0)
		eps = append(eps, ep)
	}
	want := map[string]float64{
		total("a:0", "none"): 0, total("a:0", "2xx"): 1, total("a:0", "5xx"): 0, inFlight("a:0"): 1,
		total("other", "none"): 0, total("other", "2xx"): 2, total("other", "5xx"): 0, inFlight("other"): 2,
	}
	same(t, tries(t, d), want)
	d.Endpoints.Release(eps[1], &gauge[1])
	want[inFlight("other")] = 1
	same(t, tries(t, d), want) // once more
	same(t, tries(t, d), want) // it is forgotten, and what it counted is not

	d.Endpoints.Limit(2)
	eps[2].Answered(0, 200, 0)
	got := tries(t, d)
	if got[total("a:2", "2xx")] != 2 {
		t.Errorf("with series of its own: %v", got)
	}
	d.Endpoints.Limit(0)
	eps[0].Answered(0, 200, 0)
	eps[2].Unanswered()
	// What was shown by name stays there: only what came since is counted with the others.
	same(t, tries(t, d), map[string]float64{
		total("other", "none"): 1, total("other", "2xx"): 3, total("other", "5xx"): 0, inFlight("other"): 2,
	})
}

func TestEndpointAllocates(t *testing.T) {
	d := newDownstream(nil)
	var gauge atomic.Int64
	ep := d.Endpoints.Acquire("s", "a:1", &gauge)
	ep.Answered(0, 200, time.Millisecond)
	if n := testing.AllocsPerRun(100, func() { ep.Answered(1, 200, time.Millisecond); ep.Unanswered() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkEndpointAnswered(b *testing.B) {
	d := newDownstream(nil)
	var gauge atomic.Int64
	ep := d.Endpoints.Acquire("s", "a:1", &gauge)
	b.ReportAllocs()
	for b.Loop() {
		ep.Answered(0, 200, time.Millisecond)
	}
}

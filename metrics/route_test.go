package metrics

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMethodOf(t *testing.T) {
	f := func(method, want string) {
		t.Helper()
		if got := methods[MethodOf([]byte(method))]; got != want {
			t.Errorf("%q: got %s, want %s", method, got, want)
		}
	}
	for _, m := range []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions, http.MethodConnect, http.MethodTrace,
	} {
		f(m, m)
	}
	f("", "OTHER")
	f("get", "OTHER")
	f("PROPFIND", "OTHER")
	f("OTHER", "OTHER")
	f("GETS", "OTHER")
	f("x{evil=\"1\"}\n", "OTHER")
	f(strings.Repeat("A", 1<<16), "OTHER")
}

func TestCount(t *testing.T) {
	d := newDownstream([]string{"no_route", "connect_failed"})
	web, other := d.Listener("web"), d.Listener("other")
	r := publish(d, "r s")[0]
	r.Count(sample(web))
	r.Count(&Sample{
		Listener: web, Shard: 3, Method: MethodOf([]byte("POST")), Code: 201, Reason: -1, Duration: time.Second,
		Received: 10, Sent: 20,
	})
	r.Count(&Sample{Listener: other, Shard: 9, Method: MethodOf([]byte("BREW")), Code: 502, Reason: 1, Sent: 5})
	r.Count(&Sample{Listener: web, Code: 499, Reason: -1, Duration: time.Hour})
	r.Count(sample(web))
	got := scrape(t, handler(d))
	same(t, only(got, "usher_requests_total"), map[string]float64{
		`usher_requests_total{code="200",listener="web",method="GET",route="r",service="s"}`:     2,
		`usher_requests_total{code="201",listener="web",method="POST",route="r",service="s"}`:    1,
		`usher_requests_total{code="499",listener="web",method="GET",route="r",service="s"}`:     1,
		`usher_requests_total{code="502",listener="other",method="OTHER",route="r",service="s"}`: 1,
	})
	same(t, only(got, "usher_request_errors_total"), map[string]float64{
		`usher_request_errors_total{reason="connect_failed",route="r"}`: 1,
	})
	for name, want := range map[string]float64{
		`usher_request_body_bytes_total{route="r"}`:                                10,
		`usher_response_body_bytes_total{route="r"}`:                               25,
		`usher_request_duration_seconds_count{route="r",service="s"}`:              5,
		`usher_request_duration_seconds_sum{route="r",service="s"}`:                3601.004,
		`usher_request_duration_seconds_bucket{route="r",service="s",le="0.001"}`:  1,
		`usher_request_duration_seconds_bucket{route="r",service="s",le="0.0025"}`: 3,
		`usher_request_duration_seconds_bucket{route="r",service="s",le="1"}`:      4,
		`usher_request_duration_seconds_bucket{route="r",service="s",le="30"}`:     4,
		`usher_request_duration_seconds_bucket{route="r",service="s",le="+Inf"}`:   5,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s: got %v (there: %t), want %v", name, v, ok, want)
		}
	}
}

func TestCountConcurrently(t *testing.T) {
	const goroutines, each = 8, 2_000
	d := newDownstream([]string{"a", "b"})
	r := publish(d, "r s")[0]
	h := handler(d)
	var wait sync.WaitGroup
	for g := range goroutines {
		wait.Go(func() {
			l := d.Listener("web")
			for i := range each {
				r.Count(&Sample{
					Listener: l, Shard: Shard(g), Method: Method(i % len(methods)), Code: 200 + i%10,
					Reason: i%3 - 1, Duration: time.Millisecond, Received: 1, Sent: 2,
				})
			}
		})
	}
	for range 5 {
		scrape(t, h)
	}
	wait.Wait()
	got := scrape(t, h)
	var requests, failed float64
	for name, v := range got {
		if strings.HasPrefix(name, "usher_requests_total{") {
			requests += v
		}
		if strings.HasPrefix(name, "usher_request_errors_total{") {
			failed += v
		}
	}
	const all = goroutines * each
	if requests != all || got[`usher_response_body_bytes_total{route="r"}`] != 2*all ||
		got[`usher_request_body_bytes_total{route="r"}`] != all {
		t.Errorf("%v requests of %d, %v", requests, all, got)
	}
	want := 0
	for i := range each {
		if i%3 > 0 {
			want += goroutines
		}
	}
	if failed != float64(want) {
		t.Errorf("%v errors, want %d", failed, want)
	}
}

// Counting allocates at the first of its kind alone.
func TestCountAllocs(t *testing.T) {
	d := newDownstream([]string{"a", "b"})
	r := publish(d, "r s")[0]
	l := d.Listener("web")
	samples := []*Sample{
		sample(l),
		{Listener: l, Code: 404, Reason: -1},
		{Listener: l, Method: 2, Code: 200, Reason: -1, Received: 1, Sent: 1},
		{Listener: l, Code: 502, Reason: 1},
	}
	count := func() {
		for _, s := range samples {
			r.Count(s)
			l.InFlight.Inc(s.Shard)
			l.InFlight.Dec(s.Shard)
			l.Connections.Add(s.Shard, 1)
			d.Overhead.Observe(s.Shard, s.Duration)
		}
	}
	count()
	if n := testing.AllocsPerRun(200, count); n != 0 {
		t.Errorf("%v allocations", n)
	}
	method := []byte("PROPFIND")
	if n := testing.AllocsPerRun(200, func() { MethodOf(method) }); n != 0 {
		t.Errorf("MethodOf: %v allocations", n)
	}
}

func ExampleRoute_Count() {
	d := newDownstream([]string{"no_route"})
	route := d.Acquire("shop", "orders")
	route.Count(&Sample{Listener: d.Listener("web"), Method: MethodOf([]byte("GET")), Code: 200, Reason: -1})
	for _, c := range *route.requests.Load() {
		fmt.Println(c.listener.name, methods[c.method], c.code, c.n.Value())
	}
	// Output: web GET 200 1
}

func BenchmarkCount(b *testing.B) {
	for _, codes := range []int{1, 8} {
		b.Run(fmt.Sprintf("codes=%d", codes), func(b *testing.B) {
			d := newDownstream(nil)
			r, l := publish(d, "r s")[0], d.Listener("web")
			for i := range codes {
				s := sample(l)
				s.Code += i
				r.Count(s)
			}
			s := sample(l)
			s.Code += codes - 1
			s.Sent = 100
			b.ReportAllocs()
			for b.Loop() {
				r.Count(s)
			}
		})
	}
}

func BenchmarkCountParallel(b *testing.B) {
	d := newDownstream(nil)
	r, l := publish(d, "r s")[0], d.Listener("web")
	var next Shard
	var mu sync.Mutex
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		mu.Lock()
		s := sample(l)
		s.Shard = next
		next++
		mu.Unlock()
		for pb.Next() {
			r.Count(s)
		}
	})
}

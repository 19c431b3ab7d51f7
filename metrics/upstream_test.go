package metrics

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func upstreamHandler(u *Upstream) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(u)
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

func TestUpstream(t *testing.T) {
	u := NewUpstream()
	orders, quiet := u.Acquire("orders"), u.Acquire("quiet")
	u.IdleFrom(func() map[*Connections]int64 { return map[*Connections]int64{orders: 2, quiet: 7} })
	orders.Opened(2 * time.Millisecond)
	orders.Opened(time.Hour)
	orders.Opened(0)
	orders.Closed()
	orders.Opened(0)
	orders.Exhausted()
	orders.Failed(ConnectCertificate)
	orders.Failed(ConnectCertificate)
	quiet.Failed(ConnectTimeout)
	got := scrape(t, upstreamHandler(u))
	for name := range only(got, "usher_upstream_connect_duration_seconds_bucket") {
		delete(got, name)
	}
	delete(got, `usher_upstream_connect_duration_seconds_sum{service="orders"}`)
	same(t, got, map[string]float64{
		`usher_upstream_connections{service="orders",state="idle"}`:                  2,
		`usher_upstream_connections{service="orders",state="active"}`:                1,
		`usher_upstream_pool_exhausted_total{service="orders"}`:                      1,
		`usher_upstream_connect_duration_seconds_count{service="orders"}`:            4,
		`usher_upstream_connect_errors_total{reason="certificate",service="orders"}`: 2,
		`usher_upstream_connect_errors_total{reason="timeout",service="quiet"}`:      1,
	})
}

// Series of a service that nobody has any more are shown once more, and then forgotten;
// those of one whose connections are still open stay.
func TestUpstreamForgets(t *testing.T) {
	u := NewUpstream()
	h := upstreamHandler(u)
	c := u.Acquire("orders")
	if u.Acquire("orders") != c {
		t.Fatal("a service has two series")
	}
	c.Opened(time.Millisecond)
	u.Release(c)
	u.Release(c)
	for range 3 {
		if got := scrape(t, h)[`usher_upstream_connections{service="orders",state="active"}`]; got != 1 {
			t.Fatalf("got %v open", got)
		}
	}
	c.Closed()
	last := scrape(t, h)
	if got, there := last[`usher_upstream_connections{service="orders",state="active"}`]; got != 0 || !there {
		t.Errorf("got %v, %t", got, there)
	}
	same(t, scrape(t, h), nil)
	if again := u.Acquire("orders"); again == c {
		t.Error("forgotten series came back")
	}
}

func TestUpstreamRaces(t *testing.T) {
	u := NewUpstream()
	h := upstreamHandler(u)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				c := u.Acquire("orders")
				c.Opened(time.Millisecond)
				c.Exhausted()
				c.Failed(ConnectRefused)
				c.Closed()
				u.Release(c)
			}
		})
	}
	for range 20 {
		scrape(t, h)
	}
	wg.Wait()
	scrape(t, h)
	if left := scrape(t, h); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

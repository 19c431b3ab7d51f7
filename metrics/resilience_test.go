package metrics

import (
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func resilienceHandler(r *Resilience) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(r)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

func TestResilience(t *testing.T) {
	r := NewResilience()
	orders, unused := r.Acquire("orders"), r.Acquire("unused")
	used := false
	r.Watch(orders, func() (CircuitState, bool) { return CircuitState{Open: true, Limit: 17}, used })
	r.Watch(unused, func() (CircuitState, bool) { return CircuitState{}, false })
	h := resilienceHandler(r)
	same(t, scrape(t, h), map[string]float64{})
	used = true
	same(t, scrape(t, h), map[string]float64{
		`usher_upstream_retry_budget_exhausted_total{service="orders"}`: 0,
		`usher_circuit_open{service="orders"}`:                          1,
		`usher_upstream_concurrency_limit{service="orders"}`:            17,
	})
	orders.Retried(RetryConnect, true)
	orders.Retried(RetryConnect, true)
	orders.Retried(RetryOut, false)
	orders.BudgetExhausted()
	orders.Shed(ShedAdaptive)
	orders.Hedged(HedgeWon)
	orders.Hedged(HedgeFailed)
	orders.Hedged(HedgeFailed)
	same(t, scrape(t, h), map[string]float64{
		`usher_upstream_retry_budget_exhausted_total{service="orders"}`:                             1,
		`usher_circuit_open{service="orders"}`:                                                      1,
		`usher_upstream_concurrency_limit{service="orders"}`:                                        17,
		`usher_requests_shed_total{limit="adaptive_concurrency",service="orders"}`:                  1,
		`usher_upstream_retries_total{outcome="answered",reason="connect_failed",service="orders"}`: 2,
		`usher_upstream_retries_total{outcome="failed",reason="endpoint_out",service="orders"}`:     1,
		`usher_upstream_hedges_total{outcome="won",service="orders"}`:                               1,
		`usher_upstream_hedges_total{outcome="failed",service="orders"}`:                            2,
	})
}

// Series of a service that has left are shown once more, and then forgotten.
func TestResilienceForgets(t *testing.T) {
	r := NewResilience()
	h := resilienceHandler(r)
	g := r.Acquire("orders")
	g.Shed(ShedRequests)
	r.Release(g)
	const name = `usher_requests_shed_total{limit="max_requests",service="orders"}`
	if got := scrape(t, h); got[name] != 1 {
		t.Errorf("not shown once more: %v", got)
	}
	same(t, scrape(t, h), map[string]float64{})
	if r.Acquire("orders") == g {
		t.Error("not forgotten")
	}
}

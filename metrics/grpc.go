package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"usher/config"
)

// Call is how a call of gRPC ended, 0 for what is none.
type Call uint8

// CallOf returns the Call that ended with a status.
func CallOf(s config.GRPCStatus) Call { return Call(s) + 1 }

// callCounters are the counters of a route and service by status, each made at its first
// use.
type callCounters [config.GRPCUnauthenticated + 1]atomic.Pointer[Counter]

func (r *Route) countCall(shard Shard, c Call) {
	cells := lazy(&r.calls, &r.grow, func() *callCounters { return &callCounters{} })
	status := int(c) - 1
	if status >= len(cells) {
		status = int(config.GRPCUnknown)
	}
	lazy(&cells[status], &r.grow, NewCounter).Add(shard, 1)
}

var descCalls = prometheus.NewDesc("usher_grpc_requests_total",
	"Calls of gRPC, by route, service and status: the endpoint's, or the one that usher answered with.",
	[]string{"route", "service", "grpc_status"}, nil)

// collectCalls shows the calls.
func (r *Route) collectCalls(ch chan<- prometheus.Metric) {
	cells := r.calls.Load()
	if cells == nil {
		return
	}
	for i, status := range config.GRPCStatuses() {
		if c := cells[i].Load(); c != nil {
			ch <- prometheus.MustNewConstMetric(descCalls, prometheus.CounterValue, float64(c.Value()),
				r.key.route, r.key.service, status)
		}
	}
}

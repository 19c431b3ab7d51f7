package metrics

import (
	"testing"

	"usher/config"
)

// Calls are counted by the few statuses that there are.
func TestCalls(t *testing.T) {
	set := New("test", []string{"x"})
	r := set.Downstream.Acquire("r", "s")
	l := set.Downstream.Listener("web")
	for _, c := range []Call{
		0, CallOf(config.GRPCOK), CallOf(config.GRPCOK), CallOf(config.GRPCUnauthenticated),
		CallOf(77),
	} {
		r.Count(&Sample{Listener: l, Code: 200, Reason: -1, Call: c})
	}
	same(t, only(scrape(t, set.Handler()), "usher_grpc_requests_total"), map[string]float64{
		`usher_grpc_requests_total{grpc_status="ok",route="r",service="s"}`:              2,
		`usher_grpc_requests_total{grpc_status="unauthenticated",route="r",service="s"}`: 1,
		`usher_grpc_requests_total{grpc_status="unknown",route="r",service="s"}`:         1,
	})
}

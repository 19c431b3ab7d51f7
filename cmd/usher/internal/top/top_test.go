package top

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/term"
)

func noEnv(string) (string, bool) { return "", false }

// begin is a moment; sampleAt is a usher that serves 10 requests a second since then.
var begin = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func sampleAt(seconds int) *Sample {
	n := uint64(seconds) * 10
	contact := begin.Add(time.Duration(seconds) * time.Second).Add(-3 * time.Second)
	return &Sample{
		At:      begin.Add(time.Duration(seconds) * time.Second),
		Counted: begin.Add(time.Duration(seconds) * time.Second),
		Overview: api.Overview{
			Version: "1.0", Started: begin, Ready: true, Generation: 7, Swapped: begin,
			Registries: []api.Registry{{Name: "consul", State: "fresh", Synced: true, LastContact: &contact, Seen: 2}},
			Totals: api.Totals{
				Requests: n, Codes: map[string]uint64{"2xx": n - n/10, "5xx": n / 10},
				Errors:    map[string]uint64{"no_route": n / 10, "loop": 0},
				BytesSent: n * 1000, InFlight: 3, Connections: 5,
				Durations: []api.Bucket{{Seconds: 0.001, Count: n / 2}, {Seconds: 0.01, Count: n}, {Count: n}},
			},
		},
		Services: []api.Service{
			{Name: "orders", Routed: true, Instances: []api.Instance{
				{Health: &api.Health{State: "healthy"}}, {Health: &api.Health{State: "ejected"}},
			}},
			{Name: "cart", Instances: []api.Instance{{Status: "passing"}}},
		},
		Traffic: map[string]Counters{"orders": {
			Requests: float64(n), Errors: float64(n) / 10,
			Durations: []api.Bucket{{Seconds: 0.001, Count: n / 2}, {Seconds: 0.01, Count: n}, {Count: n}},
		}},
	}
}

func TestBetween(t *testing.T) {
	v := Between(sampleAt(10), sampleAt(12))
	near := func(what string, got, want float64) {
		if math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	near("requests", v.Requests, 10)
	near("5xx", v.Codes["5xx"], 1)
	near("sent", v.Sent, 10000)
	near("p50", v.P50, 0.001)
	near("p99", v.P99, 0.001+0.009*0.98)
	if len(v.Errors) != 1 || v.Errors[0] != (Reason{"no_route", 1, 12}) {
		t.Errorf("errors: %+v", v.Errors)
	}
	if len(v.Services) != 2 || v.Services[1].Name != "orders" || v.Services[1].States["ejected"] != 1 {
		t.Fatalf("services: %+v", v.Services)
	}
	near("of orders", v.Services[1].Requests, 10)
	near("failed of orders", v.Services[1].Failed, 0.1)
	near("p99 of orders", v.Services[1].P99, v.P99)
}

// TestBetweenProcesses: another process counts from 0, and nothing is negative.
func TestBetweenProcesses(t *testing.T) {
	next := sampleAt(4)
	next.At, next.Overview.Started = begin.Add(14*time.Second), begin.Add(10*time.Second)
	next.Counted = next.At
	v := Between(sampleAt(10), next)
	if v.Requests != 10 || v.Services[1].Requests != 10 {
		t.Errorf("got %v and %v", v.Requests, v.Services[1].Requests)
	}
	if v := Between(next, next); v.Requests != 0 || v.P99 != 0 {
		t.Errorf("no time at all: got %v, %v", v.Requests, v.P99)
	}
}

func TestSort(t *testing.T) {
	v := &View{Services: []Service{
		{Name: "b", Requests: 1, P99: 9}, {Name: "a", Requests: 1, Failed: 0.5}, {Name: "c", Requests: 7},
	}}
	for _, tt := range []struct {
		by      Order
		reverse bool
		want    string
	}{
		{ByRequests, false, "cab"},
		{ByFailed, false, "abc"},
		{ByLatency, false, "bac"},
		{ByName, false, "abc"},
		{ByName, true, "cba"},
		{ByName.Next(1), false, "cab"},
		{ByRequests.Next(-1), false, "abc"},
	} {
		v.Sort(tt.by, tt.reverse)
		if got := v.Services[0].Name + v.Services[1].Name + v.Services[2].Name; got != tt.want {
			t.Errorf("%d, %v: got %s, want %s", tt.by, tt.reverse, got, tt.want)
		}
	}
}

func TestLines(t *testing.T) {
	v := Between(sampleAt(10), sampleAt(12))
	v.Sort(ByRequests, false)
	v.History = []float64{0, 5, 10}
	got := strings.Join(v.Lines(term.New(&bytes.Buffer{}, "never", noEnv), Layout{}), "\n")
	want := `usher 1.0  up 12s  ready  generation 7, 12s ago

requests 10/s   2xx 9  5xx 1   
latency  p50 1.00ms  p99 9.82ms   in flight 3   connections 5   in 0B/s  out 10.0kB/s

ERRORS    PER SECOND  SINCE START
no_route           1           12

REGISTRY  STATE  CONTACT  SERVICES  HELD
consul    fresh       3s         2     0

SERVICE  PER SECOND ▾    5XX     P99  INSTANCES
orders             10  10.0%  9.82ms  1 ejected, 1 healthy
cart                0      –       –  1 passing, not routed`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestLinesFit: whatever the size, no line is too long and there are not too many.
func TestLinesFit(t *testing.T) {
	v := Between(sampleAt(10), sampleAt(12))
	v.Overview.Config.Refused = []string{strings.Repeat("a long mistake ", 20)}
	for range 50 {
		v.Services = append(v.Services, Service{Name: strings.Repeat("n", 30), States: map[string]int{"healthy": 1}})
	}
	for _, size := range [][2]int{{200, 60}, {80, 24}, {40, 10}, {10, 3}, {1, 1}} {
		p := term.New(&bytes.Buffer{}, "never", noEnv).WithWidth(size[0])
		lines := v.Lines(p, Layout{Height: size[1], Keys: true, Problem: strings.Repeat("x", 300)})
		if len(lines) != size[1] {
			t.Errorf("%v: %d lines", size, len(lines))
		}
		for _, line := range lines {
			if term.Width(line) > size[0] {
				t.Errorf("%v: %q is too long", size, line)
			}
		}
	}
}

func TestReadTraffic(t *testing.T) {
	got, err := ReadTraffic(strings.NewReader(`# HELP usher_requests_total x
usher_requests_total{listener="web",route="a",service="orders",method="GET",code="200"} 7
usher_requests_total{listener="web",route="b",service="orders",method="GET",code="503"} 2 # {trace_id="x"} 1
usher_requests_total{service="q\"u\\o{t}e,",code="200"} 1e3
usher_requests_total{service="",code="404"} 5
usher_request_duration_seconds_bucket{route="a",service="orders",le="0.1"} 3
usher_request_duration_seconds_bucket{route="b",service="orders",le="0.1"} 2
usher_request_duration_seconds_bucket{route="a",service="orders",le="+Inf"} 9
usher_other{service="orders"} 5
`))
	orders := got["orders"]
	if err != nil || len(got) != 2 || orders.Requests != 9 || orders.Errors != 2 || got[`q"u\o{t}e,`].Requests != 1000 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if len(orders.Durations) != 2 || orders.Durations[0] != (api.Bucket{Seconds: 0.1, Count: 5}) ||
		orders.Durations[1] != (api.Bucket{Count: 9}) {
		t.Errorf("got %+v", orders.Durations)
	}
}

// FuzzReadTraffic: no text makes it panic.
func FuzzReadTraffic(f *testing.F) {
	f.Add(`usher_requests_total{service="a",code="200"} 7`)
	f.Add(`usher_requests_total{service="a\`)
	f.Add(`usher_request_duration_seconds_bucket{service="a",le="x"} NaN`)
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := ReadTraffic(strings.NewReader(text)); err == nil && got == nil {
			t.Error("nothing")
		}
	})
}

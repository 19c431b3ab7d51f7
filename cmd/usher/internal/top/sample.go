// Package top is what usher top shows: samples of a running usher, what happened between
// two of them, and how that looks. It asks nobody and reads no clock: one goroutine hands
// it samples and draws its lines.
package top

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"usher/cmd/usher/internal/api"
)

// Sample is a running usher at a moment.
type Sample struct {
	At       time.Time
	Overview api.Overview
	// Services are the states of the services, Traffic their counters, both as of Counted,
	// which may be an earlier sample's.
	Services []api.Service
	Traffic  map[string]Counters
	Counted  time.Time
}

// Counters are those of one service since usher's start.
type Counters struct {
	Requests, Errors float64 // Errors are answers of 500 and above
	Durations        []api.Bucket
}

// View is what happened between two samples, per second, and how things stand.
type View struct {
	At       time.Time
	Overview api.Overview
	Requests float64
	Codes    map[string]float64
	Errors   []Reason
	Received float64
	Sent     float64
	P50, P99 float64
	Services []Service
	// History are the requests a second of the views so far, the latest last.
	History []float64
}

// Reason is how often usher itself answered for one reason, per second.
type Reason struct {
	Reason string
	Rate   float64
	Total  uint64
}

// Service is one service's part.
type Service struct {
	Name     string
	Requests float64
	// Failed is the share of answers of 500 and above.
	Failed float64
	P99    float64
	// States counts its instances by state.
	States map[string]int
	Routed bool
	Held   int
}

// Between works out what happened from one sample to the next. Counters that went back
// belong to another process: what it counts so far is what happened.
func Between(a, b *Sample) *View {
	took := b.At.Sub(a.At).Seconds()
	x, y := &a.Overview.Totals, &b.Overview.Totals
	if y.Requests < x.Requests || !a.Overview.Started.Equal(b.Overview.Started) {
		x, a = &api.Totals{}, &Sample{Counted: a.Counted}
	}
	v := &View{
		At: b.At, Overview: b.Overview, Codes: map[string]float64{},
		Requests: rate(float64(x.Requests), float64(y.Requests), took),
		Received: rate(float64(x.BytesReceived), float64(y.BytesReceived), took),
		Sent:     rate(float64(x.BytesSent), float64(y.BytesSent), took),
		P50:      quantile(0.5, x.Durations, y.Durations),
		P99:      quantile(0.99, x.Durations, y.Durations),
	}
	for class, n := range y.Codes {
		v.Codes[class] = rate(float64(x.Codes[class]), float64(n), took)
	}
	for reason, n := range y.Errors {
		if n > 0 {
			v.Errors = append(v.Errors, Reason{reason, rate(float64(x.Errors[reason]), float64(n), took), n})
		}
	}
	slices.SortFunc(v.Errors, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(b.Rate, a.Rate), cmp.Compare(b.Total, a.Total), cmp.Compare(a.Reason, b.Reason))
	})
	v.services(a, b, b.Counted.Sub(a.Counted).Seconds())
	return v
}

func rate(from, to, took float64) float64 {
	if took <= 0 || to < from {
		return 0
	}
	return (to - from) / took
}

// services puts the states of the services beside their traffic.
func (v *View) services(a, b *Sample, took float64) {
	byName := map[string]*Service{}
	for i := range b.Services {
		s := &b.Services[i]
		t := byName[s.Name]
		if t == nil {
			t = &Service{Name: s.Name, States: map[string]int{}}
			byName[s.Name] = t
		}
		t.Routed = t.Routed || s.Routed
		if s.Hold != nil {
			t.Held += s.Hold.Instances
		}
		for j := range s.Instances {
			t.States[stateOf(&s.Instances[j])]++
		}
	}
	for name, now := range b.Traffic {
		t := byName[name]
		if t == nil {
			continue // of rules that answer by themselves, and of services that left
		}
		before := a.Traffic[name]
		t.Requests = rate(before.Requests, now.Requests, took)
		if t.Requests > 0 {
			t.Failed = rate(before.Errors, now.Errors, took) / t.Requests
		}
		t.P99 = quantile(0.99, before.Durations, now.Durations)
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		v.Services = append(v.Services, *byName[name])
	}
}

func stateOf(in *api.Instance) string {
	if in.Health != nil {
		return in.Health.State
	}
	return in.Status
}

// quantile is that of what two cumulative histograms differ in, straight between the bounds
// of a bucket; 0: nothing happened.
func quantile(q float64, a, b []api.Bucket) float64 {
	before := map[float64]uint64{}
	for _, x := range a {
		before[x.Seconds] = x.Count
	}
	count := func(x api.Bucket) float64 { return max(0, float64(x.Count)-float64(before[x.Seconds])) }
	if len(b) == 0 {
		return 0
	}
	want := q * count(b[len(b)-1])
	if want == 0 {
		return 0
	}
	low, below := 0.0, 0.0
	for _, x := range b {
		n := count(x)
		if n >= want {
			if x.Seconds == 0 || math.IsInf(x.Seconds, 1) {
				return low // any time beyond the last bound
			}
			return low + (x.Seconds-low)*(want-below)/(n-below)
		}
		low, below = x.Seconds, n
	}
	return low
}

// Order is what the services are sorted by.
type Order int

// The orders; those by a number have the largest first.
const (
	ByRequests Order = iota
	ByFailed
	ByLatency
	ByName
	orders
)

// Next is the order by steps, around.
func (o Order) Next(steps int) Order { return (o + Order(steps) + orders) % orders }

// Sort sorts the services.
func (v *View) Sort(by Order, reverse bool) {
	slices.SortStableFunc(v.Services, func(a, b Service) int {
		n := 0
		switch by {
		case ByRequests:
			n = cmp.Compare(b.Requests, a.Requests)
		case ByFailed:
			n = cmp.Compare(b.Failed, a.Failed)
		case ByLatency:
			n = cmp.Compare(b.P99, a.P99)
		}
		n = cmp.Or(n, strings.Compare(a.Name, b.Name))
		if reverse {
			n = -n
		}
		return n
	})
}

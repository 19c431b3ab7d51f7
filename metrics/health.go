package metrics

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Health counts what is known of endpoints' health. It is a prometheus.Collector.
type Health struct {
	mu       sync.Mutex
	services map[string]*ServiceHealth
	standing func() map[string]*Standing
}

// Standing is how the endpoints of a service stand at one moment.
type Standing struct {
	// States are the numbers of endpoints in each state.
	States map[string]int
	// Disagreements are the endpoints of which the registry and the probes say different
	// things; Panicking the clusters that try all of theirs.
	Disagreements, Panicking int
}

// ServiceHealth holds the series of one service. Its methods may be called from any
// goroutine.
type ServiceHealth struct {
	service string

	passed, failed atomic.Uint64
	durations      atomic.Pointer[Histogram]
	grow           sync.Mutex

	mu        sync.Mutex
	ejections map[string]uint64

	// users, shown and told are guarded by Health.mu. Told are the states that were shown.
	users int
	shown bool
	told  map[string]bool
}

// NewHealth returns a Health without services.
func NewHealth() *Health { return &Health{services: map[string]*ServiceHealth{}} }

// StandingFrom makes f say at each collection how the endpoints stand.
func (h *Health) StandingFrom(f func() map[string]*Standing) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.standing = f
}

// Acquire returns the series of a service for one more user, made at first.
func (h *Health) Acquire(service string) *ServiceHealth {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.services[service]
	if s == nil {
		s = &ServiceHealth{service: service, ejections: map[string]uint64{}, told: map[string]bool{}}
		h.services[service] = s
	}
	s.users++
	s.shown = false
	return s
}

// Release takes a user's hold away. Without the last one the series is shown once more
// and then forgotten.
func (h *Health) Release(s *ServiceHealth) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.users--
}

// Ejected counts an ejection.
func (s *ServiceHealth) Ejected(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ejections[reason]++
}

// Probed counts a probe and the time it took.
func (s *ServiceHealth) Probed(ok bool, took time.Duration) {
	if ok {
		s.passed.Add(1)
	} else {
		s.failed.Add(1)
	}
	lazy(&s.durations, &s.grow, newConnectDurations).Observe(anyShard(), took)
}

var (
	descEndpoints = prometheus.NewDesc("usher_endpoints",
		"Endpoints by their state.", []string{"service", "state"}, nil)
	descDisagreements = prometheus.NewDesc("usher_health_disagreements",
		"Endpoints of which the registry and usher's probes say different things.", []string{"service"}, nil)
	descPanic = prometheus.NewDesc("usher_health_panic",
		"1 while too few endpoints are healthy, so that all are tried.", []string{"service"}, nil)
	descEjections = prometheus.NewDesc("usher_upstream_ejections_total",
		"Endpoints ejected by what requests met there, by reason.", []string{"service", "reason"}, nil)
	descHealthChecks = prometheus.NewDesc("usher_health_checks_total",
		"Probes of endpoints, by result.", []string{"service", "result"}, nil)
	descHealthCheckDuration = prometheus.NewDesc("usher_health_check_duration_seconds",
		"Time of a probe, connecting included.", []string{"service"}, nil)
)

// Describe implements prometheus.Collector.
func (h *Health) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descEndpoints, descDisagreements, descPanic, descEjections, descHealthChecks, descHealthCheckDuration,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (h *Health) Collect(ch chan<- prometheus.Metric) {
	h.mu.Lock()
	standing := h.standing
	h.mu.Unlock()
	now := map[string]*Standing{}
	if standing != nil {
		now = standing() // outside the lock: it has its own
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, s := range h.services {
		if s.users == 0 && s.shown {
			delete(h.services, name)
			continue
		}
		s.shown = s.users == 0
		s.collect(ch, now[name])
	}
}

// collect shows one service; its endpoints stand as now says, nil for none. The caller
// holds Health.mu.
func (s *ServiceHealth) collect(ch chan<- prometheus.Metric, now *Standing) {
	if now == nil {
		now = &Standing{}
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		labels = append([]string{s.service}, labels...)
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	counter := func(d *prometheus.Desc, n uint64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), s.service, label)
	}
	for state := range now.States {
		s.told[state] = true
	}
	s.told["healthy"] = true
	for _, state := range slices.Sorted(maps.Keys(s.told)) {
		gauge(descEndpoints, now.States[state], state)
	}
	gauge(descPanic, min(1, now.Panicking))
	s.mu.Lock()
	for reason, n := range s.ejections {
		counter(descEjections, n, reason)
	}
	s.mu.Unlock()
	if d := s.durations.Load(); d != nil {
		gauge(descDisagreements, now.Disagreements)
		counter(descHealthChecks, s.passed.Load(), "pass")
		counter(descHealthChecks, s.failed.Load(), "fail")
		collectHistogram(ch, descHealthCheckDuration, d, s.service)
	}
}

package metrics

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const namespace = "usher_"

// Set is every metric of one usher process.
type Set struct {
	Downstream *Downstream
	Discovery  *Discovery
	Health     *Health
	Table      *Table
	Process    *Process
	TLS        *TLS
	ACME       *ACME
	Admin      *Admin
	// AccessLogDropped counts the entries that the access log did not write.
	AccessLogDropped *Counter

	registry *prometheus.Registry
}

// New returns a Set with everything at zero. Version is shown as build_info;
// reasons are the words that Sample.Reason indexes.
func New(version string, reasons []string) *Set {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s := &Set{
		Downstream: newDownstream(reasons),
		Discovery:  newDiscovery(r),
		Health:     NewHealth(),
		Table:      newTable(r),
		Process:    newProcess(r, version),
		TLS:        NewTLS(),
		ACME:       newACME(r),
		Admin:      newAdmin(r),
		registry:   r,
	}
	s.AccessLogDropped = newAccessLogDropped(r)
	r.MustRegister(s.Downstream, s.Health, s.TLS)
	return s
}

// Handler serves the metrics in the formats Prometheus asks for. OpenMetrics has exemplars.
func (s *Set) Handler() http.Handler {
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{Registry: s.registry, EnableOpenMetrics: true})
}

// Register adds the series of a collector that keeps its own figures.
func (s *Set) Register(c prometheus.Collector) { s.registry.MustRegister(c) }

// Gatherer gives the metrics to tests and other exporters.
func (s *Set) Gatherer() prometheus.Gatherer { return s.registry }

// Table counts the builds of the routing table.
type Table struct {
	builds   *prometheus.CounterVec
	duration prometheus.Histogram
	lastSwap prometheus.Gauge
	version  prometheus.Gauge
	routes   *prometheus.GaugeVec
	conflict prometheus.Gauge
}

func newTable(r prometheus.Registerer) *Table {
	t := &Table{
		builds: counterVec(r, "table_builds_total",
			"Tables built, by result: clean, or refused when rules had to be left out.", "result"),
		duration: register(r, prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: namespace + "table_build_duration_seconds", Help: "Time to build and publish a table.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25},
		})),
		lastSwap: gauge(r, "table_last_swap_timestamp_seconds", "When the table in use was published."),
		version:  gauge(r, "table_version", "Number of the table in use."),
		routes:   gaugeVec(r, "table_routes", "Routes in use, by where they come from.", "source"),
		conflict: gauge(r, "table_conflicts", "Claims of a match that another claim of it outranks."),
	}
	t.builds.WithLabelValues("clean")
	t.builds.WithLabelValues("refused")
	return t
}

// Built is what one build came to.
type Built struct {
	Version   uint64
	At        time.Time
	Took      time.Duration
	Routes    map[string]int
	Refused   int
	Conflicts int
}

// Published counts a table that is now in use.
func (t *Table) Published(b Built) {
	result := "clean"
	if b.Refused > 0 {
		result = "refused"
	}
	t.builds.WithLabelValues(result).Inc()
	t.duration.Observe(b.Took.Seconds())
	t.lastSwap.Set(float64(b.At.UnixMilli()) / 1e3)
	t.version.Set(float64(b.Version))
	t.conflict.Set(float64(b.Conflicts))
	for source, n := range b.Routes {
		t.routes.WithLabelValues(source).Set(float64(n))
	}
}

// Process is what is known of the process and its configuration.
type Process struct {
	reloads     *prometheus.CounterVec
	successful  prometheus.Gauge
	successTime prometheus.Gauge
	info        *prometheus.GaugeVec
	ready       prometheus.Gauge
	logged      *prometheus.CounterVec
}

func newProcess(r prometheus.Registerer, version string) *Process {
	build := gaugeVec(r, "build_info", "The build; always 1.", "version", "goversion")
	build.WithLabelValues(version, runtime.Version()).Set(1)
	p := &Process{
		reloads:    counterVec(r, "config_reloads_total", "Reloads of the configuration, by result.", "result"),
		successful: gauge(r, "config_last_reload_successful", "1 if the last reload was taken."),
		successTime: gauge(r, "config_last_reload_success_timestamp_seconds",
			"When a configuration was last taken."),
		info:   gaugeVec(r, "config_info", "The configuration in use; always 1.", "hash"),
		ready:  gauge(r, "ready", "1 while /readyz says yes."),
		logged: counterVec(r, "log_messages_total", "Messages logged, by level.", "level"),
	}
	for _, result := range []string{"success", "failure"} {
		p.reloads.WithLabelValues(result)
	}
	for _, level := range []string{"debug", "info", "warn", "error"} {
		p.logged.WithLabelValues(level)
	}
	return p
}

// ConfigTaken notes the configuration now in use; first is the one of the start,
// which is no reload.
func (p *Process) ConfigTaken(hash string, at time.Time, first bool) {
	if !first {
		p.reloads.WithLabelValues("success").Inc()
	}
	p.successful.Set(1)
	p.successTime.Set(float64(at.UnixMilli()) / 1e3)
	p.info.Reset()
	p.info.WithLabelValues(hash).Set(1)
}

// ConfigRefused notes a configuration that was refused.
func (p *Process) ConfigRefused() {
	p.reloads.WithLabelValues("failure").Inc()
	p.successful.Set(0)
}

// Ready shows whether usher is ready.
func (p *Process) Ready(yes bool) {
	if yes {
		p.ready.Set(1)
	} else {
		p.ready.Set(0)
	}
}

// Logged counts a message of the given level, in lower case.
func (p *Process) Logged(level string) { p.logged.WithLabelValues(level).Inc() }

func gauge(r prometheus.Registerer, name, help string) prometheus.Gauge {
	return register(r, prometheus.NewGauge(prometheus.GaugeOpts{Name: namespace + name, Help: help}))
}

func gaugeVec(r prometheus.Registerer, name, help string, labels ...string) *prometheus.GaugeVec {
	return register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: namespace + name, Help: help}, labels))
}

func counterVec(r prometheus.Registerer, name, help string, labels ...string) *prometheus.CounterVec {
	return register(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: namespace + name, Help: help}, labels))
}

func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	r.MustRegister(c)
	return c
}

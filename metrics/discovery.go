package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Discovery counts what the registries say. Its methods may be called from any
// goroutine.
type Discovery struct {
	up, stale, lastSync, index, watches, refused, filtered, held *prometheus.GaugeVec

	resets, updates, errors, missed *prometheus.CounterVec
	propagation, canary             *prometheus.HistogramVec
}

func newDiscovery(r prometheus.Registerer) *Discovery {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return gaugeVec(r, "discovery_"+name, help, "registry")
	}
	counter := func(name, help string, more ...string) *prometheus.CounterVec {
		return counterVec(r, "discovery_"+name, help, append([]string{"registry"}, more...)...)
	}
	return &Discovery{
		up:       gauge("up", "1 while the registry answers."),
		stale:    gauge("stale", "1 while what is known of the registry may be out of date."),
		lastSync: gauge("last_sync_timestamp_seconds", "When the registry last answered."),
		index:    gauge("index", "The registry's index (Consul)."),
		watches:  gauge("watches", "Watches running."),
		refused:  gauge("refused_rules", "Announced rules that were refused."),
		filtered: gauge("acl_filtered", "1 while the registry leaves services out for want of rights."),
		held:     gauge("held_endpoints", "Endpoints kept though the registry no longer lists them."),
		resets:   counter("index_resets_total", "Times the index went backwards."),
		updates:  counter("updates_total", "Updates of a service, by whether they changed it.", "result"),
		errors:   counter("watch_errors_total", "Failed queries, by reason.", "reason"),
		missed:   counter("canary_missed_total", "Changes of the canary that were not routable before the next one."),
		canary: register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    namespace + "discovery_canary_seconds",
			Help:    "Time from a change of the canary at its registry to the table that routes it.",
			Buckets: []float64{.0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"registry"})),
		propagation: register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    namespace + "discovery_propagation_seconds",
			Help:    "Time from a registry's answer to the table that holds it being in use.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}, []string{"registry"})),
	}
}

// gauges are those with a series for each registry.
func (d *Discovery) gauges() []*prometheus.GaugeVec {
	return []*prometheus.GaugeVec{
		d.up, d.stale, d.lastSync, d.index, d.watches, d.refused, d.filtered, d.held,
	}
}

// Track begins the series of a registry at zero.
func (d *Discovery) Track(registry string) {
	for _, g := range d.gauges() {
		g.WithLabelValues(registry)
	}
	d.propagation.WithLabelValues(registry)
	d.resets.WithLabelValues(registry)
	d.updates.WithLabelValues(registry, "changed")
	d.updates.WithLabelValues(registry, "unchanged")
	d.errors.WithLabelValues(registry, "timeout")
	d.errors.WithLabelValues(registry, "unreachable")
}

// Forget ends the series of a registry.
func (d *Discovery) Forget(registry string) {
	l := prometheus.Labels{"registry": registry}
	for _, g := range d.gauges() {
		g.DeletePartialMatch(l)
	}
	for _, c := range []*prometheus.CounterVec{d.resets, d.updates, d.errors, d.missed} {
		c.DeletePartialMatch(l)
	}
	d.propagation.DeletePartialMatch(l)
	d.canary.DeletePartialMatch(l)
}

// TrackCanary begins the series of a registry's canary at zero.
func (d *Discovery) TrackCanary(registry string) {
	d.canary.WithLabelValues(registry)
	d.missed.WithLabelValues(registry)
}

// CanarySeen observes the time from a change of the canary to its being routable.
func (d *Discovery) CanarySeen(registry string, took time.Duration) {
	d.canary.WithLabelValues(registry).Observe(took.Seconds())
}

// CanaryMissed counts n changes of the canary that were never seen.
func (d *Discovery) CanaryMissed(registry string, n uint64) {
	d.missed.WithLabelValues(registry).Add(float64(n))
}

// Filtered notes whether the registry leaves services out for want of rights.
func (d *Discovery) Filtered(registry string, yes bool) {
	v := 0.0
	if yes {
		v = 1
	}
	d.filtered.WithLabelValues(registry).Set(v)
}

// Held sets the number of instances kept though the registry does not list them.
func (d *Discovery) Held(registry string, n int) { d.held.WithLabelValues(registry).Set(float64(n)) }

// Update counts an update of a service; result is changed or unchanged.
func (d *Discovery) Update(registry, result string) {
	d.updates.WithLabelValues(registry, result).Inc()
}

// Watches adds n, which may be negative, to the running watches.
func (d *Discovery) Watches(registry string, n int) {
	if n != 0 {
		d.watches.WithLabelValues(registry).Add(float64(n))
	}
}

// Reset counts an index that went backwards.
func (d *Discovery) Reset(registry string) { d.resets.WithLabelValues(registry).Inc() }

// Error counts a failed query of one service; the registry is not down for it.
func (d *Discovery) Error(registry, reason string) { d.errors.WithLabelValues(registry, reason).Inc() }

// Answered notes an answer of the registry at t. An index of 0 is not shown.
func (d *Discovery) Answered(registry string, t time.Time, index uint64) {
	d.up.WithLabelValues(registry).Set(1)
	d.stale.WithLabelValues(registry).Set(0)
	d.lastSync.WithLabelValues(registry).Set(float64(t.UnixMilli()) / 1e3)
	if index > 0 {
		d.index.WithLabelValues(registry).Set(float64(index))
	}
}

// Failed notes a failed query.
func (d *Discovery) Failed(registry, reason string) {
	d.up.WithLabelValues(registry).Set(0)
	d.stale.WithLabelValues(registry).Set(1)
	d.errors.WithLabelValues(registry, reason).Inc()
}

// Refused sets the number of refused rules of a registry.
func (d *Discovery) Refused(registry string, n int) {
	d.refused.WithLabelValues(registry).Set(float64(n))
}

// Propagated observes the time from an answer to its table being in use.
func (d *Discovery) Propagated(registry string, took time.Duration) {
	d.propagation.WithLabelValues(registry).Observe(took.Seconds())
}

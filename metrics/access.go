package metrics

import "github.com/prometheus/client_golang/prometheus"

// newAccessLogDropped returns the counter of the entries that the access log did not write.
func newAccessLogDropped(r prometheus.Registerer) *Counter {
	c := NewCounter()
	register(r, prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: namespace + "access_log_dropped_total",
		Help: "Entries of the access log that were not written: its output was full, stuck or too slow.",
	}, func() float64 { return float64(c.Value()) }))
	return c
}

package metrics

import (
	"encoding/hex"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// exemplar is a traced observation.
type exemplar struct {
	trace [16]byte
	value time.Duration
	at    time.Time
}

// exemplars hold the last one of each bucket.
type exemplars []atomic.Pointer[exemplar]

// Exemplify makes a traced observation the example of its bucket. It allocates, so that it
// is for observations that are traced alone; the histogram counts nothing for it. It may be
// called from any goroutine.
func (h *Histogram) Exemplify(trace [16]byte, d time.Duration, at time.Time) {
	list := h.exemplars.Load()
	if list == nil {
		fresh := make(exemplars, len(h.bounds)+1)
		h.exemplars.CompareAndSwap(nil, &fresh)
		list = h.exemplars.Load()
	}
	(*list)[h.bucketOf(d)].Store(&exemplar{trace: trace, value: d, at: at})
}

// withExemplars adds what examples h has to the metric that shows it.
func withExemplars(m prometheus.Metric, h *Histogram) prometheus.Metric {
	list := h.exemplars.Load()
	if list == nil {
		return m
	}
	var shown []prometheus.Exemplar
	for i := range *list {
		if e := (*list)[i].Load(); e != nil {
			shown = append(shown, prometheus.Exemplar{
				Value: e.value.Seconds(), Timestamp: e.at,
				Labels: prometheus.Labels{"trace_id": hex.EncodeToString(e.trace[:])},
			})
		}
	}
	if len(shown) == 0 {
		return m
	}
	return prometheus.MustNewMetricWithExemplars(m, shown...)
}

package certs_test

import (
	"github.com/prometheus/client_golang/prometheus"
)

// sample returns the value of a series, and how many there are of its name.
func (s *scene) sample(name string, labels map[string]string) (value float64, series int) {
	s.t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(s.metrics)
	families, err := r.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			series++
			matched := 0
			for _, l := range m.GetLabel() {
				if labels[l.GetName()] == l.GetValue() {
					matched++
				}
			}
			if matched == len(labels) {
				value += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return value, series
}

func (s *scene) refused() float64 {
	n, _ := s.sample("usher_tls_refused_certificates", nil)
	return n
}

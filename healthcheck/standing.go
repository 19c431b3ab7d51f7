package healthcheck

import "usher/metrics"

// standing is how the endpoints of each service stand, for the metrics.
func (m *Monitor) standing() map[string]*metrics.Standing {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]*metrics.Standing{}
	of := func(service string) *metrics.Standing {
		s := out[service]
		if s == nil {
			s = &metrics.Standing{States: map[string]int{}}
			out[service] = s
		}
		return s
	}
	for _, r := range m.records {
		if r.left > 0 {
			continue
		}
		s := of(r.service)
		s.States[r.state.String()]++
		if r.disagrees() {
			s.Disagreements++
		}
	}
	if m.panicking == 0 {
		return out
	}
	for _, c := range m.clusters {
		if c.panic {
			of(c.Services[0]).Panicking++
		}
	}
	return out
}

package proxytest

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Clean waits until nothing is held that requests need: none is in flight, no tunnel is
// open, and no connection to an endpoint is in use. clients is how many connections of
// clients may be open, idle how many to the endpoints.
func (u *Usher) Clean(clients, idle int) {
	u.tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); ; <-tick.C {
		left := u.left(clients, idle)
		if left == "" {
			return
		}
		if time.Since(begin) > Patience {
			u.tb.Fatalf("still held: %s", left)
		}
	}
}

// left tells what is held beyond what may be; empty: nothing.
func (u *Usher) left(clients, idle int) string {
	may := map[string]int{
		"usher_requests_in_flight": 0, "usher_upgraded_connections": 0, "usher_open_connections": clients,
		"usher_upstream_connections active": 0, "usher_upstream_connections idle": idle,
	}
	families, err := u.Metrics.Gatherer().Gather()
	if err != nil {
		return err.Error()
	}
	var out []string
	note := func(name string, n, limit float64) {
		if n > limit {
			out = append(out, fmt.Sprintf("%s %g", name, n))
		}
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				if l.GetName() == "state" {
					name += " " + l.GetValue()
				}
			}
			if limit, known := may[name]; known {
				note(name, math.Abs(m.GetGauge().GetValue()), float64(limit))
			}
		}
	}
	listeners, endpoints := u.InFlight()
	note("requests of listeners", math.Abs(float64(listeners)), 0)
	note("requests of endpoints", math.Abs(float64(endpoints)), 0)
	return strings.Join(out, ", ")
}

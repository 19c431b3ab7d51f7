package metrics

import (
	"testing"
	"time"
)

// A service's series begin at zero where that says something, and go with it; a state
// that is over is shown as such.
func TestHealth(t *testing.T) {
	s := New("1.2.3", nil)
	states := map[string]int{"healthy": 2, "ejected": 1}
	s.Health.StandingFrom(func() map[string]*Standing {
		return map[string]*Standing{"orders": {States: states, Disagreements: 1, Panicking: 3}}
	})
	h := s.Health.Acquire("orders")
	want := func(lines map[string]float64, absent ...string) {
		t.Helper()
		got := scrape(t, s.Handler())
		for name, v := range lines {
			if now, there := got[name]; !there || now != v {
				t.Errorf("%s: got %v (there: %t), want %v", name, now, there, v)
			}
		}
		for _, name := range absent {
			if v, there := got[name]; there {
				t.Errorf("%s is there: %v", name, v)
			}
		}
	}
	want(map[string]float64{
		`usher_endpoints{service="orders",state="healthy"}`: 2, `usher_endpoints{service="orders",state="ejected"}`: 1,
		`usher_health_panic{service="orders"}`: 1,
	}, `usher_health_disagreements{service="orders"}`, `usher_health_checks_total{result="pass",service="orders"}`)
	states = map[string]int{}
	h.Ejected("5xx")
	h.Ejected("5xx")
	h.Probed(true, time.Millisecond)
	h.Probed(false, time.Second)
	h.Probed(false, time.Second)
	want(map[string]float64{
		`usher_endpoints{service="orders",state="healthy"}`: 0, `usher_endpoints{service="orders",state="ejected"}`: 0,
		`usher_upstream_ejections_total{reason="5xx",service="orders"}`: 2,
		`usher_health_disagreements{service="orders"}`:                  1,
		`usher_health_checks_total{result="pass",service="orders"}`:     1,
		`usher_health_checks_total{result="fail",service="orders"}`:     2,
		`usher_health_check_duration_seconds_count{service="orders"}`:   3,
	})
	if again := s.Health.Acquire("orders"); again != h {
		t.Error("the series has begun again")
	}
	s.Health.Release(h)
	s.Health.Release(h)
	want(map[string]float64{`usher_endpoints{service="orders",state="healthy"}`: 0}) // once more
	want(nil, `usher_endpoints{service="orders",state="healthy"}`)
}

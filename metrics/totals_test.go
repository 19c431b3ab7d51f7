package metrics

import (
	"testing"
	"time"
)

// The totals do not fall when series are forgotten, and come back with their service.
func TestTotals(t *testing.T) {
	d := newDownstream([]string{"no_route", "overloaded"})
	l, h := d.Listener("web"), handler(d)
	l.InFlight.Inc(1)
	l.Open.Inc(2)
	r := publish(d, "r s", "kept s", "other t")
	count := func(to *Route, code, reason int, took time.Duration) {
		to.Count(&Sample{Listener: l, Code: code, Reason: reason, Duration: took, Received: 3, Sent: 5})
	}
	count(r[0], 200, -1, time.Millisecond)
	count(r[1], 503, 1, 3*time.Millisecond)
	count(r[1], 499, -1, time.Hour)
	count(r[2], 204, -1, time.Millisecond)
	check := func(when string) {
		t.Helper()
		all := d.Totals()
		if all.Requests != 4 || all.Codes["2xx"] != 2 || all.Codes["4xx"] != 1 || all.Codes["5xx"] != 1 ||
			len(all.Errors) != 1 || all.Errors["overloaded"] != 1 || all.Received != 12 || all.Sent != 20 ||
			all.InFlight != 1 || all.Connections != 1 {
			t.Errorf("%s: %+v", when, all)
		}
		last := len(all.Durations) - 1
		if len(durationBounds) != last || all.Durations[0] != (TotalsBucket{time.Millisecond, 2}) ||
			all.Durations[2] != (TotalsBucket{5 * time.Millisecond, 3}) || all.Durations[last] != (TotalsBucket{0, 4}) {
			t.Errorf("%s: %v", when, all.Durations)
		}
		if s := d.ServiceTotals("s"); s.Requests != 3 || s.Codes["2xx"] != 1 || s.InFlight != 0 {
			t.Errorf("%s: the service's: %+v", when, s)
		}
	}
	check("at first")
	publish(d, "kept s", "other t")
	publish(d, "kept s", "other t")
	for range 3 {
		scrape(t, h)
		check("after a route went")
	}
	publish(d, "other t")
	publish(d, "other t")
	scrape(t, h)
	scrape(t, h)
	if s := d.ServiceTotals("s"); s.Requests != 0 || len(d.gone.services) != 0 {
		t.Errorf("a service without series is remembered: %+v", s)
	}
	if all := d.Totals(); all.Requests != 4 {
		t.Errorf("%d requests are left", all.Requests)
	}
}

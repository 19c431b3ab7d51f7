package metrics

import (
	"fmt"
	"strings"
	"testing"
)

func TestListener(t *testing.T) {
	d := newDownstream(nil)
	l := d.Listener("web")
	if d.Listener("web") != l || d.Listener("other") == l {
		t.Error("a listener's series are not its own")
	}
	l.Open.Inc(1)
	l.Open.Inc(2)
	l.Open.Dec(3)
	l.InFlight.Inc(1)
	l.Connections.Add(1, 2)
	got := scrape(t, handler(d))
	for name, want := range map[string]float64{
		`usher_open_connections{listener="web"}`:     1,
		`usher_requests_in_flight{listener="web"}`:   1,
		`usher_connections_total{listener="web"}`:    2,
		`usher_open_connections{listener="other"}`:   0,
		`usher_requests_in_flight{listener="other"}`: 0,
		`usher_connections_total{listener="other"}`:  0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s: got %v (there: %t), want %v", name, v, ok, want)
		}
	}
}

// A series is the same from publish to publish, as long as its route is there.
func TestPublishKeepsSeries(t *testing.T) {
	d := newDownstream(nil)
	l := d.Listener("web")
	first := publish(d, "r s", "r t", "q s")
	if first[0] == first[1] || first[0] == first[2] {
		t.Error("two routes or services share their series")
	}
	first[0].Count(sample(l))
	second := publish(d, "q s", "r s", "r t")
	if second[1] != first[0] || second[2] != first[1] || second[0] != first[2] {
		t.Error("the series are others")
	}
	second[1].Count(sample(l))
	name := `usher_requests_total{code="200",listener="web",method="GET",route="r",service="s"}`
	if got := scrape(t, handler(d))[name]; got != 2 {
		t.Errorf("got %v", got)
	}
}

// What left is shown once more, what was counted since included, and then gone.
func TestPublishForgets(t *testing.T) {
	const name = `usher_requests_total{code="200",listener="web",method="GET",route="r",service="s"}`
	d := newDownstream(nil)
	l, h := d.Listener("web"), handler(d)
	r := publish(d, "r s", "kept s")
	r[0].Count(sample(l))
	r[1].Count(sample(l))
	publish(d, "kept s")
	publish(d, "kept s")
	r[0].Count(sample(l)) // a request that began before
	if got := scrape(t, h)[name]; got != 2 {
		t.Errorf("the last scrape shows %v", got)
	}
	for range 2 {
		got := scrape(t, h)
		for series := range got {
			if strings.Contains(series, `route="r"`) {
				t.Errorf("%s is still there", series)
			}
		}
		if kept := strings.Replace(name, `route="r"`, `route="kept"`, 1); got[kept] != 1 {
			t.Errorf("%s is gone", kept)
		}
	}
	r[0].Count(sample(l)) // its handle stays harmless
	back := publish(d, "r s")
	if back[0] == r[0] {
		t.Error("a forgotten series came back with its old figures")
	}
}

// A route that is back before it was forgotten counts on.
func TestPublishAgain(t *testing.T) {
	const name = `usher_requests_total{code="200",listener="web",method="GET",route="r",service="s"}`
	for _, scrapes := range []int{0, 1} {
		d := newDownstream(nil)
		l, h := d.Listener("web"), handler(d)
		r := publish(d, "r s")[0]
		r.Count(sample(l))
		publish(d)
		for range scrapes {
			scrape(t, h)
		}
		if publish(d, "r s")[0] != r {
			t.Errorf("%d scrapes: the series are others", scrapes)
		}
		for range 3 {
			if got := scrape(t, h)[name]; got != 1 {
				t.Errorf("%d scrapes: got %v", scrapes, got)
			}
		}
		publish(d)
		if got := scrape(t, h)[name]; got != 1 {
			t.Errorf("%d scrapes: after it left again: %v", scrapes, got)
		}
		if _, there := scrape(t, h)[name]; there {
			t.Errorf("%d scrapes: not forgotten", scrapes)
		}
	}
}

// Bodies and errors are the route's, over all its services.
func TestTotalsAreOfTheRoute(t *testing.T) {
	d := newDownstream([]string{"x", "y"})
	l := d.Listener("web")
	for i, r := range publish(d, "r s", "r t", "q s") {
		r.Count(&Sample{Listener: l, Code: 502, Reason: i % 2, Received: 1, Sent: 10})
	}
	got := scrape(t, handler(d))
	same(t, only(got, "usher_request_errors_total"), map[string]float64{
		`usher_request_errors_total{reason="x",route="r"}`: 1,
		`usher_request_errors_total{reason="y",route="r"}`: 1,
		`usher_request_errors_total{reason="x",route="q"}`: 1,
	})
	same(t, only(got, "usher_response_body_bytes_total"), map[string]float64{
		`usher_response_body_bytes_total{route="r"}`: 20,
		`usher_response_body_bytes_total{route="q"}`: 10,
	})
	same(t, only(got, "usher_request_body_bytes_total"), map[string]float64{
		`usher_request_body_bytes_total{route="r"}`: 2,
		`usher_request_body_bytes_total{route="q"}`: 1,
	})
}

// Names of routes and services come from announcements: whatever they hold, the
// exposition stays readable.
func TestLabelsAreEscaped(t *testing.T) {
	d := newDownstream(nil)
	r := publish(d, "a\"b\\c\nd\u00e9{}/ s\"")[0]
	r.Count(sample(d.Listener("web")))
	want := `usher_requests_total{code="200",listener="web",method="GET",` +
		`route="a\"b\\c\nd` + "\u00e9" + `{}/",service="s\""}`
	if got := scrape(t, handler(d)); got[want] != 1 {
		t.Errorf("no %s in %v", want, only(got, "usher_requests_total"))
	}
}

func BenchmarkCollect(b *testing.B) {
	for _, size := range []struct {
		name string
		n    int
	}{{"100", 100}, {"10k", 10_000}} {
		b.Run("routes="+size.name, func(b *testing.B) {
			d := newDownstream(nil)
			names := make([]string, size.n)
			for i := range names {
				names[i] = fmt.Sprintf("r%d s", i)
			}
			l := d.Listener("web")
			for _, r := range publish(d, names...) {
				r.Count(sample(l))
			}
			h := handler(d)
			b.ReportAllocs()
			for b.Loop() {
				text(b, h)
			}
		})
	}
}

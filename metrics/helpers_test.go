package metrics

import (
	"bufio"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// text is what one scrape of a handler gives.
func text(t testing.TB, h http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// scrape returns the samples of usher's own metrics by name and labels, as they
// stand in the exposition.
func scrape(t testing.TB, h http.Handler) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	lines := bufio.NewScanner(strings.NewReader(text(t, h)))
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, namespace) {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		out[line[:i]] = v
	}
	return out
}

// only keeps the samples whose name begins with prefix.
func only(samples map[string]float64, prefix string) map[string]float64 {
	out := map[string]float64{}
	for name, v := range samples {
		if strings.HasPrefix(name, prefix) {
			out[name] = v
		}
	}
	return out
}

// same reports how two sets of samples differ.
func same(t testing.TB, got, want map[string]float64) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if v, ok := got[name]; !ok || v != want[name] {
			t.Errorf("%s: got %v (there: %t), want %v", name, v, ok, want[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: got %v, want none", name, got[name])
		}
	}
}

// handler shows a Downstream alone.
func handler(d *Downstream) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(d)
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// published are the series that publish holds, by the Downstream.
var published = map[*Downstream][]*Route{}

// publish acquires the series of the routes, given as "route service", and releases
// those of the last call.
func publish(d *Downstream, names ...string) (out []*Route) {
	for _, name := range names {
		route, service, _ := strings.Cut(name, " ")
		out = append(out, d.Acquire(route, service))
	}
	for _, r := range published[d] {
		d.Release(r)
	}
	published[d] = out
	return out
}

// sample is a finished GET of status 200 on a listener, in 2 ms.
func sample(l *Listener) *Sample {
	return &Sample{Listener: l, Code: http.StatusOK, Reason: -1, Duration: 2 * time.Millisecond}
}

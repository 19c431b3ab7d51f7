package metrics

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// openMetrics is one scrape as Prometheus makes it, which prefers OpenMetrics.
func openMetrics(t *testing.T, h http.Handler) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if kind := w.Header().Get("Content-Type"); !strings.HasPrefix(kind, "application/openmetrics-text") {
		t.Errorf("Content-Type: %s", kind)
	}
	return w.Body.String()
}

// exampleOf returns what stands behind the sample that a line begins with.
func exampleOf(t *testing.T, exposition, sample string) string {
	t.Helper()
	for line := range strings.Lines(exposition) {
		if rest, found := strings.CutPrefix(line, sample+" "); found {
			_, example, _ := strings.Cut(strings.TrimSpace(rest), " # ")
			return example
		}
	}
	t.Errorf("no %s", sample)
	return ""
}

// The last traced request of each bucket is its example; those that are not traced have
// none.
func TestExemplars(t *testing.T) {
	s := New("1.2.3", nil)
	r := publish(s.Downstream, "r s")[0]
	web := s.Downstream.Listener("web")
	count := func(trace byte, took time.Duration) {
		sample := sample(web)
		sample.Duration = took
		if trace > 0 {
			sample.Trace = [16]byte{trace, 15: 0xff}
		}
		r.Count(sample)
	}
	count(1, 2*time.Millisecond)
	count(2, 2*time.Millisecond)
	count(0, 2*time.Millisecond)
	count(0, 7*time.Millisecond)
	count(3, time.Hour)
	body := openMetrics(t, s.Handler())
	for le, want := range map[string]string{
		"0.0025": `{trace_id="020000000000000000000000000000ff"} 0.002 `,
		"0.01":   "",
		"+Inf":   `{trace_id="030000000000000000000000000000ff"} 3600.0 `,
	} {
		got := exampleOf(t, body, `usher_request_duration_seconds_bucket{route="r",service="s",le="`+le+`"}`)
		if !strings.HasPrefix(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: got %q, want %q", le, got, want)
		}
	}
	if n := strings.Count(body, "trace_id"); n != 2 {
		t.Errorf("%d exemplars", n)
	}
	if plain := text(t, s.Handler()); strings.Contains(plain, "trace_id") {
		t.Error("an exemplar in the format that has none")
	}
}

// Requests that are not traced cost nothing for it.
func TestNoExemplarNoCost(t *testing.T) {
	d := newDownstream(nil)
	r := publish(d, "r s")[0]
	sample := sample(d.Listener("web"))
	r.Count(sample)
	if n := testing.AllocsPerRun(100, func() { r.Count(sample) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if r.durations.Load().exemplars.Load() != nil {
		t.Error("there is a place for exemplars")
	}
}

package promtest_test

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"usher/metrics"
	"usher/metrics/promtest"
)

// A real Prometheus reads exemplars, and the parser says what an expression needs.
func TestPrometheus(t *testing.T) {
	set := metrics.New("1.2.3", nil)
	sample := &metrics.Sample{
		Listener: set.Downstream.Listener("web"), Code: http.StatusOK, Reason: -1, Duration: 2e6,
		Trace: [16]byte{0xab, 15: 0xcd},
	}
	series := set.Downstream.Acquire("r", "s")
	defer set.Downstream.Release(series)
	series.Count(sample)
	server := httptest.NewServer(set.Handler())
	defer server.Close()
	p := promtest.Start(t, promtest.Options{}, strings.TrimPrefix(server.URL, "http://"))
	got := p.Await(`usher_request_duration_seconds_count{job="usher"}`)
	if len(got) != 1 || got[0].Value != 1 || got[0].Labels["service"] != "s" {
		t.Errorf("got %v", got)
	}
	exemplars, err := p.Exemplars("usher_request_duration_seconds_bucket")
	want := []map[string]string{{"trace_id": "ab0000000000000000000000000000cd"}}
	if err != nil || !reflect.DeepEqual(exemplars, want) {
		t.Errorf("exemplars: %v %v", exemplars, err)
	}

	selectors, err := p.Selectors(`sum by (job, le) (rate(a_bucket{code=~"5.."}[5m])) / on (job) max(b) > c`)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(selectors, func(a, b promtest.Selector) int { return strings.Compare(a.Metric, b.Metric) })
	if !reflect.DeepEqual(selectors, []promtest.Selector{
		{Metric: "a_bucket", Labels: []string{"job", "le", "code"}}, {Metric: "b"}, {Metric: "c"},
	}) {
		t.Errorf("selectors: %v", selectors)
	}
	if _, err := p.Selectors("rate("); err == nil {
		t.Error("what is no PromQL is parsed")
	}
}

package main_test

import (
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"usher/metrics/promtest"
)

// What is given to operators for watching usher, held against a usher that has met about
// everything, and a real Prometheus that scrapes it.
func TestMonitoring(t *testing.T) {
	// Requests are traced, though nobody receives the traces.
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+closedPort(t))
	b := startBusy(t)
	p := promtest.Start(t, promtest.Options{RuleFiles: []string{deployed(t, "prometheus/usher-alerts.yaml")}},
		strings.TrimPrefix(b.admin, "http://"))
	p.Await("usher_ready == 1")
	t.Run("metrics", b.metricsAreComplete)
	t.Run("rules", func(t *testing.T) { b.rulesAskForWhatExists(t, p) })
	t.Run("dashboard", func(t *testing.T) { b.dashboard(t, p) })
	t.Run("exemplars", func(t *testing.T) { b.exemplars(t, p) })
}

// exemplars: the trace of a request is found by its latency.
func (b *busy) exemplars(t *testing.T, p *promtest.Server) {
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	b.ask(http.MethodGet, b.web, "slow.test", "", "Traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
	expr := `usher_request_duration_seconds_bucket{service="slow"}`
	eventually(t, patience, "the exemplar at Prometheus", func() bool {
		got, err := p.Exemplars(expr)
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(got, func(labels map[string]string) bool { return labels["trace_id"] == trace })
	})
}

// documented are the metrics that usher promises, with the labels of each.
func documented() []string {
	return strings.Fields(`
		requests_total{code,listener,method,route,service}
		request_duration_seconds{route,service}
		requests_in_flight{listener}
		request_body_bytes_total{route}
		response_body_bytes_total{route}
		request_errors_total{reason,route}
		proxy_overhead_seconds{}
		connections_total{listener}
		open_connections{listener}
		upgraded_connections{service}

		upstream_requests_total{code_class,service,upstream}
		upstream_request_duration_seconds{service}
		upstream_connect_duration_seconds{service}
		upstream_connect_errors_total{reason,service}
		upstream_requests_in_flight{service,upstream}
		upstream_connections{service,state}
		upstream_pool_exhausted_total{service}
		upstream_retries_total{outcome,reason,service}
		upstream_retry_budget_exhausted_total{service}
		circuit_open{service}
		upstream_ejections_total{reason,service}
		endpoints{service,state}
		health_checks_total{result,service}

		discovery_up{registry}
		discovery_stale{registry}
		discovery_last_sync_timestamp_seconds{registry}
		discovery_index{registry}
		discovery_index_resets_total{registry}
		discovery_updates_total{registry,result}
		discovery_watch_errors_total{reason,registry}
		discovery_watches{registry}
		discovery_propagation_seconds{registry}
		discovery_held_endpoints{registry}
		discovery_acl_filtered{registry}
		discovery_refused_rules{registry}

		table_builds_total{result}
		table_build_duration_seconds{}
		table_last_swap_timestamp_seconds{}
		table_version{}
		table_routes{source}
		table_conflicts{}

		config_reloads_total{result}
		config_last_reload_successful{}
		config_last_reload_success_timestamp_seconds{}
		config_info{hash}
		tls_certificate_not_after_timestamp_seconds{cert}
		tls_handshake_errors_total{listener,reason}
		build_info{goversion,version}
		ready{}
		log_messages_total{level}
		access_log_dropped_total{}
		admin_requests_total{code,path}
	`)
}

// exposition is what one scrape has: the labels of each metric by its name, without the
// suffixes of histograms, and the number of series of usher's own.
type exposition struct {
	labels map[string]map[string]bool
	types  map[string]string
	series int
}

var sampleLine = regexp.MustCompile(`^([a-z0-9_:]+)(?:\{(.*)\})? \S+$`)

func (u *usher) scrape() exposition {
	u.t.Helper()
	_, body := get(u.t, u.admin+"/metrics", "")
	return parseExposition(u.t, body)
}

func parseExposition(t testing.TB, body string) exposition {
	t.Helper()
	e := exposition{labels: map[string]map[string]bool{}, types: map[string]string{}}
	label := regexp.MustCompile(`([a-z0-9_]+)="(?:[^"\\]|\\.)*"`)
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		if name, found := strings.CutPrefix(line, "# TYPE "); found {
			name, kind, _ := strings.Cut(name, " ")
			e.types[name] = kind
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil || strings.HasPrefix(line, "#") {
			continue
		}
		name := m[1]
		if base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, ""); e.types[base] == "histogram" {
			name = base
		}
		if e.labels[name] == nil {
			e.labels[name] = map[string]bool{}
		}
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			e.labels[name][l[1]] = true
		}
		if strings.HasPrefix(name, "usher_") {
			e.series++
		}
	}
	return e
}

// lacks says what a selector of an expression asks for that usher does not show; empty:
// nothing.
func (e exposition) lacks(s promtest.Selector) string {
	name := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(s.Metric, "")
	labels := e.labels[s.Metric]
	if labels == nil {
		labels = e.labels[name]
	}
	if labels == nil {
		return "no metric " + s.Metric
	}
	for _, l := range s.Labels {
		if !labels[l] && l != "job" && l != "instance" {
			return fmt.Sprintf("%s has no label %s", s.Metric, l)
		}
	}
	return ""
}

// metricsAreComplete: everything that is promised is shown by a usher that has met it, with its labels, and
// promtool finds nothing wrong with it.
func (b *busy) metricsAreComplete(t *testing.T) {
	got := b.scrape()
	for _, want := range documented() {
		name, labels, _ := strings.Cut(strings.TrimSuffix(want, "}"), "{")
		name = "usher_" + name
		if got.labels[name] == nil {
			t.Errorf("no %s", name)
			continue
		}
		has := slices.Sorted(maps.Keys(got.labels[name]))
		has = slices.DeleteFunc(has, func(l string) bool { return l == "le" })
		if strings.Join(has, ",") != labels {
			t.Errorf("%s: labels %v, want %s", name, has, labels)
		}
	}
	for _, prefix := range []string{"go_goroutines", "process_cpu_seconds_total", "process_open_fds"} {
		if got.labels[prefix] == nil {
			t.Errorf("no %s", prefix)
		}
	}
	got.areIn(t, read(t, filepath.Join(promtest.Root(t), "docs", "reference", "metrics.md")))
	_, body := get(t, b.admin+"/metrics", "")
	if said, ok := promtest.Promtool(t, body, "check", "metrics"); !ok || strings.TrimSpace(said) != "" {
		t.Errorf("promtool check metrics: %s", said)
	}
}

// areIn fails the test if the reference says something else of the metrics than usher does.
func (e exposition) areIn(t *testing.T, reference string) {
	t.Helper()
	row := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| ([a-z_, ]*) \\| .+ \\|$")
	said := map[string][]string{}
	for _, m := range row.FindAllStringSubmatch(reference, -1) {
		labels := strings.Split(m[3], ", ")
		slices.Sort(labels)
		said[m[1]] = []string{m[2], strings.Join(labels, ",")}
	}
	for name, labels := range e.labels {
		if !strings.HasPrefix(name, "usher_") {
			continue
		}
		has := slices.DeleteFunc(slices.Sorted(maps.Keys(labels)), func(l string) bool { return l == "le" })
		if want := []string{e.types[name], strings.Join(has, ",")}; !slices.Equal(said[name], want) {
			t.Errorf("docs/reference/metrics.md says of %s: %v, and it is %v", name, said[name], want)
		}
	}
}

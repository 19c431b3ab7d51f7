package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"usher/config"
)

const metricsReference = "../../docs/reference/metrics.md"

// metricFamily is what one metric says of itself.
type metricFamily struct {
	name, help string
	labels     []string
}

// kind is the metric's type. By usher's naming it can be told from the name; the tests of a
// busy usher compare it with the truth.
func (m *metricFamily) kind() string {
	switch {
	case strings.HasSuffix(m.name, "_total"):
		return "counter"
	case strings.HasSuffix(m.name, "_seconds") && !strings.HasSuffix(m.name, "_timestamp_seconds"):
		return "histogram"
	default:
		return "gauge"
	}
}

// sections are the headings of the reference, with what the names of their metrics begin
// with; the first that fits has a metric.
func sections() [][]string {
	return [][]string{
		{"Upstream", "upstream_", "circuit_", "endpoints", "health_"},
		{"Discovery", "discovery_"},
		{"Table", "table_"},
		{"Configuration and TLS", "config_", "tls_", "acme_"},
		{"Process", "build_", "ready", "log_", "access_log_", "admin_", "trace_", "sample_"},
		{"Downstream", ""},
	}
}

func sectionOf(m metricFamily) string {
	name := strings.TrimPrefix(m.name, "usher_")
	for _, s := range sections() {
		for _, prefix := range s[1:] {
			if strings.HasPrefix(name, prefix) {
				return s[0]
			}
		}
	}
	return ""
}

// families are the metrics of a usher, whether or not they have been used.
func families(t *testing.T) (out []metricFamily) {
	t.Helper()
	cfg, err := config.Load("", config.Options{Env: func(string) (string, bool) { return "", false }})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{stdout: io.Discard, stderr: io.Discard, env: func(string) (string, bool) { return "", false }}
	a := newApp(p, cfg, config.Options{})
	defer a.stop()
	described, ok := a.metrics.Gatherer().(prometheus.Collector)
	if !ok {
		t.Fatal("the registry does not describe itself")
	}
	ch := make(chan *prometheus.Desc)
	go func() {
		defer close(ch)
		described.Describe(ch)
	}()
	desc := regexp.MustCompile(`^Desc\{fqName: ("[^"]*"), help: ("(?:[^"\\]|\\.)*"), ` +
		`unit: "", constLabels: \{\}, variableLabels: \{(.*)\}\}$`)
	for d := range ch {
		if strings.Contains(d.String(), `fqName: "usher_`) {
			m := desc.FindStringSubmatch(d.String())
			if m == nil {
				t.Fatalf("not understood: %s", d)
			}
			f := metricFamily{}
			_, err := fmt.Sscanf(m[1]+" "+m[2], "%q %q", &f.name, &f.help)
			if err != nil {
				t.Fatal(err)
			}
			if m[3] != "" {
				f.labels = strings.Split(m[3], ",")
			}
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b metricFamily) int { return cmp.Compare(a.name, b.name) })
	return out
}

// TestReferenceMetrics: the reference that is kept is what the code says.
func TestReferenceMetrics(t *testing.T) {
	bySection := map[string][]metricFamily{}
	for _, f := range families(t) {
		bySection[sectionOf(f)] = append(bySection[sectionOf(f)], f)
	}
	var b strings.Builder
	b.WriteString(`# Reference: the metrics

Everything that /metrics shows of usher itself, generated from the code (make reference).
Beside these there are those of Go's runtime and of the process (go_*, process_*) and of the
scrapes (promhttp_*). [operating.md](../operating.md#metrics) says what the values of the
labels mean, [deploy/prometheus](../../deploy/prometheus/README.md) how to scrape them.

Times are in seconds, sizes in bytes; what is a time of day is in seconds since 1970. No label
comes from a client: a method nobody knows is OTHER, a request without a route has route none.
A series begins with its first use, at zero where it is known before that; when its route,
service or endpoint has left it is shown once more and then forgotten.
`)
	for _, name := range []string{"Downstream", "Upstream", "Discovery", "Table", "Configuration and TLS", "Process"} {
		fmt.Fprintf(&b, "\n## %s\n\n| metric | type | labels | |\n|---|---|---|---|\n", name)
		for _, f := range bySection[name] {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.name, f.kind(), strings.Join(f.labels, ", "), f.help)
		}
	}
	if updates() {
		if err := os.WriteFile(metricsReference, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(metricsReference)
	if err != nil || string(kept) != b.String() {
		t.Errorf("%s is not what the code says: write it again with USHER_UPDATE=1 (%v)", metricsReference, err)
	}
}

// updates says whether what is kept is to be written again: -update, where the package has
// that flag, or USHER_UPDATE in the environment.
func updates() bool {
	f := flag.Lookup("update")
	return f != nil && f.Value.String() == "true" || os.Getenv("USHER_UPDATE") != ""
}

package main_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"usher/metrics/promtest"
)

// deployed is the path of a file below deploy.
func deployed(t *testing.T, path string) string {
	t.Helper()
	return filepath.Join(promtest.Root(t), "deploy", path)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// promtool takes the rules, and each alert fires where it should and does not elsewhere.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	rules, tests := deployed(t, "prometheus/usher-alerts.yaml"), deployed(t, "prometheus/usher-alerts.test.yaml")
	for _, args := range [][]string{{"check", "rules", "--lint=all", "--lint-fatal", rules}, {"test", "rules", tests}} {
		if said, ok := promtest.Promtool(t, "", args...); !ok {
			t.Errorf("promtool %v: %s", args, said)
		}
	}
	named := func(form string) map[string]bool {
		out := map[string]bool{}
		for _, m := range regexp.MustCompile(form).FindAllStringSubmatch(read(t, tests), -1) {
			out[m[1]] = true
		}
		return out
	}
	fires := named(`- alertname: (\w+)\n.*\n +exp_alerts:\n +- `)
	rests := named(`- \{alertname: (\w+), eval_time: \w+\}`)
	alerts := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(read(t, rules), -1)
	for _, m := range alerts {
		if !fires[m[1]] || !rests[m[1]] {
			t.Errorf("%s: there is a test in which it fires: %t, and one in which it does not: %t",
				m[1], fires[m[1]], rests[m[1]])
		}
	}
	for _, name := range []string{
		"Down", "NotReady", "DiscoveryStale", "HeldEndpoints", "ReloadFailed", "ErrorRatio", "LatencyP99",
		"NoHealthyEndpoints", "RetryBudgetExhausted", "EjectionsHigh", "CertExpiry", "ACLFiltered", "AccessLogDropped",
	} {
		if !slices.ContainsFunc(alerts, func(m []string) bool { return m[1] == "Usher"+name }) {
			t.Errorf("no alert Usher%s", name)
		}
	}
}

// rulesAskForWhatExists: Prometheus takes the rules, what they ask for exists, and each alert has a runbook with
// queries that ask for what exists.
func (b *busy) rulesAskForWhatExists(t *testing.T, p *promtest.Server) {
	got := b.scrape()
	rules, err := p.Rules()
	if err != nil || len(rules) < 20 {
		t.Fatalf("%d rules: %v", len(rules), err)
	}
	for _, r := range rules {
		if r.Type == "recording" {
			got.labels[r.Name] = map[string]bool{"service": true}
		}
	}
	got.labels["up"], got.labels["scrape_duration_seconds"] = map[string]bool{}, map[string]bool{}
	for _, r := range rules {
		got.mustAnswer(t, p, r.Name, r.Query)
		if r.Type == "alerting" {
			got.checkAlert(t, p, r)
		}
	}
	b.work() // so that there is a rate
	if s := p.Await("service:usher_requests:rate5m > 0"); len(s) < 5 {
		t.Errorf("recorded: %v", s)
	}
}

// mustAnswer fails the test if an expression asks for what is not there.
func (e exposition) mustAnswer(t *testing.T, p *promtest.Server, where, expr string) {
	t.Helper()
	selectors, err := p.Selectors(expr)
	if err != nil || len(selectors) == 0 {
		t.Errorf("%s: %s: %v", where, expr, err)
	}
	for _, s := range selectors {
		if lack := e.lacks(s); lack != "" {
			t.Errorf("%s: %s: %s", where, expr, lack)
		}
	}
}

func (e exposition) checkAlert(t *testing.T, p *promtest.Server, r promtest.Rule) {
	t.Helper()
	for _, name := range []string{"summary", "description", "runbook_url"} {
		if r.Annotations[name] == "" {
			t.Errorf("%s has no %s", r.Name, name)
		}
	}
	if r.Labels["severity"] != "warning" && r.Labels["severity"] != "critical" {
		t.Errorf("%s: severity %q", r.Name, r.Labels["severity"])
	}
	if want := "docs/runbooks/" + r.Name + ".md"; r.Annotations["runbook_url"] != want {
		t.Errorf("%s: runbook_url %s, want %s", r.Name, r.Annotations["runbook_url"], want)
		return
	}
	text := read(t, filepath.Join(promtest.Root(t), r.Annotations["runbook_url"]))
	for _, heading := range []string{
		"# " + r.Name, "## What it means", "## How to look", "## What to do", "## When to silence",
	} {
		if !strings.Contains(text, heading+"\n") {
			t.Errorf("the runbook of %s has no %q", r.Name, heading)
		}
	}
	for _, m := range regexp.MustCompile("(?s)```promql\n(.*?)```").FindAllStringSubmatch(text, -1) {
		for query := range strings.Lines(strings.TrimSpace(m[1])) {
			e.mustAnswer(t, p, "the runbook of "+r.Name, strings.TrimSpace(query))
		}
	}
}

package metrics

import (
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"usher/metrics/promtest"
)

// used is a Set in which everything has been counted at least once.
func used() *Set {
	s := New("1.2.3", []string{"no_route", "connect_failed"})
	l := s.Downstream.Listener("web")
	l.Connections.Add(0, 1)
	l.Open.Inc(0)
	for i, r := range publish(s.Downstream, "none none", "shop.example.com/orders orders") {
		r.Count(&Sample{
			Listener: l, Method: Method(i), Code: 200 + 300*i, Reason: i - 1, Duration: time.Second,
			Received: 1, Sent: 1,
		})
	}
	s.Downstream.Overhead.Observe(0, time.Millisecond)
	at := time.Unix(1_700_000_000, 250e6)
	s.Discovery.Track("consul")
	s.Discovery.Update("consul", "changed")
	s.Discovery.Watches("consul", 3)
	s.Discovery.Answered("consul", at, 42)
	s.Discovery.Reset("consul")
	s.Discovery.Refused("consul", 2)
	s.Discovery.Propagated("consul", 3*time.Millisecond)
	s.Discovery.Filtered("consul", true)
	s.Table.Published(Built{
		Version: 7, At: at, Took: time.Millisecond, Routes: map[string]int{"tag": 5, "meta": 1, "config": 0},
		Refused: 2, Conflicts: 1,
	})
	s.Process.ConfigTaken("abc", at, true)
	s.Process.Ready(true)
	s.Process.Logged("warn")
	h := s.Health.Acquire("orders")
	h.Ejected("5xx")
	h.Probed(true, time.Millisecond)
	h.Probed(false, time.Second)
	s.Health.StandingFrom(func() map[string]*Standing {
		return map[string]*Standing{"orders": {States: map[string]int{"healthy": 2, "ejected": 1}, Disagreements: 1}}
	})
	return s
}

func TestExpositionIsClean(t *testing.T) {
	s := used()
	s.Discovery.Failed("consul", "timeout")
	exposition := text(t, s.Handler())
	problems, err := promlint.New(strings.NewReader(exposition)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if families, err := s.Gatherer().Gather(); err != nil || len(families) < 30 {
		t.Errorf("%d families: %v", len(families), err)
	}
	t.Run("promtool", func(t *testing.T) {
		if said, ok := promtest.Promtool(t, exposition, "check", "metrics"); !ok || strings.TrimSpace(said) != "" {
			t.Errorf("promtool: %s", said)
		}
	})
}

// Everything has usher's prefix, a help text, and only labels that no client
// chooses.
func TestNames(t *testing.T) {
	allowed := []string{
		"listener", "route", "service", "method", "code", "reason", "le", "registry", "result", "source", "hash",
		"level", "version", "goversion", "state",
	}
	families, err := used().Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	valid := regexp.MustCompile(`^usher_[a-z]+(_[a-z]+)*$`)
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "go_") || strings.HasPrefix(f.GetName(), "process_") ||
			strings.HasPrefix(f.GetName(), "promhttp_") {
			continue
		}
		if !valid.MatchString(f.GetName()) || f.GetHelp() == "" {
			t.Errorf("%s: %q", f.GetName(), f.GetHelp())
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if !slices.Contains(allowed, l.GetName()) {
					t.Errorf("%s has the label %s", f.GetName(), l.GetName())
				}
			}
		}
	}
}

// What is known before anything happens is there at zero.
func TestZeroes(t *testing.T) {
	s := New("1.2.3", []string{"no_route"})
	s.Downstream.Listener("web")
	s.Discovery.Track("consul")
	got := scrape(t, s.Handler())
	for _, name := range []string{
		`usher_connections_total{listener="web"}`, `usher_open_connections{listener="web"}`,
		`usher_requests_in_flight{listener="web"}`, `usher_proxy_overhead_seconds_count`,
		`usher_discovery_up{registry="consul"}`, `usher_discovery_stale{registry="consul"}`,
		`usher_discovery_last_sync_timestamp_seconds{registry="consul"}`, `usher_discovery_index{registry="consul"}`,
		`usher_discovery_watches{registry="consul"}`, `usher_discovery_refused_rules{registry="consul"}`,
		`usher_discovery_acl_filtered{registry="consul"}`, `usher_discovery_held_endpoints{registry="consul"}`,
		`usher_discovery_index_resets_total{registry="consul"}`,
		`usher_discovery_propagation_seconds_count{registry="consul"}`,
		`usher_discovery_updates_total{registry="consul",result="changed"}`,
		`usher_discovery_updates_total{registry="consul",result="unchanged"}`,
		`usher_table_builds_total{result="clean"}`, `usher_table_builds_total{result="refused"}`,
		`usher_table_version`, `usher_table_conflicts`, `usher_table_last_swap_timestamp_seconds`, `usher_ready`,
		`usher_config_reloads_total{result="success"}`, `usher_config_reloads_total{result="failure"}`,
		`usher_config_last_reload_successful`, `usher_config_last_reload_success_timestamp_seconds`,
		`usher_log_messages_total{level="debug"}`, `usher_log_messages_total{level="info"}`,
		`usher_log_messages_total{level="warn"}`, `usher_log_messages_total{level="error"}`,
	} {
		if v, ok := got[name]; !ok || v != 0 {
			t.Errorf("%s: got %v (there: %t)", name, v, ok)
		}
	}
	build := fmt.Sprintf(`usher_build_info{goversion=%q,version="1.2.3"}`, runtime.Version())
	if got[build] != 1 {
		t.Errorf("no %s", build)
	}
}

// The registry's series follow what it says.
func TestDiscovery(t *testing.T) {
	s := New("", nil)
	d := s.Discovery
	d.Track("a")
	d.Track("b")
	at := time.Unix(1_700_000_000, 250e6)
	d.Answered("a", at, 42)
	d.Answered("b", at, 0)
	d.Reset("b")
	d.Watches("a", 5)
	d.Watches("a", 0)
	d.Watches("a", -2)
	d.Update("a", "changed")
	d.Refused("a", 3)
	d.Failed("b", "timeout")
	d.Filtered("a", true)
	d.Filtered("b", true)
	d.Filtered("b", false)
	d.Propagated("a", 20*time.Millisecond)
	got := only(scrape(t, s.Handler()), "usher_discovery_")
	for name := range only(got, "usher_discovery_propagation_seconds_bucket") {
		delete(got, name)
	}
	same(t, got, map[string]float64{
		`usher_discovery_up{registry="a"}`:                                      1,
		`usher_discovery_up{registry="b"}`:                                      0,
		`usher_discovery_stale{registry="a"}`:                                   0,
		`usher_discovery_stale{registry="b"}`:                                   1,
		`usher_discovery_last_sync_timestamp_seconds{registry="a"}`:             1_700_000_000.25,
		`usher_discovery_last_sync_timestamp_seconds{registry="b"}`:             1_700_000_000.25,
		`usher_discovery_index{registry="a"}`:                                   42,
		`usher_discovery_index{registry="b"}`:                                   0,
		`usher_discovery_watches{registry="a"}`:                                 3,
		`usher_discovery_watches{registry="b"}`:                                 0,
		`usher_discovery_refused_rules{registry="a"}`:                           3,
		`usher_discovery_refused_rules{registry="b"}`:                           0,
		`usher_discovery_index_resets_total{registry="a"}`:                      0,
		`usher_discovery_index_resets_total{registry="b"}`:                      1,
		`usher_discovery_updates_total{registry="a",result="changed"}`:          1,
		`usher_discovery_updates_total{registry="a",result="unchanged"}`:        0,
		`usher_discovery_updates_total{registry="b",result="changed"}`:          0,
		`usher_discovery_updates_total{registry="b",result="unchanged"}`:        0,
		`usher_discovery_watch_errors_total{reason="timeout",registry="a"}`:     0,
		`usher_discovery_watch_errors_total{reason="timeout",registry="b"}`:     1,
		`usher_discovery_watch_errors_total{reason="unreachable",registry="a"}`: 0,
		`usher_discovery_watch_errors_total{reason="unreachable",registry="b"}`: 0,
		`usher_discovery_acl_filtered{registry="a"}`:                            1,
		`usher_discovery_acl_filtered{registry="b"}`:                            0,
		`usher_discovery_held_endpoints{registry="a"}`:                          0,
		`usher_discovery_held_endpoints{registry="b"}`:                          0,
		`usher_discovery_propagation_seconds_count{registry="a"}`:               1,
		`usher_discovery_propagation_seconds_count{registry="b"}`:               0,
		`usher_discovery_propagation_seconds_sum{registry="a"}`:                 0.02,
		`usher_discovery_propagation_seconds_sum{registry="b"}`:                 0,
	})
	d.Answered("b", at, 0)
	got = scrape(t, s.Handler())
	if got[`usher_discovery_up{registry="b"}`] != 1 || got[`usher_discovery_stale{registry="b"}`] != 0 {
		t.Error("an answer after a failure is not shown")
	}
	d.Forget("b")
	for name := range scrape(t, s.Handler()) {
		if strings.Contains(name, `registry="b"`) {
			t.Errorf("%s is still there", name)
		}
	}
	if got := scrape(t, s.Handler()); got[`usher_discovery_index{registry="a"}`] != 42 {
		t.Error("another registry was forgotten, too")
	}
}

func TestTable(t *testing.T) {
	s := New("", nil)
	at := time.Unix(1_700_000_000, 0)
	s.Table.Published(Built{Version: 1, At: at, Routes: map[string]int{"tag": 2}})
	s.Table.Published(Built{
		Version: 2, At: at, Took: time.Second, Routes: map[string]int{"tag": 0, "meta": 1}, Refused: 1, Conflicts: 4,
	})
	got := only(scrape(t, s.Handler()), "usher_table_")
	for name := range only(got, "usher_table_build_duration_seconds_bucket") {
		delete(got, name)
	}
	same(t, got, map[string]float64{
		`usher_table_builds_total{result="clean"}`:   1,
		`usher_table_builds_total{result="refused"}`: 1,
		`usher_table_build_duration_seconds_count`:   2,
		`usher_table_build_duration_seconds_sum`:     1,
		`usher_table_last_swap_timestamp_seconds`:    1_700_000_000,
		`usher_table_version`:                        2,
		`usher_table_conflicts`:                      4,
		`usher_table_routes{source="tag"}`:           0,
		`usher_table_routes{source="meta"}`:          1,
	})
}

func TestProcess(t *testing.T) {
	s := New("", nil)
	at := time.Unix(1_700_000_000, 0)
	check := func(success, failure, successful, when, ready float64, hash string) {
		t.Helper()
		got := scrape(t, s.Handler())
		want := map[string]float64{
			`usher_config_reloads_total{result="success"}`:       success,
			`usher_config_reloads_total{result="failure"}`:       failure,
			`usher_config_last_reload_successful`:                successful,
			`usher_config_last_reload_success_timestamp_seconds`: when,
			`usher_config_info{hash="` + hash + `"}`:             1,
		}
		same(t, only(got, "usher_config_"), want)
		if got["usher_ready"] != ready {
			t.Errorf("ready %v, want %v", got["usher_ready"], ready)
		}
	}
	s.Process.ConfigTaken("a", at, true)
	check(0, 0, 1, 1_700_000_000, 0, "a")
	s.Process.Ready(true)
	s.Process.ConfigRefused()
	check(0, 1, 0, 1_700_000_000, 1, "a")
	s.Process.ConfigTaken("b", at.Add(time.Second), false)
	check(1, 1, 1, 1_700_000_001, 1, "b")
	s.Process.Ready(false)
	check(1, 1, 1, 1_700_000_001, 0, "b")
}

func ExampleNew() {
	set := New("1.0.0", []string{"no_route"})
	families, err := set.Gatherer().Gather()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range families {
		if f.GetName() == "usher_build_info" {
			fmt.Println(f.GetHelp(), f.GetMetric()[0].GetLabel()[1].GetValue())
		}
	}
	// Output: The build; always 1. 1.0.0
}

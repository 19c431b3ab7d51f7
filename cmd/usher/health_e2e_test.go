package main_test

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// respond makes a process of its own that answers everything: a usher whose only route
// has no service.
const respond = `
listeners: [{name: web, address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
registries: []
routes: [{name: all, match: {path: /}, respond: {status: 200, body: well}}]
`

// backends are n such processes, and a usher in front of them as the service s.
func backends(t *testing.T, n int, more string) (u *usher, list []*usher) {
	t.Helper()
	u = launch(t, withFile+more)
	text := "services: [{name: s, routes: [\"s.test/\"], instances: ["
	for range n {
		b := launch(t, respond)
		b.waitLog(`"msg":"listening"`)
		list = append(list, b)
		text += fmt.Sprintf("{address: %q}, ", strings.TrimPrefix(b.web, "http://"))
	}
	writeFile(t, u.dir+"/services.yaml", text+"]}]\n")
	u.waitLog(`"msg":"services"`)
	u.waitStatus("s.test", http.StatusOK)
	return u, list
}

// health is what the API tells of an instance's.
type healthView struct {
	State, Cause    string
	Since           time.Time
	EffectiveWeight *float64   `json:"effective_weight"`
	EjectedUntil    *time.Time `json:"ejected_until"`
	Ejections       int
	Panic           bool
	Disagreement    bool
	Probe           *struct {
		Verdict, Result, Error string
		At                     time.Time
	}
}

// healthOf returns how an instance stands, and the registry's word.
func (u *usher) healthOf(address string) (h healthView, status string) {
	u.t.Helper()
	var of []struct {
		Instances []struct {
			Address, Status string
			Health          *healthView
		}
	}
	if code := u.api(http.MethodGet, "services/s", &of); code != http.StatusOK || len(of) != 1 {
		u.t.Fatalf("%d %+v", code, of)
	}
	for _, in := range of[0].Instances {
		if in.Address == address {
			if in.Health == nil {
				u.t.Fatalf("nothing is told of %s", address)
			}
			return *in.Health, in.Status
		}
	}
	u.t.Fatalf("no instance at %s", address)
	return healthView{}, ""
}

func (u *usher) stands(address, state string) healthView {
	u.t.Helper()
	var h healthView
	eventually(u.t, patience, address+" is "+state, func() bool {
		h, _ = u.healthOf(address)
		return h.State == state
	})
	return h
}

// A process that is stopped takes connections and answers nothing: it is taken out while
// its peers serve, and is back when it goes on.
func TestStoppedBackend(t *testing.T) {
	t.Parallel()
	u, list := backends(t, 3, "")
	l := startLoad(t, u.web+"/", "s.test", 300)
	defer l.finish()
	address := strings.TrimPrefix(list[0].web, "http://")
	u.stands(address, "healthy")
	if err := list[0].cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	eventually(t, patience, "it is ejected", func() bool { return u.hasLog("endpoint ejected") })
	t.Logf("it is ejected after %s", time.Since(begin).Round(10*time.Millisecond))
	u.waitLog(`"reason":"stalled"`)
	for _, b := range list[1:] {
		if h, _ := u.healthOf(strings.TrimPrefix(b.web, "http://")); h.Ejections > 0 {
			t.Errorf("one that serves is %s: %s", h.State, h.Cause)
		}
	}
	u.waitMetricAbove("usher_upstream_ejections_total", 0, `reason="stalled"`)
	if err := list[0].cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	u.stands(address, "healthy")
}

// A probe that fails takes an instance out that its registry calls passing; both words
// are shown, and counted.
func TestDisagreement(t *testing.T) {
	t.Parallel()
	u, list := backends(t, 2, "services: {s: {health_check: {path: /, interval: 100ms, timeout: 5s}, slow_start: 1s}}")
	address := strings.TrimPrefix(list[0].web, "http://")
	eventually(t, patience, "it is probed", func() bool {
		h, _ := u.healthOf(address)
		return h.Probe != nil && h.Probe.Verdict == "up" && h.Probe.Result == "pass"
	})
	list[0].write(strings.Replace(respond, "status: 200", "status: 503", 1))
	u.waitLog("endpoint is down by its probes")
	h := u.stands(address, "unhealthy")
	if _, status := u.healthOf(address); status != "passing" || !h.Disagreement || h.Probe.Verdict != "down" ||
		h.Probe.Error != "status 503, expected 200-399" || !strings.Contains(h.Cause, h.Probe.Error) ||
		h.EffectiveWeight == nil || *h.EffectiveWeight != 0 {
		t.Errorf("it is %s, and %+v, %+v", status, h, h.Probe)
	}
	u.waitMetric("usher_health_disagreements", 1, `service="s"`)
	u.waitMetric("usher_endpoints", 1, `service="s"`, `state="unhealthy"`)
	u.waitMetricAbove("usher_health_checks_total", 2, `service="s"`, `result="fail"`)
	for range 20 {
		if code, _ := get(t, u.web+"/", "s.test"); code != http.StatusOK {
			t.Fatalf("a request is answered %d", code)
		}
	}
	list[0].write(respond)
	u.stands(address, "healthy")
	u.waitMetric("usher_health_disagreements", 0, `service="s"`)
}

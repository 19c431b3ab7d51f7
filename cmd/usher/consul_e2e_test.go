package main_test

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/watcher/consul/consultest"
)

// withConsul is the configuration of a usher beside an agent.
func withConsul(addr, more string) string {
	return fmt.Sprintf(`
listeners: [{name: web, address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
registries: [{type: consul, address: %q}]
%s`, addr, more)
}

// register makes b an instance of a service that announces host, with a check of
// the test's own.
func register(a *consultest.Agent, service string, b *backend, host string) {
	a.Register(api.AgentServiceRegistration{
		ID: b.name, Name: service, Address: "127.0.0.1", Port: b.port,
		Tags: []string{"urlprefix-" + host + "/"},
		Check: &api.AgentServiceCheck{
			CheckID: "check:" + b.name, TTL: "10m", Status: api.HealthPassing,
		},
	})
}

func setCheck(t *testing.T, a *consultest.Agent, b *backend, status string) {
	t.Helper()
	if err := a.Client().Agent().UpdateTTL("check:"+b.name, "", status); err != nil {
		t.Fatal(err)
	}
}

// Register → served; critical, maintenance, deregister → no more requests there.
func TestInstanceComesAndGoes(t *testing.T) {
	agent := consultest.Start(t)
	u := start(t, withConsul(agent.Addr(), ""))
	if !u.hasLog("no route yet") || !u.hasLog("urlprefix-") {
		t.Error("the start without a route does not say how to get one")
	}
	one, two := newBackend(t, "one", nil), newBackend(t, "two", nil)
	register(agent, "shop", one, "shop.test")
	u.waitStatus("shop.test", 200)
	register(agent, "shop", two, "shop.test")
	only := func(name string) {
		t.Helper()
		eventually(t, 15*time.Second, "only "+name+" answers", func() bool {
			for range 20 {
				if _, body := get(t, u.web+"/", "shop.test"); body != name {
					return false
				}
			}
			return true
		})
	}
	setCheck(t, agent, one, api.HealthCritical)
	only("two")
	setCheck(t, agent, one, api.HealthPassing)
	setCheck(t, agent, two, api.HealthCritical)
	only("one")
	setCheck(t, agent, two, api.HealthPassing)
	if err := agent.Client().Agent().EnableServiceMaintenance("one", "test"); err != nil {
		t.Fatal(err)
	}
	only("two")
	setCheck(t, agent, two, api.HealthCritical)
	u.waitStatus("shop.test", 503)
	if _, reason := u.status("shop.test"); reason != "no_healthy_endpoint" {
		t.Errorf("reason %q", reason)
	}
	agent.Deregister("one")
	agent.Deregister("two")
	u.waitStatus("shop.test", 404)
	if _, reason := u.status("shop.test"); reason != "no_route" {
		t.Errorf("reason %q", reason)
	}
}

// Meta announces like tags do, and the configuration's routes go before both.
func TestMetaAndConfigRoutes(t *testing.T) {
	agent := consultest.Start(t)
	b, other := newBackend(t, "meta", nil), newBackend(t, "silent", nil)
	agent.Register(api.AgentServiceRegistration{
		ID: "m", Name: "m", Address: "127.0.0.1", Port: b.port, Meta: map[string]string{"usher-route": "meta.test/"},
	})
	agent.Register(api.AgentServiceRegistration{ID: "s", Name: "silent", Address: "127.0.0.1", Port: other.port})
	u := start(t, withConsul(agent.Addr(), `
routes:
  - {name: silent, match: {hosts: [silent.test]}, service: silent}
  - {name: override, match: {hosts: [meta.test], path: /other}, service: silent}
  - {name: nobody, match: {hosts: [nobody.test]}, service: nobody}
`))
	u.waitStatus("meta.test", 200)
	u.waitStatus("silent.test", 200)
	u.waitStatus("nobody.test", 503)
	if _, body := get(t, u.web+"/other", "meta.test"); body != "silent" {
		t.Errorf("/other went to %q", body)
	}
}

// Rolling replacement of all instances under a steady load: zero failed requests.
// The same through reloads of the configuration and through a table swap each 50
// ms.
func TestRollingReplacement(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a Consul and ten seconds")
	}
	t.Run("plain", func(t *testing.T) { rollingReplacement(t, nil) })
	t.Run("reloads", func(t *testing.T) {
		rollingReplacement(t, func(u *usher, agent *consultest.Agent, turn int) {
			u.write(withConsul(agent.Addr(), fmt.Sprintf("defaults: {timeout: %ds}", 20+turn%10)))
			pause(100 * time.Millisecond)
		})
	})
	t.Run("table swaps", func(t *testing.T) {
		// Several services flap in turn: usher takes ten changes a second of each.
		noise := make([]*backend, 6)
		rollingReplacement(t, func(_ *usher, agent *consultest.Agent, turn int) {
			at, round := turn%len(noise), turn/len(noise)
			if noise[at] == nil {
				noise[at] = newBackend(t, fmt.Sprintf("noise-%d", at), nil)
				register(agent, noise[at].name, noise[at], noise[at].name+".test")
			}
			setCheck(t, agent, noise[at], []string{api.HealthCritical, api.HealthPassing}[round%2])
			pause(50 * time.Millisecond)
		})
	})
}

// rollingReplacement replaces four instances, twice, while meanwhile runs again
// and again.
func rollingReplacement(t *testing.T, meanwhile func(u *usher, agent *consultest.Agent, turn int)) {
	const rate = 1000
	agent := consultest.Start(t)
	u := start(t, withConsul(agent.Addr(), ""))
	var running []*backend
	for i := range 4 {
		b := newBackend(t, fmt.Sprintf("v0-%d", i), nil)
		register(agent, "shop", b, "shop.test")
		running = append(running, b)
	}
	u.waitStatus("shop.test", 200)
	versionBefore := u.metric("usher_table_version")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for turn := 0; meanwhile != nil; turn++ {
			select {
			case <-stop:
				return
			default:
				meanwhile(u, agent, turn)
			}
		}
	}()
	begin := time.Now()
	l := startLoad(t, u.web+"/", "shop.test", rate)
	for version := 1; version <= 2; version++ {
		for i, old := range running {
			fresh := newBackend(t, fmt.Sprintf("v%d-%d", version, i), nil)
			register(agent, "shop", fresh, "shop.test")
			pause(500 * time.Millisecond)
			agent.Deregister(old.name)
			pause(250 * time.Millisecond)
			old.stop()
			running[i] = fresh
		}
	}
	least := int(time.Since(begin).Seconds() * rate * 0.9)
	l.mustBeClean(least)
	close(stop)
	<-stopped
	if meanwhile != nil {
		swaps := u.metric("usher_table_version") - versionBefore
		t.Logf("%v tables in %s", swaps, time.Since(begin))
		if swaps < 40 {
			t.Errorf("only %v tables were swapped in", swaps)
		}
	}
}

// A rule that cannot be parsed costs that rule; the log and the metrics say so.
func TestRefusedRule(t *testing.T) {
	agent := consultest.Start(t)
	b := newBackend(t, "b", nil)
	agent.Register(api.AgentServiceRegistration{
		ID: "b", Name: "shop", Address: "127.0.0.1", Port: b.port,
		Tags: []string{"urlprefix-shop.test/", "urlprefix-bad.test/ weight=heavy", "urlprefix-host[.test/"},
	})
	u := start(t, withConsul(agent.Addr(), ""))
	u.waitStatus("shop.test", 200)
	u.waitStatus("bad.test", 404)
	if n := u.metric("usher_discovery_refused_rules", `registry="consul"`); n != 2 {
		t.Errorf("usher_discovery_refused_rules is %v, 2 are meant", n)
	}
	if n := u.metric("usher_table_builds_total", `result="refused"`); n < 1 {
		t.Errorf("no build counted as refused")
	}
	for _, part := range []string{"heavy", "host["} {
		if !u.hasLog(part) {
			t.Errorf("the log does not name %s", part)
		}
	}
}

// A registry that cannot be reached delays the start by its start_timeout at most,
// and what the other one knows is served.
func TestUnreachableRegistryDelaysTheStart(t *testing.T) {
	b := newBackend(t, "b", nil)
	begin := time.Now()
	u := launch(t, `
listeners: [{name: web, address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
registries:
  - {type: consul, address: "127.0.0.1:1", start_timeout: 1s}
  - {type: file, path: services.yaml}
`)
	writeFile(t, u.dir+"/services.yaml", fmt.Sprintf(
		"services: [{name: s, routes: [\"s.test/\"], instances: [{address: %q}]}]\n", b.address()))
	u.waitLog(`"msg":"services"`)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the start took %s", took)
	}
	u.waitStatus("s.test", 200)
	if u.metric("usher_discovery_up", `registry="consul"`) != 0 {
		t.Error("the unreachable registry is said to be up")
	}
}

// A request that comes back through usher's own route is stopped.
func TestLoop(t *testing.T) {
	agent := consultest.Start(t)
	u := start(t, withConsul(agent.Addr(), ""))
	port := 0
	if _, err := fmt.Sscanf(strings.TrimPrefix(u.web, "http://127.0.0.1:"), "%d", &port); err != nil {
		t.Fatal(err)
	}
	agent.Register(api.AgentServiceRegistration{
		ID: "self", Name: "self", Address: "127.0.0.1", Port: port, Tags: []string{"urlprefix-self.test/"},
	})
	u.waitStatus("self.test", http.StatusLoopDetected)
}

// The drain: unready at once, then drain_delay of answers that say Connection:
// close, then the end, under load and without a failed request.
func TestDrainUnderLoad(t *testing.T) {
	agent := consultest.Start(t)
	u := start(t, withConsul(agent.Addr(), "defaults: {drain_delay: 8s}"))
	register(agent, "shop", newBackend(t, "b", nil), "shop.test")
	u.waitStatus("shop.test", 200)
	l := startLoad(t, u.web+"/", "shop.test", 1000)
	pause(time.Second)
	u.signal(syscall.SIGTERM)
	eventually(t, time.Second, "readiness red", func() bool {
		code, _ := get(t, u.admin+"/readyz", "")
		return code == 503
	})
	resp, err := http.Get(u.web + "/")
	if err != nil {
		t.Fatalf("a new connection during drain_delay: %v", err)
	}
	_ = resp.Body.Close()
	if !resp.Close {
		t.Error("an answer during the drain does not say Connection: close")
	}
	pause(time.Second)
	l.mustBeClean(1500)
	if code := u.wait(30 * time.Second); code != 0 {
		t.Errorf("exit %d", code)
	}
}

package main_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/watcher/consul/consultest"
)

// registerChecked registers an instance of shop that the agent itself asks for its
// health, as a deploy does; it is critical until it has answered.
func (s *stage) registerChecked(b *backend) {
	s.t.Helper()
	s.agent.Register(api.AgentServiceRegistration{
		ID: b.name, Name: "shop", Address: "127.0.0.1", Port: b.port,
		Tags: []string{"urlprefix-shop.test/"},
		Check: &api.AgentServiceCheck{
			CheckID: "check:" + b.name, HTTP: "http://" + b.address() + "/health",
			Interval: "200ms", Timeout: "2s", Status: api.HealthCritical,
		},
	})
}

// passing waits until the registry says that an instance of shop is well.
func (s *stage) passing(b *backend) {
	s.t.Helper()
	eventually(s.t, patience, b.name+" is passing", func() bool {
		list, _, err := s.agent.Client().Health().Service("shop", "", true, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, e := range list {
			if e.Service.ID == b.name {
				return true
			}
		}
		return false
	})
}

// A rolling deploy as orchestrators do it: each instance is replaced, twice, by one on
// another port, which is asked for its health first; the old one stops a second after
// it was deregistered. usher is told nothing but by the registry.
func TestRollingDeploy(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t)
	s := &stage{t: t, agent: agent}
	for i := range 3 {
		b := newBackend(t, fmt.Sprintf("v0-%d", i), nil)
		s.registerChecked(b)
		s.shop = append(s.shop, b)
	}
	s.u = start(t, withConsul(agent.Addr(), ""))
	s.serve("shop.test", s.shop)
	l := startLoad(t, s.u.web+"/", "shop.test", 2*lowRate)
	for version := 1; version <= 2; version++ {
		for i, old := range s.shop {
			fresh := newBackend(t, fmt.Sprintf("v%d-%d", version, i), nil)
			s.registerChecked(fresh)
			s.passing(fresh)
			agent.Deregister(old.name)
			pause(time.Second) // the drain
			old.stop()
			s.shop[i] = fresh
		}
	}
	s.serve("shop.test", s.shop)
	s.u.holding(0)
	l.mustBeClean(6 * 2 * lowRate * 9 / 10)
	if want := 9; len(l.by) != want {
		t.Errorf("%d instances served, %d were there: %v", len(l.by), want, l.by)
	}
}

// A switch from blue to green during a hold: the registry lost blue, which usher holds,
// and green registers. Requests go to green only, though blue still answers.
func TestBlueGreenDuringAHold(t *testing.T) {
	t.Parallel()
	s := newStage(t, 4, "")
	l := s.load()
	s.agent.RestartEmpty()
	s.u.holding(4)
	s.serve("shop.test", s.shop)
	green := s.add("green", 4)
	s.serve("shop.test", green)
	l.mustBeClean(lowRate)
	// Blue is held for as long as it answers, and spared.
	s.u.holding(4)
	l = s.load()
	pause(time.Second)
	l.mustBeClean(lowRate / 2)
	for name := range l.by {
		if !strings.HasPrefix(name, "green-") {
			t.Errorf("%d requests went to %s", l.by[name], name)
		}
	}
	for _, b := range s.shop {
		b.stop()
	}
	s.u.holding(0)
	s.serve("shop.test", green)
}

// A held instance that dies is released by its probes; the others stay.
func TestHeldInstanceDies(t *testing.T) {
	t.Parallel()
	s := newStage(t, 4, "")
	l := s.load()
	s.agent.RestartEmpty()
	s.u.holding(4)
	s.shop[0].stop()
	begin := time.Now()
	s.u.holding(3)
	t.Logf("it is released after %s", time.Since(begin).Round(time.Millisecond))
	s.u.waitLog("held instances released")
	s.serve("shop.test", s.shop[1:])
	s.shop[1].stop()
	s.u.holding(2)
	l.mustBeClean(lowRate)
}

// A hold ends for the address that another instance takes: schedulers use ports again.
func TestHeldAddressIsTaken(t *testing.T) {
	t.Parallel()
	s := newStage(t, 4, "")
	s.agent.RestartEmpty()
	s.u.holding(4)
	taken := &backend{name: "other", port: s.shop[2].port}
	register(s.agent, "other", taken, "other.test")
	s.u.holding(3)
	s.u.servedBy("other.test", s.shop[2].name) // the process that is there
	s.serve("shop.test", []*backend{s.shop[0], s.shop[1], s.shop[3]})
}

// What an operator puts into the key-value store goes before what services announce,
// at once; what cannot be used refuses itself alone.
func TestOverridesInTheStore(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, "")
	canary := newBackend(t, "canary", nil)
	s.agent.Register(api.AgentServiceRegistration{
		ID: "canary", Name: "canary", Address: "127.0.0.1", Port: canary.port,
	})
	l := s.load()
	s.agent.Put("usher/routes/x", `{service: canary, match: {hosts: [shop.test]}}`)
	s.u.servedBy("shop.test", "canary")
	s.agent.Put("usher/routes/bad", `{service: canary, match: {hosts: ["bad[.test"]}}`)
	s.u.waitMetric("usher_discovery_refused_rules", 1)
	s.u.waitLog("usher/routes/bad")
	var routes struct {
		Refused []struct{ Where, Reason string }
		Routes  []struct {
			Source   string
			Hosts    []string
			Services []string
		}
	}
	s.u.api(http.MethodGet, "routes", &routes)
	if len(routes.Refused) != 1 || !strings.Contains(routes.Refused[0].Where, "usher/routes/bad") {
		t.Errorf("the API tells of these refusals: %+v", routes.Refused)
	}
	// A good one that turns bad is served as it was.
	s.agent.Put("usher/routes/x", `{service: canary, match: {hosts: [shop.test]}, colour: blue}`)
	s.u.waitMetric("usher_discovery_refused_rules", 2)
	s.u.waitLog("colour")
	s.u.servedBy("shop.test", "canary")
	s.agent.Put("usher/routes/y", `{service: canary, match: {hosts: [more.test]}}`)
	s.u.servedBy("more.test", "canary")
	for _, key := range []string{"x", "bad", "y"} {
		s.agent.Delete("usher/routes/" + key)
	}
	s.u.servedBy("shop.test", "shop-0")
	s.u.waitMetric("usher_discovery_refused_rules", 0)
	s.u.waitStatus("more.test", http.StatusNotFound)
	l.mustBeClean(1)
}

// Settings in the store are in force at once.
func TestServiceSettingsInTheStore(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, "")
	slow := newBackend(t, "slow", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(2 * time.Second):
		case <-r.Context().Done():
		}
		fmt.Fprint(w, "slow")
	})
	register(s.agent, "slow", slow, "slow.test")
	s.agent.Put("usher/services/slow", "timeout: 100ms")
	s.u.waitStatus("slow.test", http.StatusGatewayTimeout)
	if _, reason := s.u.status("slow.test"); reason != "upstream_timeout" {
		t.Errorf("reason %q", reason)
	}
}

// Who may be served, as tags say it, from the registry to the answer.
func TestAccessRules(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t)
	b := newBackend(t, "b", nil)
	rules := map[string]string{
		"open.test": "", "here.test": "allow=ip:127.0.0.0/8", "there.test": "allow=ip:192.0.2.0/24",
		"denied.test": "deny=ip:127.0.0.1", "spared.test": "deny=ip:192.0.2.0/24", "proof.test": "auth=staff",
	}
	for host, rule := range rules {
		agent.Register(api.AgentServiceRegistration{
			ID: host, Name: strings.TrimSuffix(host, ".test"), Address: "127.0.0.1", Port: b.port,
			Tags: []string{strings.TrimSpace("urlprefix-" + host + "/ " + rule)},
		})
	}
	u := start(t, withConsul(agent.Addr(), ""))
	for _, c := range []struct {
		host, forwarded string
		code            int
		reason          string
	}{
		{"open.test", "", 200, ""},
		{"here.test", "", 200, ""},
		{"here.test", "127.0.0.9", 200, ""},
		{"here.test", "192.0.2.1", 403, "access_denied"},
		{"here.test", "nonsense", 403, "access_denied"},
		{"there.test", "", 403, "access_denied"},
		{"there.test", "192.0.2.1", 403, "access_denied"}, // one cannot name oneself in
		{"denied.test", "", 403, "access_denied"},
		{"spared.test", "", 200, ""},
		{"spared.test", "192.0.2.1", 403, "access_denied"},
		{"proof.test", "", 401, "unauthorized"},
	} {
		u.waitRouted(c.host)
		req, err := http.NewRequest(http.MethodGet, u.web+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.host
		if c.forwarded != "" {
			req.Header.Set("X-Forwarded-For", c.forwarded)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.code || resp.Header.Get("X-Usher-Reason") != c.reason {
			t.Errorf("%s, forwarded for %q: %d %q, want %d %q", c.host, c.forwarded, resp.StatusCode,
				resp.Header.Get("X-Usher-Reason"), c.code, c.reason)
		}
		if (c.code == 401) != (resp.Header.Get("Www-Authenticate") != "") {
			t.Errorf("%s: WWW-Authenticate is %q", c.host, resp.Header.Get("Www-Authenticate"))
		}
	}
	if n := u.metric("usher_request_errors_total", `reason="access_denied"`); n < 6 {
		t.Errorf("%v refusals are counted", n)
	}
}

// waitRouted waits until a host has a route.
func (u *usher) waitRouted(host string) {
	u.t.Helper()
	eventually(u.t, patience, host+" has a route", func() bool {
		code, _ := u.status(host)
		return code != http.StatusNotFound
	})
}

// An instance that goes without a word, as by a crash, costs no request either.
func TestInstanceDiesUnannounced(t *testing.T) {
	t.Parallel()
	s := newStage(t, 3, "")
	l := s.load()
	_ = s.shop[0].server.Close() // its connections are cut
	pause(2 * time.Second)
	if nc, err := net.Dial("tcp", s.shop[0].address()); err == nil {
		nc.Close()
		t.Fatal("it still takes connections")
	}
	s.serve("shop.test", s.shop[1:])
	if !s.u.hasLog("endpoint ejected") {
		t.Error("the log does not tell of it")
	}
	setCheck(t, s.agent, s.shop[0], api.HealthCritical)
	l.mustBeClean(lowRate)
}

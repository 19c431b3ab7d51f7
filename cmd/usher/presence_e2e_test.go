package main_test

import (
	"fmt"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/watcher/consul/consultest"
)

// registered is the configuration of a usher that registers itself.
func registered(addr, more string) string {
	return fmt.Sprintf(`
listeners: [{name: web, address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
registries: [{type: consul, address: %q, register: {name: usher, ttl: 3s, tags: [edge]}}]
%s`, addr, more)
}

// usherIn is usher's own entry in the catalog, nil when there is none.
func usherIn(t *testing.T, agent *consultest.Agent) *api.ServiceEntry {
	t.Helper()
	list, _, err := agent.Client().Health().Service("usher", "", false, nil)
	if err != nil || len(list) > 1 {
		t.Fatalf("%d entries, %v", len(list), err)
	}
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// waitUsher waits until Consul says that usher is as it should; empty: not there.
func waitUsher(t *testing.T, agent *consultest.Agent, want string) *api.ServiceEntry {
	t.Helper()
	var e *api.ServiceEntry
	eventually(t, patience, fmt.Sprintf("usher is %q in Consul", want), func() bool {
		e = usherIn(t, agent)
		if e == nil {
			return want == ""
		}
		return e.Checks.AggregatedStatus() == want
	})
	return e
}

// usher is a service of its own Consul: with the port that it really has, passing while
// it is ready, in maintenance while it drains, gone when it is. Its requests are served
// to the end meanwhile.
func TestUsherInConsul(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t)
	u := start(t, registered(agent.Addr(), "defaults: {drain_delay: 5s}"))
	register(agent, "shop", newBackend(t, "shop-0", nil), "shop.test")
	u.servedBy("shop.test", "shop-0")
	e := waitUsher(t, agent, api.HealthPassing)
	if got := fmt.Sprintf("http://127.0.0.1:%d", e.Service.Port); got != u.web || e.Service.Tags[0] != "edge" {
		t.Errorf("it is registered as %s %v, and listens at %s", got, e.Service.Tags, u.web)
	}
	// The agent asks it for its readiness, too.
	if len(e.Checks) < 3 {
		t.Errorf("it has these checks: %+v", e.Checks)
	}
	l := startLoad(t, u.web+"/", "shop.test", lowRate)
	u.signal(syscall.SIGTERM)
	waitUsher(t, agent, api.HealthMaint)
	if code, body := get(t, u.admin+"/readyz", ""); code != http.StatusServiceUnavailable {
		t.Errorf("readyz: %d %s", code, body)
	}
	pause(time.Second)
	l.mustBeClean(lowRate / 2)
	if code := u.wait(patience); code != 0 {
		t.Errorf("exit %d", code)
	}
	waitUsher(t, agent, "")
}

// An agent that lost its state lists usher again soon, without anybody's doing.
func TestUsherIsRegisteredAgain(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t)
	u := start(t, registered(agent.Addr(), ""))
	before := waitUsher(t, agent, api.HealthPassing)
	agent.RestartEmpty()
	begin := time.Now()
	after := waitUsher(t, agent, api.HealthPassing)
	t.Logf("it is listed again %s after the agent was back", time.Since(begin).Round(time.Millisecond))
	if before.Service.ID != after.Service.ID {
		t.Errorf("it was %s and is now %s", before.Service.ID, after.Service.ID)
	}
	agent.Deregister(after.Service.ID) // by hand, or by a job that cleans up
	waitUsher(t, agent, "")
	waitUsher(t, agent, api.HealthPassing)
	u.waitLog("usher's own registration")
}

// A usher that is killed goes critical by itself: nobody sends the heartbeat.
func TestUsherIsKilled(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t)
	u := start(t, registered(agent.Addr(), ""))
	waitUsher(t, agent, api.HealthPassing)
	u.signal(syscall.SIGKILL)
	u.wait(patience)
	waitUsher(t, agent, api.HealthCritical)
}

// A registration that the configuration drops is taken out, and one that it changes
// moves without the service being lost.
func TestRegistrationFollowsTheConfiguration(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t)
	u := start(t, registered(agent.Addr(), ""))
	waitUsher(t, agent, api.HealthPassing)
	conf, err := os.ReadFile(u.conf)
	if err != nil {
		t.Fatal(err)
	}
	u.write(string(conf) + "discovery: {canary: true, canary_interval: 1s}\n")
	u.waitMetricAbove("usher_discovery_canary_seconds_count", 2)
	waitUsher(t, agent, api.HealthPassing)
	u.write(withConsul(agent.Addr(), ""))
	waitUsher(t, agent, "")
	eventually(t, patience, "the canary is gone", func() bool {
		list, _, err := agent.Client().Catalog().Service("usher-canary", "", nil)
		return err == nil && len(list) == 0
	})
	if !u.hasLog("configuration reloaded") {
		t.Error("the log does not tell of the reload")
	}
}

// The canary measures how long a change takes, and is served to nobody.
func TestCanary(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t)
	u := start(t, withConsul(agent.Addr(), "discovery: {canary: true, canary_interval: 1s}"))
	u.waitMetricAbove("usher_discovery_canary_seconds_count", 2)
	count, sum := u.metric("usher_discovery_canary_seconds_count"), u.metric("usher_discovery_canary_seconds_sum")
	t.Logf("%v changes were routable after %.1f ms each", count, sum/count*1000)
	if sum <= 0 {
		t.Error("they took no time")
	}
	// While the registry does not answer, nothing moves, and it goes on afterwards.
	agent.Kill()
	u.stale()
	agent.Restart()
	u.waitMetricAbove("usher_discovery_canary_seconds_count", count+2)
	u.signal(syscall.SIGTERM)
	if code := u.wait(patience); code != 0 {
		t.Errorf("exit %d", code)
	}
	list, _, err := agent.Client().Catalog().Service("usher-canary", "", nil)
	if err != nil || len(list) > 0 {
		t.Errorf("the canary is left behind: %d entries, %v", len(list), err)
	}
}

package main_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/watcher/consul/consultest"
)

// The faults of a registry, each under a steady load of which no request may fail, and
// what usher says of its state meanwhile. docs/faults.md has them as a table.

// seen registers a new service and waits until usher serves it. It logs how long that
// took since the registry was well, and since the registry itself told of it: an agent
// that cannot reach its servers passes a registration on late.
func (s *stage) seen(host string, well time.Time) {
	s.t.Helper()
	late := newBackend(s.t, host, nil)
	register(s.agent, host, late, host)
	listed := make(chan time.Time, 1)
	go func() { listed <- s.listed(host) }()
	s.u.servedBy(host, host)
	now := time.Now()
	s.t.Logf("a change is served %s after the registry was well again, %s after it was listed",
		now.Sub(well).Round(time.Millisecond), now.Sub(<-listed).Round(time.Millisecond))
}

// listed returns when the catalog told of a service.
func (s *stage) listed(service string) time.Time {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		list, _, err := s.agent.Client().Health().Service(service, "", false, nil)
		if err == nil && len(list) > 0 {
			return time.Now()
		}
		select {
		case <-tick.C:
		case <-s.t.Context().Done():
			return time.Now()
		}
	}
}

// The agent is killed and stays away. USHER_TEST_OUTAGE is how long (10m for the real
// thing).
func TestOutage(t *testing.T) {
	t.Parallel()
	lasts := fromEnv(t, "USHER_TEST_OUTAGE", 20*time.Second)
	s := newStage(t, 3, "")
	l := s.load()
	s.agent.Kill()
	begin := time.Now()
	s.u.stale()
	for time.Since(begin) < lasts {
		pause(min(lasts-time.Since(begin), 5*time.Second))
		if code, body := get(t, s.u.admin+"/readyz", ""); code != http.StatusOK {
			t.Fatalf("readyz %d %s", code, body)
		}
	}
	synced := s.u.metric("usher_discovery_last_sync_timestamp_seconds")
	if age := float64(time.Now().UnixMilli())/1e3 - synced; age < lasts.Seconds()-5 {
		t.Errorf("the last sync is said to be %v s old after %s without a registry", age, lasts)
	}
	if n := s.u.metric("usher_discovery_watch_errors_total", `reason="unreachable"`); n < 1 {
		t.Error("no query is counted as failed")
	}
	s.agent.Restart()
	well := time.Now()
	s.seen("late.test", well)
	s.u.fresh()
	s.u.holding(0)
	l.mustBeClean(int(lasts.Seconds() * lowRate * 0.9))
}

// The agent is frozen: connections to it open, and nothing answers.
func TestFrozenAgent(t *testing.T) {
	t.Parallel()
	s := newStage(t, 3, "")
	l := s.load()
	s.agent.Pause()
	s.u.stale()
	if n := s.u.metric("usher_discovery_watch_errors_total", `reason="timeout"`); n < 1 {
		t.Error("no query is counted as timed out")
	}
	s.agent.Resume()
	s.seen("late.test", time.Now())
	s.u.fresh()
	s.serve("shop.test", s.shop)
	s.u.holding(0)
	l.mustBeClean(lowRate)
}

// The agent is killed and comes back without its data, as in dev mode: nothing is
// believed gone. The services come back a while later.
func TestAgentComesBackEmpty(t *testing.T) {
	for _, c := range []struct {
		name string
		// back are the instances that register again.
		back func(s *stage) []*backend
	}{
		{"under the same IDs", func(s *stage) []*backend { return s.shop }},
		{"under other IDs at the same addresses", func(s *stage) (list []*backend) {
			for i, b := range s.shop {
				list = append(list, &backend{name: fmt.Sprintf("again-%d", i), port: b.port})
			}
			return list
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, 4, "")
			l := s.load()
			s.agent.RestartEmpty()
			s.u.holding(4)
			s.u.fresh()
			pause(2 * time.Second)
			s.u.holding(4)
			begin := time.Now()
			s.register(c.back(s))
			s.u.holding(0)
			t.Logf("all is confirmed %s after the services registered", time.Since(begin).Round(time.Millisecond))
			s.u.waitLog("held instances released")
			// The answers tell the processes' names, which are the same.
			s.serve("shop.test", s.shop)
			s.seen("late.test", time.Now())
			l.mustBeClean(lowRate)
		})
	}
}

// The registry answers all along, and at once it is empty, with a smaller index.
func TestEmptyAnswer(t *testing.T) {
	t.Parallel()
	full, empty := consultest.Start(t), consultest.Start(t)
	way := newRelay(t, full)
	s := newStageAt(t, full, way.addr(), 4, "")
	for i := range 20 { // so that its index is ahead
		s.agent.Register(api.AgentServiceRegistration{ID: fmt.Sprint("noise-", i), Name: "noise"})
	}
	l := s.load()
	way.to(empty)
	s.u.holding(4)
	s.u.waitMetricAbove("usher_discovery_index_resets_total", 0)
	if said := s.u.details(); !strings.Contains(said, "holding 4 instances") {
		t.Errorf("/readyz?verbose: %s", said)
	}
	pause(2 * time.Second)
	if up := s.u.metric("usher_discovery_up"); up != 1 {
		t.Errorf("usher_discovery_up is %v of a registry that answers", up)
	}
	s.agent = empty
	begin := time.Now()
	s.register(s.shop)
	s.u.holding(0)
	t.Logf("all is confirmed %s after the services registered", time.Since(begin).Round(time.Millisecond))
	s.seen("late.test", time.Now())
	l.mustBeClean(lowRate)
}

// The registry answers 500 for a while. USHER_TEST_FAILING is how long (60s for the
// real thing). A change that happened meanwhile is seen when it is well again.
func TestRegistryFails(t *testing.T) {
	t.Parallel()
	lasts := fromEnv(t, "USHER_TEST_FAILING", 15*time.Second)
	agent := consultest.Start(t)
	way := newRelay(t, agent)
	s := newStageAt(t, agent, way.addr(), 3, "")
	l := s.load()
	way.fail()
	begin := time.Now()
	s.u.stale()
	if n := s.u.metric("usher_discovery_watch_errors_total", `reason="http_500"`); n < 1 {
		t.Error("no answer is counted as 500")
	}
	fresh := s.add("meanwhile", 1)
	s.agent.Deregister(s.shop[0].name)
	pause(lasts - time.Since(begin))
	if said := s.u.details(); !strings.Contains(said, "stale: ") || strings.Contains(said, "holding") {
		t.Errorf("/readyz?verbose: %s", said)
	}
	way.heal()
	well := time.Now()
	s.serve("shop.test", append(fresh, s.shop[1:]...))
	t.Logf("what changed meanwhile is served %s after the last 500", time.Since(well).Round(time.Millisecond))
	s.seen("late.test", well)
	s.u.fresh()
	l.mustBeClean(int(lasts.Seconds() * lowRate * 0.9))
}

// newCluster starts three servers and a client agent, which the tests and usher speak
// to.
func newCluster(t *testing.T) (*consultest.Cluster, *consultest.Agent) {
	t.Helper()
	c := consultest.StartCluster(t)
	return c, consultest.Start(t, consultest.Join(c.Servers...))
}

// The leader is killed: the others choose a new one.
func TestLeaderKilled(t *testing.T) {
	t.Parallel()
	c, client := newCluster(t)
	s := newStageAt(t, client, client.Addr(), 4, "")
	l := s.load()
	before, err := client.Client().Status().Leader()
	if err != nil {
		t.Fatal(err)
	}
	old := c.Leader()
	old.Kill()
	begin := time.Now()
	var now string
	eventually(t, patience, "another leader", func() bool {
		now, err = client.Client().Status().Leader()
		return err == nil && now != "" && now != before
	})
	t.Logf("there is another leader after %s", time.Since(begin).Round(time.Millisecond))
	s.seen("late.test", time.Now())
	eventually(t, patience, "usher knows the new leader", func() bool {
		var registries []struct{ Contact string }
		s.u.api(http.MethodGet, "registries", &registries)
		return registries[0].Contact == now
	})
	s.serve("shop.test", s.shop)
	s.u.holding(0)
	old.Restart()
	l.mustBeClean(lowRate)
}

// All servers are killed: the client agent goes on answering, of which usher must not
// be taken in. They come back.
func TestAllServersKilled(t *testing.T) {
	t.Parallel()
	c, client := newCluster(t)
	s := newStageAt(t, client, client.Addr(), 4, "")
	l := s.load()
	c.Kill()
	begin := time.Now()
	s.u.stale()
	t.Logf("usher says stale after %s", time.Since(begin).Round(time.Millisecond))
	pause(5 * time.Second)
	s.u.holding(0)
	s.serve("shop.test", s.shop)
	c.Restart()
	s.seen("late.test", time.Now())
	s.u.fresh()
	s.serve("shop.test", s.shop)
	l.mustBeClean(5 * lowRate)
}

const readAll = `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`

// withToken is a stage behind ACLs, with a relay on the way; the token is in a file.
func withToken(t *testing.T, rules string) (s *stage, way *relay, tokenFile, secret string) {
	t.Helper()
	agent := consultest.Start(t, consultest.ACL())
	way = newRelay(t, agent)
	secret = agent.NewToken(rules)
	tokenFile = t.TempDir() + "/token"
	writeFile(t, tokenFile, secret)
	s = &stage{t: t, agent: agent}
	s.shop = s.add("shop", 4)
	s.u = start(t, fmt.Sprintf(`
listeners: [{name: web, address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
registries: [{type: consul, address: %q, token_file: %q, kv_prefix: ""}]
`, way.addr(), tokenFile))
	s.serve("shop.test", s.shop)
	return s, way, tokenFile, secret
}

// The token is revoked, and a new one put into its file.
func TestTokenRevoked(t *testing.T) {
	t.Parallel()
	s, _, file, secret := withToken(t, readAll)
	l := s.load()
	acl := s.agent.Client().ACL()
	token, _, err := acl.TokenReadSelf(&api.QueryOptions{Token: secret})
	if err == nil {
		_, err = acl.TokenDelete(token.AccessorID, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.add("unseen", 1) // wakes the queries
	s.u.waitMetricAbove("usher_discovery_watch_errors_total", 0, `reason="http_403"`)
	s.u.stale()
	eventually(t, patience, "the log names the refusal", func() bool { return s.u.hasLog("403") })
	// Who leads can be asked without a token: that makes nothing fresh.
	for range 35 {
		pause(200 * time.Millisecond)
		if s.u.metric("usher_discovery_stale") != 1 {
			t.Fatal("a registry that refuses the token is called fresh")
		}
	}
	writeFile(t, file+".next", s.agent.NewToken(readAll))
	begin := time.Now()
	if err := os.Rename(file+".next", file); err != nil {
		t.Fatal(err)
	}
	s.seen("late.test", begin)
	s.u.servedBy("shop.test", append(names(s.shop), "unseen-0")...)
	s.u.waitMetric("usher_discovery_stale", 0) // the new token is a new configuration: no more is logged
	s.u.waitMetric("usher_discovery_up", 1)
	s.u.holding(0)
	l.mustBeClean(2 * lowRate)
}

// The rights of the token are narrowed: the registry leaves the services out, which is
// not to be believed. Then they are widened again.
func TestTokenNarrowed(t *testing.T) {
	t.Parallel()
	s, way, _, secret := withToken(t, readAll)
	l := s.load()
	s.agent.SetRules(secret, `service "other" { policy = "read" } node_prefix "" { policy = "read" }`)
	way.to(s.agent) // a query goes on with the rights it began with, for up to its wait
	s.u.waitMetric("usher_discovery_acl_filtered", 1)
	s.u.holding(4)
	var holds []service
	if s.u.api(http.MethodGet, "holds", &holds); !strings.Contains(holds[0].Hold.Reason, "token") {
		t.Errorf("the reason of the hold is %q", holds[0].Hold.Reason)
	}
	pause(2 * time.Second)
	s.agent.SetRules(secret, readAll)
	begin := time.Now()
	way.to(s.agent)
	s.u.holding(0)
	s.seen("late.test", begin)
	s.u.waitMetric("usher_discovery_acl_filtered", 0)
	l.mustBeClean(2 * lowRate)
}

// The agent takes few connections of one client, fewer than there are services.
func TestFewConnections(t *testing.T) {
	t.Parallel()
	const services = 60
	agent := consultest.Start(t, consultest.MaxConns(24))
	b := newBackend(t, "all", nil)
	for i := range services {
		name := fmt.Sprintf("s%d", i)
		agent.Register(api.AgentServiceRegistration{
			ID: name, Name: name, Address: "127.0.0.1", Port: b.port, Tags: []string{"urlprefix-" + name + ".test/"},
		})
	}
	u := start(t, withConsul(agent.Addr(), ""))
	u.servedBy("s0.test", "all")
	l := startLoad(t, u.web+"/", "s0.test", lowRate)
	for i := range services {
		u.servedBy(fmt.Sprintf("s%d.test", i), "all")
	}
	u.waitMetricAbove("usher_discovery_watch_errors_total", 0, `reason="http_429"`)
	u.waitLog("the agent refuses connections")
	u.waitMetric("usher_discovery_watches", services)
	// The test's own client is refused as well until usher has made room.
	late := newBackend(t, "late", nil)
	begin := time.Now()
	eventually(t, patience, "the agent has room for another client", func() bool {
		return agent.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{
			ID: "late", Name: "late", Address: "127.0.0.1", Port: late.port, Tags: []string{"urlprefix-late.test/"},
		}) == nil
	})
	u.servedBy("late.test", "late")
	t.Logf("a new service is served after %s", time.Since(begin).Round(time.Millisecond))
	u.waitMetric("usher_discovery_up", 1)
	l.mustBeClean(lowRate)
}

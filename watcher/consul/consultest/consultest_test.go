package consultest_test

import (
	"net/http"
	"testing"

	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"

	"usher/watcher/consul/consultest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names returns the services in the agent's catalog; nil for an error.
func names(a *consultest.Agent) map[string][]string {
	services, _, err := a.Client().Catalog().Services(nil)
	if err != nil {
		return nil
	}
	return services
}

func has(a *consultest.Agent, service string) func() bool {
	return func() bool {
		_, ok := names(a)[service]
		return ok
	}
}

func lacks(a *consultest.Agent, service string) func() bool {
	return func() bool {
		services := names(a)
		_, ok := services[service]
		return services != nil && !ok
	}
}

func TestLife(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t)
	a.Register(api.AgentServiceRegistration{Name: "web", Port: 80, Check: consultest.TTL(api.HealthPassing)})
	consultest.Eventually(t, "web registered", has(a, "web"))

	for name, again := range map[string]func(){
		"stopped":              func() { a.Stop(); a.Restart() },
		"killed":               func() { a.Kill(); a.Restart() },
		"while it runs":        a.Restart,
		"paused":               func() { a.Pause(); a.Resume() },
		"stopped while paused": func() { a.Pause(); a.Restart() },
	} {
		again()
		if !has(a, "web")() {
			t.Fatalf("%s: the service is lost", name)
		}
	}
	a.Critical("web")
	a.Maintenance("web", true)
	a.NodeMaintenance(true)
	a.NodeMaintenance(false)
	a.Deregister("web")
	consultest.Eventually(t, "web gone", lacks(a, "web"))

	a.Register(api.AgentServiceRegistration{Name: "web", Port: 80})
	consultest.Eventually(t, "web is back", has(a, "web"))
	a.RestartEmpty()
	if !lacks(a, "web")() {
		t.Fatal("a service outlived the agent's data")
	}
	a.Pause() // and the cleanup ends it all the same
}

// TestParallel starts agents at the same time.
func TestParallel(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"one", "two"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := consultest.Start(t)
			a.Register(api.AgentServiceRegistration{Name: name})
			consultest.Eventually(t, name+" registered", has(a, name))
		})
	}
}

func TestClientAgent(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t, consultest.ACL())
	client := consultest.Start(t, consultest.ACL(), consultest.Join(server))
	client.Register(api.AgentServiceRegistration{Name: "web"})
	consultest.Eventually(t, "web registered", has(server, "web"))

	token := server.NewToken(`service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`)
	services := func(token string) (map[string][]string, error) {
		s, _, err := client.Client().Catalog().Services(&api.QueryOptions{Token: token})
		return s, err
	}
	if got, err := services(token); err != nil || got["web"] == nil {
		t.Errorf("with a token: %v, %v", got, err)
	}
	if got, err := services("wrong"); err == nil {
		t.Errorf("with a wrong token: %v", got)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.TLS(), consultest.Config(`node_meta { rack = "1" }`))
	conf, err := api.SetupTLSConfig(&api.TLSConfig{CAFile: a.CAFile()})
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("https://" + a.TLSAddr() + "/v1/status/leader")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		t.Fatalf("%s %s, want 200 over h2", resp.Proto, resp.Status)
	}
}

// TestCluster: the servers elect a leader, another one when it is killed, and keep
// their data through the end of all.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := consultest.StartCluster(t, consultest.ACL())
	client := consultest.Start(t, consultest.ACL(), consultest.Join(c.Servers...))
	client.Register(api.AgentServiceRegistration{Name: "web"})
	consultest.Eventually(t, "web registered", has(client, "web"))

	first := c.Leader()
	first.Kill()
	if second := c.Leader(); second == first {
		t.Error("a dead server leads")
	}
	// A new leader answers while it still replays its log.
	consultest.Eventually(t, "the service is there after the leader's end", has(client, "web"))
	c.Kill()
	c.Servers[0].RestartAlone()
	if leader, err := c.Servers[0].Client().Status().Leader(); err == nil && leader != "" {
		t.Errorf("one server of three leads itself: %s", leader)
	}
	c.Restart()
	consultest.Eventually(t, "the service is there again", has(client, "web"))
}

// TestRules: a token loses a right while it is in use.
func TestRules(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.ACL())
	a.Put("one/key", "value")
	secret := a.NewToken(`key_prefix "one/" { policy = "read" }`)
	value := func() string {
		pair, _, err := a.Client().KV().Get("one/key", &api.QueryOptions{Token: secret})
		if err != nil || pair == nil {
			return ""
		}
		return string(pair.Value)
	}
	if got := value(); got != "value" {
		t.Errorf("with the right: %q", got)
	}
	a.SetRules(secret, `key_prefix "two/" { policy = "read" }`)
	consultest.Eventually(t, "the right is lost", func() bool { return value() == "" })
	a.SetRules(secret, `key_prefix "one/" { policy = "read" }`)
	consultest.Eventually(t, "the right is back", func() bool { return value() == "value" })
	a.Delete("one/key")
	if got := value(); got != "" {
		t.Errorf("the key is still %q", got)
	}
}

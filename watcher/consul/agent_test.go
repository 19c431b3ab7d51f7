package consul

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/watcher"
	"usher/watcher/consul/consultest"
)

// registration is one with a TTL check that passes.
func registration(name string, tags ...string) api.AgentServiceRegistration {
	return api.AgentServiceRegistration{
		Name: name, Address: "127.0.0.1", Port: 9001, Tags: tags, Check: consultest.TTL(api.HealthPassing),
	}
}

func withMeta(s api.AgentServiceRegistration, pairs ...string) api.AgentServiceRegistration {
	s.Meta = map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		s.Meta[pairs[i]] = pairs[i+1]
	}
	return s
}

// TestRegistry runs the same cases for services with queries of their own and for
// those that share one. The cases change one agent; each has services of its own.
func TestRegistry(t *testing.T) {
	a := consultest.Start(t)
	own, shared := conf(a.Addr()), conf(a.Addr())
	shared.MaxWatches = 0
	t.Run("own", func(t *testing.T) { testRegistry(t, a, own) })
	t.Run("shared", func(t *testing.T) { testRegistry(t, a, shared) })
}

func testRegistry(t *testing.T, a *consultest.Agent, c config.Consul) {
	for name, test := range map[string]func(t *testing.T, a *consultest.Agent, c config.Consul){
		"announced by tag":            testByTag,
		"announced by meta":           testByMeta,
		"announced by meta, numbered": testNumberedMeta,
		"announced by nobody":         testByNobody,
		"wanted":                      testWanted,
		"statuses":                    testStatuses,
		"node maintenance":            testNodeMaintenance,
		"announcement comes and goes": testAnnouncementChanges,
		"deregistered":                testDeregistered,
		"several rules":               testSeveralRules,
		"datacenter in a rule":        testDC,
		"sidecars":                    testSidecar,
		"weights":                     testWeights,
		"redefined":                   testRedefined,
		"wanted, then announced":      testWantedAnnounces,
		"turned off":                  testTurnedOff,
		"the same ID on two nodes":    testTwoNodes,
		"the contact and the count":   testContact,
	} {
		t.Run(name, func(t *testing.T) { test(t, a, c) })
	}
}

// register registers for the length of one case.
func register(t *testing.T, a *consultest.Agent, s api.AgentServiceRegistration) {
	t.Helper()
	a.Register(s)
	id := s.ID
	if id == "" {
		id = s.Name
	}
	t.Cleanup(func() { _ = a.Client().Agent().ServiceDeregister(id) })
}

func testByTag(t *testing.T, a *consultest.Agent, c config.Consul) {
	register(t, a, registration("tag-before", "v1", "urlprefix-/before"))
	b := follow(t, c)
	b.awaitSynced()
	in := b.of("tag-before")
	if len(in) != 1 || in[0].Address != "127.0.0.1:9001" || in[0].ID != "dc1/"+a.Name()+"/tag-before" {
		t.Errorf("synced with %+v", in)
	}
	register(t, a, registration("tag-after", "urlprefix-/after"))
	in = []watcher.Instance{b.awaitThere("tag-after")}
	if got := texts(in[0]); !slices.Equal(got, []string{"/after"}) || in[0].Status != watcher.Passing {
		t.Errorf("got %+v", in)
	}
}

func testByMeta(t *testing.T, a *consultest.Agent, c config.Consul) {
	register(t, a, withMeta(registration("meta-before"), "usher-route", "/before"))
	b := follow(t, c)
	b.awaitSynced()
	if in := b.of("meta-before"); len(in) != 1 {
		t.Errorf("synced with %+v", in)
	}
	register(t, a, withMeta(registration("meta-after"), "usher-route", "/after"))
	if got := texts(b.awaitThere("meta-after")); !slices.Equal(got, []string{"/after"}) {
		t.Errorf("got %q", got)
	}
	// Meta added to a service that is registered already.
	register(t, a, registration("meta-later"))
	register(t, a, withMeta(registration("meta-later"), "usher-route", "/later"))
	b.awaitThere("meta-later")
}

// TestMetaFilter asks the agent itself: the filtered query names what announces by
// meta alone, and its blocking form wakes for it.
func TestMetaFilter(t *testing.T) {
	a := consultest.Start(t)
	ask := func(index uint64) (map[string][]string, uint64) {
		t.Helper()
		services, meta, err := a.Client().Catalog().Services(&api.QueryOptions{
			Filter: metaFilterFor(config.Consul{}), WaitIndex: index, WaitTime: consultest.Patience,
		})
		if err != nil {
			t.Fatal(err)
		}
		return services, meta.LastIndex
	}
	a.Register(registration("plain", "urlprefix-/"))
	services, index := ask(0)
	for len(services) != 0 {
		t.Fatalf("without an announcement it names %v", services)
	}
	begin := time.Now()
	a.Register(withMeta(registration("web"), "usher-route", "/"))
	for services["web"] == nil && time.Since(begin) < consultest.Patience {
		services, index = ask(index)
	}
	if _, ok := services["web"]; !ok || len(services) != 1 {
		t.Fatalf("it names %v", services)
	}
	a.Deregister("web")
	for services["web"] != nil && time.Since(begin) < consultest.Patience {
		services, index = ask(index)
	}
	if len(services) != 0 {
		t.Fatalf("after all it names %v", services)
	}
}

func testNumberedMeta(t *testing.T, a *consultest.Agent, c config.Consul) {
	register(t, a, withMeta(registration("numbered"), "usher-route-2", "/only"))
	b := follow(t, c)
	b.awaitSynced()
	if in := b.of("numbered"); len(in) != 1 {
		t.Errorf("synced with %+v", in)
	}
}

func testByNobody(t *testing.T, a *consultest.Agent, c config.Consul) {
	register(t, a, registration("plain", "v1"))
	b := follow(t, c)
	b.awaitSynced()
	register(t, a, registration("after", "urlprefix-/"))
	b.awaitThere("after")
	if b.look(func() bool { return b.services["plain"] != nil || b.services["consul"] != nil }) {
		t.Error("a service that announces nothing is watched")
	}
}

func testWanted(t *testing.T, a *consultest.Agent, c config.Consul) {
	register(t, a, registration("plain"))
	b := follow(t, c, "plain", "missing")
	b.awaitSynced()
	if in := b.of("plain"); len(in) != 1 || len(in[0].Announcements) != 0 {
		t.Errorf("synced with %+v", in)
	}
	b.Want([]string{"missing"})
	b.awaitCount("plain", 0)
	register(t, a, registration("missing"))
	b.awaitThere("missing")
	b.Want([]string{"missing", "plain"})
	b.awaitThere("plain")
	a.Deregister("missing")
	b.awaitCount("missing", 0)
	register(t, a, registration("missing"))
	b.awaitThere("missing")
	b.Want(nil)
	b.awaitCount("missing", 0)
	b.awaitCount("plain", 0)
}

func testStatuses(t *testing.T, a *consultest.Agent, c config.Consul) {
	b := follow(t, c)
	register(t, a, registration("health", "urlprefix-/"))
	is := func(want watcher.Status) watcher.Instance {
		t.Helper()
		return b.await("health", "is "+want.String(), func(in watcher.Instance) bool { return in.Status == want })
	}
	is(watcher.Passing)
	a.Critical("health")
	if in := is(watcher.Critical); !strings.Contains(in.Cause, "critical") {
		t.Errorf("because %q", in.Cause)
	}
	a.Warn("health")
	is(watcher.Warning)
	a.Maintenance("health", true)
	is(watcher.Maintenance)
	a.Maintenance("health", false)
	is(watcher.Warning)
	a.Pass("health")
	if in := is(watcher.Passing); in.Cause != "" {
		t.Errorf("passing, because %q", in.Cause)
	}
}

func testNodeMaintenance(t *testing.T, a *consultest.Agent, c config.Consul) {
	register(t, a, registration("on-node", "urlprefix-/"))
	b := follow(t, c)
	b.awaitThere("on-node")
	a.NodeMaintenance(true)
	b.await("on-node", "is in maintenance", func(in watcher.Instance) bool { return in.Status == watcher.Maintenance })
	a.NodeMaintenance(false)
	b.await("on-node", "passes", func(in watcher.Instance) bool { return in.Status == watcher.Passing })
}

func testAnnouncementChanges(t *testing.T, a *consultest.Agent, c config.Consul) {
	register(t, a, registration("changes", "v1"))
	b := follow(t, c)
	b.awaitSynced()
	a.Register(registration("changes", "v1", "urlprefix-/a"))
	b.awaitRules("changes", "/a")
	a.Register(registration("changes", "v1", "urlprefix-/b"))
	b.awaitRules("changes", "/b")
	a.Register(registration("changes", "v1"))
	b.awaitCount("changes", 0)
	a.Register(withMeta(registration("changes"), "usher-route", "/c"))
	b.awaitRules("changes", "/c")
	a.Register(registration("changes"))
	b.awaitCount("changes", 0)
}

func testDeregistered(t *testing.T, a *consultest.Agent, c config.Consul) {
	b := follow(t, c)
	b.awaitSynced()
	b.eventually("no watch yet", func() bool { return b.watches == 0 })
	first, second := registration("gone", "urlprefix-/"), registration("gone", "urlprefix-/")
	first.ID, second.ID = "gone-1", "gone-2"
	a.Register(first)
	a.Register(second)
	b.awaitCount("gone", 2)
	a.Register(registration("gone-too", "urlprefix-/"))
	b.awaitThere("gone-too")
	b.eventually("two watches", func() bool { return b.watches == 2 })
	a.Deregister("gone-1")
	b.awaitThere("gone")
	a.Deregister("gone-2")
	a.Deregister("gone-too")
	b.awaitCount("gone", 0)
	b.awaitCount("gone-too", 0)
	b.eventually("the watches end", func() bool { return b.watches == 0 })
	// And again.
	a.Register(first)
	b.awaitThere("gone")
	a.Deregister("gone-1")
	b.awaitCount("gone", 0)
	b.eventually("the watch ends", func() bool { return b.watches == 0 })
}

func testSeveralRules(t *testing.T, a *consultest.Agent, c config.Consul) {
	register(t, a, withMeta(registration("several", "urlprefix-/t1", "urlprefix-/t2"),
		"usher-route", "/a strip=/a; /b", "usher-route-2", "/c"))
	b := follow(t, c)
	want := []string{"/t1", "/t2", "/a strip=/a", "/b", "/c"}
	if got := texts(b.awaitThere("several")); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func testDC(t *testing.T, a *consultest.Agent, c config.Consul) {
	s := registration("dc", "urlprefix-$DC.example.com/ host=$DC")
	register(t, a, withMeta(s, "usher-route", "${DC}.example.org/"))
	b := follow(t, c)
	want := []string{"dc1.example.com/ host=$DC", "dc1.example.org/"}
	if got := texts(b.awaitThere("dc")); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func testSidecar(t *testing.T, a *consultest.Agent, c config.Consul) {
	b := follow(t, c)
	register(t, a, registration("with-sidecar", "urlprefix-/"))
	sidecar := registration("with-sidecar-sidecar-proxy", "urlprefix-/")
	sidecar.Kind = api.ServiceKindConnectProxy
	sidecar.Proxy = &api.AgentServiceConnectProxyConfig{DestinationServiceName: "with-sidecar"}
	register(t, a, sidecar)
	b.awaitThere("with-sidecar")
	b.eventually("the sidecar is found to be one", func() bool {
		list, ok := b.services["with-sidecar-sidecar-proxy"]
		return ok && len(list) == 0
	})
}

// testRedefined changes what shows neither in the list of services nor in a check.
func testRedefined(t *testing.T, a *consultest.Agent, c config.Consul) {
	s := withMeta(registration("redefined"), "usher-route", "/a")
	s.Check = nil
	register(t, a, s)
	b := follow(t, c)
	b.awaitThere("redefined")
	s.Port = 9002
	a.Register(s)
	b.await("redefined", "has its port", func(in watcher.Instance) bool { return in.Address == "127.0.0.1:9002" })
	s.Meta = map[string]string{"usher-route": "/b"}
	a.Register(s)
	b.awaitRules("redefined", "/b")
	s.Meta["usher-weight"] = "0"
	a.Register(s)
	b.await("redefined", "is drained", func(in watcher.Instance) bool { return in.Weight == 0 })
	s.ID = "redefined-2"
	register(t, a, s)
	b.awaitCount("redefined", 2)
	a.Deregister("redefined-2")
	b.awaitThere("redefined")
}

// testWantedAnnounces adds announcements to a service that is watched already.
func testWantedAnnounces(t *testing.T, a *consultest.Agent, c config.Consul) {
	s := registration("wanted-later")
	register(t, a, s)
	b := follow(t, c, "wanted-later")
	b.awaitThere("wanted-later")
	s.Tags = []string{"urlprefix-/a"}
	a.Register(s)
	b.await("wanted-later", "announces /a", func(in watcher.Instance) bool { return len(in.Announcements) == 1 })
	s.Meta = map[string]string{"usher-route": "/b"}
	a.Register(s)
	b.await("wanted-later", "announces /b", func(in watcher.Instance) bool { return len(in.Announcements) == 2 })
}

func testWeights(t *testing.T, a *consultest.Agent, c config.Consul) {
	heavy := withMeta(registration("weights", "urlprefix-/"), "usher-weight", "0.5")
	heavy.Weights = &api.AgentWeights{Passing: 10, Warning: 4}
	register(t, a, heavy)
	register(t, a, registration("plain-weight", "urlprefix-/"))
	b := follow(t, c)
	is := func(service string, want float64) {
		t.Helper()
		b.await(service, "has the weight", func(in watcher.Instance) bool { return in.Weight == want })
	}
	is("plain-weight", 1)
	is("weights", 5)
	a.Warn("weights")
	is("weights", 2)
}

func testTurnedOff(t *testing.T, a *consultest.Agent, c config.Consul) {
	on := registration("switch", "urlprefix-/")
	off := withMeta(registration("switch", "urlprefix-/"), "usher-enable", "false")
	on.ID, off.ID = "on", "off"
	register(t, a, on)
	register(t, a, off)
	b := follow(t, c)
	if in := b.awaitThere("switch"); !strings.HasSuffix(in.ID, "/on") {
		t.Errorf("got %+v", in)
	}
	off.Meta = nil
	a.Register(off)
	b.awaitCount("switch", 2)
}

func testTwoNodes(t *testing.T, a *consultest.Agent, c config.Consul) {
	s := registration("twice", "urlprefix-/")
	s.ID = "twice-1"
	register(t, a, s)
	b := follow(t, c)
	b.awaitThere("twice")
	other := api.CatalogDeregistration{Node: "elsewhere"}
	t.Cleanup(func() { a.DeregisterCatalog(other) })
	a.RegisterCatalog(api.CatalogRegistration{
		Node: "elsewhere", Address: "127.0.0.9",
		Service: &api.AgentService{ID: "twice-1", Service: "twice", Port: 9002, Tags: []string{"urlprefix-/"}},
		Checks:  api.HealthChecks{{Node: "elsewhere", CheckID: "c", ServiceID: "twice-1", Status: api.HealthPassing}},
	})
	b.awaitCount("twice", 2)
	list := b.of("twice")
	i := slices.IndexFunc(list, func(in watcher.Instance) bool { return in.ID == "dc1/elsewhere/twice-1" })
	if list[0].ID == list[1].ID || i < 0 {
		t.Fatalf("got %+v", list)
	}
	if in := list[i]; in.Address != "127.0.0.9:9002" || in.Weight != 1 || in.Created == 0 {
		t.Errorf("on the other node: %+v", in)
	}
	a.DeregisterCatalog(other)
	b.awaitThere("twice")
}

func testContact(t *testing.T, a *consultest.Agent, c config.Consul) {
	register(t, a, registration("counted", "urlprefix-/"))
	register(t, a, registration("counted-plain"))
	b := follow(t, c)
	b.awaitSynced()
	services, _, err := a.Client().Catalog().Services(nil)
	if err != nil {
		t.Fatal(err)
	}
	// Consul counts itself, usher does not. Those of other cases may be leaving.
	b.eventually("the count", func() bool { return b.seen >= 2 && b.seen <= len(services)-1 })
	b.eventually("the leader", func() bool { return strings.HasPrefix(b.last.Contact, "127.0.0.1:") })
}

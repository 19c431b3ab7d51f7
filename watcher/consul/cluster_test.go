package consul

import (
	"slices"
	"testing"
	"time"

	"usher/watcher"
	"usher/watcher/consul/consultest"
)

// clustered starts three servers and a client agent, with a service of one instance,
// web, and one of six, many, and a Manager that knows them.
func clustered(t *testing.T) (*consultest.Cluster, *consultest.Agent, *managed) {
	t.Helper()
	servers := consultest.StartCluster(t)
	a := consultest.Start(t, consultest.Join(servers.Servers...))
	a.Register(registration("web", "urlprefix-/"))
	scatter(a, "many", "node", 3000, 6)
	c := withStore(a.Addr(), "")
	a.Put("usher/routes/one", "service: web")
	m := manage(t, c, nil)
	m.await("web", 1, 0)
	m.await("many", 6, 0)
	m.awaitSynced()
	// The first server that was asked may have been behind.
	consultest.Eventually(t, "the store is known", func() bool { return len(held(m.overrides())) == 1 })
	m.forget()
	return servers, a, m
}

// convergesThrough changes the catalog through an agent and waits for each change.
func (m *managed) convergesThrough(a *consultest.Agent) {
	m.t.Helper()
	a.Register(registration("new", "urlprefix-/new"))
	m.await("new", 1, 0)
	a.Critical("web")
	consultest.Eventually(m.t, "web is critical", func() bool {
		in := m.status("web").Instances
		return len(in) == 1 && in[0].Status == watcher.Critical
	})
	a.Deregister("new")
	m.await("new", 0, 0)
	m.awaitFailure(false)
	m.await("many", 6, 0)
	m.never("web", 1)
	m.never("many", 6)
}

// TestLeaderIsKilled: nothing is lost with the leader, and changes are seen after the
// election.
func TestLeaderIsKilled(t *testing.T) {
	t.Parallel()
	servers, a, m := clustered(t)
	first := servers.Leader()
	first.Kill()
	if servers.Leader() == first {
		t.Fatal("a dead server leads")
	}
	m.convergesThrough(a)
	first.Restart()
	m.never("many", 6)
}

// TestServersAreKilled: nothing is lost with all servers, while they are away, while one
// is back that cannot lead alone, and when all are.
func TestServersAreKilled(t *testing.T) {
	t.Parallel()
	servers, a, m := clustered(t)
	servers.Kill()
	m.awaitFailure(true)
	servers.Servers[0].RestartAlone()
	letPass(t, 2*time.Second) // in which it is asked, and must not be believed
	m.never("web", 1)
	m.never("many", 6)
	servers.Restart()
	m.convergesThrough(a)
	if got := held(m.overrides()); !slices.Equal(got, []string{"one>web"}) {
		t.Errorf("the store holds %q", got)
	}
}

package consul

import (
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/watcher"
	"usher/watcher/consul/consultest"
)

// start starts an agent with a service, web, and a Registry that knows it.
func start(t *testing.T, opts ...consultest.Option) (*consultest.Agent, *bench) {
	t.Helper()
	a := consultest.Start(t, opts...)
	a.Register(registration("web", "urlprefix-/"))
	a.Pass("web") // so that the check passes after a restart, too
	c := conf(a.Addr())
	c.Token = a.Token()
	b := follow(t, c)
	b.awaitThere("web")
	b.awaitSynced()
	return a, b
}

// stays fails if web is not as it was, or was ever gone.
func (b *bench) stays() {
	b.t.Helper()
	if in := b.of("web"); len(in) != 1 || in[0].Status != watcher.Passing {
		b.t.Errorf("web is now %+v", in)
	}
	b.neverGone("web")
}

func (b *bench) neverGone(service string) {
	b.t.Helper()
	if b.look(func() bool { return b.emptied[service] > 0 }) {
		b.t.Errorf("%s was said to be gone", service)
	}
}

// converges registers, changes and removes a service, and waits for each.
func converges(a *consultest.Agent, b *bench) {
	b.t.Helper()
	a.Register(registration("new", "urlprefix-/new"))
	b.awaitThere("new")
	a.Critical("new")
	b.await("new", "is critical", func(in watcher.Instance) bool { return in.Status == watcher.Critical })
	a.Deregister("new")
	b.awaitCount("new", 0)
	b.eventually("no failure any more", func() bool { return b.last.Err == nil })
	b.await("web", "still passes", func(in watcher.Instance) bool { return in.Status == watcher.Passing })
	b.neverGone("web")
}

func TestAgentIsAway(t *testing.T) {
	for name, end := range map[string]func(*consultest.Agent){
		"stopped": (*consultest.Agent).Stop,
		"killed":  (*consultest.Agent).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := start(t)
			end(a)
			b.awaitErr("unreachable")
			b.stays()
			a.Restart()
			b.stays()
			converges(a, b)
		})
	}
}

// TestChangedWhileAway: what changed meanwhile is seen.
func TestChangedWhileAway(t *testing.T) {
	t.Parallel()
	server, b := start(t)
	// The catalog changes while the Registry's view of it is cut off: it pauses after
	// errors, so the agent is back and changed before it asks again.
	server.Kill()
	b.awaitErr("unreachable")
	server.Restart()
	server.Register(registration("late", "urlprefix-/late"))
	server.Deregister("web")
	b.awaitThere("late")
	b.awaitCount("web", 0)
}

func TestAgentIsFrozen(t *testing.T) {
	t.Parallel()
	a, b := start(t)
	a.Pause()
	b.awaitErr("timeout")
	b.stays()
	a.Resume()
	b.stays()
	converges(a, b)
}

// TestAgentIsAwayAtTheStart: the Registry waits for it.
func TestAgentIsAwayAtTheStart(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t)
	a.Register(registration("web", "urlprefix-/"))
	a.Pass("web")
	a.Stop()
	b := follow(t, conf(a.Addr()))
	b.awaitErr("unreachable")
	if b.look(func() bool { return b.synced || len(b.services) > 0 }) {
		t.Error("synced with an agent that is away")
	}
	a.Restart()
	b.awaitSynced()
	b.stays()
}

// TestServersAreGone: a client agent answers, and its servers do not.
func TestServersAreGone(t *testing.T) {
	for name, lose := range map[string]func(*consultest.Agent){
		"killed": (*consultest.Agent).Kill,
		"frozen": (*consultest.Agent).Pause,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := consultest.Start(t)
			a, b := start(t, consultest.Join(server))
			b.eventually("the leader", func() bool { return b.last.Contact != "" })
			lose(server)
			b.eventually("a failure", func() bool { return b.last.Err != nil })
			answers := b.answered()
			// A Registry that starts now learns nothing, and must not believe that it does.
			fresh := follow(t, conf(a.Addr()), "web")
			fresh.eventually("a failure, too", func() bool { return fresh.last.Err != nil })
			letPass(t, 2*probeEvery)
			b.stays()
			if b.look(func() bool { return b.last.Err == nil }) {
				t.Error("without servers the registry is called well")
			}
			if fresh.look(func() bool { return fresh.synced && len(fresh.services["web"]) == 0 }) {
				t.Error("a fresh Registry takes the servers' silence for an empty catalog")
			}
			b.look(func() bool {
				t.Logf("failures: %v, and %d answers between them", b.errs, b.answers-answers)
				return true
			})
			if name == "frozen" {
				server.Resume()
			} else {
				server.Restart()
			}
			converges(a, b)
			fresh.awaitThere("web")
		})
	}
}

// TestNoLeader: a server without a quorum answers, and says so.
func TestNoLeader(t *testing.T) {
	t.Parallel()
	quick := consultest.Config(`autopilot { server_stabilization_time = "200ms" }`)
	a, b := start(t, quick)
	second := consultest.Start(t, quick, consultest.Join(a), consultest.Config("server = true"))
	consultest.Eventually(t, "two voters", func() bool {
		raft, err := a.Client().Operator().RaftGetConfiguration(nil)
		return err == nil && len(raft.Servers) == 2 && raft.Servers[0].Voter && raft.Servers[1].Voter
	})
	second.Kill()
	b.eventually("no leader", func() bool { return b.errs["no_leader"] > 0 })
	b.stays()
	second.Restart()
	b.stays()
	converges(a, b)
}

// letPass lets time pass in which nothing must happen.
func letPass(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

func TestTokenIsRevoked(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.ACL())
	a.Register(registration("web", "urlprefix-/"))
	secret := a.NewToken(`service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`)
	c := conf(a.Addr())
	c.Token = secret
	b := follow(t, c)
	b.awaitThere("web")
	b.awaitSynced()

	token, _, err := a.Client().ACL().TokenReadSelf(&api.QueryOptions{Token: secret})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Client().ACL().TokenDelete(token.AccessorID, nil); err != nil {
		t.Fatal(err)
	}
	a.Register(registration("new", "urlprefix-/")) // wakes the queries
	b.awaitErr("http_403")
	b.stays()
}

package consul

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/watcher/consul/consultest"
)

// many is more services than an agent lets one address have connections on plain
// HTTP.
const many = 300

func registerMany(t *testing.T, a *consultest.Agent) {
	t.Helper()
	for i := range many {
		name := fmt.Sprintf("s%d", i)
		a.RegisterCatalog(api.CatalogRegistration{
			Node: "fleet", Address: "127.0.0.9", SkipNodeUpdate: i > 0,
			Service: &api.AgentService{
				ID: name, Service: name, Port: 1000 + i, Tags: []string{"urlprefix-/"},
			},
		})
	}
}

// syncMany follows them all and tells what it took.
func syncMany(t *testing.T, b *bench) {
	t.Helper()
	begin := time.Now()
	b.eventually("all services", func() bool {
		n := 0
		for _, list := range b.services {
			n += len(list)
		}
		return n == many
	})
	b.awaitSynced()
	t.Logf("%d services after %v, failures %v", many, time.Since(begin).Round(time.Millisecond), b.errs)
}

// TestManyServices: h2 carries them all on a few connections.
func TestManyServices(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.TLS())
	registerMany(t, a)
	c := conf("https://" + a.TLSAddr())
	c.TLS.CAFile = a.CAFile()
	b := follow(t, c)
	syncMany(t, b)
	a.Register(registration("web", "urlprefix-/"))
	b.awaitThere("web")
	if b.look(func() bool { return len(b.errs) > 0 }) {
		t.Errorf("failures: %v", b.errs)
	}
}

// TestManyServicesPlain: the same beside the agent's limit of 200 connections.
func TestManyServicesPlain(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t)
	registerMany(t, a)
	b := follow(t, conf(a.Addr()))
	syncMany(t, b)
	begin := time.Now()
	if _, err := a.Client().Agent().Self(); err != nil {
		t.Errorf("another client of the agent: %v", err)
	}
	a.Register(registration("web", "urlprefix-/"))
	b.awaitThere("web")
	t.Logf("a new service is seen after %v", time.Since(begin).Round(time.Millisecond))
	if b.look(func() bool { return len(b.errs) > 0 }) {
		t.Errorf("failures: %v", b.errs)
	}
}

// TestFewConnections: an agent that takes fewer connections than the services need,
// and of which a neighbour holds some.
func TestFewConnections(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.MaxConns(40))
	registerMany(t, a)
	b := follow(t, conf(a.Addr()))
	syncMany(t, b)
	consultest.Eventually(t, "other clients are served", func() bool {
		_, err := a.Client().Agent().NodeName()
		return err == nil
	})
	web := registration("web", "urlprefix-/")
	consultest.Eventually(t, "web is registered", func() bool {
		return a.Client().Agent().ServiceRegister(&web) == nil
	})
	b.awaitThere("web")
	b.look(func() bool {
		t.Logf("failures %v", b.errs)
		return true
	})
}

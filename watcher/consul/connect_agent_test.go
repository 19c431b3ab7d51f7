package consul

import (
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/watcher"
	"usher/watcher/consul/consultest"
)

// member is the configuration of a usher that is part of the mesh.
func member(addr string) config.Consul {
	c := conf(addr)
	c.Connect = config.Connect{Enabled: true, Service: "usher"}
	return c
}

// followMesh is follow where the configuration has some services reached over the mesh.
func followMesh(t testing.TB, c config.Consul, services ...string) *bench {
	t.Helper()
	return followWith(t, c, Options{Mesh: func(name string) bool { return slices.Contains(services, name) }})
}

// withSidecar gives a registration a sidecar at a port, with a check of the test's.
func withSidecar(s api.AgentServiceRegistration, port int) api.AgentServiceRegistration {
	s.Connect = &api.AgentServiceConnect{SidecarService: &api.AgentServiceRegistration{
		Address: "127.0.0.1", Port: port, Check: consultest.TTL(api.HealthPassing),
	}}
	return s
}

// proxyFor is a proxy of a service, or of one instance.
func proxyFor(id, service, instance string, port int) api.AgentServiceRegistration {
	return api.AgentServiceRegistration{
		ID: id, Name: "proxies", Kind: api.ServiceKindConnectProxy, Address: "127.0.0.1", Port: port,
		Proxy: &api.AgentServiceConnectProxyConfig{DestinationServiceName: service, DestinationServiceID: instance},
		Check: consultest.TTL(api.HealthPassing),
	}
}

// TestConnect runs the same cases for queries of their own and for those that share one.
func TestConnect(t *testing.T) {
	a := consultest.Start(t, consultest.Connect())
	own, shared := member(a.Addr()), member(a.Addr())
	shared.MaxWatches = 0
	for name, c := range map[string]config.Consul{"own": own, "shared": shared} {
		t.Run(name, func(t *testing.T) {
			for name, test := range map[string]func(t *testing.T, a *consultest.Agent, c config.Consul){
				"sidecar":              testMeshSidecar,
				"proxy of the service": testMeshProxy,
				"native":               testMeshNative,
				"by its own word":      testMeshAsked,
				"not in the mesh":      testMeshWithout,
			} {
				t.Run(name, func(t *testing.T) { test(t, a, c) })
			}
		})
	}
}

// An instance is reached through its sidecar; who it is, what it announces and how it is
// stay its own, and the sidecar's health counts too.
func testMeshSidecar(t *testing.T, a *consultest.Agent, c config.Consul) {
	s := withSidecar(withMeta(registration("mesh-side", "urlprefix-/side"), "usher-port", "9009"), 20101)
	register(t, a, s)
	t.Cleanup(func() { _ = a.Client().Agent().ServiceDeregister("mesh-side-sidecar-proxy") })
	b := followMesh(t, c, "mesh-side")
	b.awaitSynced()
	in := b.awaitThere("mesh-side")
	want := watcher.Mesh{Service: "mesh-side", Datacenter: "dc1"}
	if in.Address != "127.0.0.1:20101" || in.Mesh == nil || *in.Mesh != want || in.Status != watcher.Passing ||
		in.ID != "dc1/"+a.Name()+"/mesh-side" || !slices.Equal(texts(in), []string{"/side"}) {
		t.Fatalf("synced with %+v, %+v", in, in.Mesh)
	}
	is := func(status watcher.Status, cause string) {
		t.Helper()
		b.await("mesh-side", "is "+status.String()+" because of "+cause, func(in watcher.Instance) bool {
			return in.Status == status && strings.Contains(in.Cause, cause)
		})
	}
	a.Critical("mesh-side-sidecar-proxy")
	is(watcher.Critical, "its proxy: check")
	a.Pass("mesh-side-sidecar-proxy")
	is(watcher.Passing, "")
	a.Critical("mesh-side")
	is(watcher.Critical, "check")
	a.Pass("mesh-side")
	is(watcher.Passing, "")
	a.Deregister("mesh-side-sidecar-proxy")
	is(watcher.Critical, "no proxy of the service mesh")
	s.Connect.SidecarService.Port = 20102
	a.Register(s)
	b.await("mesh-side", "moves", func(in watcher.Instance) bool {
		return in.Address == "127.0.0.1:20102" && in.Status == watcher.Passing
	})
	a.Deregister("mesh-side")
	b.awaitCount("mesh-side", 0)
}

// A proxy that stands for a service, not for one of its instances, is that of those on its
// node.
func testMeshProxy(t *testing.T, a *consultest.Agent, c config.Consul) {
	register(t, a, registration("mesh-by", "urlprefix-/by"))
	b := followMesh(t, c, "mesh-by")
	b.await("mesh-by", "has no proxy", func(in watcher.Instance) bool { return in.Status == watcher.Critical })
	register(t, a, proxyFor("by-any", "mesh-by", "", 20103))
	b.await("mesh-by", "is reached", func(in watcher.Instance) bool {
		return in.Address == "127.0.0.1:20103" && in.Status == watcher.Passing
	})
	register(t, a, proxyFor("by-another", "mesh-by", "nobody", 20104))
	register(t, a, proxyFor("by-its-own", "mesh-by", "mesh-by", 20105))
	b.await("mesh-by", "has its own", func(in watcher.Instance) bool { return in.Address == "127.0.0.1:20105" })
	register(t, a, proxyFor("by-a-second", "mesh-by", "mesh-by", 20106))
	a.Critical("by-its-own")
	b.await("mesh-by", "has the better one", func(in watcher.Instance) bool { return in.Address == "127.0.0.1:20106" })
}

// An instance that speaks the mesh's TLS itself is reached where it is.
func testMeshNative(t *testing.T, a *consultest.Agent, c config.Consul) {
	s := registration("mesh-native", "urlprefix-/native")
	s.Connect = &api.AgentServiceConnect{Native: true}
	register(t, a, s)
	b := followMesh(t, c, "mesh-native")
	b.awaitSynced()
	in := b.awaitThere("mesh-native")
	if in.Address != "127.0.0.1:9001" || in.Mesh == nil || in.Status != watcher.Passing {
		t.Errorf("synced with %+v", in)
	}
	a.Critical("mesh-native")
	b.await("mesh-native", "is critical", func(in watcher.Instance) bool { return in.Status == watcher.Critical })
}

// Instances may ask for the mesh, each for itself; when none does any more the service is
// reached as it stands.
func testMeshAsked(t *testing.T, a *consultest.Agent, c config.Consul) {
	asking := withSidecar(withMeta(registration("mesh-asks", "urlprefix-/asks"), "usher-connect", "true"), 20107)
	silent := registration("mesh-asks", "urlprefix-/asks")
	asking.ID, silent.ID = "asks", "silent"
	register(t, a, asking)
	t.Cleanup(func() { _ = a.Client().Agent().ServiceDeregister("asks-sidecar-proxy") })
	register(t, a, silent)
	b := followMesh(t, c)
	b.eventually("one of two is in the mesh", func() bool {
		list := b.services["mesh-asks"]
		return len(list) == 2 && list[0].Mesh != nil && list[0].Address == "127.0.0.1:20107" &&
			list[1].Mesh == nil && list[1].Address == "127.0.0.1:9001"
	})
	asking.Meta = nil
	a.Register(asking)
	b.eventually("none is", func() bool {
		list := b.services["mesh-asks"]
		return len(list) == 2 && list[0].Mesh == nil && list[0].Address == "127.0.0.1:9001"
	})
	silent.Tags = append(silent.Tags, "usher-connect=true")
	a.Register(silent)
	b.eventually("the other one would be", func() bool {
		list := b.services["mesh-asks"]
		return len(list) == 2 && list[0].Mesh == nil && list[1].Mesh != nil && list[1].Status == watcher.Critical
	})
}

// Where usher is no part of the mesh, who asks for it gets no requests, not plain ones.
func testMeshWithout(t *testing.T, a *consultest.Agent, c config.Consul) {
	c.Connect.Enabled = false
	register(t, a, withMeta(registration("mesh-none", "urlprefix-/none"), "usher-connect", "true"))
	b := followMesh(t, c, "mesh-none")
	b.awaitSynced()
	in := b.awaitThere("mesh-none")
	if in.Status != watcher.Critical || !strings.Contains(in.Cause, "usher is no part") || in.Mesh == nil {
		t.Errorf("synced with %+v", in)
	}
}

package consul

import (
	"fmt"
	"strings"
	"testing"

	"usher/watcher"
)

const meshPath = "/v1/health/connect/web"

// webProxy is a sidecar of the entry webEntry, as JSON.
const webProxy = `[{"Node": {"Node": "n1", "Address": "127.0.0.1", "Datacenter": "dc1"}, "Checks": [],
"Service": {"Kind": "connect-proxy", "ID": "web-proxy", "Service": "web-proxy", "Port": 8080,
"Proxy": {"DestinationServiceName": "web", "DestinationServiceID": "web"}}}]`

// proxied is a fake with one service, web, that is reached over the mesh.
func proxied(t *testing.T) (*fake, *bench) {
	t.Helper()
	f := newFake(t, map[string]answer{
		leader:    {body: `"127.0.0.1:8300"`},
		listPath:  {index: 10, body: `{"consul": [], "web": ["urlprefix-/"], "web-proxy": []}`},
		metaPath:  {index: 10, body: "{}"},
		webPath:   {index: 10, body: webEntry},
		meshPath:  {index: 10, body: webProxy},
		nodesPath: {index: 10, body: `[{"Node": "n1"}]`},
	})
	b := followMesh(t, member(f.addr), "web")
	b.awaitSynced()
	if in := b.awaitThere("web"); in.Address != "127.0.0.1:8080" {
		t.Fatalf("synced with %+v", in)
	}
	return f, b
}

// TestMeshBackwards: an answer about the proxies whose index fell is not applied; the next
// one, asked for without an index, is.
func TestMeshBackwards(t *testing.T) {
	t.Parallel()
	f, b := proxied(t)
	moved := strings.Replace(webProxy, `"Port": 8080`, `"Port": 8081`, 1)
	f.set(meshPath+plain, answer{index: 9, body: moved})
	f.set(meshPath, answer{index: 1, body: "[]"})
	b.await("web", "is read again", func(in watcher.Instance) bool { return in.Address == "127.0.0.1:8081" })
	b.neverGone("web")
	if b.look(func() bool { return b.resets == 0 }) {
		t.Error("the reset is not reported")
	}
}

// TestMeshError: an error of one of the two queries changes nothing, and the other one
// goes on.
func TestMeshError(t *testing.T) {
	t.Parallel()
	f, b := proxied(t)
	f.set(meshPath, answer{status: 500, body: "no"})
	b.eventually("the failure", func() bool { return b.errs["http_500"] > 0 })
	critical := strings.Replace(webEntry, `"Checks": []`,
		`"Checks": [{"Node": "n1", "CheckID": "c", "Name": "c", "Status": "critical", "ServiceID": "web"}]`, 1)
	f.set(webPath, answer{index: 11, body: critical})
	b.await("web", "is critical", func(in watcher.Instance) bool {
		return in.Status == watcher.Critical && in.Address == "127.0.0.1:8080"
	})
	f.set(webPath, answer{status: 500, body: "no"})
	f.set(meshPath, answer{index: 12, body: strings.Replace(webProxy, `"Port": 8080`, `"Port": 8082`, 1)})
	b.await("web", "is where its proxy is", func(in watcher.Instance) bool { return in.Address == "127.0.0.1:8082" })
	b.neverGone("web")
}

// TestMeshUnknown: as long as nothing is known of the proxies nothing is said of the
// service, plainly reached least of all, and the start does not wait for it.
func TestMeshUnknown(t *testing.T) {
	t.Parallel()
	f := newFake(t, map[string]answer{
		leader:   {body: `"127.0.0.1:8300"`},
		listPath: {index: 10, body: `{"web": ["urlprefix-/"]}`},
		metaPath: {index: 10, body: "{}"},
		webPath:  {index: 10, body: webEntry},
		meshPath: {status: 403, body: "no"},
	})
	b := followMesh(t, member(f.addr), "web")
	b.awaitSynced()
	if list := b.of("web"); len(list) != 0 {
		t.Errorf("synced with %+v", list)
	}
	f.set(meshPath, answer{index: 10, body: webProxy})
	b.await("web", "is reached", func(in watcher.Instance) bool { return in.Address == "127.0.0.1:8080" })
}

// TestMeshFiltered: proxies that the token may have lost from sight are missing, which the
// guard judges, and not at fault; that they are gone for certain is.
func TestMeshFiltered(t *testing.T) {
	t.Parallel()
	f, b := proxied(t)
	hidden := map[string]string{"X-Consul-Results-Filtered-By-ACLs": "true"}
	f.set(meshPath, answer{index: 11, body: "[]", header: hidden})
	b.awaitCount("web", 0)
	b.neverGone("web") // but in doubt
	f.set(meshPath, answer{index: 12, body: "[]"})
	b.await("web", "is out of reach", func(in watcher.Instance) bool { return in.Status == watcher.Critical })
}

// TestMeshShared: proxies of services that share a query are read again when the list of
// services changes, whatever the proxies are called.
func TestMeshShared(t *testing.T) {
	t.Parallel()
	f := newFake(t, map[string]answer{
		leader:   {body: `"127.0.0.1:8300"`},
		listPath: {index: 10, body: `{"web": ["urlprefix-/"]}`},
		metaPath: {index: 10, body: "{}"},
		webPath:  {index: 10, body: webEntry},
		meshPath: {index: 10, body: "[]"},
	})
	c := member(f.addr)
	c.MaxWatches = 1
	b := followMesh(t, c, "web")
	b.awaitSynced()
	b.await("web", "is out of reach", func(in watcher.Instance) bool { return in.Status == watcher.Critical })
	f.set(meshPath, answer{index: 11, body: webProxy})
	f.set(listPath, answer{index: 11, body: `{"web": ["urlprefix-/"], "anything": []}`})
	b.await("web", "is reached", func(in watcher.Instance) bool { return in.Address == "127.0.0.1:8080" })
	if n := b.look(func() bool { return b.watches != 2 }); n {
		t.Error("the watches are not two")
	}
}

// TestMeshOthers: gateways, and proxies of other nodes, stand for nobody here. The entry of
// a proxy says nothing of ports in its meta, which may be a copy of its service's.
func TestMeshOthers(t *testing.T) {
	t.Parallel()
	f, b := proxied(t)
	for i, c := range []struct{ from, to, address string }{
		{`"connect-proxy"`, `"terminating-gateway"`, ""},
		{`"Node": "n1"`, `"Node": "n2"`, ""},
		{`"DestinationServiceID": "web"`, `"DestinationServiceID": "web-2"`, ""},
		{`"Port": 8080`, `"Port": 8080, "Meta": {"usher-port": "9"}`, "127.0.0.1:8080"},
		{`"Port": 8080`, `"Port": 8080, "Address": "127.0.0.2"`, "127.0.0.2:8080"},
	} {
		f.set(meshPath, answer{index: uint64(20 + 2*i), body: strings.Replace(webProxy, c.from, c.to, 1)})
		b.await("web", fmt.Sprintf("after %s", c.to), func(in watcher.Instance) bool {
			return c.address == "" && in.Status == watcher.Critical ||
				c.address != "" && in.Address == c.address && in.Status == watcher.Passing
		})
		f.set(meshPath, answer{index: uint64(21 + 2*i), body: webProxy})
		b.await("web", "as before", func(in watcher.Instance) bool {
			return in.Address == "127.0.0.1:8080" && in.Status == watcher.Passing
		})
	}
}

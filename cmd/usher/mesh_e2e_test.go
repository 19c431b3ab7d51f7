package main_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/watcher/consul/consultest"
)

// inMesh is the configuration of a usher that is part of the agent's mesh and reaches the
// service orders over it.
func inMesh(addr, more string) string {
	return fmt.Sprintf(`
listeners: [{name: web, address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
registries: [{type: consul, address: %q, start_timeout: 20s, connect: {enabled: true, service: edge}}]
services: {orders: {upstream: {connect: true}}}
%s`, addr, more)
}

// announcing makes a registration one that announces a host.
func announcing(s api.AgentServiceRegistration, host string) api.AgentServiceRegistration {
	s.Tags = []string{"urlprefix-" + host + "/"}
	return s
}

// orders is a backend as an instance of that service.
func orders(b *backend) api.AgentServiceRegistration {
	return api.AgentServiceRegistration{Name: "orders", Address: "127.0.0.1", Port: b.port}
}

// closing answers with a text and ends the connection: who may make one is asked when it is
// made, and those that are there live on.
func closing(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		fmt.Fprint(w, text)
	}
}

// A service in a real mesh is reached over its mutual TLS as long as the intentions let
// usher in, and what they say is told: natively, through Consul's own proxy beside an
// instance, and through one that knows the service alone.
func TestMesh(t *testing.T) {
	for name, begin := range map[string]func(*testing.T, *consultest.Agent){
		"native": func(_ *testing.T, a *consultest.Agent) {
			n := a.Native("orders", closing("orders"))
			a.Register(announcing(n.Registration(), "s.test"))
		},
		"sidecar": func(t *testing.T, a *consultest.Agent) {
			b := newBackend(t, "orders", closing("orders"))
			own := a.FreePort()
			a.Register(announcing(api.AgentServiceRegistration{
				ID: "orders-1", Name: "orders", Address: "127.0.0.1", Port: b.port,
				Connect: &api.AgentServiceConnect{SidecarService: &api.AgentServiceRegistration{
					Port: own, Address: "127.0.0.1", Checks: api.AgentServiceChecks{{AliasService: "orders-1"}},
				}},
			}, "s.test"))
			a.Sidecar("orders-1", own)
		},
		"proxy of the service": func(t *testing.T, a *consultest.Agent) {
			b := newBackend(t, "orders", closing("orders"))
			a.Register(announcing(orders(b), "s.test"))
			a.Proxy("orders", b.port, a.FreePort())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := consultest.Start(t, consultest.Connect())
			u := start(t, inMesh(a.Addr(), ""))
			begin(t, a)
			u.waitStatus("s.test", 200)
			if _, body := get(t, u.web+"/", "s.test"); body != "orders" {
				t.Errorf("%q answers", body)
			}
			if text := u.details(); !strings.Contains(text, "/ns/default/dc/dc1/svc/edge until ") {
				t.Errorf("who usher is, is not told: %s", text)
			}
			if end := u.metric("usher_tls_certificate_not_after_timestamp_seconds", `cert="connect:consul"`); end == 0 {
				t.Error("when the certificate ends is not told")
			}
			flipIntentions(t, a, u)
		})
	}
}

// flipIntentions denies usher the service and lets it in again, twice.
func flipIntentions(t *testing.T, a *consultest.Agent, u *usher) {
	t.Helper()
	for range 2 {
		a.Intend("edge", "orders", false)
		eventually(t, 20*time.Second, "it is denied", func() bool {
			code, reason := u.status("s.test")
			return code == 502 && reason == "mesh_denied"
		})
		u.waitLog("the intentions of the service mesh deny usher the service")
		eventually(t, 10*time.Second, "the denial is shown", func() bool {
			return strings.Contains(u.details(), "the intentions deny usher the service orders")
		})
		a.Intend("edge", "orders", true)
		u.waitStatus("s.test", 200)
		eventually(t, 10*time.Second, "the denial is over", func() bool {
			return !strings.Contains(u.details(), "the intentions deny")
		})
	}
	if n := strings.Count(strings.Join(u.logged(), "\n"), "deny usher the service"); n != 2 {
		t.Errorf("two denials are logged %d times", n)
	}
}

// HTTP/2 goes over the mesh as well, to a native service and through a sidecar that knows
// nothing of it.
func TestMeshHTTP2(t *testing.T) {
	protocol := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }
	a := consultest.Start(t, consultest.Connect())
	h2c := httptest.NewUnstartedServer(http.HandlerFunc(protocol))
	h2c.Config.Protocols = new(http.Protocols)
	h2c.Config.Protocols.SetUnencryptedHTTP2(true)
	h2c.Start()
	t.Cleanup(h2c.Close)
	port := h2c.Listener.Addr().(*net.TCPAddr).Port
	s := a.Native("orders", http.HandlerFunc(protocol)).Registration()
	s.ID = "native"
	a.Register(announcing(s, "native.test"))
	u := start(t, strings.Replace(inMesh(a.Addr(), ""), "{connect: true}", "{connect: true, protocol: h2}", 1))
	s = orders(&backend{port: port})
	s.ID = "proxied"
	a.Register(announcing(s, "proxied.test"))
	a.Proxy("orders", port, a.FreePort())
	for _, host := range []string{"native.test", "proxied.test"} {
		u.waitStatus(host, 200)
		if _, body := get(t, u.web+"/", host); body != "HTTP/2.0" {
			t.Errorf("%s was asked by %q", host, body)
		}
	}
}

// Who answers for a service must be that service: another one of the mesh, whose
// certificate is as good, is refused, and why is told.
func TestMeshImpostor(t *testing.T) {
	a := consultest.Start(t, consultest.Connect())
	s := a.Native("cart", closing("cart")).Registration()
	s.Name = "orders"
	a.Register(announcing(s, "s.test"))
	u := start(t, inMesh(a.Addr(), ""))
	if code, reason := u.status("s.test"); code != 502 || reason != "connect_failed" {
		t.Errorf("answered %d, %s", code, reason)
	}
	u.waitLog("/svc/cart, not spiffe://")
	if n := u.metric("usher_upstream_connect_errors_total", `service="orders"`, `reason="certificate"`); n == 0 {
		t.Error("it is not counted")
	}
	// An instance that is in the mesh in name alone is reached by nobody.
	b := newBackend(t, "plain", nil)
	a.Deregister("orders")
	a.Register(announcing(orders(b), "s.test"))
	u.waitStatus("s.test", 503)
}

// The mesh changes its authority and every certificate with it, while requests go on, each
// on a connection of its own: none fails.
func TestMeshRotation(t *testing.T) {
	for name, begin := range map[string]func(*testing.T, *consultest.Agent){
		"native": func(_ *testing.T, a *consultest.Agent) {
			a.Register(announcing(a.Native("orders", closing("orders")).Registration(), "s.test"))
		},
		"proxy": func(t *testing.T, a *consultest.Agent) {
			b := newBackend(t, "orders", closing("orders"))
			a.Register(announcing(orders(b), "s.test"))
			a.Proxy("orders", b.port, a.FreePort())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := consultest.Start(t, consultest.Connect())
			begin(t, a)
			u := start(t, inMesh(a.Addr(), "defaults: {connect_timeout: 10s, retry: {attempts: 0}}"))
			u.waitStatus("s.test", 200)
			load := startLoad(t, u.web+"/", "s.test", 50)
			a.RotateCA()
			eventually(t, time.Minute, "usher has the new authority and a certificate of it", func() bool {
				return strings.Count(strings.Join(u.logged(), "\n"), "usher's certificate in the service mesh") >= 3
			})
			pause(time.Second)
			load.mustBeClean(100)
			for _, why := range []string{"refused", "timeout", "certificate", "handshake", "other"} {
				if n := u.metric("usher_upstream_connect_errors_total", `service="orders"`, `reason="`+why+`"`); n > 0 {
					t.Errorf("%v connects failed: %s", n, why)
				}
			}
		})
	}
}

// Without its agent usher goes on with the certificates it has. One that starts meanwhile
// has none, serves everything else, and says so.
func TestMeshAgentAway(t *testing.T) {
	server := consultest.Start(t, consultest.Connect())
	agent := consultest.Start(t, consultest.Join(server), consultest.Connect())
	server.Register(announcing(server.Native("orders", closing("orders")).Registration(), "s.test"))
	plain := newBackend(t, "plain", nil)
	register(server, "plain", plain, "plain.test")
	dir := t.TempDir()
	conf := inMesh(agent.Addr(), fmt.Sprintf("state_dir: %q", dir))
	u := start(t, conf)
	u.waitStatus("s.test", 200)
	u.waitStatus("plain.test", 200)
	snapshotHas(t, dir, "orders")
	snapshotHas(t, dir, "plain")
	agent.Kill()
	u.waitLog("the certificate of usher in the service mesh failed")
	for range 20 {
		if code, reason := u.status("s.test"); code != 200 {
			t.Fatalf("answered %d, %s", code, reason)
		}
	}
	u.signal(syscall.SIGTERM)
	u.wait(30 * time.Second)

	again := start(t, strings.Replace(conf, "20s", "1s", 1))
	if code, body := get(t, again.web+"/", "plain.test"); code != 200 {
		t.Errorf("a plain service: %d, %s", code, body)
	}
	if code, reason := again.status("s.test"); code != 502 || reason != "connect_failed" {
		t.Errorf("without a certificate: %d, %s", code, reason)
	}
	again.waitLog("usher has no certificate of it yet")
	if !strings.Contains(again.details(), "mesh consul: no certificate yet") {
		t.Errorf("it is not shown: %s", again.details())
	}
	agent.Restart()
	again.waitStatus("s.test", 200)
}

// usher joins a mesh, becomes another service of it and leaves it by a reload. A service
// that asks for the mesh is never spoken to in another way.
func TestMeshReload(t *testing.T) {
	a := consultest.Start(t, consultest.Connect())
	a.Intend("stranger", "orders", false)
	s := announcing(a.Native("orders", closing("orders")).Registration(), "s.test")
	s.Meta = map[string]string{"usher-connect": "true"}
	a.Register(s)
	conf := func(connect string) string {
		return fmt.Sprintf(`
listeners: [{name: web, address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
registries: [{type: consul, address: %q, connect: %s}]
`, a.Addr(), connect)
	}
	u := start(t, conf("{}"))
	is := func(want string) {
		t.Helper()
		eventually(t, 20*time.Second, "it answers "+want, func() bool {
			code, reason := u.status("s.test")
			return strings.TrimSpace(fmt.Sprint(code, " ", reason)) == want
		})
	}
	is("503 no_healthy_endpoint")
	u.write(conf("{enabled: true}"))
	is("200")
	u.write(conf("{enabled: true, service: stranger}"))
	is("502 mesh_denied")
	u.waitDetails("/svc/stranger until ")
	u.write(conf("{enabled: false}"))
	is("503 no_healthy_endpoint")
	if text := u.details(); strings.Contains(text, "mesh consul") {
		t.Errorf("the mesh that usher has left is shown: %s", text)
	}
	u.write(conf("{enabled: true, service: edge}"))
	is("200")
}

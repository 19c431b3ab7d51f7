package routetable

import (
	"strings"
	"testing"

	"usher/config"
	"usher/watcher"
)

// An instance in a mesh is reached by nothing else, whatever settings and rules say; one
// that should be and is not is reached by nobody.
func TestSpokenToByMesh(t *testing.T) {
	connect := config.Policy{Balance: "first", Upstream: config.Upstream{Connect: true}}
	tls := https(config.UpstreamTLS{ServerName: "a.com", InsecureSkipVerify: true, PEM: config.PEM{CA: "ca"}})
	member := &watcher.Mesh{Service: "s", Namespace: "default", Datacenter: "dc1"}
	inMesh := &TLS{Mesh: Mesh{Name: "consul", Service: "s", Namespace: "default", Datacenter: "dc1"}}
	for name, c := range map[string]struct {
		rule     string
		mesh     *watcher.Mesh
		settings config.Policy
		want     *TLS
	}{
		"by the registry":               {"a.com/", member, config.Policy{}, inMesh},
		"and the settings":              {"a.com/", member, connect, inMesh},
		"https is no other way":         {"a.com/ proto=https tlsskipverify=true", member, config.Policy{}, inMesh},
		"nor are the settings":          {"a.com/ host=b.com", member, tls, inMesh},
		"gRPC":                          {"a.com/ proto=grpc", member, config.Policy{}, inMesh},
		"should be, and is not":         {"a.com/", nil, connect, &TLS{Mesh: Mesh{Name: "consul"}}},
		"should be, but speaks https":   {"a.com/ proto=https", nil, connect, &TLS{Mesh: Mesh{Name: "consul"}}},
		"neither the one nor the other": {"a.com/", nil, config.Policy{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c.settings.Balance = "first"
			rules := rulesOf(to("named", "s", "named.com/"))
			rules.Services = map[string]config.Service{"s": {Policy: c.settings}}
			in := instance("i", c.rule)
			in.Mesh = c.mesh
			table := Build(catalogOf(service("s", in)), rules, nil)
			for _, id := range []string{"a.com/", "named"} {
				e := routeByID(t, table, id).Arms[0].Cluster.Endpoints[0]
				if e.HTTP2 != strings.Contains(c.rule, "grpc") {
					t.Errorf("%s: HTTP/2 is %t", id, e.HTTP2)
				}
				if (e.TLS == nil) != (c.want == nil) || e.TLS != nil && *e.TLS != *c.want {
					t.Errorf("%s: got %+v, want %+v", id, e.TLS, c.want)
				}
			}
		})
	}
}

// Connections are carried over the mesh as requests are, without a protocol that is offered
// and without a PROXY header, which no proxy of a mesh expects.
func TestStreamsByMesh(t *testing.T) {
	member := &watcher.Mesh{Service: "s", Datacenter: "dc1"}
	want := TLS{Mesh: Mesh{Name: "consul", Service: "s", Datacenter: "dc1"}, Bare: true}
	in := instance("i", ":3306 proto=tcp pxyproto=true", "db.com/ proto=tcp")
	in.Mesh = member
	rules := rulesOf()
	rules.Services = map[string]config.Service{"s": {Policy: config.Policy{
		Balance: "first", Upstream: config.Upstream{ProxyProtocol: config.ProxyV1},
	}}}
	table := Build(catalogOf(service("s", in)), rules, nil)
	for name, r := range map[string]*Route{
		"by port": table.MatchPort("web", "3306"), "by name": table.MatchName("web", "443", []byte("db.com")),
	} {
		if r == nil {
			t.Fatalf("%s: no route", name)
		}
		e := r.Arms[0].Cluster.Endpoints[0]
		if e.TLS == nil || *e.TLS != want || e.ProxyProtocol != "" || e.CheckTLS != nil {
			t.Errorf("%s: got %+v, %q, %+v", name, e.TLS, e.ProxyProtocol, e.CheckTLS)
		}
	}
}

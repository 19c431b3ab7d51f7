package routetable

import (
	"cmp"
	"net"
	"strings"

	"usher/config"
	"usher/watcher"
)

// TLS is how TLS is spoken to an endpoint. Two that are equal are the same way.
type TLS struct {
	// ServerName is asked for (SNI), and what the certificate must be for.
	ServerName string
	// SkipVerify takes any certificate.
	SkipVerify bool
	// PEM are the authorities to trust, none for the system's, and the certificate to
	// show, none for none.
	PEM config.PEM
	// Mesh is who must answer where a service mesh is used; its certificates count then,
	// and nothing else here does.
	Mesh Mesh
	// Bare says that no protocol within TLS is offered: nobody knows which it is.
	Bare bool
}

// Mesh names a service as its mesh does. Two that are equal are the same.
type Mesh struct {
	// Name is the mesh's: that of its registry. Empty: none is used.
	Name string
	// Service must answer; empty: nobody can, since the instance is in no mesh.
	Service, Namespace, Partition, Datacenter string
}

// meshOf is who must answer for an instance; the zero Mesh when it is reached without one.
func meshOf(in *watcher.Instance, registry string) Mesh {
	if in.Mesh == nil {
		return Mesh{}
	}
	return Mesh{
		Name: registry, Service: in.Mesh.Service,
		Namespace: in.Mesh.Namespace, Partition: in.Mesh.Partition, Datacenter: in.Mesh.Datacenter,
	}
}

// spokenToByMesh sets that the endpoint is reached over the mesh where its registry or the
// settings of its service say so, and returns whether they do. What should be and is in
// none is reached by nobody: not plainly, at least. A PROXY header goes before the TLS, where
// no proxy of a mesh expects it. TLS that a route by name passes on goes within the mesh's.
func (e *Endpoint) spokenToByMesh(kind Kind, settings *config.Policy) bool {
	m := e.mesh
	if m.Name == "" && settings.Upstream.Connect {
		m.Name = e.Service.Registry
	}
	if m.Name == "" {
		return false
	}
	e.TLS, e.ProxyProtocol = &TLS{Mesh: m, Bare: kind != Requests}, ""
	return true
}

// spokenTo sets how the endpoint is connected to and judged: by the settings of its
// service, which it keeps, and by the rule that announced it, nil for none. The settings
// go before the rule.
//
// What a route by name passes on is TLS already, whoever's certificate that is: only
// probes begin it. For one by port only what a rule by port says counts.
func (e *Endpoint) spokenTo(kind Kind, settings *config.Policy, r *rule) {
	e.MaxConnections, e.MaxPending = settings.MaxConnections, settings.MaxPending
	e.Health = &settings.Health
	if r == nil {
		r = &rule{}
	}
	proto := r.proto
	if kind != r.kind() && (kind != Requests || proto == protoTCP) {
		proto = ""
	}
	proto = cmp.Or(settings.Upstream.Protocol, proto)
	e.HTTP2 = kind == Requests && byHTTP2(proto)
	if e.ProxyProtocol = settings.Upstream.ProxyProtocol; e.ProxyProtocol == "" && r.proxyProtocol {
		e.ProxyProtocol = config.ProxyV1
	}
	if e.HTTP2 {
		e.ProxyProtocol = "" // one connection serves many clients
	}
	if e.spokenToByMesh(kind, settings) {
		return
	}
	t := &settings.Upstream.TLS
	switch {
	case kind == Names:
		e.CheckTLS = e.secured(t, bareHost(r.host), t.PEM.CA == "")
	case proto == protoHTTPS, proto == "h2", proto == "grpcs":
		// Whoever names the authorities wants them asked, whatever an instance says.
		e.TLS = e.secured(t, cmp.Or(r.serverName, r.hostName()), r.skipVerify && t.PEM.CA == "")
		e.TLS.Bare = kind == Connections
	}
}

// secured is how TLS is spoken to the endpoint. The settings go before the name that a rule
// gives it, which goes before its address.
func (e *Endpoint) secured(t *config.UpstreamTLS, name string, anyCertificate bool) *TLS {
	if strings.ContainsAny(name, "*?") {
		name = ""
	}
	return &TLS{
		ServerName: cmp.Or(t.ServerName, name, hostOf(e.Address)),
		SkipVerify: t.InsecureSkipVerify || anyCertificate, PEM: t.PEM,
	}
}

// byHTTP2 says whether a protocol is one of HTTP/2.
func byHTTP2(proto string) bool {
	return proto == "h2" || proto == "h2c" || proto == "grpc" || proto == "grpcs"
}

// hostName is the name that a rule gives to its instance; empty: none.
func (r *rule) hostName() string {
	if r.rewrite == nil || r.rewrite.HostIsAddress {
		return ""
	}
	return hostOf(r.rewrite.Host)
}

// hostOf takes the port off an address, where there is one.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// firstRules are the first rule of each instance, nil where it announces none: a route
// of the configuration speaks to an instance as its own route does.
func (a *announcer) firstRules() []*rule {
	out := make([]*rule, len(a.service.Instances))
	for i := range a.parsed {
		if o := &a.parsed[i]; out[o.instance] == nil {
			out[o.instance] = &o.rule
		}
	}
	return out
}

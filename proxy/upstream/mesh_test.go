package upstream_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"usher/proxy/proxytest"
	"usher/proxy/upstream"
	"usher/proxy/upstream/upstreamtest"
	"usher/routetable"
)

const (
	trustDomain = "11111111-2222-3333-4444-555555555555.consul"
	spiffe      = "spiffe://" + trustDomain
	ordersID    = spiffe + "/ns/default/dc/dc1/svc/orders"
	usherID     = spiffe + "/ns/default/dc/dc1/svc/usher"
)

// orders is the service that answers in these tests.
func orders() routetable.Mesh {
	return routetable.Mesh{Name: "consul", Service: "orders", Datacenter: "dc1"}
}

// mesh is a service mesh: an authority, and a server in it that asks for certificates.
func mesh(t *testing.T, id string) *transport {
	t.Helper()
	a := upstreamtest.NewAuthority(t)
	pair, _, _ := a.Issue(id)
	return &transport{name: "mesh", authority: a, server: &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.Pool(),
	}}
}

// usher is its identity in the mesh.
func (tr *transport) usher() *upstream.Identity {
	pair, _, _ := tr.authority.Issue(usherID)
	return &upstream.Identity{Certificate: pair, Roots: tr.authority.Pool(), TrustDomain: trustDomain}
}

func meshed(address string, m routetable.Mesh) *routetable.Endpoint {
	e := endpoint(address)
	e.TLS = &routetable.TLS{Mesh: m}
	return e
}

// Whoever answers in a mesh must be the service that was asked for, by the mesh's own
// authorities, and nothing else.
func TestMeshIdentity(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		shown []string
		want  string // in the error; empty: none
	}{
		"it":                     {[]string{ordersID}, ""},
		"in another case":        {[]string{spiffe + "/ns/default/dc/dc1/svc/Orders"}, ""},
		"another service":        {[]string{spiffe + "/ns/default/dc/dc1/svc/cart"}, "not " + ordersID},
		"one with its prefix":    {[]string{ordersID + "-v2"}, "not " + ordersID},
		"of another datacenter":  {[]string{spiffe + "/ns/default/dc/dc2/svc/orders"}, "/dc/dc2/"},
		"of another namespace":   {[]string{spiffe + "/ns/team/dc/dc1/svc/orders"}, "/ns/team/"},
		"of another partition":   {[]string{spiffe + "/ap/p/ns/default/dc/dc1/svc/orders"}, "/ap/p/"},
		"of another mesh":        {[]string{"spiffe://other.consul/ns/default/dc/dc1/svc/orders"}, "other.consul"},
		"two names":              {[]string{ordersID, usherID}, "2 names"},
		"a host name":            {[]string{"orders.test", "127.0.0.1"}, "0 names"},
		"a URI of another kind":  {[]string{"https://" + trustDomain + "/ns/default/dc/dc1/svc/orders"}, "https://"},
		"the service and a host": {[]string{ordersID, "orders.test"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := mesh(t, ordersID)
			tr.server.Certificates[0], _, _ = tr.authority.Issue(tc.shown...)
			s := newScene(t)
			s.Identify("consul", tr.usher())
			wantShown(t, s, meshed(tr.ok(t).Addr, orders()), tc.want)
		})
	}
}

// wantShown wants that an endpoint's certificate is taken, or is refused because of want,
// which is counted and logged.
func wantShown(t *testing.T, s *scene, e *routetable.Endpoint, want string) {
	t.Helper()
	p := s.Acquire(e)
	if want == "" {
		s.asks(p)
		return
	}
	_, err := p.Get(false, proxytest.Patience)
	if err == nil || err.Kind != upstream.Connect || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if lines := s.log.lines("not accepted"); len(lines) != 1 || !strings.Contains(lines[0], want) {
		t.Errorf("got the lines %q", lines)
	}
	s.wantSeries(map[string]float64{
		`usher_upstream_connect_errors_total{reason="certificate",service="orders"}`: 1,
	})
}

// Authorities that are not of the mesh, the system's among them, vouch for nobody in it.
func TestMeshRoots(t *testing.T) {
	t.Parallel()
	tr, other := mesh(t, ordersID), mesh(t, ordersID)
	old, _, _ := tr.authority.IssueUntil(time.Now().Add(-time.Minute), ordersID)
	expired := *tr
	expired.server = tr.server.Clone()
	expired.server.Certificates = []tls.Certificate{old}
	for name, tc := range map[string]struct {
		tr    *transport
		roots *x509.CertPool
		want  string
	}{
		"another authority": {tr, other.authority.Pool(), "unknown authority"},
		"no authority":      {tr, x509.NewCertPool(), "unknown authority"},
		"an old one":        {&expired, tr.authority.Pool(), "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			id := tr.usher()
			id.Roots = tc.roots
			s.Identify("consul", id)
			wantShown(t, s, meshed(tc.tr.ok(t).Addr, orders()), tc.want)
		})
	}
}

// The namespace, the partition and the datacenter are part of who is asked for, by the
// names that gateways know.
func TestMeshNames(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mesh    routetable.Mesh
		id, sni string
	}{
		"bare": {orders(), ordersID, "orders.default.dc1.internal." + trustDomain},
		"default": {
			routetable.Mesh{
				Name: "consul", Service: "orders", Namespace: "default", Partition: "default", Datacenter: "dc1",
			},
			ordersID, "orders.default.dc1.internal." + trustDomain,
		},
		"all": {
			routetable.Mesh{Name: "consul", Service: "orders", Namespace: "team", Partition: "p", Datacenter: "dc2"},
			spiffe + "/ap/p/ns/team/dc/dc2/svc/orders", "orders.team.p.dc2.internal-v1." + trustDomain,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := mesh(t, tc.id)
			names := make(chan string, 1)
			tr.server.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				names <- hello.ServerName
				return nil, nil
			}
			s := newScene(t)
			s.Identify("consul", tr.usher())
			s.asks(s.Acquire(meshed(tr.ok(t).Addr, tc.mesh)))
			if got := receive(t, names); got != tc.sni {
				t.Errorf("asked for %q, want %q", got, tc.sni)
			}
		})
	}
}

// Without a certificate of the mesh nobody in it is spoken to, least of all plainly; that is
// said once, until there is one.
func TestMeshWithoutIdentity(t *testing.T) {
	t.Parallel()
	tr := mesh(t, ordersID)
	origin := tr.ok(t)
	s := newScene(t)
	p := s.Acquire(meshed(origin.Addr, orders()))
	fails := func(want string, lines int) {
		t.Helper()
		for range 3 {
			_, err := p.Get(false, proxytest.Patience)
			if err == nil || err.Kind != upstream.Connect || !strings.Contains(err.Error(), want) {
				t.Fatalf("got %v, want %q", err, want)
			}
		}
		if got := s.log.lines("cannot be reached"); len(got) != lines || !strings.Contains(got[lines-1], want) {
			t.Errorf("got the lines %q", got)
		}
	}
	fails("no certificate of it yet", 1)
	s.wantSeries(map[string]float64{`usher_upstream_connect_errors_total{reason="other",service="orders"}`: 3})
	s.Identify("consul", tr.usher())
	s.asks(p)
	s.Identify("another", nil)
	s.asks(p)
	old := tr.usher()
	old.Certificate, _, _ = tr.authority.IssueUntil(time.Now().Add(-time.Minute), usherID)
	s.Identify("consul", old)
	s.Expire(s.sweeper.Now()) // the connection made before lives on otherwise
	fails("certificate ended at", 2)

	_, err := s.Acquire(meshed(origin.Addr, routetable.Mesh{Name: "consul"})).Get(false, proxytest.Patience)
	if err == nil || !strings.Contains(err.Error(), "the instance is in no mesh") {
		t.Errorf("got %v", err)
	}
}

// A renewed certificate is shown in the next handshake, new authorities count at once, and
// the connections that were made before live on.
func TestMeshRenewal(t *testing.T) {
	t.Parallel()
	tr := mesh(t, ordersID)
	shown := make(chan string, 4)
	tr.server.VerifyConnection = func(state tls.ConnectionState) error {
		if state.DidResume {
			return errors.New("resumed")
		}
		shown <- state.PeerCertificates[0].SerialNumber.String()
		return nil
	}
	origin := tr.ok(t)
	s := newScene(t)
	p := s.Acquire(meshed(origin.Addr, orders()))
	first, second := tr.usher(), tr.usher()
	s.Identify("consul", first)
	one := s.get(p)
	if text, err := ask(one); text != "ok" || err != nil {
		t.Fatalf("got %q, %v", text, err)
	}
	s.Identify("consul", second)
	two := s.get(p)
	for _, c := range []*upstream.Conn{one, two} {
		if text, err := ask(c); text != "ok" || err != nil {
			t.Errorf("got %q, %v", text, err)
		}
	}
	a, b := receive(t, shown), receive(t, shown)
	if a != first.Certificate.Leaf.SerialNumber.String() || b != second.Certificate.Leaf.SerialNumber.String() {
		t.Errorf("the certificates %s and %s were shown", a, b)
	}
	third := tr.usher()
	third.Roots = x509.NewCertPool()
	s.Identify("consul", third)
	if _, err := p.Get(true, proxytest.Patience); err == nil {
		t.Error("the old authorities count")
	}
	if text, err := ask(one); text != "ok" || err != nil {
		t.Errorf("the old connection: got %q, %v", text, err)
	}
	one.Close()
	two.Close()
}

// A server that refuses usher says so by an alert, which comes when the handshake is over
// for usher: it is told apart from a connection that breaks.
func TestMeshDenies(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			tr := mesh(t, ordersID)
			tr.server.MaxVersion = version
			denying := &atomic.Bool{}
			denying.Store(true)
			tr.server.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error {
				if denying.Load() {
					return errors.New("an intention denies it")
				}
				return nil
			}
			s := newScene(t)
			asked := make(chan routetable.Mesh, 10)
			s.AskMesh(func(m routetable.Mesh) bool {
				asked <- m
				return false
			})
			s.Identify("consul", tr.usher())
			p := s.Acquire(meshed(tr.ok(t).Addr, orders()))
			if err := askOnce(p); !upstream.Denied(err) || !upstream.EOF(err) && version == tls.VersionTLS13 {
				t.Errorf("got %v, want that it is denied", err)
			}
			if m := receive(t, asked); m != orders() {
				t.Errorf("asked about %+v", m)
			}
			denying.Store(false)
			s.asks(p)
		})
	}
}

// askOnce makes a request on a new connection and returns what it met.
func askOnce(p *upstream.Pool) error {
	c, err := p.Get(true, proxytest.Patience)
	if err != nil {
		return err
	}
	defer c.Close()
	_, failed := ask(c)
	return failed
}

// A server that just hangs up leaves it to who knows: then it is the mesh that denies, or
// it may be anything. What ends after a word of an answer is no denial.
func TestMeshHangsUp(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*peer){
		"with a goodbye": func(*peer) {},
		"by a reset":     func(p *peer) { p.reset() },
		"cut":            func(p *peer) { _ = p.tcp.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := mesh(t, ordersID)
			origin := tr.raw(t, end)
			s := newScene(t)
			var denies atomic.Bool
			s.AskMesh(func(routetable.Mesh) bool { return denies.Load() })
			s.Identify("consul", tr.usher())
			p := s.Acquire(meshed(origin.Addr, orders()))
			if err := askOnce(p); err == nil || upstream.Denied(err) {
				t.Errorf("got %v, which nobody knows to be a denial", err)
			}
			denies.Store(true)
			if err := askOnce(p); !upstream.Denied(err) {
				t.Errorf("got %v, want that it is denied", err)
			}
		})
	}
	tr := mesh(t, ordersID)
	origin := tr.raw(t, func(p *peer) {
		p.Request()
		p.Reply("HTTP/1.1 200 OK\r\nContent-Le")
	})
	s := newScene(t)
	s.AskMesh(func(routetable.Mesh) bool { return true })
	s.Identify("consul", tr.usher())
	if err := askOnce(s.Acquire(meshed(origin.Addr, orders()))); err == nil || upstream.Denied(err) {
		t.Errorf("cut within the answer: got %v", err)
	}
}

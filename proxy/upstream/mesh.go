package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"usher/routetable"
)

// Identity is who usher is in a service mesh, and whom it believes there. It is
// immutable.
type Identity struct {
	// Certificate is what usher shows, with the intermediates behind it.
	Certificate tls.Certificate
	// Roots are the authorities of the mesh, TrustDomain is what its names begin with.
	Roots       *x509.CertPool
	TrustDomain string
}

// meshes are the service meshes that usher may be part of. The zero value has none.
type meshes struct {
	mu      sync.Mutex
	members map[string]*meshMember
	// denies is asked about connections that end unheard; nil: nobody is.
	denies func(routetable.Mesh) bool
}

// meshMember is usher in one mesh.
type meshMember struct {
	identity atomic.Pointer[Identity]
	// told says that it was logged that there is no identity.
	told atomic.Bool
}

// Identify makes id who usher is in the mesh of this name, for the connections that are
// made from now on; those there are live on. Nil: usher has no certificate there. Any
// goroutine may call it.
func (ps *Pools) Identify(mesh string, id *Identity) {
	m := ps.meshes.member(mesh)
	m.identity.Store(id)
	if id != nil {
		m.told.Store(false)
	}
}

// AskMesh makes f be asked, from the goroutine of a request, whether a service is known to
// let usher not in: an endpoint of it has ended a connection before a word of an answer,
// and did not say why. It must not block. It comes before the first Acquire.
func (ps *Pools) AskMesh(f func(routetable.Mesh) (denies bool)) {
	ps.meshes.mu.Lock()
	defer ps.meshes.mu.Unlock()
	ps.meshes.denies = f
}

// member returns usher in a mesh, made at first.
func (s *meshes) member(mesh string) *meshMember {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.members[mesh]
	if m == nil {
		m = &meshMember{}
		if s.members == nil {
			s.members = map[string]*meshMember{}
		}
		s.members[mesh] = m
	}
	return m
}

func (s *meshes) asked() func(routetable.Mesh) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.denies
}

// MeshConfig returns how TLS is begun with a service of a mesh: as base says, with the
// identity of the moment. Nothing is resumed: each handshake shows and asks for what counts
// now. Any goroutine may call it.
func (ps *Pools) MeshConfig(base *tls.Config, m routetable.Mesh) (*tls.Config, error) {
	if m.Service == "" {
		return nil, fmt.Errorf("%w: the instance is in no mesh", errMesh)
	}
	id, err := ps.identity(m.Name)
	if err != nil {
		return nil, err
	}
	cfg := base.Clone()
	cfg.ServerName = serverName(m, id.TrustDomain)
	cfg.ClientSessionCache, cfg.RootCAs = nil, nil
	cfg.Certificates = nil
	// Sent whatever authorities the server names: while they change, the two sides may know
	// different ones.
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &id.Certificate, nil
	}
	// The names in the certificates of a mesh are no host names: verify looks at them.
	cfg.InsecureSkipVerify = true
	want := spiffeID(m, id.TrustDomain)
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		if err := id.verify(state.PeerCertificates, want); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
		}
		return nil
	}
	return cfg, nil
}

// errMesh is usher not being able to speak to a mesh at all.
var errMesh = errors.New("service mesh")

// identity is who usher is in a mesh. That it is nobody is logged once.
func (ps *Pools) identity(mesh string) (*Identity, error) {
	m := ps.meshes.member(mesh)
	id := m.identity.Load()
	var err error
	switch {
	case id == nil:
		err = fmt.Errorf("%w %q: usher has no certificate of it yet", errMesh, mesh)
	case id.Certificate.Leaf != nil && time.Now().After(id.Certificate.Leaf.NotAfter):
		err = fmt.Errorf("%w %q: usher's certificate ended at %s", errMesh, mesh,
			id.Certificate.Leaf.NotAfter.UTC().Format(time.RFC3339))
	default:
		return id, nil
	}
	if !m.told.Swap(true) {
		ps.log.Warn("the services of a mesh cannot be reached", "mesh", mesh, "err", err)
	}
	return nil, err
}

// verify wants a certificate, the first of those shown, that a root of the mesh vouches
// for and that is want's.
func (id *Identity) verify(shown []*x509.Certificate, want string) error {
	if len(shown) == 0 {
		return errors.New("identity: no certificate")
	}
	opts := x509.VerifyOptions{Roots: id.Roots, Intermediates: x509.NewCertPool()}
	for _, c := range shown[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := shown[0].Verify(opts); err != nil {
		return err
	}
	if len(shown[0].URIs) != 1 {
		return fmt.Errorf("identity: %d names where there must be one", len(shown[0].URIs))
	}
	// The case of a service's name makes no difference in Consul.
	if got := shown[0].URIs[0].String(); !strings.EqualFold(got, want) {
		return fmt.Errorf("identity: it is %s, not %s", got, want)
	}
	return nil
}

// spiffeID is the name of a service in the certificates of a mesh.
func spiffeID(m routetable.Mesh, trustDomain string) string {
	u := url.URL{Scheme: "spiffe", Host: trustDomain}
	if !isDefault(m.Partition) {
		u.Path = "/ap/" + m.Partition
	}
	u.Path += "/ns/" + orDefault(m.Namespace) + "/dc/" + m.Datacenter + "/svc/" + m.Service
	return u.String()
}

// serverName is the name by which a gateway of the mesh would know the service.
func serverName(m routetable.Mesh, trustDomain string) string {
	if isDefault(m.Partition) {
		return strings.Join([]string{m.Service, orDefault(m.Namespace), m.Datacenter, "internal", trustDomain}, ".")
	}
	return strings.Join([]string{
		m.Service, orDefault(m.Namespace), m.Partition, m.Datacenter, "internal-v1", trustDomain,
	}, ".")
}

// defaultName is what Consul calls the namespace and the partition that need no name.
const defaultName = "default"

func isDefault(name string) bool { return name == "" || name == defaultName }

func orDefault(name string) string {
	if name == "" {
		return defaultName
	}
	return name
}

// denied is the end of a connection by an endpoint that does not let usher in.
type denied struct{ err error }

// Error implements error.
func (d *denied) Error() string { return "denied by the service mesh: " + d.err.Error() }

// Unwrap returns how the connection ended.
func (d *denied) Unwrap() error { return d.err }

// Denied says whether err is that the mesh does not let usher in.
func Denied(err error) bool {
	var d *denied
	return errors.As(err, &d)
}

// listening is a connection to a service of a mesh, until the first byte of an answer. A
// server asks its registry about usher when the handshake is over for usher already: what
// it thinks of it shows in how the connection ends.
type listening struct {
	pools *Pools
	mesh  routetable.Mesh
	heard bool
}

// judge takes the result of a read, and tells what an end before the first byte means.
func (l *listening) judge(n int, err error) error {
	if n > 0 {
		l.heard = true
	}
	if err == nil || l.heard || !EOF(err) {
		return err
	}
	known := false
	if denies := l.pools.meshes.asked(); denies != nil {
		known = denies(l.mesh)
	}
	if known || refusesCertificate(err) {
		return &denied{err}
	}
	return err
}

// The alerts (RFC 8446 §6.2) by which a server says that it does not let a client in.
const (
	alertBadCertificate = tls.AlertError(42)
	alertAccessDenied   = tls.AlertError(49)
)

// refusesCertificate says whether a peer ended a connection because of who usher is.
func refusesCertificate(err error) bool {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return false
	}
	// The type of the alert is not exported, its text is that of the one that is.
	text := op.Err.Error()
	return text == alertBadCertificate.Error() || text == alertAccessDenied.Error()
}

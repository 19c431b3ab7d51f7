package consul

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/watcher"
)

// Identity is who usher is in Consul's service mesh, and whom it believes there. It is
// immutable.
type Identity struct {
	// Certificate is the one that the agent had made for usher, with its chain.
	Certificate tls.Certificate
	// ID is the name in it, a SPIFFE ID.
	ID string
	// Roots are the mesh's authorities, of which there are two while they change;
	// TrustDomain is what the names in its certificates begin with.
	Roots       *x509.CertPool
	TrustDomain string
}

// Membership keeps usher a member of Consul's service mesh (Connect): it has the agent
// make a certificate for usher's service, and follows its renewals and those of the mesh's
// authorities. It needs the right to write that service.
//
// Run's goroutines watch; Allowed is for any goroutine.
type Membership struct {
	conf config.Connect
	conn *connection
	log  *slog.Logger

	mu sync.Mutex
	// leaf and roots are the last good ones, zero while there is none.
	leaf  leaf
	roots roots
	tell  func(*Identity)
}

// leaf is usher's certificate, text what it was made from.
type leaf struct {
	text string
	pair tls.Certificate
	id   string
}

// roots are the authorities.
type roots struct {
	text, trustDomain string
	pool              *x509.CertPool
}

// NewMembership returns the Membership that conf.Connect describes. It connects to nothing
// yet. The error is a watcher.ErrInvalid.
func NewMembership(conf config.Consul, log *slog.Logger) (*Membership, error) {
	if conf.Connect.Service == "" {
		return nil, fmt.Errorf("%w: connect: no service", watcher.ErrInvalid)
	}
	conf.Datacenter = "" // who usher is, its own agent says
	conn, err := connect(conf, log, nil)
	if err != nil {
		return nil, err
	}
	return &Membership{conf: conf.Connect, conn: conn, log: log.With("service", conf.Connect.Service)}, nil
}

// Run follows usher's identity until ctx ends. tell gets each new one, the first as soon as
// there is a certificate and an authority; it is called by one goroutine at a time and must
// not block. An error takes nothing away. Run may be called once.
func (m *Membership) Run(ctx context.Context, tell func(*Identity)) {
	defer m.conn.transport.CloseIdleConnections()
	m.tell = tell
	agent := m.conn.client.Agent()
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { m.conn.agents.run(ctx) })
	running.Go(func() {
		watchMesh(ctx, m.log, "the certificate of usher in the service mesh",
			func(o *api.QueryOptions) (*api.LeafCert, *api.QueryMeta, error) {
				return agent.ConnectCALeaf(m.conf.Service, o)
			}, m.takeLeaf)
	})
	watchMesh(ctx, m.log, "the watch of the service mesh's authorities", agent.ConnectCARoots, m.takeRoots)
}

// watchMesh follows a query of the agent until ctx ends. What take refuses counts as a
// failure, which changes nothing.
func watchMesh[T any](
	ctx context.Context, log *slog.Logger, what string,
	query func(*api.QueryOptions) (T, *api.QueryMeta, error), take func(T) error,
) {
	f := newFollower()
	tries := attempts{log: log, what: what}
	for {
		opts, cancel := blocking(ctx, f.index)
		got, meta, err := query(opts)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if apply, _ := f.answered(meta.LastIndex); apply {
				err = take(got)
			}
		}
		if err != nil {
			tries.failed(err)
		} else {
			tries.succeeded()
		}
		if !next(ctx, f, err) {
			return
		}
	}
}

// takeLeaf takes in usher's certificate.
func (m *Membership) takeLeaf(c *api.LeafCert) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.CertPEM == m.leaf.text {
		return nil
	}
	l, err := parseLeaf(c, m.conf.Service)
	if err != nil {
		return err
	}
	m.leaf = l
	m.tellIdentity()
	return nil
}

// parseLeaf makes a certificate usable, which must be for the service.
func parseLeaf(c *api.LeafCert, service string) (leaf, error) {
	pair, err := tls.X509KeyPair([]byte(c.CertPEM), []byte(c.PrivateKeyPEM))
	if err != nil {
		return leaf{}, fmt.Errorf("unusable certificate: %w", err)
	}
	if pair.Leaf == nil || len(pair.Leaf.URIs) != 1 {
		return leaf{}, errors.New("unusable certificate: it is for no service")
	}
	id := pair.Leaf.URIs[0].String()
	if _, name, _ := strings.Cut(id, "/svc/"); !strings.EqualFold(name, service) {
		return leaf{}, fmt.Errorf("unusable certificate: it is for %s", id)
	}
	return leaf{c.CertPEM, pair, id}, nil
}

// takeRoots takes in the authorities. None at all is no answer.
func (m *Membership) takeRoots(list *api.CARootList) error {
	r := roots{trustDomain: list.TrustDomain, pool: x509.NewCertPool()}
	for _, root := range list.Roots {
		if !r.pool.AppendCertsFromPEM([]byte(root.RootCertPEM)) {
			return fmt.Errorf("unusable authority %s: no certificate", root.ID)
		}
		r.text += root.RootCertPEM + "\n"
	}
	if r.text == "" || r.trustDomain == "" {
		return errors.New("the service mesh has no authority")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.text != m.roots.text || r.trustDomain != m.roots.trustDomain {
		m.roots = r
		m.tellIdentity()
	}
	return nil
}

// tellIdentity tells who usher is, once that is known. The caller holds m.mu.
func (m *Membership) tellIdentity() {
	if m.leaf.text == "" || m.roots.text == "" {
		return
	}
	m.tell(&Identity{
		Certificate: m.leaf.pair, ID: m.leaf.id, Roots: m.roots.pool, TrustDomain: m.roots.trustDomain,
	})
}

// Allowed asks the servers whether the intentions let usher reach a service: that they take
// some requests and not others is for its proxy, which answers those with a 403. It blocks
// for some seconds at most. The right to read that service is all it needs.
func (m *Membership) Allowed(ctx context.Context, to watcher.Mesh) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, plainDeadline)
	defer cancel()
	opts, name := (&api.QueryOptions{}).WithContext(ctx), intentionName(to)
	allowed, _, err := m.conn.client.Connect().IntentionCheck(&api.IntentionCheck{
		Source: m.conf.Service, SourceType: api.IntentionSourceConsul, Destination: name,
	}, opts)
	if err != nil {
		return false, fmt.Errorf("asking for the intentions: %w", err)
	}
	if allowed {
		return true, nil
	}
	// The check says no to those as well that go by the request.
	list, _, err := m.conn.client.Connect().IntentionMatch(&api.IntentionMatch{
		By: api.IntentionMatchDestination, Names: []string{name},
	}, opts)
	if err != nil {
		return false, fmt.Errorf("asking for the intentions: %w", err)
	}
	for _, i := range list[name] { // the one that counts is the first
		if i.SourcePeer == "" && (i.SourceName == m.conf.Service || i.SourceName == "*") {
			return len(i.Permissions) > 0, nil
		}
	}
	return false, nil
}

// intentionName is the name of a service in intentions: partition/namespace/name, where
// these are not the default ones.
func intentionName(s watcher.Mesh) string {
	const byDefault = "default"
	switch {
	case s.Partition != "" && s.Partition != byDefault:
		return s.Partition + "/" + cmp.Or(s.Namespace, byDefault) + "/" + s.Service
	case s.Namespace != "" && s.Namespace != byDefault:
		return s.Namespace + "/" + s.Service
	default:
		return s.Service
	}
}

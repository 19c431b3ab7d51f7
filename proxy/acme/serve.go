package acme

import (
	"crypto/tls"
	"strings"
	"time"

	"usher/metrics"
)

// ALPNProtocol is what an authority that asks over TLS wants to speak (RFC 8737): it must
// be among the NextProtos of listeners that serve the certificates, and a connection that
// has agreed on it ends after the handshake.
const ALPNProtocol = "acme-tls/1"

// GetCertificate answers a handshake, as a tls.Config wants it: with the certificate of
// the name, or with the one that an authority asks for. Where there is none it returns
// nil, and no error. It blocks for an authority's question alone.
func (m *Manager) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(hello.ServerName)
	if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == ALPNProtocol {
		return m.challenges.certificate(hello.Context(), name)
	}
	return m.certificate(name), nil
}

// certificate returns the certificate of a name, nil: there is none.
func (m *Manager) certificate(name string) *tls.Certificate { return (*m.served.Load())[name] }

// MetricsSource is the name by which the certificates are shown in the metrics.
const MetricsSource = "acme"

// serve puts certificates in use. The map is nobody's to change then.
func (m *Manager) serve(certs map[string]*tls.Certificate) {
	m.served.Store(&certs)
	ends := make(map[string]time.Time, len(certs))
	for name, c := range certs {
		ends[MetricsSource+":"+name] = c.Leaf.NotAfter
	}
	m.tls.Show(MetricsSource, metrics.Certificates{NotAfter: ends})
}

// replace puts the certificate of a name in use, and says whether it is another one than
// before. A name that is no longer looked after stays without.
func (m *Manager) replace(name string, cert *tls.Certificate) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.served.Load()
	if m.names[name] == nil || old[name] != nil && old[name].Leaf.Equal(cert.Leaf) {
		return false
	}
	served := make(map[string]*tls.Certificate, len(old)+1)
	for n, c := range old {
		served[n] = c
	}
	served[name] = cert
	m.serve(served)
	return true
}

// Certificate is one that is served.
type Certificate struct {
	Name string
	// NotAfter is when it ends.
	NotAfter time.Time
	TLS      *tls.Certificate
}

// Certificates returns those that are served, in no order.
func (m *Manager) Certificates() []Certificate {
	served := *m.served.Load()
	out := make([]Certificate, 0, len(served))
	for name, c := range served {
		out = append(out, Certificate{Name: name, NotAfter: c.Leaf.NotAfter, TLS: c})
	}
	return out
}

// Challenge answers an authority that asks over HTTP; it is a core.Challenges. It may
// look into the store, for three seconds at most.
func (m *Manager) Challenge(host, path string) (body []byte, ok bool) {
	return m.challenges.answer(m.ctx, host, path)
}

package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"usher/config"
)

// ErrNoCertificate says that there is no certificate to meet a client with.
var ErrNoCertificate = errors.New("no certificate")

// Lookup finds a certificate for a client. It is called during handshakes, from any
// goroutine. With nil, or an error, others are asked.
type Lookup func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// listener is one listener's certificates. Its index may be read by any goroutine, the
// rest is guarded by the Manager's lock.
type listener struct {
	index atomic.Pointer[index]
	// selfSigned makes certificates; nil: none are made.
	selfSigned atomic.Pointer[selfSigned]
	// acme says that the Manager's extra function is asked.
	acme    atomic.Bool
	manager *Manager

	name string
	// gone says that no configuration has it any more.
	gone   bool
	tls    config.ListenerTLS
	places []place
	// missed is the default_certificate of which was logged that there is none.
	missed string
}

// certificate is the GetCertificate of the listener's configurations.
func (l *listener) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	now := time.Now()
	var extra *Lookup
	if l.acme.Load() {
		extra = l.manager.extra.Load()
	}
	if extra != nil && isChallenge(hello) {
		return (*extra)(hello)
	}
	ix := l.index.Load()
	if s := ix.find(hello, now); s != nil {
		return s.cert.Load(), nil
	}
	if extra != nil {
		if c, err := (*extra)(hello); err == nil && c != nil {
			return c, nil
		}
	}
	made := l.selfSigned.Load()
	if made != nil && hello.ServerName != "" {
		return made.get(hello.ServerName, now)
	}
	if s := ix.other(hello, now); s != nil {
		return s.cert.Load(), nil
	}
	if made != nil {
		return made.get("", now)
	}
	return nil, fmt.Errorf("%w for %q", ErrNoCertificate, hello.ServerName)
}

// acmeProtocol is what authorities of ACME ask for when they want a proof.
const acmeProtocol = "acme-tls/1"

// isChallenge says whether an authority of ACME wants its proof (RFC 8737 §3).
func isChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acmeProtocol
}

// forProof is a GetConfigForClient for who must show a certificate: authorities of ACME have
// none. c, which becomes theirs, agrees with them on nothing but their protocol, whose
// connections carry nothing, and gives them no session.
func (l *listener) forProof(c *tls.Config) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	c.ClientAuth, c.ClientCAs = tls.NoClientCert, nil
	c.NextProtos = []string{acmeProtocol}
	c.SessionTicketsDisabled = true
	return func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if l.acme.Load() && l.manager.extra.Load() != nil && isChallenge(hello) {
			return c, nil
		}
		return nil, nil //nolint:nilnil // the one that asks stays
	}
}

// publish puts the listener's certificates in force.
func (l *listener) publish(sources map[place]*source, of func(*pair, config.OCSP) *served, log *slog.Logger) {
	var all []*served
	for _, at := range l.places {
		for _, p := range sources[at].pairs() {
			all = append(all, of(p, l.tls.OCSP))
		}
	}
	ix, found := newIndex(all, l.tls.DefaultCertificate)
	l.index.Store(ix)
	if missed := l.tls.DefaultCertificate; !found && missed != l.missed {
		l.missed = missed
		log.Warn("the default certificate is not there; the first one is used", "listener", l.name, "name", missed)
	} else if found {
		l.missed = ""
	}
}

// places are where a listener's certificates come from, in order, each once.
func places(t *config.ListenerTLS) []place {
	var out []place
	add := func(p place) {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	for _, f := range t.Certificates {
		key := f.Key
		if key == f.Cert {
			key = ""
		}
		add(place{file, f.Cert, key})
	}
	for _, dir := range t.CertificateDirs {
		add(place{kind: folder, path: dir})
	}
	if t.CertificateKV != "" {
		add(place{kind: keys, path: t.CertificateKV})
	}
	return out
}

// newConfig returns how clients are met over TLS by these settings, without certificates
// and sessions. What it leaves to crypto/tls are the cipher suites of 1.3, all of which are
// good.
func newConfig(t *config.ListenerTLS) *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12,
		// No CBC, no RSA key exchange: with forward secrecy and authenticated encryption alone.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		// P-521 and the larger hybrid are no safer in practice, and a client could make usher
		// work for them.
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384},
		// Small records first would only cost: what is sent is there as a whole.
		DynamicRecordSizingDisabled: true,
	}
	if t.MinVersion == "1.3" {
		c.MinVersion = tls.VersionTLS13
	}
	switch t.ClientAuth.Mode {
	case config.ClientAuthOptional:
		c.ClientAuth = tls.VerifyClientCertIfGiven
	case config.ClientAuthRequired:
		c.ClientAuth = tls.RequireAndVerifyClientCert
	default:
		return c
	}
	// An empty pool trusts nobody, nil would trust the system's authorities.
	c.ClientCAs = x509.NewCertPool()
	c.ClientCAs.AppendCertsFromPEM([]byte(t.ClientAuth.CA)) // config has checked that there is one
	return c
}

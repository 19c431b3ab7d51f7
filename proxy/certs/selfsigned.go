package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"sync"
	"time"
)

// maxSelfSigned bounds the names that self-signed certificates are kept for: whoever asks
// chooses them.
const maxSelfSigned = 1024

// maxName is the length of the longest host name.
const maxName = 253

// selfSigned makes certificates that nobody has a reason to trust, and keeps them in
// memory. Any goroutine may use it.
type selfSigned struct {
	mu   sync.Mutex
	key  *ecdsa.PrivateKey
	made map[string]*tls.Certificate
}

// get returns a certificate for a name; for localhost and its addresses without one.
func (s *selfSigned) get(name string, now time.Time) (*tls.Certificate, error) {
	if name = strings.ToLower(name); len(name) > maxName {
		name = ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.made[name]; c != nil && now.Before(c.Leaf.NotAfter) {
		return c, nil
	}
	c, err := s.make(name, now)
	if err != nil {
		return nil, err
	}
	if s.made == nil || len(s.made) >= maxSelfSigned {
		s.made = map[string]*tls.Certificate{}
	}
	s.made[name] = c
	return c, nil
}

func (s *selfSigned) make(name string, now time.Time) (_ *tls.Certificate, err error) {
	if s.key == nil {
		if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"usher, self-signed"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(30 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, DNSNames: []string{name},
	}
	if name == "" || name == "localhost" {
		template.DNSNames = []string{"localhost"}
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, s.key.Public(), s.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: s.key, Leaf: leaf}, nil
}

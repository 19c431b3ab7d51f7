package certs

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/tls"
	"fmt"
	"strings"
	"time"
)

// pair is a certificate with its chain and key. It is immutable.
type pair struct {
	// name is what default_certificate knows it by, label what it is called in logs and
	// metrics: where it comes from.
	name, label string
	cert        tls.Certificate
	// names are the hosts it is for, in lower case; *.example.com for all one label below.
	names []string
	// rank puts the kinds of keys in order: the lower is the less work.
	rank int
}

// parsePair parses a chain and its key, both in PEM; both may be the same text.
func parsePair(name, label string, cert, key []byte) (*pair, error) {
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "tls: "))
	}
	p := &pair{name: name, label: label, cert: c, names: namesOf(&c)}
	switch c.Leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
	case ed25519.PublicKey:
		p.rank = 1
	default:
		p.rank = 2
	}
	return p, nil
}

// namesOf are the hosts a certificate is for. One of before 2000 names its host as its
// subject (RFC 2818 §3.1), which clients no longer look at but operators of old devices do.
func namesOf(c *tls.Certificate) []string {
	all := c.Leaf.DNSNames
	if len(all) == 0 && len(c.Leaf.IPAddresses) == 0 && strings.Contains(c.Leaf.Subject.CommonName, ".") {
		all = []string{c.Leaf.Subject.CommonName}
	}
	names := make([]string, 0, len(all))
	for _, name := range all {
		names = append(names, strings.ToLower(strings.TrimSuffix(name, ".")))
	}
	return names
}

// ended says whether a certificate is over.
func (p *pair) ended(now time.Time) bool { return now.After(p.cert.Leaf.NotAfter) }

package certs

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"maps"
	"slices"
)

// Certificate is one that listeners show, or one that cannot be used.
type Certificate struct {
	// Names are the hosts it is for, Listeners the names of those that show it.
	Names, Listeners []string
	// Leaf is the certificate in use; nil: there was never one that can be used.
	Leaf *x509.Certificate
	// Origin is the file or the key it comes from, or the place that cannot be read;
	// self-signed for one that usher made.
	Origin string
	// Problem is why what was read last cannot be used; empty: it can.
	Problem string
}

// SelfSigned is the Origin of the certificates that usher makes.
const SelfSigned = "self-signed"

// Certificates returns those of all sources, by origin. They are the caller's, but for what
// Leaf points to.
func (m *Manager) Certificates() []Certificate {
	m.mu.Lock()
	defer m.mu.Unlock()
	shownBy, making := map[place][]string{}, []string(nil)
	for _, name := range slices.Sorted(maps.Keys(m.listeners)) {
		l := m.listeners[name]
		if l.gone {
			continue
		}
		for _, p := range l.places {
			shownBy[p] = append(shownBy[p], name)
		}
		if l.selfSigned.Load() != nil {
			making = append(making, name)
		}
	}
	var out []Certificate
	for p, s := range m.sources {
		out = append(out, s.list(shownBy[p])...)
	}
	if len(making) > 0 {
		out = append(out, m.made.list(making)...)
	}
	slices.SortFunc(out, func(a, b Certificate) int {
		return cmp.Or(cmp.Compare(a.Origin, b.Origin), slices.Compare(a.Names, b.Names))
	})
	return out
}

func (s *source) list(listeners []string) (out []Certificate) {
	for _, it := range s.items {
		c := Certificate{Listeners: slices.Clone(listeners), Origin: it.label, Problem: it.refused}
		if it.pair != nil {
			c.Names, c.Leaf = slices.Clone(it.pair.names), it.pair.cert.Leaf
		}
		out = append(out, c)
	}
	if s.failed != "" {
		out = append(out, Certificate{Listeners: slices.Clone(listeners), Origin: s.place.path, Problem: s.failed})
	}
	return out
}

// list returns the certificates that were made so far.
func (s *selfSigned) list(listeners []string) (out []Certificate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.made {
		out = append(out, Certificate{
			Names: namesIn(c), Listeners: slices.Clone(listeners), Leaf: c.Leaf, Origin: SelfSigned,
		})
	}
	return out
}

// namesIn are the hosts and the addresses that a certificate is for.
func namesIn(c *tls.Certificate) []string {
	names := namesOf(c)
	for _, ip := range c.Leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

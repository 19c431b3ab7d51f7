package config

import (
	"crypto/x509"
	"net/netip"
	"net/url"
	"strings"
)

// acme checks the section and who refers to it.
func (c *checker) acme(cfg *Config) {
	a := &cfg.ACME
	c.acmeListeners(cfg)
	c.acmeDomains(a.Domains)
	if a.Email != "" && (!strings.Contains(a.Email, "@") || hasSpace(a.Email)) {
		c.bad("acme.email", "email %q is not an address", shorten(a.Email))
	}
	if u, err := url.Parse(a.CA); err != nil || u.Scheme != "https" || u.Host == "" {
		c.bad("acme.ca", "ca %q is not the https:// URL of an ACME directory", shorten(a.CA))
	}
	if a.CARoots != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(a.CARoots)) {
		c.bad("acme.ca_root_file", "file %q holds no certificate in PEM", a.CARootFile)
	}
	if len(a.Challenges) == 0 {
		c.bad("acme.challenges", "challenges is empty: leave the key out for all of them")
	}
	for i, name := range a.Challenges {
		c.word(index("acme.challenges", i), "challenge", name, ChallengeHTTP01, ChallengeTLSALPN01)
	}
	c.acmeStorage(cfg)
}

// acmeListeners refuses listeners that serve certificates which nobody asks for.
func (c *checker) acmeListeners(cfg *Config) {
	for i, l := range cfg.Listeners {
		if l.TLS.ACME && !cfg.ACME.Enabled() {
			c.bad(child(index("listeners", i), "tls.acme"), "there is no certificate to serve: acme has no domains")
		}
	}
}

func (c *checker) acmeDomains(domains []string) {
	if len(domains) == 0 && c.where.given("acme") {
		c.required("acme", "domains", "acme has no domains: no certificate would be obtained")
	}
	taken := map[string]string{}
	for i, name := range domains {
		at := index("acme.domains", i)
		switch first, twice := taken[name]; {
		case twice:
			c.bad(at, "domain %q is already named at %s", shorten(name), c.where.of(first))
		case strings.Contains(name, "*"):
			c.bad(at, "domain %q: neither http-01 nor tls-alpn-01 can prove a wildcard", shorten(name))
		case !isDomain(name):
			c.bad(at, "domain %q is not a host name", shorten(name))
		}
		taken[name] = at
	}
}

// acmeStorage checks that there is a place to keep what is obtained.
func (c *checker) acmeStorage(cfg *Config) {
	s := cfg.ACME.Storage
	c.word("acme.storage.type", "storage type", s.Type, ACMEFile, ACMEConsul)
	if !cfg.ACME.Enabled() {
		return
	}
	switch s.Type {
	case ACMEFile:
		if s.Path == "" {
			c.bad("acme.storage.path", "certificates have no folder: set acme.storage.path or state_dir")
		}
	case ACMEConsul:
		c.acmeConsul(cfg.Registries, s)
	}
}

func (c *checker) acmeConsul(registries []Registry, s ACMEStorage) {
	if s.Prefix == "" || strings.HasPrefix(s.Prefix, "/") || !strings.HasSuffix(s.Prefix, "/") {
		c.bad("acme.storage.prefix", "prefix %q must be a folder like usher-acme/", shorten(s.Prefix))
	}
	for _, r := range registries {
		if r.Name != s.Registry || r.Consul == nil {
			continue
		}
		// Who may read routes must not get to see private keys.
		if kv := r.Consul.KVPrefix; kv != "" && strings.HasPrefix(s.Prefix, kv) {
			c.bad("acme.storage.prefix",
				"prefix %q lies below the kv_prefix %q of registry %q, whose readers need no private keys",
				shorten(s.Prefix), shorten(kv), r.Name)
		}
		return
	}
	c.bad("acme.storage.registry", "no registry of type consul is called %q", shorten(s.Registry))
}

// isDomain says whether s is the name of a host, in ASCII.
func isDomain(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil || len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for i := range len(l) {
			if b := l[i]; b != '-' && (b < '0' || b > '9') && (b < 'a' || b > 'z') {
				return false
			}
		}
	}
	return true
}

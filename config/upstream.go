package config

import (
	"crypto/tls"
	"crypto/x509"
	"maps"
	"net/netip"
	"slices"
)

// pemReader reads the files of upstream TLS settings, each once: most services inherit
// those of the defaults.
type pemReader struct {
	decoder *decoder
	loader  *loader
	read    map[string]string
	failed  map[string]bool
}

// readUpstreamFiles reads the files that the defaults and the services name.
func readUpstreamFiles(cfg *Config, d *decoder, l *loader) {
	r := &pemReader{decoder: d, loader: l, read: map[string]string{}, failed: map[string]bool{}}
	r.load(&cfg.Defaults.Upstream.TLS, "defaults.upstream.tls")
	for _, name := range slices.Sorted(maps.Keys(cfg.Services)) {
		s := cfg.Services[name]
		r.load(&s.Upstream.TLS, child(child("services", name), "upstream.tls"))
		cfg.Services[name] = s
	}
}

func (r *pemReader) load(t *UpstreamTLS, at string) {
	t.PEM = PEM{
		CA:   r.file(t.CAFile, child(at, "ca_file")),
		Cert: r.file(t.CertFile, child(at, "cert_file")),
		Key:  r.file(t.KeyFile, child(at, "key_file")),
	}
}

// file returns what a file holds. One that cannot be read is reported where it is named
// first.
func (r *pemReader) file(path, at string) string {
	if path == "" || r.failed[path] {
		r.decoder.failed[at] = r.decoder.failed[at] || r.failed[path]
		return ""
	}
	if text, done := r.read[path]; done {
		return text
	}
	data, err := r.loader.read(path, maxSecretSize)
	if err != nil {
		r.decoder.fail(r.decoder.where.of(at), at, "file %q: %v", path, err)
		r.failed[path] = true
		return ""
	}
	r.read[path] = string(data)
	return r.read[path]
}

// refuseUpstreamFiles refuses files in an entry of a key-value store, whose writers need
// not be those who may read the files of this machine.
func refuseUpstreamFiles(d *decoder) {
	for _, key := range []string{"ca_file", "cert_file", "key_file"} {
		if at := child("upstream.tls", key); d.where.given(at) && !d.failed[at] {
			d.fail(d.where.of(at), at, "an entry of a key-value store cannot name a file")
		}
	}
}

// upstream checks how endpoints are spoken to, as policy checks the rest.
func (c *checker) upstream(p Policy, at string) {
	if path := child(at, "upstream.protocol"); c.where.given(path) && p.Upstream.Protocol != "" {
		c.word(path, "protocol", p.Upstream.Protocol, "http", "https", "h2", "h2c", "grpc", "grpcs")
	}
	if path := child(at, "upstream.proxy_protocol"); c.where.given(path) && p.Upstream.ProxyProtocol != "" {
		c.word(path, "proxy_protocol", p.Upstream.ProxyProtocol, ProxyV1, ProxyV2)
	}
	c.upstreamTLS(p.Upstream.TLS, child(at, "upstream.tls"))
	if path := child(at, "max_connections"); c.where.given(path) {
		c.number(path, "max_connections", p.MaxConnections, 0)
	}
	if path := child(at, "max_pending"); c.where.given(path) {
		c.number(path, "max_pending", p.MaxPending, 0)
	}
}

func (c *checker) upstreamTLS(t UpstreamTLS, at string) {
	c.serverName(child(at, "server_name"), t.ServerName)
	ca, cert, key := child(at, "ca_file"), child(at, "cert_file"), child(at, "key_file")
	if c.where.given(ca) && t.PEM.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(t.PEM.CA)) {
		c.bad(ca, "file %q holds no certificate", shorten(t.CAFile))
	}
	if !c.where.given(cert) && !c.where.given(key) || c.failed[cert] || c.failed[key] {
		return
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		c.bad(at, "cert_file and key_file must be set together")
		return
	}
	if t.CertFile == "" {
		return
	}
	if _, err := tls.X509KeyPair([]byte(t.PEM.Cert), []byte(t.PEM.Key)); err != nil {
		c.bad(cert, "cert_file and key_file: %v", err)
	}
}

// serverName wants what a certificate can be for: a name or an IP address.
func (c *checker) serverName(path, name string) {
	if _, err := netip.ParseAddr(name); err == nil || name == "" || !c.where.given(path) {
		return
	}
	if err := checkName(name, false); err != nil {
		c.bad(path, "server_name %q %v", shorten(name), err)
	}
}

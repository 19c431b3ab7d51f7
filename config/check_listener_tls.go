package config

import (
	"crypto/x509"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
)

// listenerTLS checks what a listener says of TLS, and that it is one that says so.
func (c *checker) listenerTLS(cfg *Config, l Listener, at string) {
	if l.RedirectHTTPS != nil {
		c.redirectHTTPS(l, child(at, "redirect_https"))
	}
	tls := child(at, "tls")
	if l.Protocol != "https" {
		c.noTLS(tls, l)
		return
	}
	if !l.TLS.hasSource() {
		c.required(at, "tls", "https listener %q has no certificates: give tls.certificates, tls.certificate_dirs, "+
			"tls.certificate_kv, tls.acme or tls.self_signed", l.Name)
	}
	c.certificates(cfg, l.TLS, tls)
	c.word(child(tls, "min_version"), "min_version", l.TLS.MinVersion, "1.2", "1.3")
	c.ocsp(l.TLS.OCSP, child(tls, "ocsp"))
	c.clientAuth(l.TLS.ClientAuth, child(tls, "client_auth"))
	if l.TLS.HSTS != nil {
		c.hsts(*l.TLS.HSTS, child(tls, "hsts"))
	}
}

// noTLS refuses keys that do nothing on a listener without TLS: who wrote them believes
// that it has some.
func (c *checker) noTLS(at string, l Listener) {
	for _, f := range planOf(reflect.TypeFor[ListenerTLS]()).fields {
		if path := child(at, f.key); c.where.given(path) {
			c.bad(path, "tls.%s has no effect on a listener of protocol %q, only https", f.key, l.Protocol)
		}
	}
}

func (c *checker) certificates(cfg *Config, t ListenerTLS, at string) {
	for i, f := range t.Certificates {
		if f.Cert == "" {
			c.required(index(child(at, "certificates"), i), "cert", "certificate has no cert, the file it is in")
		}
	}
	for i, dir := range t.CertificateDirs {
		if dir == "" {
			c.bad(index(child(at, "certificate_dirs"), i), "folder of certificates is empty")
		}
	}
	path := child(at, "certificate_kv")
	isConsul := func(r Registry) bool { return r.Consul != nil }
	switch prefix := t.CertificateKV; {
	case prefix == "":
	case !slices.ContainsFunc(cfg.Registries, isConsul):
		c.bad(path, "certificate_kv needs a registry of type consul")
	case strings.HasPrefix(prefix, "/"):
		c.bad(path, "certificate_kv %q begins with a slash, which no key does", shorten(prefix))
	case hasControl(prefix):
		c.bad(path, "certificate_kv %q contains a control character", shorten(prefix))
	}
}

func (c *checker) ocsp(o OCSP, at string) {
	path := child(at, "responder")
	if o.Responder != "" && o.Responder != OCSPByCertificate {
		u, err := url.Parse(o.Responder)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			c.bad(path, "responder %q is neither an http or https URL nor %q", shorten(o.Responder), OCSPByCertificate)
		}
	}
	if path := child(at, "interval"); c.where.given(path) {
		c.atLeast(path, "interval", o.Interval, time.Minute)
	}
}

func (c *checker) clientAuth(a ClientAuth, at string) {
	c.word(child(at, "mode"), "mode", a.Mode, ClientAuthNone, ClientAuthOptional, ClientAuthRequired)
	c.word(child(at, "forward"), "forward", a.Forward, ForwardSubject, ForwardURI, ForwardPEM, ForwardFingerprint)
	ca := child(at, "ca_file")
	switch {
	case a.Mode == ClientAuthNone:
		for _, key := range []string{"ca_file", "header", "forward"} {
			if path := child(at, key); c.where.given(path) {
				c.bad(path, "client_auth.%s has no effect with mode %q", key, a.Mode)
			}
		}
		return
	case a.CAFile == "":
		c.required(at, "ca_file", "client_auth has no ca_file, the authorities that clients' certificates are from")
	case !c.failed[ca] && !x509.NewCertPool().AppendCertsFromPEM([]byte(a.CA)):
		c.bad(ca, "file %q holds no certificate", shorten(a.CAFile))
	}
	if path := child(at, "header"); a.Header != "" {
		c.fieldName(path, a.Header, identityRefused()...)
		if strings.Contains(a.Header, "_") {
			c.bad(path, "header %q contains an underscore, which many servers drop", shorten(a.Header))
		}
	} else if path := child(at, "forward"); c.where.given(path) {
		c.bad(path, "client_auth.forward has no effect without header")
	}
}

// identityRefused are fields that mean something else already.
func identityRefused() []string {
	return []string{
		"Accept", "Accept-Encoding", "Authorization", "Cdn-Loop", "Content-Encoding", "Content-Type", "Cookie",
		"Forwarded", "Origin", "Range", "Referer", "User-Agent", "Via", "X-Forwarded-For", "X-Forwarded-Host",
		"X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Real-Ip",
		"X-Request-Id",
	}
}

func (c *checker) hsts(h HSTS, at string) {
	// What the preload lists of browsers demand.
	const least = 365 * 24 * time.Hour
	switch {
	case h.MaxAge < 0:
		c.bad(child(at, "max_age"), "max_age is negative; 0 makes browsers forget")
	case h.Preload && !h.IncludeSubdomains:
		c.bad(child(at, "preload"), "preload needs include_subdomains")
	case h.Preload && h.MaxAge < least:
		c.bad(child(at, "preload"), "preload needs a max_age of at least %s", least)
	}
}

func (c *checker) redirectHTTPS(l Listener, at string) {
	if l.Protocol != "http" {
		c.bad(at, "redirect_https has no effect on a listener of protocol %q, only http", l.Protocol)
	}
	if !slices.Contains([]int{301, 302, 307, 308}, l.RedirectHTTPS.Code) {
		c.bad(child(at, "code"), "code must be 301, 302, 307 or 308, found %d", l.RedirectHTTPS.Code)
	}
	if port := l.RedirectHTTPS.Port; port < 1 || port > 65535 {
		c.bad(child(at, "port"), "port must be from 1 to 65535, found %d", port)
	}
}

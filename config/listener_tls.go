package config

import (
	"slices"
	"strconv"
	"time"
)

// ListenerTLS is how clients are met over TLS: the certificates of an https listener, and
// what goes with them. The certificates themselves are not part of the configuration: a
// bad one is refused alone, and a change of one is no reload.
type ListenerTLS struct {
	// Certificates are files that hold one certificate each.
	Certificates []CertificateFile `yaml:"certificates"`
	// CertificateDirs are folders of name.crt (or name.pem) beside name.key, or name.pem
	// with both.
	CertificateDirs []string `yaml:"certificate_dirs" path:"true"`
	// CertificateKV is a prefix of keys of the first Consul's key-value store: name with
	// the chain and the key, or name.crt beside name.key. Empty: none.
	CertificateKV string `yaml:"certificate_kv"`
	// ACME serves the certificates that the acme section manages, for names that none of the
	// above is for.
	ACME bool `yaml:"acme"`
	// SelfSigned makes certificates for whatever name is asked for and has none.
	SelfSigned bool `yaml:"self_signed"`
	// DefaultCertificate is what clients get who name no host, or one that no certificate
	// is for: the name of a certificate, or a host that one is for. Empty: the first.
	DefaultCertificate string `yaml:"default_certificate"`
	// MinVersion is 1.2 or 1.3.
	MinVersion string `yaml:"min_version"`
	// OCSP staples the word of a responder.
	OCSP OCSP `yaml:"ocsp"`
	// ClientAuth asks clients for certificates.
	ClientAuth ClientAuth `yaml:"client_auth"`
	// HSTS tells browsers to come back over TLS alone. Nil: they are not told.
	HSTS *HSTS `yaml:"hsts"`
}

// CertificateFile is a certificate with its chain, and its key. Both may be in one file.
type CertificateFile struct {
	// Cert is the file of the certificate and its chain, in PEM.
	Cert string `yaml:"cert" path:"true"`
	// Key is the file of the key. Empty: that of the certificate.
	Key string `yaml:"key" path:"true"`
}

// OCSP staples OCSP responses to handshakes.
type OCSP struct {
	// Responder is a URL, or the word certificate for the one that each certificate names.
	// Empty: nothing is stapled.
	Responder string `yaml:"responder"`
	// Interval is how often the responder is asked, at most; it may be sooner for a
	// response that ends soon.
	Interval time.Duration `yaml:"interval"`
}

// OCSPByCertificate is the Responder that stands for the one each certificate names.
const OCSPByCertificate = "certificate"

// ClientAuth asks clients for certificates.
type ClientAuth struct {
	// Mode is none, optional or required. A certificate that is shown is verified.
	Mode string `yaml:"mode"`
	// CAFile holds the authorities that clients' certificates are from.
	CAFile string `yaml:"ca_file" path:"true"`
	// Header is the field in which endpoints are told who the client is. What clients send
	// in it themselves is taken out, on every listener. Empty: they are not told.
	Header string `yaml:"header"`
	// Forward is what they are told: subject, uri, pem or fingerprint.
	Forward string `yaml:"forward"`

	// CA is the content of CAFile, checked.
	CA string `yaml:"-" hash:"true"`
}

// The modes of a ClientAuth.
const (
	ClientAuthNone     = "none"
	ClientAuthOptional = "optional"
	ClientAuthRequired = "required"
)

// What a ClientAuth forwards.
const (
	ForwardSubject     = "subject"
	ForwardURI         = "uri"
	ForwardPEM         = "pem"
	ForwardFingerprint = "fingerprint"
)

// HSTS is the Strict-Transport-Security field (RFC 6797).
type HSTS struct {
	// MaxAge is how long a browser remembers; 0 makes it forget.
	MaxAge time.Duration `yaml:"max_age"`
	// IncludeSubdomains makes it count for all hosts below as well.
	IncludeSubdomains bool `yaml:"include_subdomains"`
	// Preload lets the makers of browsers put the host on their lists.
	Preload bool `yaml:"preload"`
}

// Value is the value of the field.
func (h *HSTS) Value() string {
	value := "max-age=" + strconv.FormatInt(int64(h.MaxAge/time.Second), 10)
	if h.IncludeSubdomains {
		value += "; includeSubDomains"
	}
	if h.Preload {
		value += "; preload"
	}
	return value
}

// RedirectHTTPS sends the clients of an http listener to https.
type RedirectHTTPS struct {
	// Code is the status: 301, 302, 307 or 308.
	Code int `yaml:"code"`
	// Port is where https is served, as clients see it.
	Port int `yaml:"port"`
}

// defaultListenerTLS is what a listener starts from.
func defaultListenerTLS() ListenerTLS {
	return ListenerTLS{
		MinVersion: "1.2", OCSP: OCSP{Interval: time.Hour},
		ClientAuth: ClientAuth{Mode: ClientAuthNone, Forward: ForwardSubject},
	}
}

// hasSource says whether there can be a certificate at all.
func (t *ListenerTLS) hasSource() bool {
	return len(t.Certificates) > 0 || len(t.CertificateDirs) > 0 || t.CertificateKV != "" || t.ACME || t.SelfSigned
}

// IdentityHeaders are the fields in which any of the listeners tells who a client is.
func IdentityHeaders(listeners []Listener) []string {
	var names []string
	for i := range listeners {
		name := listeners[i].TLS.ClientAuth.Header
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// readListenerFiles reads the authorities that listeners name.
func readListenerFiles(cfg *Config, d *decoder, l *loader) {
	r := &pemReader{decoder: d, loader: l, read: map[string]string{}, failed: map[string]bool{}}
	for i := range cfg.Listeners {
		auth := &cfg.Listeners[i].TLS.ClientAuth
		auth.CA = r.file(auth.CAFile, index("listeners", i)+".tls.client_auth.ca_file")
	}
}

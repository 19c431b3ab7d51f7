package config

import (
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"usher/proxy/upstream/upstreamtest"
)

// TestListenerTLS: all keys, with paths that count from the folder of their file.
func TestListenerTLS(t *testing.T) {
	ca := upstreamtest.NewAuthority(t).PEM
	path := writeFiles(t, map[string]string{"ca.pem": ca, "main.yaml": `
listeners:
  - name: secure
    address: ":8443"
    protocol: https
    tls:
      certificates: [{cert: a.crt, key: /keys/a.key}, {cert: both.pem}]
      certificate_dirs: [certs, /etc/certs]
      certificate_kv: usher-certs/
      self_signed: true
      default_certificate: a
      min_version: "1.3"
      ocsp: {responder: certificate, interval: 10m}
      client_auth: {mode: optional, ca_file: ca.pem, header: X-Client-Cert, forward: uri}
      hsts: {include_subdomains: true, preload: true}
  - {name: web, address: ":8080", redirect_https: {port: 8443}}
registries: [{type: consul, address: "127.0.0.1:8500"}]
`})
	cfg, err := Load(path, Options{Env: envOf(nil)})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	want := ListenerTLS{
		Certificates: []CertificateFile{
			{filepath.Join(dir, "a.crt"), "/keys/a.key"},
			{Cert: filepath.Join(dir, "both.pem")},
		},
		CertificateDirs: []string{filepath.Join(dir, "certs"), "/etc/certs"},
		CertificateKV:   "usher-certs/", SelfSigned: true, DefaultCertificate: "a", MinVersion: "1.3",
		OCSP: OCSP{"certificate", 10 * time.Minute},
		ClientAuth: ClientAuth{
			Mode: "optional", CAFile: filepath.Join(dir, "ca.pem"), Header: "X-Client-Cert", Forward: "uri", CA: ca,
		},
		HSTS: &HSTS{365 * 24 * time.Hour, true, true},
	}
	if got := cfg.Listeners[0].TLS; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := cfg.Listeners[1].RedirectHTTPS; !reflect.DeepEqual(got, &RedirectHTTPS{308, 8443}) {
		t.Errorf("redirect: %+v", got)
	}
	if got := IdentityHeaders(cfg.Listeners); !slices.Equal(got, []string{"X-Client-Cert"}) {
		t.Errorf("identity headers: %q", got)
	}
}

// A change of the authorities is a change of the configuration.
func TestListenerTLSHash(t *testing.T) {
	const text = "listeners: [{name: a, address: ':1', protocol: https, " +
		"tls: {self_signed: true, client_auth: {mode: required, ca_file: ca.pem}}}]"
	hash := func() string {
		path := writeFiles(t, map[string]string{"ca.pem": upstreamtest.NewAuthority(t).PEM, "main.yaml": text})
		cfg, err := Load(path, Options{Env: envOf(nil)})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Listeners[0].TLS.ClientAuth.CAFile = ""
		return hashOf(cfg)
	}
	if a, b := hash(), hash(); a == b {
		t.Error("the hash is the same")
	}
}

func TestHSTSValue(t *testing.T) {
	for want, h := range map[string]HSTS{
		"max-age=0":                             {},
		"max-age=3600":                          {MaxAge: time.Hour + time.Millisecond},
		"max-age=60; includeSubDomains":         {MaxAge: time.Minute, IncludeSubdomains: true},
		"max-age=1; includeSubDomains; preload": {MaxAge: time.Second, IncludeSubdomains: true, Preload: true},
		"max-age=31536000; includeSubDomains":   {MaxAge: 365 * 24 * time.Hour, IncludeSubdomains: true},
	} {
		if got := h.Value(); got != want {
			t.Errorf("%+v: got %q, want %q", h, got, want)
		}
	}
}

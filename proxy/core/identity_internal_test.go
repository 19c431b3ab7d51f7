package core

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"strings"
	"testing"

	"usher/config"
	"usher/metrics"
	"usher/proxy/upstream/upstreamtest"
	"usher/routetable"
)

func TestIdentify(t *testing.T) {
	pair, text, _ := upstreamtest.NewAuthority(t).Issue("client.example")
	leaf := pair.Leaf
	odd := &x509.Certificate{Subject: pkix.Name{CommonName: "a\r\nX-Admin: 1, O=\u00fc", Organization: []string{"o"}}}
	spiffe := &x509.Certificate{URIs: []*url.URL{
		{Scheme: "spiffe", Host: "mesh", Path: "/a b\r\n"}, {Scheme: "spiffe", Host: "second"},
	}}
	for _, tc := range []struct {
		forward string
		cert    *x509.Certificate
		want    string
	}{
		{"subject", leaf, "CN=client.example"},
		{"", leaf, "CN=client.example"},
		{"subject", odd, `CN=a\0D\0AX-Admin: 1\, O=\C3\BC,O=o`},
		{"uri", spiffe, "spiffe://mesh/a%20b%0D%0A"},
		{"uri", leaf, ""},
	} {
		if got := identify(t, tc.forward, tc.cert).Text; got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.forward, got, tc.want)
		}
	}
	got, err := url.QueryUnescape(identify(t, "pem", leaf).Text)
	if err != nil || got != text {
		t.Errorf("pem: got %q (%v), want %q", got, err, text)
	}
	if got, err := url.PathUnescape(identify(t, "pem", leaf).Text); err != nil || got != text {
		t.Errorf("pem as a path: got %q (%v), want %q", got, err, text)
	}
	if got := identify(t, "fingerprint", leaf).Text; len(got) != 64 || strings.ToLower(got) != got {
		t.Errorf("fingerprint: got %q", got)
	}
}

// identify returns what endpoints are told of a certificate.
func identify(t *testing.T, forward string, cert *x509.Certificate) Field {
	t.Helper()
	l := identifying(forward)
	var p Peer
	l.Identify(&p, &tls.ConnectionState{})
	if p.Identity.Name != "" {
		t.Errorf("without a certificate: %+v", p.Identity)
	}
	l.Identify(&p, &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}})
	if p.Identity.Text != "" && p.Identity.Name != "X-Client-Cert" {
		t.Errorf("name %q", p.Identity.Name)
	}
	return p.Identity
}

func identifying(forward string) *Listener {
	auth := config.ClientAuth{Header: "x-client-cert", Forward: forward}
	c := config.Listener{Protocol: "https", TLS: config.ListenerTLS{ClientAuth: auth}}
	return NewListener(c, &net.TCPAddr{Port: 443}, new(metrics.Listener), nil)
}

// The identity is among the fields of every try.
func TestIdentityForwarded(t *testing.T) {
	l := identifying("subject")
	pair, _, _ := upstreamtest.NewAuthority(t).Issue("client.example")
	p := &Peer{IP: []byte("192.0.2.1")}
	l.Identify(p, &tls.ConnectionState{PeerCertificates: []*x509.Certificate{pair.Leaf}})
	x := &Exchange{Listener: l, Peer: p, route: &routetable.Route{}}
	new(Core).prepare(x)
	var lines []byte
	for _, f := range x.Fields[:x.common] {
		lines = f.AppendTo(lines)
	}
	for _, want := range []string{"X-Client-Cert: CN=client.example\r\n", "X-Forwarded-Proto: https\r\n"} {
		if !strings.Contains(string(lines), want) {
			t.Errorf("no %q in\n%s", want, lines)
		}
	}
}

// FuzzEscape: whatever a certificate says can stand in a field.
func FuzzEscape(f *testing.F) {
	f.Add("CN=a\r\nX: y\x00\x7f\xff \\")
	f.Fuzz(func(t *testing.T, s string) {
		for _, mark := range []string{"%", `\`} {
			for _, c := range []byte(escape(s, mark)) {
				if c < ' ' || c >= 0x7f || c == ' ' && mark == "%" {
					t.Errorf("%q holds %q", escape(s, mark), c)
				}
			}
		}
	})
}

func TestHSTS(t *testing.T) {
	hsts := config.ListenerTLS{HSTS: &config.HSTS{MaxAge: 3600e9, IncludeSubdomains: true}}
	of := func(protocol string, tls config.ListenerTLS) *Listener {
		c := config.Listener{Protocol: protocol, TLS: tls}
		return NewListener(c, &net.TCPAddr{Port: 443}, new(metrics.Listener), nil)
	}
	if got := string(of("https", hsts).HSTS); got != "Strict-Transport-Security: max-age=3600; includeSubDomains\r\n" {
		t.Errorf("got %q", got)
	}
	if l := of("http", hsts); l.HSTS != nil || l.Scheme != "http" {
		t.Errorf("over http: got %q, %s", l.HSTS, l.Scheme)
	}
	if l := of("https", config.ListenerTLS{}); l.HSTS != nil || l.Scheme != "https" {
		t.Errorf("without: got %q, %s", l.HSTS, l.Scheme)
	}
}

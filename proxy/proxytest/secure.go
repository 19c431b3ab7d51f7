package proxytest

import (
	"crypto/tls"
	"sync"
	"testing"

	"usher/proxy/upstream/upstreamtest"
)

// certificates are those of the https listeners of an Usher: one certificate for the names
// that tests use.
type certificates struct{ tb testing.TB }

// Config implements proxy.Certificates.
func (c *certificates) Config(string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{signed(c.tb).pair}, MinVersion: tls.VersionTLS12,
		DynamicRecordSizingDisabled: true,
	}
}

// authority signs the certificates of all tests of a process.
type authority struct {
	once sync.Once
	*upstreamtest.Authority
	pair tls.Certificate
}

var shared authority //nolint:gochecknoglobals // keys take long to make; nothing changes them

func signed(tb testing.TB) *authority {
	tb.Helper()
	shared.once.Do(func() {
		shared.Authority = upstreamtest.NewAuthority(tb)
		shared.pair, _, _ = shared.Issue("example.com", "localhost", "127.0.0.1")
	})
	return &shared
}

// ClientTLS is how a client that trusts the Usher's certificate speaks TLS to it.
func ClientTLS(tb testing.TB, protocols ...string) *tls.Config {
	tb.Helper()
	return &tls.Config{
		RootCAs: signed(tb).Pool(), ServerName: "example.com", NextProtos: protocols, MinVersion: tls.VersionTLS12,
	}
}

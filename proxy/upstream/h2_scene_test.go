package upstream_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"usher/config"
	"usher/proxy/proxytest"
	"usher/proxy/upstream/upstreamtest"
	"usher/routetable"
)

// h2Transport is a way in which HTTP/2 is spoken to an origin.
type h2Transport struct {
	name      string
	protocol  string
	authority *upstreamtest.Authority
	server    *tls.Config
}

// h2Transports returns prior knowledge and TLS.
func h2Transports(tb testing.TB) []h2Transport {
	tb.Helper()
	a := upstreamtest.NewAuthority(tb)
	pair, _, _ := a.Issue("127.0.0.1", "origin.test")
	return []h2Transport{
		{name: "h2c", protocol: "h2c"},
		{name: "h2", protocol: "h2", authority: a, server: &tls.Config{Certificates: []tls.Certificate{pair}}},
	}
}

func eachH2(t *testing.T, test func(t *testing.T, tr *h2Transport)) {
	t.Helper()
	for _, tr := range h2Transports(t) {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			test(t, &tr)
		})
	}
}

// policy is that of services spoken to in this way.
func (tr *h2Transport) policy(p config.Policy) config.Policy {
	p.ConnectTimeout = cmp.Or(p.ConnectTimeout, proxytest.Patience)
	p.Upstream.Protocol = tr.protocol
	if tr.authority != nil {
		p.Upstream.TLS = config.UpstreamTLS{ServerName: "origin.test", PEM: config.PEM{CA: tr.authority.PEM}}
	}
	return p
}

// endpoint is a new endpoint spoken to in this way.
func (tr *h2Transport) endpoint(address string) *routetable.Endpoint {
	e := endpoint(address)
	e.HTTP2 = true
	if tr.authority != nil {
		e.TLS = &routetable.TLS{ServerName: "origin.test", PEM: config.PEM{CA: tr.authority.PEM}}
	}
	return e
}

// h2Origin is a server of net/http that speaks HTTP/2 alone.
type h2Origin struct {
	Addr     string
	Server   *http.Server
	accepted atomic.Int32
}

// serve starts an origin with a handler. settings may change it before it begins.
func (tr *h2Transport) serve(tb testing.TB, h http.HandlerFunc, settings ...func(s *http.Server)) *h2Origin {
	tb.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	o := &h2Origin{Addr: ln.Addr().String()}
	o.Server = &http.Server{
		Handler: h, Protocols: new(http.Protocols), ReadHeaderTimeout: proxytest.Patience,
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				o.accepted.Add(1)
			}
		},
	}
	for _, f := range settings {
		f(o.Server)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if tr.authority == nil {
			o.Server.Protocols.SetUnencryptedHTTP2(true)
			_ = o.Server.Serve(ln)
			return
		}
		o.Server.Protocols.SetHTTP2(true)
		o.Server.TLSConfig = tr.server.Clone()
		_ = o.Server.ServeTLS(ln, "", "")
	}()
	tb.Cleanup(func() {
		_ = o.Server.Close()
		<-done
	})
	return o
}

// proxied starts an Usher in front of origins.
func (tr *h2Transport) proxied(tb testing.TB, p config.Policy, addresses ...string) *proxytest.Usher {
	tb.Helper()
	return proxytest.Start(tb, proxytest.Options{Policy: tr.policy(p), Services: proxytest.Origins(addresses...)})
}

// credentials are how a server of gRPC is spoken to.
func (tr *h2Transport) credentials() []grpc.ServerOption {
	if tr.authority == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.Creds(credentials.NewTLS(tr.server.Clone()))}
}

package healthcheck

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"usher/config"
	"usher/proxy/upstream/upstreamtest"
	"usher/routetable"
)

// Endpoints in a mesh are probed as they are spoken to, with the identity of the moment.
func TestProbeByMesh(t *testing.T) {
	authority := upstreamtest.NewAuthority(t)
	cert, _, _ := authority.Issue("shop.test")
	server := &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.Pool(),
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.TLS = server.Clone()
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.StartTLS()
	defer srv.Close()
	calls := grpc.NewServer(grpc.Creds(credentials.NewTLS(server.Clone())))
	healthpb.RegisterHealthServer(calls, health.NewServer())
	rpc := httptest.NewUnstartedServer(nil).Listener
	go func() { _ = calls.Serve(rpc) }()
	defer calls.Stop()

	secure := &routetable.TLS{Mesh: routetable.Mesh{Name: "consul", Service: "shop"}}
	web, grpcs := srv.Listener.Addr().String(), rpc.Addr().String()
	byHTTP := func(h *config.HealthCheck) { h.Path = "/" }
	byGRPC := func(h *config.HealthCheck) { h.Type = "grpc" }
	if res := verdict(t, web, secure, byHTTP); res.problem != errNoMesh.Error() {
		t.Errorf("without a mesh: %q", res.problem)
	}
	pair, _, _ := authority.Issue("usher.test")
	var known *tls.Certificate
	a := newAsker()
	a.mesh = func(base *tls.Config, m routetable.Mesh) (*tls.Config, error) {
		if known == nil || m.Service != "shop" {
			return nil, errors.New("no identity yet")
		}
		cfg := base.Clone()
		cfg.Certificates, cfg.RootCAs, cfg.ServerName = []tls.Certificate{*known}, authority.Pool(), "shop.test"
		return cfg, nil
	}
	probe := func(address string, set func(*config.HealthCheck)) string {
		check := config.DefaultHealth().HealthCheck
		set(&check)
		e := &routetable.Endpoint{ID: "x", Address: address, TLS: secure}
		return a.ask(t.Context(), newTarget(e, &check, "")).problem
	}
	for range 2 {
		if got := probe(web, byHTTP); !strings.Contains(got, "no identity yet") {
			t.Errorf("without a certificate: %q", got)
		}
	}
	known = &pair
	for range 2 {
		if got := probe(web, byHTTP) + probe(grpcs, byGRPC); got != "" {
			t.Errorf("with one: %q", got)
		}
	}
}

package upstream_test

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"

	"usher/config"
	"usher/proxy/proxytest"
)

// Requests survive the end of their connection, whatever their method is, as long as the
// endpoint says which ones it has not taken.
func TestH2GoAwayUnderLoad(t *testing.T) {
	t.Parallel()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge: 20 * time.Millisecond, MaxConnectionAgeGrace: proxytest.Patience,
	}))
	healthpb.RegisterHealthServer(s, health.NewServer())
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(s.Stop)
	tr := h2Transport{protocol: "grpc"}
	u := tr.proxied(t, config.Policy{Retry: config.Retry{Attempts: -1}}, ln.Addr().String())
	until := time.Now().Add(time.Second)
	var wg sync.WaitGroup
	var calls atomic.Int32
	for range 8 {
		wg.Go(func() {
			c := u.Dial()
			for time.Now().Before(until) {
				checkHealth(t, c, "", "0")
				calls.Add(1)
			}
		})
	}
	wg.Wait()
	made := samples(t, u.Metrics.Downstream)[`usher_upstream_connect_duration_seconds{service="origin"}`]
	if made < 5 {
		t.Errorf("%v connections for %d calls: it never went away", made, calls.Load())
	}
	t.Logf("%d calls, %v connections", calls.Load(), made)
}

// checkHealth asks for the health of a service as a client of gRPC would, by HTTP/1.1.
func checkHealth(t *testing.T, c *proxytest.Client, service, status string) {
	t.Helper()
	message, err := proto.Marshal(&healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		t.Error(err)
	}
	frame := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	c.Send("POST /grpc.health.v1.Health/Check HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\n"+
		"Content-Length: %d\r\n\r\n%s", len(frame), frame)
	r := c.Read("POST")
	got := r.Trailer.Get("grpc-status") + r.Header.Get("grpc-status")
	if r.StatusCode != 200 || got != status || r.Err != nil || r.Header.Get("Content-Type") != "application/grpc" {
		t.Errorf("got %s %v %v %q, %v", r.Status, r.Header, r.Trailer, r.Text, r.Err)
	}
}

// A server of gRPC is spoken to, plainly and over TLS; its answers have their status in
// trailers, or in the head.
func TestH2GRPC(t *testing.T) {
	t.Parallel()
	for _, tr := range h2Transports(t) {
		ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := grpc.NewServer(tr.credentials()...)
		healthpb.RegisterHealthServer(s, health.NewServer())
		go func() { _ = s.Serve(ln) }()
		t.Cleanup(s.Stop)
		rule := "/ proto=grpc"
		if tr.authority != nil {
			rule = "/ proto=grpcs grpcservername=origin.test"
		}
		policy := tr.policy(config.Policy{})
		policy.Upstream.Protocol, policy.Upstream.TLS.ServerName = "", ""
		u := proxytest.Start(t, proxytest.Options{Policy: policy, Services: []proxytest.Service{
			{Name: "origin", Routes: []string{rule}, Addresses: []string{ln.Addr().String()}},
		}})
		c := u.Dial()
		for range 3 {
			checkHealth(t, c, "", "0")
			checkHealth(t, c, "nobody", "5")
		}
		u.Clean(1, 1)
	}
}

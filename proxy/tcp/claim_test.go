package tcp_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"usher/config"
	"usher/healthcheck"
	"usher/metrics"
	"usher/proxy/core"
	"usher/proxy/preface"
	"usher/proxy/proxytest"
	"usher/proxy/tcp"
	"usher/proxy/upstream"
	"usher/proxy/upstream/upstreamtest"
	"usher/proxy/wire"
	"usher/routetable"
	"usher/routetable/balance"
	"usher/watcher"
)

// claiming starts a Server of an https listener on which a service claims a name.
func claiming(t *testing.T, name, address string) (*tcp.Server, *core.Listener) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	set := metrics.New("test", core.Reasons())
	sweeper := wire.NewSweeper()
	pools := upstream.NewPools(sweeper)
	health := healthcheck.New(log, nil)
	c := core.New(sweeper, pools, health, set.Downstream)
	ctx, cancel := context.WithCancel(context.Background())
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		sweeper.Run(ctx)
	}()
	table := routetable.Build(watcher.NewCatalog(1, &watcher.Service{
		Key: watcher.Key{Registry: "test", Service: "pass"},
		Instances: []watcher.Instance{{
			ID: "1", Address: address, Weight: 1,
			Announcements: []watcher.Announcement{{Where: "tag", Text: name + " proto=tcp"}},
		}},
	}), &routetable.Rules{
		Defaults: config.Policy{
			Balance: "round_robin", ConnectTimeout: time.Second, TunnelIdleTimeout: time.Hour,
			Health: config.DefaultHealth(),
		},
		Balancers: balance.All(),
	}, nil)
	health.Adopt(table)
	c.Publish(table)
	l := config.Listener{Name: "web", Protocol: config.ProtocolHTTPS, Passthrough: true}
	own := core.NewListener(l, &net.TCPAddr{Port: 443}, set.Downstream.Listener("web"), core.NewGate(core.NewLimits(0)))
	s := tcp.NewServer(c, own, log)
	t.Cleanup(func() {
		s.Shutdown(ctx)
		cancel()
		<-swept
		pools.Close()
	})
	return s, own
}

// replayed reads what was read of a client already first.
type replayed struct {
	*net.TCPConn
	r io.Reader
}

func (r *replayed) Read(p []byte) (int, error) { return r.r.Read(p) }

// Of the connections to one port those whose name is claimed are carried, the others are
// the caller's, whole.
func TestClaim(t *testing.T) {
	a := upstreamtest.NewAuthority(t)
	cert := func(name string) *tls.Config {
		pair, _, _ := a.Issue(name)
		return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	serve := func(nc net.Conn, cfg *tls.Config, name string) {
		secure := tls.Server(nc, cfg)
		if line, err := bufio.NewReader(secure).ReadString('\n'); err == nil {
			_, _ = io.WriteString(secure, name+" got "+line)
		}
		_ = secure.Close()
	}
	passed := cert("pass.example.com")
	origin := proxytest.Raw(t, func(c *proxytest.Conn) { serve(c.Conn, passed, "the endpoint") })
	s, listener := claiming(t, "pass.example.com", origin.Addr)
	own := cert("own.example.com")
	front := proxytest.Raw(t, func(c *proxytest.Conn) {
		client, err := wire.NewClient(c.Conn.(*net.TCPConn)) //nolint:forcetypeassert // it is TCP
		if err != nil {
			t.Error(err)
			return
		}
		claims, err := s.Claims(client)
		switch {
		case err != nil:
			if !errors.Is(err, preface.ErrNotTLS) {
				t.Error(err)
			}
		case claims:
			c.Disown()
			go s.Take(listener.Admit(client))()
		default:
			early := bufio.NewReader(io.MultiReader(bytes.NewReader(client.Early), client.TCP))
			serve(&replayed{client.TCP, early}, own, "usher")
		}
	})
	for name, want := range map[string]string{
		"pass.example.com": "the endpoint got hello\n", "own.example.com": "usher got hello\n",
	} {
		d := tls.Dialer{Config: &tls.Config{ServerName: name, RootCAs: a.Pool(), MinVersion: tls.VersionTLS12}}
		nc, err := d.DialContext(t.Context(), "tcp", front.Addr)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = nc.SetDeadline(time.Now().Add(proxytest.Patience))
		_, _ = io.WriteString(nc, "hello\n")
		if got, err := bufio.NewReader(nc).ReadString('\n'); got != want {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		nc.Close()
	}
	c := proxytest.Dial(t, front.Addr)
	c.Send("GET / HTTP/1.1\r\n\r\n")
	c.Closed()
}

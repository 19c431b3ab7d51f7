package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"usher/config"
	"usher/metrics"
	"usher/proxy/proxytest"
	"usher/proxy/upstream"
	"usher/proxy/upstream/upstreamtest"
	"usher/proxy/wire"
	"usher/routetable"
)

// scene is Pools with a running sweeper, and what they log and count.
type scene struct {
	*upstream.Pools
	sweeper *wire.Sweeper
	metrics *metrics.Upstream
	log     *logged
	tb      testing.TB
}

func newScene(tb testing.TB) *scene {
	tb.Helper()
	s := &scene{sweeper: wire.NewSweeper(), metrics: metrics.NewUpstream(), log: &logged{}, tb: tb}
	s.Pools = upstream.NewPools(s.sweeper)
	s.Report(slog.New(slog.NewTextHandler(s.log, nil)), s.metrics)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.sweeper.Run(ctx) })
	tb.Cleanup(func() {
		s.Close()
		cancel()
		running.Wait()
	})
	return s
}

// logged keeps what is logged.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// lines are those that contain a text.
func (l *logged) lines(with string) (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, with) {
			out = append(out, line)
		}
	}
	return out
}

// endpoint is a new endpoint at an address.
func endpoint(address string) *routetable.Endpoint {
	e := &routetable.Endpoint{ID: "one", Address: address, State: &routetable.State{}}
	e.Service.Service = "orders"
	return e
}

// bounded is a new endpoint with bounds.
func bounded(address string, connections, pending int) *routetable.Endpoint {
	e := endpoint(address)
	e.MaxConnections, e.MaxPending = connections, pending
	return e
}

// get takes a connection and fails the test when there is none.
func (s *scene) get(p *upstream.Pool) *upstream.Conn {
	s.tb.Helper()
	c, err := p.Get(false, proxytest.Patience)
	if err != nil {
		s.tb.Fatal(err)
	}
	return c
}

const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// ask sends a request and reads its whole answer.
func ask(c *upstream.Conn) (string, error) {
	c.Send([]byte(request))
	return answer(c)
}

func answer(c *upstream.Conn) (string, error) {
	resp, err := http.ReadResponse(c.Reader, nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// asks does a request on a connection that it takes and puts back.
func (s *scene) asks(p *upstream.Pool) {
	s.tb.Helper()
	c := s.get(p)
	if text, err := ask(c); text != "ok" || err != nil {
		s.tb.Fatalf("got %q, %v", text, err)
	}
	c.Release()
}

// transport is how an origin is spoken to: in both ways all must hold.
type transport struct {
	name string
	// authority signs the origin's certificate; nil: plain.
	authority *upstreamtest.Authority
	server    *tls.Config
}

// transports returns plain and TLS.
func transports(tb testing.TB) []transport {
	tb.Helper()
	a := upstreamtest.NewAuthority(tb)
	pair, _, _ := a.Issue("127.0.0.1", "origin.test")
	return []transport{
		{name: "plain"},
		{name: "tls", authority: a, server: &tls.Config{Certificates: []tls.Certificate{pair}}},
	}
}

// endpoint is a new endpoint spoken to in this way.
func (tr *transport) endpoint(address string) *routetable.Endpoint {
	e := endpoint(address)
	if tr.authority != nil {
		e.TLS = &routetable.TLS{ServerName: "origin.test", PEM: config.PEM{CA: tr.authority.PEM}}
	}
	return e
}

// policy is that of services spoken to in this way.
func (tr *transport) policy() config.Policy {
	p := config.Policy{ConnectTimeout: proxytest.Patience}
	if tr.authority != nil {
		p.Upstream.Protocol, p.Upstream.TLS.PEM.CA = "https", tr.authority.PEM
	}
	return p
}

// peer is the origin's end of a connection.
type peer struct {
	*proxytest.Conn
	tcp *net.TCPConn
}

// reset ends the connection by a reset, without a word of TLS.
func (p *peer) reset() {
	_ = p.tcp.SetLinger(0)
	_ = p.tcp.Close()
}

// raw starts an origin that is spoken to in this way.
func (tr *transport) raw(tb testing.TB, serve func(p *peer)) *proxytest.Origin {
	tb.Helper()
	return proxytest.Raw(tb, func(c *proxytest.Conn) {
		tcp, _ := c.Conn.(*net.TCPConn)
		if tr.authority != nil {
			secure := tls.Server(c.Conn, tr.server)
			if err := secure.HandshakeContext(context.Background()); err != nil {
				return
			}
			inner := *c // the origin keeps the outer one, to close it
			inner.Conn = secure
			inner.R = bufio.NewReader(io.TeeReader(secure, &inner))
			c = &inner
			defer func() { _ = secure.Close() }()
		}
		serve(&peer{c, tcp})
	})
}

// ok starts an origin that answers every request.
func (tr *transport) ok(tb testing.TB) *proxytest.Origin {
	tb.Helper()
	return tr.raw(tb, func(p *peer) {
		for {
			if req, _, _ := p.Request(); req == nil || !p.Reply(proxytest.OK) {
				return
			}
		}
	})
}

// eachTransport runs a test in both ways.
func eachTransport(t *testing.T, test func(t *testing.T, tr *transport)) {
	t.Helper()
	for _, tr := range transports(t) {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			test(t, &tr)
		})
	}
}

// series are the samples of a collector, as name{label="value",…} and value.
func (s *scene) series() map[string]float64 { return samples(s.tb, s.metrics) }

func (s *scene) wantSeries(want map[string]float64) {
	s.tb.Helper()
	got := s.series()
	for name, n := range want {
		if v, there := got[name]; !there || v != n {
			s.tb.Errorf("%s is %v (there: %t), want %v", name, v, there, n)
		}
	}
}

// receive waits for a value.
func receive[T any](t *testing.T, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(proxytest.Patience):
		t.Fatal("nothing comes")
	}
	return v
}

// within fails the test unless f returns in time.
func within(tb testing.TB, what string, f func()) {
	tb.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(proxytest.Patience):
		tb.Fatalf("%s does not end", what)
	}
}

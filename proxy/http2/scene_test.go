package http2_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/http2"
	"usher/proxy/wire"
)

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// handlerFunc is a Handler.
type handlerFunc func(*http2.Stream)

func (f handlerFunc) Serve(s *http2.Stream) { f(s) }

// scene is a Server with a listener of its own.
type scene struct {
	tb      testing.TB
	server  *http2.Server
	sweeper *wire.Sweeper
	ln      net.Listener
	tls     *tls.Config
	pool    *x509.CertPool
	open    atomic.Int64
	parked  atomic.Int64
	// refused counts what was ended for the client's fault, by code.
	refused [16]atomic.Int64
}

// newScene starts a server with h; change may set its options.
func newScene(tb testing.TB, h http2.Handler, change func(*http2.Options)) *scene {
	tb.Helper()
	s := &scene{tb: tb}
	s.start(h, change)
	return s
}

// newSecureScene starts one over TLS.
func newSecureScene(tb testing.TB, h http2.Handler, change func(*http2.Options)) *scene {
	tb.Helper()
	s := &scene{tb: tb}
	cert, pool := certificate(tb)
	s.pool = pool
	s.tls = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}}
	s.start(h, change)
	return s
}

func (s *scene) start(h http2.Handler, change func(*http2.Options)) {
	s.tb.Helper()
	s.sweeper = wire.NewSweeper()
	o := http2.Options{
		HTTP2: config.DefaultHTTP2(), HeaderTimeout: patience, KeepaliveTimeout: patience,
		Handler: h, Sweeper: s.sweeper, Log: slog.New(slog.DiscardHandler),
		Open:    func(*http2.Conn) bool { s.open.Add(1); return true },
		Closed:  func(*http2.Conn) { s.open.Add(-1) },
		Refused: func(_ *http2.Conn, code http2.Code, _ string) { s.refused[code].Add(1) },
		Cut:     s.sweeper.ExpireAll, Parked: &s.parked,
	}
	if change != nil {
		change(&o)
	}
	s.server = http2.NewServer(o)
	var err error
	if s.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		s.tb.Fatal(err)
	}
	s.run()
}

func (s *scene) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.sweeper.Run(ctx) })
	wg.Go(func() {
		for {
			nc, err := s.ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.serve(nc.(*net.TCPConn)) })
		}
	})
	s.tb.Cleanup(func() {
		_ = s.ln.Close()
		gone, end := context.WithCancel(context.Background())
		end()
		s.server.Shutdown(gone)
		cancel()
		wg.Wait()
		if n := s.open.Load(); n != 0 {
			s.tb.Errorf("%d connections are still counted", n)
		}
	})
}

func (s *scene) serve(tcp *net.TCPConn) {
	client, err := wire.NewClient(tcp)
	if err != nil {
		_ = tcp.Close()
		return
	}
	if s.tls == nil {
		s.server.Serve(tcp, client, nil)
		return
	}
	nc := tls.Server(tcp, s.tls)
	if err := nc.Handshake(); err != nil {
		_ = tcp.Close()
		return
	}
	s.server.Serve(nc, client, nil)
}

func (s *scene) addr() string { return s.ln.Addr().String() }

// until waits for a condition.
func (s *scene) until(what string, yes func() bool) {
	s.tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); !yes(); <-tick.C {
		if time.Since(begin) > patience {
			s.tb.Fatalf("waited in vain: %s", what)
		}
	}
}

func certificate(tb testing.TB) (tls.Certificate, *x509.CertPool) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// hello answers every request with a small body, when it has read the request's.
var hello = handlerFunc(func(s *http2.Stream) {
	if _, err := io.Copy(io.Discard, s); err != nil {
		return
	}
	_ = s.Respond([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\n"), []byte("hello\n"))
})

// echo answers with the head of the request and then its body.
var echo = handlerFunc(func(s *http2.Stream) {
	if s.TooLarge() {
		_ = s.WriteHead([]byte("HTTP/1.1 431 Too Large\r\n\r\n"), true)
		return
	}
	if err := s.WriteHead([]byte("HTTP/1.1 200 OK\r\n\r\n"), false); err != nil {
		return
	}
	if s.WriteData(s.Head(), false) != nil {
		return
	}
	for {
		p, err := s.Next()
		if errors.Is(err, io.EOF) {
			_ = s.WriteData(nil, true)
			return
		}
		if err != nil || s.WriteData(bytes.Clone(p), false) != nil {
			return
		}
	}
})

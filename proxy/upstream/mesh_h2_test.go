package upstream_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"usher/proxy/proxytest"
	"usher/proxy/upstream"
)

// HTTP/2 in a mesh: with a server that agrees to it, and through a proxy that agrees to
// nothing and passes bytes on. Who is denied is told as over HTTP/1.1.
func TestMeshHTTP2(t *testing.T) {
	t.Parallel()
	for name, protocols := range map[string][]string{"native": {"h2"}, "behind a proxy": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := mesh(t, ordersID)
			var denying atomic.Bool
			tr.server.NextProtos = protocols
			tr.server.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error {
				if denying.Load() {
					return errors.New("an intention denies it")
				}
				return nil
			}
			s := newScene(t)
			s.Identify("consul", tr.usher())
			address := serveBehind(t, tr.server)
			e := meshed(address, orders())
			e.HTTP2 = true
			p := s.Acquire(e)
			s.get(p).Close() // the server has sent its settings
			denying.Store(true)
			other := meshed(address, orders()) // with no connection yet
			other.HTTP2 = true
			_, err := s.Acquire(other).Get(false, proxytest.Patience)
			if err == nil || err.Kind != upstream.Connect || !upstream.Denied(err) {
				t.Errorf("got %v, want that it is denied", err)
			}
		})
	}
}

// serveBehind serves HTTP/2 behind TLS that somebody else has ended, as a sidecar does.
func serveBehind(t *testing.T, cfg *tls.Config) (address string) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{
		Protocols: new(http.Protocols), ReadHeaderTimeout: proxytest.Patience,
	}
	srv.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(bare{tls.NewListener(ln, cfg)})
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return ln.Addr().String()
}

// bare hides from a server that its connections are TLS.
type bare struct{ net.Listener }

func (b bare) Accept() (net.Conn, error) {
	c, err := b.Listener.Accept()
	return struct{ net.Conn }{c}, err
}

package upstream_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
	"usher/proxy/upstream"
	"usher/proxy/upstream/upstreamtest"
	"usher/routetable"
)

// Session tickets that arrive behind the handshake make the socket readable, and are no
// fault: the connection is used, and the next one resumes the session.
func TestSessionTickets(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			tr := transports(t)[1]
			tr.server.MaxVersion = version
			// A server that asks for a certificate sends its tickets after the handshake,
			// others before the end of it.
			tr.server.ClientAuth = tls.RequestClientCert
			var resumed atomic.Int32
			tr.server.VerifyConnection = func(cs tls.ConnectionState) error {
				if cs.DidResume {
					resumed.Add(1)
				}
				return nil
			}
			origin := tr.ok(t)
			s := newScene(t)
			p := s.Acquire(tr.endpoint(origin.Addr))
			c := s.get(p)
			if version == tls.VersionTLS13 {
				proxytest.Eventually(t, "a ticket waits in the socket", func() bool { return !c.Idle() })
			}
			c.Release() // before anything was read: the ticket still waits
			again := s.get(p)
			if again != c || !again.Alive() || !again.Idle() {
				t.Errorf("the same: %t, alive: %t, nothing left to read: %t", again == c, again.Alive(), again.Idle())
			}
			if text, err := ask(again); text != "ok" || err != nil {
				t.Errorf("got %q, %v", text, err)
			}
			second := s.get(p)
			if text, err := ask(second); text != "ok" || err != nil {
				t.Errorf("got %q, %v", text, err)
			}
			if n := resumed.Load(); n != 1 {
				t.Errorf("%d sessions were resumed, want 1", n)
			}
			again.Close()
			second.Close()
		})
	}
}

// gathered lets what is written to it leave in one piece.
type gathered struct {
	net.Conn
	hold bool
	held []byte
}

func (g *gathered) Write(p []byte) (int, error) {
	if !g.hold {
		return g.Conn.Write(p)
	}
	g.held = append(g.held, p...)
	return len(p), nil
}

// A record behind the answer that came in the same segment is read along with it: the
// socket is silent then, and the connection unfit all the same.
func TestBufferedRecord(t *testing.T) {
	t.Parallel()
	tr := transports(t)[1]
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		g := &gathered{Conn: c.Conn}
		secure := tls.Server(g, tr.server)
		if _, err := secure.Read(make([]byte, 1000)); err != nil {
			return
		}
		g.hold = true
		_, _ = io.WriteString(secure, proxytest.OK)
		_, _ = io.WriteString(secure, "late")
		_, _ = c.Conn.Write(g.held)
		c.Gone()
	})
	s := newScene(t)
	p := s.Acquire(tr.endpoint(origin.Addr))
	c := s.get(p)
	if text, err := ask(c); text != "ok" || err != nil {
		t.Fatalf("got %q, %v", text, err)
	}
	if !c.Idle() || c.Reader.Buffered() > 0 {
		t.Fatal("the late record is not where this test wants it")
	}
	if c.Alive() {
		t.Error("a connection with a late record passes for a quiet one")
	}
	c.Release()
	again := s.get(p)
	if again == c { // unless it was found out while it was idle
		if _, err := ask(again); !errors.Is(err, upstream.ErrStale) {
			t.Errorf("got %v, want that it is stale", err)
		}
	}
	again.Close()
}

// What is wrong with an endpoint's certificate keeps it out, and is logged once for each
// cause.
func TestCertificates(t *testing.T) {
	t.Parallel()
	known, unknown := upstreamtest.NewAuthority(t), upstreamtest.NewAuthority(t)
	good, _, _ := known.Issue("origin.test", "127.0.0.1")
	strange, _, _ := unknown.Issue("origin.test")
	old, _, _ := known.IssueUntil(time.Now().Add(-time.Minute), "origin.test")
	trusting := config.PEM{CA: known.PEM}
	for _, tc := range []struct {
		name string
		cert tls.Certificate
		tls  routetable.TLS
		// want is in the error; empty: there is none.
		want string
	}{
		{"good", good, routetable.TLS{ServerName: "origin.test", PEM: trusting}, ""},
		{"address", good, routetable.TLS{ServerName: "127.0.0.1", PEM: trusting}, ""},
		{"other name", good, routetable.TLS{ServerName: "other.test", PEM: trusting}, "not other.test"},
		{"other address", good, routetable.TLS{ServerName: "127.0.0.2", PEM: trusting}, "127.0.0.2"},
		{"unknown authority", strange, routetable.TLS{ServerName: "origin.test", PEM: trusting}, "unknown authority"},
		{"the system's authorities", good, routetable.TLS{ServerName: "origin.test"}, "unknown authority"},
		{"expired", old, routetable.TLS{ServerName: "origin.test", PEM: trusting}, "expired"},
		{"nothing is verified", old, routetable.TLS{ServerName: "other.test", SkipVerify: true}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tr := transport{authority: known, server: &tls.Config{Certificates: []tls.Certificate{tc.cert}}}
			s := newScene(t)
			e := endpoint(tr.ok(t).Addr)
			e.TLS = &tc.tls
			p := s.Acquire(e)
			if tc.want == "" {
				s.asks(p)
				return
			}
			for range 3 {
				_, err := p.Get(false, proxytest.Patience)
				if err == nil || err.Kind != upstream.Connect || err.Timeout() ||
					!strings.Contains(err.Error(), tc.want) {
					t.Fatalf("got %v, want %q", err, tc.want)
				}
			}
			lines := s.log.lines("not accepted")
			if len(lines) != 1 || !strings.Contains(lines[0], tc.want) || !strings.Contains(lines[0], e.Address) {
				t.Errorf("got the lines %q", lines)
			}
			s.wantSeries(map[string]float64{
				`usher_upstream_connect_errors_total{reason="certificate",service="orders"}`: 3,
			})
		})
	}
}

// The server is told which name is asked for; an address is not a name.
func TestServerName(t *testing.T) {
	t.Parallel()
	tr := transports(t)[1]
	names := make(chan string, 2)
	tr.server.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		names <- hello.ServerName + " " + strings.Join(hello.SupportedProtos, ",")
		return nil, nil
	}
	origin := tr.ok(t)
	s := newScene(t)
	for name, want := range map[string]string{"origin.test": "origin.test http/1.1", "127.0.0.1": " http/1.1"} {
		e := tr.endpoint(origin.Addr)
		e.TLS.ServerName = name
		s.asks(s.Acquire(e))
		if got := receive(t, names); got != want {
			t.Errorf("%s: asked for %q, want %q", name, got, want)
		}
	}
}

// Usher shows its certificate to endpoints that want one. One that does not get what it
// wants says so before a byte of an answer.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			tr := transports(t)[1]
			tr.server.ClientAuth, tr.server.ClientCAs = tls.RequireAndVerifyClientCert, tr.authority.Pool()
			tr.server.MaxVersion = version
			origin := tr.ok(t)
			_, cert, key := tr.authority.Issue("usher.test")
			s := newScene(t)
			e := tr.endpoint(origin.Addr)
			e.TLS.PEM.Cert, e.TLS.PEM.Key = cert, key
			s.asks(s.Acquire(e))

			_, cert, key = upstreamtest.NewAuthority(t).Issue("usher.test")
			for _, pem := range []config.PEM{{}, {Cert: cert, Key: key}} {
				pem.CA = tr.authority.PEM
				e := tr.endpoint(origin.Addr)
				e.TLS.PEM = pem
				c, err := s.Acquire(e).Get(false, proxytest.Patience)
				if err != nil {
					if version == tls.VersionTLS13 || err.Kind != upstream.Connect {
						t.Errorf("got %v", err)
					}
					continue
				}
				if _, err := ask(c); err == nil || !upstream.EOF(err) {
					t.Errorf("got %v, want the end of the connection", err)
				}
				c.Close()
			}
		})
	}
}

// A handshake counts within the time of the connect.
func TestHandshakeTimeout(t *testing.T) {
	t.Parallel()
	silent := proxytest.Raw(t, func(c *proxytest.Conn) { c.Gone() })
	tr := transports(t)[1]
	s := newScene(t)
	_, err := s.Acquire(tr.endpoint(silent.Addr)).Get(false, 50*time.Millisecond)
	if err == nil || err.Kind != upstream.Connect || !err.Timeout() {
		t.Errorf("got %v, want a connect that took too long", err)
	}
	s.wantSeries(map[string]float64{`usher_upstream_connect_errors_total{reason="timeout",service="orders"}`: 1})
}

// A peer that does not speak TLS is one that cannot be connected to.
func TestNotTLS(t *testing.T) {
	t.Parallel()
	plain := proxytest.Raw(t, func(c *proxytest.Conn) { c.Reply("HTTP/1.1 400 Bad Request\r\n\r\n") })
	tr := transports(t)[1]
	s := newScene(t)
	_, err := s.Acquire(tr.endpoint(plain.Addr)).Get(false, proxytest.Patience)
	if err == nil || err.Kind != upstream.Connect || err.Timeout() {
		t.Errorf("got %v", err)
	}
	s.wantSeries(map[string]float64{`usher_upstream_connect_errors_total{reason="handshake",service="orders"}`: 1})
}

// An endpoint that is spoken to in two ways has two pools, whose connections are never
// mistaken for each other.
func TestTwoWays(t *testing.T) {
	t.Parallel()
	tr := transports(t)[1]
	origin := tr.ok(t)
	s := newScene(t)
	e := tr.endpoint(origin.Addr)
	named, plain := *e, *e
	other := *e.TLS
	other.ServerName = "127.0.0.1"
	named.TLS, plain.TLS = &other, nil
	same := *e
	again := *e.TLS
	same.TLS = &again
	p := s.Acquire(e)
	if s.Acquire(&named) == p || s.Acquire(&plain) == p || s.Acquire(&same) != p {
		t.Error("the pools are not those of the ways")
	}
	s.asks(p)
	s.asks(s.Acquire(&named))
	if n := origin.Accepted(); n != 2 {
		t.Errorf("%d connections", n)
	}
	s.Release(e)
	s.asks(p)
	s.Release(&same)
	proxytest.Eventually(t, "its connection has ended", func() bool { return origin.Open() == 1 })
}

// A goodbye is said where one is owed: an endpoint can tell an idle connection that
// usher closes from one that was cut.
func TestCloseNotify(t *testing.T) {
	t.Parallel()
	tr := transports(t)[1]
	ends := make(chan error, 1)
	origin := tr.raw(t, func(p *peer) {
		p.Request()
		p.Reply(proxytest.OK)
		_, err := p.R.ReadByte()
		ends <- err
	})
	s := newScene(t)
	p := s.Acquire(tr.endpoint(origin.Addr))
	s.asks(p)
	s.Expire(s.sweeper.Now())
	if err := receive(t, ends); fmt.Sprint(err) != "EOF" {
		t.Errorf("got %v, want a goodbye", err)
	}
}

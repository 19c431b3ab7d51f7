package acme_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"usher/config"
	"usher/metrics"
	"usher/proxy/acme"
	"usher/proxy/acme/acmetest"
	"usher/proxy/core"
	"usher/proxy/proxytest"
)

// name is what certificates are asked for.
const name = "shop.example.com"

// usher is one with a Manager, as the command puts them together.
type usher struct {
	*acme.Manager
	*writer
	t     *testing.T
	set   *metrics.Set
	front *proxytest.Usher
	// tls is the address at which certificates are served.
	tls string
}

// setup is what an usher is made of.
type setup struct {
	config.ACME
	store acme.Store
	// http and tls are the ports of its listeners; 0: none of these.
	http, tls int
	every     time.Duration
	previous  *acme.Manager
}

// writer makes the log part of the test's, and counts lines.
type writer struct {
	t  testing.TB
	mu sync.Mutex
	// lines are those written.
	lines []string
}

func (w *writer) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, string(p))
	return len(p), nil
}

// logged is how many lines have this part.
func (w *writer) logged(part string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.lines {
		if strings.Contains(l, part) {
			n++
		}
	}
	return n
}

// waitLog waits until a line has this part.
func (w *writer) waitLog(part string) {
	w.t.Helper()
	eventually(w.t, "a line with "+part, func() bool { return w.logged(part) > 0 })
}

// newUsher starts an usher that ends with the test.
func newUsher(t *testing.T, s setup) *usher {
	t.Helper()
	u := &usher{t: t, writer: &writer{t: t}, set: metrics.New("test", core.Reasons())}
	log := slog.New(slog.NewTextHandler(u.writer, &slog.HandlerOptions{Level: slog.LevelInfo}))
	m, err := acme.New(acme.Options{
		Config: s.ACME, Store: s.store, Metrics: u.set.ACME, TLS: u.set.TLS, Log: log,
		CheckEvery: s.every, Retry: 200 * time.Millisecond, Previous: s.previous,
	})
	if err != nil {
		t.Fatal(err)
	}
	u.Manager = m
	if s.http > 0 {
		u.answer(s.http)
	}
	u.listen(s.tls)
	t.Cleanup(m.Close) // before what it asks by
	return u
}

// answer makes an usher answer the authority at a port.
func (u *usher) answer(port int) {
	u.front = proxytest.Start(u.t, proxytest.Options{
		Listeners: []config.Listener{{Address: address(port)}},
		Services:  proxytest.Origins(proxytest.Answering(u.t, proxytest.OK).Addr),
	})
	u.front.Proxy.Answer(u.Challenge)
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// listen makes handshakes with the certificates; port 0 is any free one.
func (u *usher) listen(port int) {
	ln, err := (&net.ListenConfig{}).Listen(u.t.Context(), "tcp", address(port))
	if err != nil {
		u.t.Fatal(err)
	}
	u.tls = ln.Addr().String()
	conf := &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: u.GetCertificate,
		NextProtos: []string{"http/1.1", acme.ALPNProtocol},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			_ = nc.SetDeadline(time.Now().Add(proxytest.Patience))
			_ = tls.Server(nc, conf).HandshakeContext(context.Background()) // the client judges
			nc.Close()
		}
	}()
	u.t.Cleanup(func() {
		ln.Close()
		<-done
	})
}

// shown is the certificate that a client is shown for a name, verified if roots are given.
func (u *usher) shown(ca *acmetest.Server, host string) (*tls.Certificate, error) {
	u.t.Helper()
	conf := &tls.Config{ServerName: host, RootCAs: ca.Roots(), MinVersion: tls.VersionTLS12}
	dialer := tls.Dialer{Config: conf, NetDialer: &net.Dialer{Timeout: proxytest.Patience}}
	nc, err := dialer.DialContext(u.t.Context(), "tcp", u.tls)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	tc, ok := nc.(*tls.Conn)
	if !ok {
		return nil, errors.New("no TLS")
	}
	leaf := tc.ConnectionState().PeerCertificates[0]
	return &tls.Certificate{Leaf: leaf}, nil
}

// serves waits until a name has a certificate that clients take, and returns its number.
func (u *usher) serves(ca *acmetest.Server, host string) (serial string) {
	u.t.Helper()
	eventually(u.t, "a certificate for "+host, func() bool {
		c, err := u.shown(ca, host)
		if err == nil {
			serial = c.Leaf.SerialNumber.String()
		}
		return err == nil
	})
	return serial
}

// asked is how often the Manager has asked for a certificate with this result.
func (u *usher) asked(result string) (n float64) {
	u.t.Helper()
	families, err := u.set.Gatherer().Gather()
	if err != nil {
		u.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "usher_acme_certificates_total" && m.GetLabel()[0].GetValue() == result {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// eventually waits until f is true: the authority takes some seconds for a certificate.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); !f(); <-tick.C {
		if time.Since(begin) > time.Minute {
			t.Fatalf("still not so: %s", what)
		}
	}
}

// section is the configuration of an usher that asks ca.
func section(ca *acmetest.Server, challenges ...string) config.ACME {
	return config.ACME{CA: ca.Directory, CARoots: ca.CARoots, Email: "ops@example.com", Challenges: challenges}
}

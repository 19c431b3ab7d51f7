package main_test

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"
)

// handshakes are full TLS handshakes at a steady rate, and which certificates they met.
type handshakes struct {
	load
	config *tls.Config
}

// startHandshakes begins with them.
func startHandshakes(t *testing.T, address string, c *credentials, rate int) *handshakes {
	t.Helper()
	h := &handshakes{
		load:   load{t: t, stop: make(chan struct{}), by: map[string]int{}},
		config: &tls.Config{RootCAs: c.Pool(), ServerName: "www.test"}, // no session is resumed without a cache
	}
	turns := make(chan struct{}, rate)
	h.done.Go(func() { h.pace(turns, rate) })
	for range 16 {
		h.done.Go(func() {
			for range turns {
				h.note(h.shake(address))
			}
		})
	}
	t.Cleanup(h.finish)
	return h
}

// shake makes one and returns the serial number of the certificate, or what went wrong.
func (h *handshakes) shake(address string) (serial, failure string) {
	d := &net.Dialer{Timeout: 20 * time.Second}
	conn, err := tls.DialWithDialer(d, "tcp", address, h.config)
	if err != nil {
		return "", err.Error()
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String(), ""
}

// Certificates are replaced while clients connect: no handshake fails, and each
// certificate is met soon after it is there. Who is connected stays so.
func TestCertificateSwap(t *testing.T) {
	t.Parallel()
	const rate, swaps = 500, 5
	c := newCredentials(t)
	b := newBackend(t, "b", nil)
	e := startGateway(t, c, "services:\n"+serviceAt("s", "/", "", b.address()), "")
	kept := startTrafficBy(t, clientOf(t, e.secure, c.Pool(), true), "https://s.test/", lowRate, 0)
	h := startHandshakes(t, e.secure, c, rate)
	met := func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.by)
	}
	begun := time.Now()
	for i := range swaps {
		pause(500 * time.Millisecond)
		c.renew(t)
		eventually(t, patience, "the next certificate is met", func() bool { return met() == i+2 })
	}
	h.finish()
	took := time.Since(begun)
	if len(h.failed) > 0 {
		t.Errorf("%d of %d handshakes failed, such as: %s", len(h.failed), h.sent, h.failed[0])
	}
	calls := kept.end()
	mustAnswer(t, calls, "on kept connections")
	t.Logf("%d handshakes in %v, %.0f/s, by certificate: %v; %d requests on kept connections",
		h.sent, took.Round(time.Millisecond), float64(h.sent)/took.Seconds(), h.by, len(calls))
}

// The handshakes are made at the rate, and tell certificates apart, with Go's server.
func TestHandshakesThemselves(t *testing.T) {
	t.Parallel()
	c := newCredentials(t)
	var mu sync.Mutex
	current := func() (pair tls.Certificate) {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			t.Error(err)
		}
		return pair
	}
	pair := current()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			mu.Lock()
			defer mu.Unlock()
			one := pair
			return &one, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	defer served.Wait()
	defer ln.Close()
	served.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer conn.Close()
				_ = conn.(*tls.Conn).HandshakeContext(t.Context())
				_, _ = conn.Read(make([]byte, 1))
			})
		}
	})
	h := startHandshakes(t, ln.Addr().String(), c, 100)
	pause(300 * time.Millisecond)
	c.renew(t)
	next := current()
	mu.Lock()
	pair = next
	mu.Unlock()
	pause(300 * time.Millisecond)
	h.mustBeClean(10)
	if len(h.by) != 2 {
		t.Errorf("met %v", h.by)
	}
}

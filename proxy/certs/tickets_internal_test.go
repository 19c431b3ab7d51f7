package certs

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"
)

// A ticket is good until its key is the fourth last.
func TestRotation(t *testing.T) {
	made := &selfSigned{}
	ring := newTickets()
	conf := &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return made.get(h.ServerName, time.Now())
	}}
	ring.serve(conf)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for rotations, want := range []bool{true, true, true, false, false} {
			client := &tls.Config{
				ServerName: "a.example", InsecureSkipVerify: true, MaxVersion: version,
				ClientSessionCache: &oneSession{},
			}
			if shake(t, client, conf) {
				t.Error("resumed what there was not")
			}
			for range rotations {
				ring.rotate()
			}
			if got := shake(t, client, conf); got != want {
				t.Errorf("version %x after %d rotations: resumed %t", version, rotations, got)
			}
		}
	}
	if len(ring.keys) != acceptedKeys {
		t.Errorf("%d keys are kept", len(ring.keys))
	}
}

// oneSession keeps the first session it is given.
type oneSession struct{ s *tls.ClientSessionState }

func (o *oneSession) Get(string) (*tls.ClientSessionState, bool) { return o.s, o.s != nil }

func (o *oneSession) Put(_ string, s *tls.ClientSessionState) {
	if o.s == nil {
		o.s = s
	}
}

// shake connects a client and a server and says whether they resumed a session.
func shake(t *testing.T, client, server *tls.Config) (resumed bool) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() {
		s := tls.Server(b, server)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		done <- err
	}()
	c := tls.Client(a, client)
	var one [1]byte
	_, err := c.Read(one[:]) // the ticket comes first
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState().DidResume
}

package wire_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"usher/proxy/wire"
)

// TestFarewell: who ends what it sends, outside of a callback too, tells the client at
// once: the farewell is gathered when TLS has no more time for it.
func TestFarewell(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	server := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for range 50 {
		client, s := securePair(t, ln, server)
		if _, err := s.Eager().Write([]byte("last word")); err != nil {
			t.Fatal(err)
		}
		if err := s.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		_ = client.SetReadDeadline(time.Now().Add(10 * time.Second))
		if b, err := io.ReadAll(client); string(b) != "last word" || err != nil {
			t.Fatalf("%q, %v", b, err)
		}
		client.Close()
		s.Close()
	}
}

func securePair(t *testing.T, ln net.Listener, server *tls.Config) (client net.Conn, s *wire.Secure) {
	t.Helper()
	dialled := make(chan error, 1)
	go func() {
		nc, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		client = nc
		dialled <- err
	}()
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := wire.NewClient(nc.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	s = wire.NewSecure(c, server)
	if err := errors.Join(s.Shake(), <-dialled); err != nil {
		t.Fatal(err)
	}
	return client, s
}

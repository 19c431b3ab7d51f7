package wire_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"usher/proxy/upstream/upstreamtest"
	"usher/proxy/wire"
)

// shaken returns both sides of a connection over TLS.
func shaken(t *testing.T) (client *tls.Conn, server *wire.Secure, socket *net.TCPConn) {
	t.Helper()
	authority := upstreamtest.NewAuthority(t)
	pair, _, _ := authority.Issue("127.0.0.1")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	for _, c := range []net.Conn{nc, accepted} {
		c.SetDeadline(time.Now().Add(time.Minute))
	}
	socket = accepted.(*net.TCPConn)
	client = tls.Client(nc, &tls.Config{RootCAs: authority.Pool(), ServerName: "127.0.0.1"})
	server = wire.NewSecure(&wire.Client{TCP: socket}, &tls.Config{Certificates: []tls.Certificate{pair}})
	failed := make(chan error, 1)
	go func() { failed <- client.Handshake() }()
	if err := errors.Join(server.Shake(), server.Flush(), <-failed); err != nil {
		t.Fatal(err)
	}
	return client, server, socket
}

// What is sent last arrives with a farewell and the end of the connection, also from
// outside of a callback and when the socket has no room for all of it.
func TestSecureLast(t *testing.T) {
	for name, size := range map[string]int{"nothing": 0, "little": 100, "much": 20 << 20} {
		t.Run(name, func(t *testing.T) {
			client, server, _ := shaken(t)
			want := bytes.Repeat([]byte("x"), size)
			sent := make(chan error, 1)
			go func() { sent <- server.Send(want, true) }()
			got, err := io.ReadAll(client)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("got %d bytes, %v, want %d", len(got), err, len(want))
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			// The other direction goes on.
			go func() { _, _ = client.Write([]byte("still")) }()
			b := make([]byte, 5)
			if _, err := io.ReadFull(server, b); err != nil || string(b) != "still" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

// What a client says is heard though it takes nothing of what is sent.
func TestSecureReadBesideWrite(t *testing.T) {
	client, server, _ := shaken(t)
	sent := make(chan error, 1)
	go func() { sent <- server.Send(make([]byte, 64<<20), false) }() // more than sockets hold
	b := make([]byte, 4)
	for i := range 5000 {
		if _, err := client.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		_ = server.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadFull(server, b); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	select {
	case err := <-sent:
		t.Errorf("it did not wait for the client: %v", err)
	default:
	}
	if _, err := io.CopyN(io.Discard, client, 64<<20); err != nil {
		t.Error(err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

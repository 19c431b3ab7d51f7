package wire_test

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"usher/proxy/wire"
)

// A connection whose peer does not read is writable until its buffers are full, and
// again when they are not.
func TestWritable(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	peer, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if !wire.Writable(raw) {
		t.Error("an empty one is not writable")
	}
	_ = nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	for err == nil {
		_, err = nc.Write(make([]byte, 1<<20))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) || wire.Writable(raw) {
		t.Errorf("%v; writable: %t", err, wire.Writable(raw))
	}
	_ = peer.SetReadDeadline(time.Now().Add(10 * time.Second))
	for b := make([]byte, 1<<20); !wire.Writable(raw); {
		if _, err := peer.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	nc.Close()
	if !wire.Writable(raw) {
		t.Error("a closed one makes its writer wait")
	}
}

package wire_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net"
	"syscall"
	"testing"

	"usher/proxy/wire"
)

// pair returns both ends of a TCP connection.
func pair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	a, err = net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr)) //nolint:forcetypeassert // it is one
	if err != nil {
		t.Fatal(err)
	}
	b, err = l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

func rawOf(t *testing.T, c *net.TCPConn) syscall.RawConn {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// More bytes than any buffer on the way holds come through whole, and the end after
// them.
func TestPipe(t *testing.T) {
	from, src := pair(t)
	dst, to := pair(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	go func() {
		_, _ = from.Write(sent)
		_ = from.CloseWrite()
	}()
	got := make(chan [sha256.Size]byte)
	go func() {
		b, _ := io.ReadAll(to)
		got <- sha256.Sum256(b)
	}()
	p := wire.TakePipe()
	defer p.Release()
	in, out := rawOf(t, src), rawOf(t, dst)
	moved := 0
	for {
		n, err := p.Fill(in, wire.PipeSize)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		for p.Held() > 0 {
			m, err := p.Drain(out)
			if err != nil || m == 0 {
				t.Fatal(m, err)
			}
			moved += m
		}
	}
	_ = dst.CloseWrite()
	if hash := <-got; moved != len(sent) || hash != sha256.Sum256(sent) {
		t.Errorf("moved %d of %d", moved, len(sent))
	}
}

// What one leaves in a pipe does not reach the next.
func TestPipeIsLeftEmpty(t *testing.T) {
	from, src := pair(t)
	if _, err := from.Write([]byte("secret")); err != nil {
		t.Fatal(err)
	}
	p := wire.TakePipe()
	if n, err := p.Fill(rawOf(t, src), 4); n != 4 || err != nil || p.Held() != 4 {
		t.Fatal(n, err)
	}
	p.Release()
	next := wire.TakePipe()
	defer next.Release()
	dst, to := pair(t)
	if n, err := next.Fill(rawOf(t, src), 100); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := next.Drain(rawOf(t, dst)); err != nil {
		t.Fatal(err)
	}
	_ = dst.Close()
	if b, err := io.ReadAll(to); string(b) != "et" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
}

// The error of a step tells the side that failed.
func TestPipeFails(t *testing.T) {
	_, src := pair(t)
	in := rawOf(t, src)
	_ = src.Close()
	p := wire.TakePipe()
	defer p.Release()
	if _, err := p.Fill(in, 1); err == nil {
		t.Error("filled from a closed connection")
	}
}

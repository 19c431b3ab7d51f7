package wire_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usher/proxy/wire"
)

// dialled is both ends of a connection that a Dialer has made to an address of this machine.
func dialled(t *testing.T, host string) (near wire.Socket, far *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skip(err)
	}
	defer ln.Close()
	near, err = wire.NewDialer(ln.Addr().String()).Dial(t.Context(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if got, want := near.RemoteAddr().String(), ln.Addr().String(); got != want {
		t.Errorf("it is to %s, not %s", got, want)
	}
	if got, want := near.LocalAddr().String(), nc.RemoteAddr().String(); got != want {
		t.Errorf("it is from %s, which the peer knows as %s", got, want)
	}
	return near, nc.(*net.TCPConn) //nolint:forcetypeassert // it is TCP
}

// A connection carries bytes both ways, and each way ends by itself.
func TestDial(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			near, far := dialled(t, host)
			if _, err := near.Write([]byte("ping")); err != nil {
				t.Fatal(err)
			}
			if err := near.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(far); string(got) != "ping" || err != nil {
				t.Errorf("the peer got %q, %v", got, err)
			}
			if _, err := far.Write([]byte("pong")); err != nil {
				t.Fatal(err)
			}
			far.Close()
			if got, err := io.ReadAll(near); string(got) != "pong" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// Its options are those that an endpoint's connection needs.
func TestDialOptions(t *testing.T) {
	near, _ := dialled(t, "127.0.0.1")
	raw, err := near.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []struct{ level, option, want int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 30},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
	} {
		err := raw.Control(func(fd uintptr) {
			if got, err := unix.GetsockoptInt(int(fd), o.level, o.option); got != o.want || err != nil {
				t.Errorf("option %d of %d is %d (%v), want %d", o.option, o.level, got, err, o.want)
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// A close after SetLinger(0) is a reset, and a deadline ends a wait.
func TestDialEnds(t *testing.T) {
	near, far := dialled(t, "127.0.0.1")
	if err := near.SetDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a read after the deadline: %v", err)
	}
	if err := near.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	near.Close()
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the peer reads %v", err)
	}
}

// closedPort is a port of this machine that nobody listens on.
func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// Nobody listens: the error says so as that of package net does, by name too.
func TestDialRefused(t *testing.T) {
	address := closedPort(t)
	_, port, _ := net.SplitHostPort(address)
	for _, address := range []string{address, net.JoinHostPort("localhost", port)} {
		_, err := wire.NewDialer(address).Dial(t.Context(), 5*time.Second)
		var op *net.OpError
		if !errors.Is(err, syscall.ECONNREFUSED) || !errors.As(err, &op) || op.Timeout() {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// silent is an address whose connections are not answered: its queue is full.
func silent(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	at := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err := errors.Join(unix.Bind(fd, at), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port := sa.(*unix.SockaddrInet4).Port //nolint:forcetypeassert // it was bound to one
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	for range 4 {
		s, err := wire.NewDialer(address).Dial(t.Context(), 50*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { s.Close() })
	}
	t.Skip("the queue of this kernel has no end")
	return ""
}

// A peer that does not answer is waited for until the time is over, or until nobody wants
// the connection any more.
func TestDialWaits(t *testing.T) {
	d := wire.NewDialer(silent(t))
	_, err := d.Dial(t.Context(), 50*time.Millisecond)
	if ne := net.Error(nil); !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("after the timeout: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := d.Dial(ctx, time.Hour)
		failed <- err
	}()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("after the cancel: %v", err)
	}
	if _, err := d.Dial(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
}

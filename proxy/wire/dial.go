package wire

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Socket is a TCP connection: that of package net, or one that a Dialer has dialled.
type Socket interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
	SetLinger(sec int) error
}

// Dialer makes connections to one address. It is immutable.
type Dialer struct {
	// text is the address as it was given.
	text string
	addr netip.AddrPort
	// raw is what the kernel calls it; size is how much of that there is, 0: it is a name.
	raw    syscall.RawSockaddrInet6
	size   uintptr
	family int
}

// NewDialer returns the Dialer of host:port. A host that is no plain IP address is left to
// package net.
func NewDialer(address string) *Dialer {
	d := &Dialer{text: address}
	addr, err := netip.ParseAddrPort(address)
	if err != nil || addr.Addr().Zone() != "" {
		return d
	}
	d.addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	ip := d.addr.Addr()
	if ip.Is4() {
		d.family, d.size = unix.AF_INET, unix.SizeofSockaddrInet4
		sa := (*syscall.RawSockaddrInet4)(unsafe.Pointer(&d.raw))
		sa.Family, sa.Addr = unix.AF_INET, ip.As4()
	} else {
		d.family, d.size = unix.AF_INET6, unix.SizeofSockaddrInet6
		d.raw.Family, d.raw.Addr = unix.AF_INET6, ip.As16()
	}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&d.raw.Port))[:], addr.Port()) // at the same place in both
	return d
}

// Dial connects within timeout, unless ctx ends before.
//
// It does what net.Dialer does, with half of the system calls and without a context, a timer
// and a wait for a connection that is there at once, as one within a machine is.
func (d *Dialer) Dial(ctx context.Context, timeout time.Duration) (Socket, error) {
	if d.size == 0 {
		return d.dialNet(ctx, timeout)
	}
	s, err := d.dial(ctx, timeout)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(d.addr), Err: err}
	}
	return s, nil
}

func (d *Dialer) dial(ctx context.Context, timeout time.Duration) (*dialled, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fd, done, err := d.begin()
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "socket") // the poller's from here on
	if !done {
		err = d.await(ctx, file, timeout)
	}
	local := localOf(fd)
	if err == nil && local == d.addr {
		// The kernel took the port asked for as the connection's own: nobody else has it.
		err = os.NewSyscallError("connect", unix.ECONNREFUSED)
	}
	raw, rawErr := file.SyscallConn()
	if err = cmp.Or(err, rawErr); err != nil {
		_ = file.Close() // nothing was said
		return nil, err
	}
	return &dialled{file: file, raw: raw, local: local, remote: d.addr}, nil
}

// begin makes a socket and begins to connect it; done says that it is connected.
func (d *Dialer) begin() (fd int, done bool, err error) {
	fd, err = d.open()
	if err != nil {
		return -1, false, err
	}
	if done, err = d.connect(fd); err == nil && !done {
		done, err = d.connect(fd) // within a machine the peer has answered by now
	}
	if err != nil {
		_ = unix.Close(fd) // nothing was said
		return -1, false, err
	}
	return fd, done, nil
}

// dialNet is Dial by package net.
func (d *Dialer) dialNet(ctx context.Context, timeout time.Duration) (Socket, error) {
	std := net.Dialer{KeepAlive: keepIdle * time.Second, Timeout: timeout}
	nc, err := std.DialContext(ctx, "tcp", d.text)
	if err != nil {
		return nil, err
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		_ = nc.Close()
		return nil, errors.New("not a TCP connection")
	}
	return tcp, nil
}

// After keepIdle seconds of silence a peer is asked each keepEvery whether it is still there.
const (
	keepIdle  = 30
	keepEvery = 15
)

// open makes a socket.
func (d *Dialer) open() (int, error) {
	fd, err := unix.Socket(d.family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	for _, o := range [...]struct{ level, option, value int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepIdle},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepEvery},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.option, o.value); err != nil {
			_ = unix.Close(fd)
			return -1, os.NewSyscallError("setsockopt", err)
		}
	}
	return fd, nil
}

// connect begins to connect, or asks what has become of it: done says that it is.
func (d *Dialer) connect(fd int) (done bool, err error) {
	for {
		_, _, errno := syscall.RawSyscall(
			syscall.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&d.raw)), d.size)
		switch errno {
		case 0, syscall.EISCONN:
			return true, nil
		case syscall.EINPROGRESS, syscall.EALREADY:
			return false, nil
		case syscall.EINTR:
		default:
			return false, os.NewSyscallError("connect", errno)
		}
	}
}

// await waits until the socket is connected.
func (d *Dialer) await(ctx context.Context, file *os.File, timeout time.Duration) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	if err := file.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = file.SetWriteDeadline(time.Unix(1, 0)) })
	var failed error
	err = raw.Write(func(fd uintptr) (done bool) {
		done, failed = d.connect(int(fd))
		return done || failed != nil
	})
	switch {
	case !stop():
		return context.Cause(ctx)
	case err != nil:
		return err
	case failed != nil:
		return failed
	}
	return file.SetWriteDeadline(time.Time{})
}

// localOf is the address that a socket has on this side, the zero one if none is known.
func localOf(fd int) netip.AddrPort {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	default:
		return netip.AddrPort{}
	}
}

// dialled is a connection that a Dialer has made.
type dialled struct {
	file          *os.File
	raw           syscall.RawConn
	local, remote netip.AddrPort
}

func (d *dialled) Read(p []byte) (int, error)  { return d.file.Read(p) }
func (d *dialled) Write(p []byte) (int, error) { return d.file.Write(p) }
func (d *dialled) Close() error                { return d.file.Close() }
func (d *dialled) LocalAddr() net.Addr         { return net.TCPAddrFromAddrPort(d.local) }

func (d *dialled) RemoteAddr() net.Addr                  { return net.TCPAddrFromAddrPort(d.remote) }
func (d *dialled) SetDeadline(t time.Time) error         { return d.file.SetDeadline(t) }
func (d *dialled) SetReadDeadline(t time.Time) error     { return d.file.SetReadDeadline(t) }
func (d *dialled) SetWriteDeadline(t time.Time) error    { return d.file.SetWriteDeadline(t) }
func (d *dialled) SyscallConn() (syscall.RawConn, error) { return d.raw, nil }

// CloseWrite ends what is sent.
func (d *dialled) CloseWrite() error {
	return d.control("shutdown", func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) })
}

// SetLinger is that of net.TCPConn.
func (d *dialled) SetLinger(sec int) error {
	l := unix.Linger{Onoff: 1, Linger: int32(sec)} //nolint:gosec // seconds
	if sec < 0 {
		l = unix.Linger{}
	}
	return d.control("setsockopt", func(fd int) error {
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &l)
	})
}

// control calls f, a system call of that name, with the socket.
func (d *dialled) control(call string, f func(fd int) error) (err error) {
	if e := d.raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return os.NewSyscallError(call, err)
}

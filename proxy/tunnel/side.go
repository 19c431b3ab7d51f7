package tunnel

import (
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"usher/proxy/core"
	"usher/proxy/upstream"
	"usher/proxy/wire"
)

// EndWriter takes bytes until its CloseWrite.
type EndWriter interface {
	io.Writer
	CloseWrite() error
}

// Side is one of the two ends of a tunnel.
type Side struct {
	Reader io.Reader
	Writer EndWriter
	// TCP is the socket below both; nil where it is a stream of many.
	TCP wire.Socket
	// Raw is the socket for callbacks, where what is read and written is what the tunnel
	// carries; nil over TLS.
	Raw syscall.RawConn
	// Expire ends whatever is waited for on this side.
	Expire func()
	// Gone is the reason when the tunnel ends because this side broke off.
	Gone core.Reason
}

// Client is the side of a plain connection to a client.
func Client(tcp *net.TCPConn, raw syscall.RawConn) Side {
	return Side{Reader: tcp, Writer: tcp, TCP: tcp, Raw: raw, Expire: expire(tcp), Gone: core.ClientGone}
}

// SecureClient is the side of a connection to a client over TLS.
func SecureClient(tcp *net.TCPConn, secure *wire.Secure) Side {
	return Side{Reader: secure, Writer: sending{secure}, TCP: tcp, Expire: expire(tcp), Gone: core.ClientGone}
}

// sending writes to TLS what is not to wait for more.
type sending struct{ *wire.Secure }

// Write implements io.Writer.
func (s sending) Write(p []byte) (int, error) {
	if err := s.Send(p, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// expire ends what is waited for on a connection.
func expire(tcp *net.TCPConn) func() { return func() { _ = tcp.SetDeadline(past) } }

// Endpoint is the side of a connection to an endpoint. Nothing is in its buffer, which
// it is told to give up.
func Endpoint(up *upstream.Conn) Side {
	up.Unbuffer()
	s := Side{Reader: up, Writer: up, Expire: up.Expire, Gone: core.UpstreamReset}
	tcp, raw, plain := up.Plain()
	if s.TCP = tcp; plain {
		s.Raw = raw
	}
	return s
}

// endWrite passes the end of what is sent on to this side.
func (s *Side) endWrite() { _ = s.Writer.CloseWrite() } // a side that is gone notices by itself

// past is a deadline that is over.
var past = time.Unix(1, 0) //nolint:gochecknoglobals // a constant

// unsent is how many bytes wait in the socket to be sent or confirmed.
func (s *Side) unsent() int {
	if s.TCP == nil {
		return 0
	}
	raw, err := s.TCP.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	err = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ) })
	if err != nil {
		return 0
	}
	return n
}

// resetOnClose makes the next close a reset: the peer is not to take what it got for all
// there was.
func (s *Side) resetOnClose() {
	if s.TCP != nil {
		_ = s.TCP.SetLinger(0) // a socket that is gone needs none
	}
}

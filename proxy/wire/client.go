package wire

import (
	"net"
	"sync/atomic"
	"syscall"
)

// Client is a client's connection on its way from the listener to the server of its
// protocol, with what has been learnt of it until then. Whoever is handed one owns it.
type Client struct {
	TCP *net.TCPConn
	Raw syscall.RawConn
	// Remote is who the client is and Local what it connected to: the two ends of TCP,
	// unless a proxy in front has told of others.
	Remote, Local net.Addr
	// TLS is over the connection once the handshake is made; nil: there is none.
	TLS *Secure
	// Early are bytes that were read to learn what the client speaks: they come before
	// what is read next.
	Early []byte
	// Heard says that some of them have been read: the client has begun to speak. Any
	// goroutine may ask.
	Heard atomic.Bool
	// Taken says that it is counted among the connections of its listener already.
	Taken bool
}

// NewClient returns the Client of a connection of which nothing has been read.
func NewClient(tcp *net.TCPConn) (*Client, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &Client{TCP: tcp, Raw: raw, Remote: tcp.RemoteAddr(), Local: tcp.LocalAddr()}, nil
}

package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"usher/config"
	"usher/proxy/wire"
	"usher/routetable"
)

// secure is TLS over a connection. While one goroutine reads another may write.
type secure struct {
	*tls.Conn
	sock *socket
	// mesh is set where a service of a mesh is spoken to.
	mesh *listening
	// spare is where quiet reads to.
	spare [1]byte
}

// socket is what TLS reads from and writes to: the connection, whose reads can be
// made not to wait. TLS takes the error of a read that would have waited for a passing
// one, and goes on where it stopped, within a record too.
type socket struct {
	wire.Socket
	raw syscall.RawConn
	// readsNow makes reads return at once, for the goroutine that reads. writesNow does
	// so for the last write.
	readsNow, writesNow bool
	// ended says that the connection has ended below TLS, for the goroutine that reads.
	ended bool
	// read is the callback of such a read; in, n and err are its buffer and result.
	read func(fd uintptr) bool
	in   []byte
	n    int
	err  error
}

func newSocket(tcp wire.Socket, raw syscall.RawConn) *socket {
	s := &socket{Socket: tcp, raw: raw}
	s.read = func(fd uintptr) bool {
		s.n, s.err = wire.RawRead(fd, s.in)
		return true
	}
	return s
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (int, error) {
	var n int
	var err error
	if s.readsNow {
		n, err = s.tryRead(p)
	} else {
		n, err = s.Socket.Read(p)
	}
	s.ended = s.ended || errors.Is(err, io.EOF)
	return n, err
}

func (s *socket) tryRead(p []byte) (int, error) {
	s.in, s.n, s.err = p, 0, nil
	err := s.raw.Read(s.read)
	s.in = nil
	if err != nil {
		return 0, err
	}
	return s.n, s.err
}

// Write implements net.Conn.
func (s *socket) Write(p []byte) (int, error) {
	if !s.writesNow {
		return s.Socket.Write(p)
	}
	n, failed := 0, error(nil)
	err := s.raw.Write(func(fd uintptr) bool {
		n, failed = wire.RawWrite(fd, p)
		return true
	})
	return n, errors.Join(err, failed)
}

// Read implements io.Reader. An end without a goodbye is not one: anybody on the way
// could have made it, and where it is all that ends a body this would be a whole one.
func (s *secure) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if errors.Is(err, io.EOF) && s.sock.ended {
		err = io.ErrUnexpectedEOF
	}
	if s.mesh != nil {
		err = s.mesh.judge(n, err)
	}
	return n, err
}

// readNow reads what is there; wire.ErrAgain when there is nothing.
func (s *secure) readNow(p []byte) (int, error) {
	s.sock.readsNow = true
	n, err := s.Conn.Read(p)
	s.sock.readsNow = false
	return n, err
}

// saidBefore is the error of a write to an endpoint of a mesh that has gone: what it said
// before, if that is there to read, which tells more. Nobody reads meanwhile.
func (s *secure) saidBefore(err error) error {
	if s.mesh == nil || s.mesh.heard {
		return err
	}
	if _, last := s.readNow(s.spare[:]); refusesCertificate(last) {
		err = last
	}
	return s.mesh.judge(0, err)
}

// quiet says whether the connection is open and has no data for anybody. The socket
// cannot be asked that: it is readable when session tickets or a key update have
// arrived, which are nobody's data, and silent when an answer nobody asked for was
// read along with the last one. So the records that are there are read, and only data
// or an end tells against the connection. Where nothing is there that is one system
// call, as it is over plain TCP.
func (s *secure) quiet() bool {
	n, err := s.readNow(s.spare[:])
	return n == 0 && errors.Is(err, wire.ErrAgain)
}

// Close says goodbye, if there is room for that in the socket, and closes.
func (s *secure) Close() error {
	s.sock.writesNow = true
	return s.Conn.Close()
}

// errHandshake is a TLS handshake that failed.
var errHandshake = errors.New("TLS handshake")

// shakeHands begins TLS on the connection.
func (c *Conn) shakeHands(ctx context.Context, cfg *tls.Config) error {
	s := &secure{sock: newSocket(c.tcp, c.raw)}
	if m := c.pool.endpoint.TLS.Mesh; m.Name != "" {
		var err error
		if cfg, err = c.pool.owner.MeshConfig(cfg, m); err != nil {
			return err
		}
		s.mesh = &listening{pools: c.pool.owner, mesh: m}
	}
	s.Conn = tls.Client(s.sock, cfg)
	if err := s.HandshakeContext(ctx); err != nil {
		if s.mesh != nil {
			err = s.mesh.judge(0, err)
		}
		return fmt.Errorf("%w: %w", errHandshake, err)
	}
	c.secure = s
	return nil
}

// sessions is how many sessions a pool remembers: its endpoint has one name, and a
// ticket serves many connections.
const sessions = 4

// alpnHTTP2 is HTTP/2 in the handshake of TLS.
const alpnHTTP2 = "h2"

// speaksHTTP2 says whether the peer has agreed to HTTP/2. The proxies of a mesh may agree
// to nothing: who is behind them is known to the operator.
func (s *secure) speaksHTTP2() bool {
	spoken := s.ConnectionState().NegotiatedProtocol
	return spoken == alpnHTTP2 || spoken == "" && s.mesh != nil
}

// clientConfig returns how TLS is begun with the endpoints of a pool.
func clientConfig(t *routetable.TLS, pem *pemFiles, http2 bool) *tls.Config {
	speaks := []string{"http/1.1"}
	switch {
	case t.Bare:
		speaks = nil
	case http2:
		speaks = []string{alpnHTTP2}
	}
	return &tls.Config{
		ServerName:         t.ServerName,
		InsecureSkipVerify: t.SkipVerify, //nolint:gosec // by the operator's word, or the instance's
		RootCAs:            pem.roots,
		Certificates:       pem.certificates,
		ClientSessionCache: tls.NewLRUClientSessionCache(sessions),
		NextProtos:         speaks,
		MinVersion:         tls.VersionTLS12,
		// Small records first would only cost: what is sent is there as a whole.
		DynamicRecordSizingDisabled: true,
	}
}

// pemFiles are the parsed files of a configuration, shared by the pools that use them.
type pemFiles struct {
	roots        *x509.CertPool
	certificates []tls.Certificate
	// users counts those pools. Guarded by Pools.mu.
	users int
}

// parsePEM parses what config has checked.
func parsePEM(pem config.PEM) (*pemFiles, error) {
	out := &pemFiles{}
	if pem.CA != "" {
		out.roots = x509.NewCertPool()
		if !out.roots.AppendCertsFromPEM([]byte(pem.CA)) {
			return nil, errors.New("no certificate in ca_file")
		}
	}
	if pem.Cert != "" {
		pair, err := tls.X509KeyPair([]byte(pem.Cert), []byte(pem.Key))
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		out.certificates = []tls.Certificate{pair}
	}
	return out, nil
}

// cause names what is wrong with a certificate, in words that stay the same from
// connection to connection; empty when err is about something else.
func cause(err error) string {
	var unverified *tls.CertificateVerificationError
	if !errors.As(err, &unverified) {
		return ""
	}
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid):
		return fmt.Sprintf("invalid %d", invalid.Reason)
	case errors.As(err, new(x509.HostnameError)):
		return "name"
	default:
		text, _, _ := strings.Cut(unverified.Err.Error(), ":")
		return text
	}
}

package consul

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// dialTimeout bounds the making of a connection where there is another agent to try:
// less than the deadline of a plain query, which has to reach that one in time.
const dialTimeout = 2 * time.Second

// dialError is the failure to connect to an agent: nothing has been sent to it.
type dialError struct{ err error }

// Error implements error.
func (e *dialError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *dialError) Unwrap() error { return e.err }

// dialer connects to the agents. What fails before a connection can be used, the
// TLS handshake included, is a dialError. It is immutable.
type dialer struct {
	net.Dialer
	tls *tls.Config
	// limit bounds each dial, with its handshake.
	limit time.Duration
	// sockets are the paths of the agents at Unix sockets, by the host and port that
	// stand for them.
	sockets map[string]string
}

func newDialer(list []*agent, conf *tls.Config) *dialer {
	conf = conf.Clone()
	conf.NextProtos = []string{"h2", "http/1.1"}
	d := &dialer{
		Dialer: net.Dialer{KeepAlive: 15 * time.Second}, tls: conf,
		limit: plainDeadline, sockets: map[string]string{},
	}
	if len(list) > 1 {
		d.limit = dialTimeout
	}
	for _, a := range list {
		if a.socket != "" {
			d.sockets[net.JoinHostPort(a.url.Host, "80")] = a.socket
		}
	}
	return d
}

// dial is an http.Transport's DialContext.
func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.limit)
	defer cancel()
	if path, ok := d.sockets[addr]; ok {
		network, addr = "unix", path
	}
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, &dialError{err}
	}
	return conn, nil
}

// dialTLS is an http.Transport's DialTLSContext.
func (d *dialer) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.limit)
	defer cancel()
	raw, err := d.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	conf := d.tls
	if conf.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			host = addr
		}
		conf = conf.Clone()
		conf.ServerName = host
	}
	conn := tls.Client(raw, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, &dialError{err}
	}
	return conn, nil
}

package healthcheck

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"

	"usher/config"
	"usher/routetable"
)

// bodyLimit is how much of a probe's body is looked at.
const bodyLimit = 64 << 10

// asker asks endpoints. It may be used from any goroutine.
type asker struct {
	mu sync.Mutex
	// configs are how TLS is begun, by how the endpoint is spoken to. A probe is a new
	// connection each time, so that it is accepted by the endpoint is part of the answer.
	configs map[routetable.TLS]*tls.Config
	// mesh makes the configuration for a service of a mesh; nil: there is none.
	mesh MeshConfig
}

func newAsker() *asker { return &asker{configs: map[routetable.TLS]*tls.Config{}} }

// MeshConfig returns how TLS is begun with a service of a mesh: as base says, with the
// identity of the moment. It is called from any goroutine.
type MeshConfig func(base *tls.Config, m routetable.Mesh) (*tls.Config, error)

// errNoMesh is a service of a mesh where nobody has said how it is spoken to.
var errNoMesh = errors.New("usher is in no service mesh")

// ask probes an endpoint once.
func (a *asker) ask(ctx context.Context, t *target) result {
	var res result
	var err error
	switch t.check.Kind() {
	case "tcp":
		err = a.askTCP(ctx, t)
	case "grpc":
		err = a.askGRPC(ctx, t)
	case "http":
		ask := a.askHTTP
		if t.endpoint.HTTP2 && t.check.Port == 0 { // what is at another port is another server
			ask = a.askHTTP2
		}
		res.draining, err = ask(ctx, t)
	}
	if err != nil {
		res.problem = describe(ctx, err)
	}
	return res
}

// describe makes a short text of an error: that of a dial without what everybody sees.
func describe(ctx context.Context, err error) string {
	var op *net.OpError
	switch {
	case ctx.Err() != nil:
		return "no answer in time"
	case errors.As(err, &op) && op.Op == "dial":
		return "cannot connect: " + op.Err.Error()
	default:
		return err.Error()
	}
}

// address is where an endpoint is probed.
func (t *target) address() string {
	if t.check.Port == 0 {
		return t.endpoint.Address
	}
	host, _, err := net.SplitHostPort(t.endpoint.Address)
	if err != nil {
		host = t.endpoint.Address
	}
	return net.JoinHostPort(host, strconv.Itoa(t.check.Port))
}

// connect connects to the endpoint, by TLS where it is spoken to so.
func (a *asker) connect(ctx context.Context, t *target) (net.Conn, error) {
	nc, err := t.dial(ctx)
	if err != nil || t.tls == nil {
		return nc, err
	}
	cfg, err := a.configOf(t.tls)
	if err != nil {
		_ = nc.Close() // nothing was said
		return nil, err
	}
	secure := tls.Client(nc, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = nc.Close() // it is of no use
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return secure, nil
}

// Connections of usher's own have no client that a PROXY header could tell of.
const (
	ownV1 = "PROXY UNKNOWN\r\n"
	ownV2 = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
)

// dial connects to where the endpoint is probed, and sends the PROXY header that it wants.
func (t *target) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", t.address())
	if err != nil || t.endpoint.ProxyProtocol == "" || t.check.Port != 0 {
		return nc, err
	}
	header := ownV1
	if t.endpoint.ProxyProtocol == config.ProxyV2 {
		header = ownV2
	}
	if _, err := io.WriteString(nc, header); err != nil { // there is room for it in a new socket
		_ = nc.Close() // nothing else was said
		return nil, fmt.Errorf("sending the PROXY header: %w", err)
	}
	return nc, nil
}

// configOf returns how TLS is begun: as requests do, with sessions of its own.
func (a *asker) configOf(t *routetable.TLS) (*tls.Config, error) {
	cfg, err := a.plainConfigOf(t)
	switch {
	case err != nil || t.Mesh.Name == "":
		return cfg, err
	case a.mesh == nil:
		return nil, errNoMesh
	default:
		return a.mesh(cfg, t.Mesh)
	}
}

// plainConfigOf is configOf without the mesh, whose identity changes.
func (a *asker) plainConfigOf(t *routetable.TLS) (*tls.Config, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if cfg := a.configs[*t]; cfg != nil {
		return cfg, nil
	}
	cfg := &tls.Config{
		ServerName:         t.ServerName,
		InsecureSkipVerify: t.SkipVerify, //nolint:gosec // by the operator's word, or the instance's
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	if err := addFiles(cfg, t.PEM); err != nil {
		return nil, err
	}
	if len(a.configs) > maxConfigs {
		clear(a.configs)
	}
	a.configs[*t] = cfg
	return cfg, nil
}

// maxConfigs bounds the TLS configurations that are kept.
const maxConfigs = 10_000

func addFiles(cfg *tls.Config, pem config.PEM) error {
	if pem.CA != "" {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM([]byte(pem.CA)) {
			return errors.New("no certificate in ca_file")
		}
	}
	if pem.Cert == "" {
		return nil
	}
	pair, err := tls.X509KeyPair([]byte(pem.Cert), []byte(pem.Key))
	if err != nil {
		return fmt.Errorf("client certificate: %w", err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	return nil
}

// askTCP finds out whether the endpoint takes a connection.
func (a *asker) askTCP(ctx context.Context, t *target) error {
	nc, err := a.connect(ctx, t)
	if err != nil {
		return err
	}
	_ = nc.Close() // nothing was said
	return nil
}

// askHTTP makes a request on a connection of its own.
func (a *asker) askHTTP(ctx context.Context, t *target) (draining bool, err error) {
	nc, err := a.connect(ctx, t)
	if err != nil {
		return false, err
	}
	defer func() { _ = nc.Close() }() // the answer is there, or will not come
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	if _, err := nc.Write(t.request()); err != nil {
		return false, fmt.Errorf("sending the request: %w", err)
	}
	req := &http.Request{Method: cmp.Or(t.check.Method, http.MethodGet)}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(nc, 2*bodyLimit)), req)
	if err != nil {
		return false, fmt.Errorf("no response: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // the connection closes behind it
	return t.understand(resp)
}

// understand says whether a response is one of a well endpoint.
func (t *target) understand(resp *http.Response) (draining bool, err error) {
	if !t.statuses.Has(resp.StatusCode) {
		return false, fmt.Errorf("status %d, expected %s", resp.StatusCode, t.check.ExpectedStatus)
	}
	if t.drain != "" {
		draining = Drains(resp.Header.Get(t.drain))
	}
	if t.check.ExpectedBody == "" {
		return draining, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyLimit))
	if !bytes.Contains(body, []byte(t.check.ExpectedBody)) {
		if err != nil {
			return false, fmt.Errorf("reading the body: %w", err)
		}
		return false, fmt.Errorf("the body lacks %q", t.check.ExpectedBody)
	}
	return draining, nil
}

// request is what is asked, byte for byte.
func (t *target) request() []byte {
	host := cmp.Or(t.check.Host, t.address())
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n", cmp.Or(t.check.Method, http.MethodGet), t.check.Path, host)
	agent := true
	for name, value := range t.check.Headers {
		b = fmt.Appendf(b, "%s: %s\r\n", name, value)
		agent = agent && http.CanonicalHeaderKey(name) != "User-Agent"
	}
	if agent {
		b = append(b, "User-Agent: usher-health\r\n"...)
	}
	return append(b, "Accept: */*\r\nConnection: close\r\n\r\n"...)
}

// Drains says whether a value of the drain header asks for no new requests: any does, but
// an empty one, 0 and false.
func Drains(value string) bool { return value != "" && value != "0" && value != "false" }

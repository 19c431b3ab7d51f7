package main_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"usher/proxy/upstream/upstreamtest"
)

// tool returns where a program is that make has built for the tests.
func tool(t testing.TB, name string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("it needs programs that make e2e builds")
	}
	path, err := filepath.Abs(filepath.Join("..", "..", "deploy", "tools", name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%v: make e2e gets it", err)
	}
	return path
}

// program returns where a program of the system is.
func program(t testing.TB, name string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("it needs programs that make deps installs")
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: make deps installs it", err)
	}
	return path
}

// credentials are an authority, and a certificate and its key that it has issued for
// the loopback, localhost and *.test, as files.
type credentials struct {
	*upstreamtest.Authority
	ca, cert, key string
}

func newCredentials(t testing.TB) *credentials {
	t.Helper()
	dir := t.TempDir()
	c := &credentials{Authority: upstreamtest.NewAuthority(t), ca: filepath.Join(dir, "ca.pem")}
	c.cert, c.key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeFile(t, c.ca, c.PEM)
	c.renew(t)
	return c
}

// renew replaces the certificate and its key, each file in one step.
func (c *credentials) renew(t testing.TB) {
	t.Helper()
	_, cert, key := c.Issue("127.0.0.1", "127.0.0.2", "localhost", "*.test")
	for file, text := range map[string]string{c.cert: cert, c.key: key} {
		if err := replaceFile(file, text); err != nil {
			t.Fatal(err)
		}
	}
}

// replaceFile replaces a file in one step.
func replaceFile(path, content string) error {
	if err := os.WriteFile(path+".next", []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".next", path)
}

// gateway is a usher with two listeners: web takes HTTP/1.1 and, by prior knowledge, HTTP/2,
// secure the same over TLS. Its services are in a file.
type gateway struct {
	*usher
	*credentials
	secure string // its address
}

// startGateway starts a usher with these credentials and services, in YAML, and more in its
// configuration, and waits until it serves.
func startGateway(t *testing.T, c *credentials, services, more string) *gateway {
	t.Helper()
	e := &gateway{credentials: c}
	conf := fmt.Sprintf(`
listeners:
  - {name: web, address: "127.0.0.1:0", h2c: true}
  - name: secure
    address: "127.0.0.2:0"
    protocol: https
    tls: {certificates: [{cert: %q, key: %q}]}
admin: {address: "127.0.0.1:0"}
registries: [{type: file, path: services.yaml, start_timeout: 5s}]
`, e.cert, e.key) + more
	e.usher = launch(t, conf)
	writeFile(t, e.dir+"/services.yaml", services)
	e.waitLog(`"msg":"services"`)
	e.secure = e.addressOf("secure")
	return e
}

// list replaces the services, in one step. Any goroutine may call it.
func (u *usher) list(services string) {
	if err := replaceFile(filepath.Join(u.dir, "services.yaml"), services); err != nil {
		u.t.Error(err)
	}
}

// plain is the address of the listener web.
func (e *gateway) plain() string { return strings.TrimPrefix(e.web, "http://") }

// serviceAt is the YAML of a file registry's service; proto, if there is one, is how its
// instances are spoken to.
func serviceAt(name, route, proto string, addresses ...string) string {
	if proto != "" {
		route += " proto=" + proto
	}
	var list []string
	for _, a := range addresses {
		list = append(list, fmt.Sprintf("{address: %q}", a))
	}
	return fmt.Sprintf("  - {name: %s, routes: [%q], instances: [%s]}\n", name, route, strings.Join(list, ", "))
}

// clientOf is a client with connections of its own that speaks HTTP/2, or HTTP/1.1, with
// an address, whatever host is asked for.
func clientOf(t testing.TB, address string, pool *x509.CertPool, http2 bool) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2 && pool != nil)
	protocols.SetUnencryptedHTTP2(http2 && pool == nil)
	tr := &http.Transport{
		Protocols: protocols, TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 64,
		DialContext: dialAlways(address),
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// dialAlways dials one address, whatever it is asked for.
func dialAlways(address string) func(ctx context.Context, network, _ string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 20 * time.Second}).DialContext(ctx, network, address)
	}
}

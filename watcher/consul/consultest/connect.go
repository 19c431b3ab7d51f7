package consultest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// Connect makes the agent part of a service mesh (Consul Connect).
func Connect() Option { return Config("connect { enabled = true }") }

// Intend says whether the intentions let one service reach another; * is any.
func (a *Agent) Intend(from, to string, allowed bool) {
	a.t.Helper()
	action := api.IntentionActionDeny
	if allowed {
		action = api.IntentionActionAllow
	}
	a.do("intend", func(ctx context.Context) error {
		_, _, err := a.client.ConfigEntries().Set(&api.ServiceIntentionsConfigEntry{
			Kind: api.ServiceIntentions, Name: to,
			Sources: []*api.SourceIntention{{Name: from, Action: action, Type: api.IntentionSourceConsul}},
		}, (&api.WriteOptions{}).WithContext(ctx))
		return err
	})
}

// IntendRequests says that the intentions let one service send another the requests below
// a path, and no others. Its protocol becomes http.
func (a *Agent) IntendRequests(from, to, below string) {
	a.t.Helper()
	permissions := []*api.IntentionPermission{{
		Action: api.IntentionActionAllow, HTTP: &api.IntentionHTTPPermission{PathPrefix: below},
	}}
	a.do("intend", func(ctx context.Context) error {
		w := (&api.WriteOptions{}).WithContext(ctx)
		_, _, err := a.client.ConfigEntries().Set(&api.ServiceConfigEntry{
			Kind: api.ServiceDefaults, Name: to, Protocol: "http",
		}, w)
		if err != nil {
			return err
		}
		_, _, err = a.client.ConfigEntries().Set(&api.ServiceIntentionsConfigEntry{
			Kind: api.ServiceIntentions, Name: to,
			Sources: []*api.SourceIntention{{Name: from, Type: api.IntentionSourceConsul, Permissions: permissions}},
		}, w)
		return err
	})
}

// RotateCA gives the mesh another authority, for which the old one vouches, and returns
// when the agent trusts it. The certificates follow within 30 seconds, each at a time of its
// own.
func (a *Agent) RotateCA() {
	a.t.Helper()
	key := newKeyPEM(a.t)
	var before string
	a.do("read the authority", func(ctx context.Context) error {
		list, _, err := a.client.Agent().ConnectCARoots(query(ctx))
		before = list.ActiveRootID
		return err
	})
	a.do("change the authority", func(ctx context.Context) error {
		_, err := a.client.Connect().CASetConfig(&api.CAConfig{
			Provider: "consul", Config: map[string]any{"PrivateKey": key, "RootCert": "", "LeafCertTTL": "72h"},
		}, (&api.WriteOptions{}).WithContext(ctx))
		return err
	})
	Eventually(a.t, "the agent trusts the new authority", func() bool {
		list, _, err := a.client.Agent().ConnectCARoots(nil)
		return err == nil && list.ActiveRootID != before
	})
}

func newKeyPEM(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

// Native is a service that speaks the mesh's TLS itself, as Consul's documentation of
// native integration has it: its certificate and the authorities are the agent's, which it
// asks about each client.
type Native struct {
	// Port is where it listens, on the loopback interface.
	Port int

	service string
	client  *api.Client
}

// Native starts a service of this name in the mesh, which ends with the test. It is not
// registered: see [Native.Registration].
func (a *Agent) Native(service string, handler http.Handler) *Native {
	a.t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", loopback+":0")
	if err != nil {
		a.t.Fatal(err)
	}
	n := &Native{Port: ln.Addr().(*net.TCPAddr).Port, service: service, client: a.client}
	srv := &http.Server{
		Handler: handler, ReadHeaderTimeout: requestLimit,
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: n.handshake},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.ServeTLS(ln, "", "")
	}()
	a.t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return n
}

// Registration is the service as it is registered with an agent.
func (n *Native) Registration() api.AgentServiceRegistration {
	return api.AgentServiceRegistration{
		Name: n.service, Address: loopback, Port: n.Port, Connect: &api.AgentServiceConnect{Native: true},
	}
}

// handshake makes the configuration of one handshake.
func (n *Native) handshake(*tls.ClientHelloInfo) (*tls.Config, error) {
	ctx, cancel := context.WithTimeout(context.Background(), requestLimit)
	defer cancel()
	leaf, _, err := n.client.Agent().ConnectCALeaf(n.service, query(ctx))
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair([]byte(leaf.CertPEM), []byte(leaf.PrivateKeyPEM))
	if err != nil {
		return nil, err
	}
	list, _, err := n.client.Agent().ConnectCARoots(query(ctx))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	for _, r := range list.Roots {
		roots.AppendCertsFromPEM([]byte(r.RootCertPEM))
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots,
		VerifyPeerCertificate: n.authorize,
	}, nil
}

// authorize asks the agent whether the client may reach the service.
func (n *Native) authorize(_ [][]byte, chains [][]*x509.Certificate) error {
	client := chains[0][0]
	if len(client.URIs) == 0 {
		return errors.New("the client's certificate names nobody")
	}
	serial := make([]string, 0, 20)
	for _, b := range client.SerialNumber.Bytes() {
		serial = append(serial, fmt.Sprintf("%02x", b))
	}
	answer, err := n.client.Agent().ConnectAuthorize(&api.AgentAuthorizeParams{
		Target: n.service, ClientCertURI: client.URIs[0].String(), ClientCertSerial: strings.Join(serial, ":"),
	})
	if err != nil {
		return err
	}
	if !answer.Authorized {
		return errors.New(answer.Reason)
	}
	return nil
}

// Sidecar runs Consul's own proxy of the mesh (consul connect proxy) beside a service that
// listens at port, until the test or stop ends it. id is that of the service's instance,
// which must be registered with a sidecar (Connect.SidecarService); it returns when the
// proxy listens there, at its own port.
func (a *Agent) Sidecar(id string, own int) (stop func()) {
	a.t.Helper()
	return a.proxy(own, "-sidecar-for", id)
}

// Proxy is Sidecar for a service by its name: the proxy registers itself.
func (a *Agent) Proxy(service string, port, own int) (stop func()) {
	a.t.Helper()
	return a.proxy(own, "-service", service, "-service-addr", a.ports.addr(port),
		"-listen", a.ports.addr(own), "-register")
}

func (a *Agent) proxy(own int, args ...string) (stop func()) {
	a.t.Helper()
	log := filepath.Join(a.dir, fmt.Sprintf("proxy-%d.log", own))
	args = append([]string{"connect", "proxy", "-http-addr=" + a.Addr(), "-token=" + a.opts.token}, args...)
	p, err := startProcess(a.binary, args, log)
	if err != nil {
		a.t.Fatal(err)
	}
	stop = func() {
		_ = p.cmd.Process.Signal(syscall.SIGKILL)
		<-p.done
		if text, err := os.ReadFile(log); a.t.Failed() && err == nil {
			a.t.Logf("the proxy at %d:\n%s", own, text)
		}
	}
	a.t.Cleanup(stop)
	Eventually(a.t, "the proxy listens", func() bool {
		d := net.Dialer{Timeout: time.Second}
		c, err := d.DialContext(context.Background(), "tcp", a.ports.addr(own))
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
	return stop
}

// FreePort is a port that nobody listens on, of those that nothing is given by the system.
func (a *Agent) FreePort() int { return freePorts(a.t).http }

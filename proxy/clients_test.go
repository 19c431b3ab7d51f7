package proxy_test

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/certs"
	"usher/proxy/proxytest"
	"usher/proxy/upstream/upstreamtest"
)

// TestClientCertificates: endpoints are told who a client is by its certificate, on every
// try and by nobody else; browsers are told to come back over TLS; handshakes that fail
// are counted.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	ca, clients, dir := upstreamtest.NewAuthority(t), upstreamtest.NewAuthority(t), t.TempDir()
	_, cert, key := ca.Issue("example.com")
	both := filepath.Join(dir, "example.pem")
	if err := os.WriteFile(both, []byte(cert+key), 0o600); err != nil {
		t.Fatal(err)
	}
	listener := func(name, address, mode string) config.Listener {
		return proxytest.Listener(config.Listener{
			Name: name, Address: address, Protocol: "https",
			TLS: config.ListenerTLS{
				Certificates: []config.CertificateFile{{Cert: both}},
				ClientAuth: config.ClientAuth{
					Mode: mode, CA: clients.PEM, Header: "X-Client-Cert", Forward: config.ForwardSubject,
				},
				HSTS: &config.HSTS{MaxAge: time.Hour},
			},
		})
	}
	all := []config.Listener{
		listener("optional", "127.0.0.1:0", "optional"), listener("required", "127.0.0.2:0", "required"),
		proxytest.Listener(config.Listener{Name: "plain", Address: "127.0.0.3:0"}),
	}
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(proxytest.Nowhere(t), origin.Addr)})
	manager := certs.New(certs.Options{Log: slog.New(slog.DiscardHandler), Metrics: u.Metrics.TLS})
	t.Cleanup(manager.Close)
	manager.Apply(all, certs.KV{})
	u.Proxy.Secure(manager, u.Metrics.TLS)
	u.Listen(all...)

	shown, _, _ := clients.Issue("client.example")
	stranger, _, _ := ca.Issue("client.example")
	h2 := false
	ask := func(name string, with ...tls.Certificate) (told string, status int, hsts string) {
		t.Helper()
		transport := &http.Transport{ForceAttemptHTTP2: h2, TLSClientConfig: &tls.Config{
			RootCAs: ca.Pool(), ServerName: "example.com",
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return &append(with, tls.Certificate{})[0], nil
			},
		}}
		defer transport.CloseIdleConnections()
		scheme := "https://"
		if name == "plain" {
			scheme = "http://"
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+u.AddrOf(name)+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Client-Cert", "forged")
		req.Header.Set("x_client_cert", "forged")
		before := len(origin.Received())
		resp, err := (&http.Client{Transport: transport, Timeout: proxytest.Patience}).Do(req)
		if err != nil {
			return "", 0, ""
		}
		_ = resp.Body.Close()
		if name != "plain" && (resp.ProtoMajor == 2) != h2 {
			t.Errorf("%s: %s", name, resp.Proto)
		}
		for _, line := range strings.Split(origin.Received()[before:], "\r\n") {
			field, value, _ := strings.Cut(line, ": ")
			if strings.EqualFold(strings.ReplaceAll(field, "_", "-"), "X-Client-Cert") {
				told += value + ";"
			}
		}
		return told, resp.StatusCode, resp.Header.Get("Strict-Transport-Security")
	}
	cases := []struct {
		listener string
		with     []tls.Certificate
		ok       bool
		told     string
	}{
		{"optional", nil, true, ""},
		{"optional", []tls.Certificate{shown}, true, "CN=client.example;"},
		{"optional", []tls.Certificate{stranger}, false, ""},
		{"required", nil, false, ""},
		{"required", []tls.Certificate{shown}, true, "CN=client.example;"},
		{"plain", nil, true, ""},
	}
	for i := range 2 * len(cases) {
		tc := cases[i/2]
		h2 = i%2 == 1
		told, status, hsts := ask(tc.listener, tc.with...)
		if (status == 200) != tc.ok || told != tc.told {
			t.Errorf("%s with %d: status %d, the endpoint was told %q", tc.listener, len(tc.with), status, told)
		}
		if secure := tc.ok && tc.listener != "plain"; (hsts == "max-age=3600") != secure || !secure && hsts != "" {
			t.Errorf("%s: HSTS %q", tc.listener, hsts)
		}
	}
	u.Publish() // what usher answers by itself says so too
	if _, status, hsts := ask("optional"); status != 404 || hsts != "max-age=3600" {
		t.Errorf("without a route: status %d, HSTS %q", status, hsts)
	}
	for _, name := range []string{"optional", "required"} {
		labels := map[string]string{"listener": name, "reason": "client_certificate"}
		proxytest.Eventually(t, "the failure is counted for "+name, func() bool {
			return u.Counter("usher_tls_handshake_errors_total", labels) == 2
		})
	}
}

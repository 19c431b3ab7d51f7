package main_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/acme/acmetest"
	"usher/watcher/consul/consultest"
)

// obtaining is a usher that obtains certificates: its ports, and where it keeps them.
type obtaining struct {
	ca                          *acmetest.Server
	web, secure                 int
	consul, storage, challenges string
}

// with is the configuration of a usher with certificates for these domains.
func (e obtaining) with(domains string) string {
	return fmt.Sprintf(`
listeners:
  - {name: web, address: "127.0.0.1:%d", redirect_https: {code: 308}}
  - {name: secure, address: "127.0.0.1:%d", protocol: https, tls: {acme: true}}
admin: {address: "127.0.0.1:0"}
registries: [{type: consul, name: main, address: %q}]
routes: [{name: all, match: {path: /}, respond: {status: 200, body: ok}}]
acme: {ca: %q, ca_root_file: %q, domains: [%s], challenges: [%s], storage: {%s}}
`, e.web, e.secure, e.consul, e.ca.Directory, e.ca.CAFile, domains, e.challenges, e.storage)
}

// obtained is how many certificates ushers have obtained.
func obtained(ushers ...*usher) (n float64) {
	for _, u := range ushers {
		n += u.metric("usher_acme_certificates_total", `result="obtained"`)
	}
	return n
}

// trusted waits until a usher serves a domain by a certificate of the authority's, over
// HTTP/1.1 and over HTTP/2, and returns its number.
func (e obtaining) trusted(t *testing.T, port int, domain string) (serial string) {
	t.Helper()
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		transport := &http.Transport{
			DisableKeepAlives: true, ForceAttemptHTTP2: protocol == "HTTP/2.0",
			TLSClientConfig: &tls.Config{RootCAs: e.ca.Roots(), ServerName: domain, MinVersion: tls.VersionTLS12},
		}
		client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
		eventually(t, time.Minute, "a trusted answer for "+domain, func() bool {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
				fmt.Sprintf("https://127.0.0.1:%d/", port), http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = domain
			resp, err := client.Do(req)
			if err != nil {
				return false
			}
			resp.Body.Close()
			serial = resp.TLS.PeerCertificates[0].SerialNumber.String()
			return resp.StatusCode == 200 && resp.Proto == protocol
		})
	}
	return serial
}

// Two ushers begin at once with one Consul: one of them orders a certificate, both serve
// it. It is there after a restart, and a name that a reload adds gets one too. The
// authority is answered in front of a redirect of everything.
func TestACMEFleet(t *testing.T) {
	agent := consultest.Start(t)
	one := obtaining{
		web: acmetest.FreePort(t), secure: acmetest.FreePort(t),
		consul: agent.Addr(), storage: "type: consul", challenges: config.ChallengeHTTP01,
	}
	one.ca = acmetest.Start(t, acmetest.Options{HTTPPort: one.web})
	two := one
	two.web, two.secure = 0, acmetest.FreePort(t)
	first, second := start(t, one.with("shop.example.com")), start(t, two.with("shop.example.com"))
	serial := one.trusted(t, one.secure, "shop.example.com")
	if got := two.trusted(t, two.secure, "shop.example.com"); got != serial || obtained(first, second) != 1 {
		t.Errorf("certificates %s and %s, obtained %v", serial, got, obtained(first, second))
	}
	const ends = "usher_tls_certificate_not_after_timestamp_seconds"
	if first.metric(ends, `cert="acme:shop.example.com"`) == 0 {
		t.Error("the metrics do not tell when the certificate ends")
	}
	if status := unfollowed(t, first.web+"/", "shop.example.com"); status != 308 {
		t.Errorf("everything else is answered %d", status)
	}
	second.write(two.with("shop.example.com, new.example.com"))
	two.trusted(t, two.secure, "new.example.com")
	three := two
	three.secure = acmetest.FreePort(t)
	again := start(t, three.with("shop.example.com, new.example.com"))
	again.waitLog(`"msg":"certificates loaded","count":2`)
	if got := three.trusted(t, three.secure, "shop.example.com"); got != serial || obtained(again) != 0 {
		t.Errorf("certificates %s and %s, obtained %v", serial, got, obtained(again))
	}
	if one.ca.Orders() != 2 || one.ca.Accounts() != 1 {
		t.Errorf("%d orders, %d accounts", one.ca.Orders(), one.ca.Accounts())
	}
}

// unfollowed is the status of an answer that may be a redirect.
func unfollowed(t *testing.T, url, host string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// A certificate is obtained by the https listener alone and kept in a folder. Another
// authority takes over while it is served, and a restart needs neither.
func TestACMEFiles(t *testing.T) {
	agent := consultest.Start(t)
	e := obtaining{
		secure: acmetest.FreePort(t), consul: agent.Addr(),
		storage: fmt.Sprintf("path: %q", t.TempDir()), challenges: config.ChallengeTLSALPN01,
	}
	e.ca = acmetest.Start(t, acmetest.Options{TLSPort: e.secure})
	u := start(t, e.with("shop.example.com"))
	e.trusted(t, e.secure, "shop.example.com")
	other := e
	other.ca = acmetest.Start(t, acmetest.Options{TLSPort: e.secure})
	u.write(other.with("shop.example.com"))
	serial := other.trusted(t, e.secure, "shop.example.com")
	if e.ca.Orders() != 1 || other.ca.Orders() != 1 || obtained(u) != 2 {
		t.Errorf("orders: %d, %d; obtained %v", e.ca.Orders(), other.ca.Orders(), obtained(u))
	}
	other.secure = acmetest.FreePort(t)
	again := start(t, other.with("shop.example.com"))
	if got := other.trusted(t, other.secure, "shop.example.com"); got != serial || obtained(again) != 0 {
		t.Errorf("certificates %s and %s, obtained %v", serial, got, obtained(again))
	}
}

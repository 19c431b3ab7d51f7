package main_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"usher/proxy/acme/acmetest"
	"usher/watcher/consul/consultest"
)

// withACME is the configuration of a usher that obtains certificates. port is that of its
// listener.
func withACME(ca *acmetest.Server, port int, consul, storage, domains string) string {
	return fmt.Sprintf(`
listeners: [{name: web, address: "127.0.0.1:%d"}]
admin: {address: "127.0.0.1:0"}
registries: [{type: consul, name: main, address: %q}]
routes: [{name: tls, match: {path: /}, redirect: {code: 301, to: "https://$host$path"}}]
acme: {ca: %q, ca_root_file: %q, domains: [%s], storage: {%s}}
`, port, consul, ca.Directory, ca.CAFile, domains, storage)
}

const obtained = "usher_acme_certificates_total"

// Two ushers begin at once with one Consul: one of them orders a certificate, both hold
// it. It is there after a restart, and a name that a reload adds gets one too. The
// authority is answered in front of a redirect of everything.
func TestACMEFleet(t *testing.T) {
	agent := consultest.Start(t)
	port := acmetest.FreePort(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: port})
	const storage = "type: consul"
	first := start(t, withACME(ca, port, agent.Addr(), storage, "shop.example.com"))
	second := start(t, withACME(ca, 0, agent.Addr(), storage, "shop.example.com"))
	for _, u := range []*usher{first, second} {
		eventually(t, time.Minute, "a certificate", func() bool { return u.hasLog(`"msg":"certificate in use"`) })
	}
	if n := first.metric(obtained, `result="obtained"`) + second.metric(obtained, `result="obtained"`); n != 1 {
		t.Errorf("%v certificates were obtained", n)
	}
	if ends := first.metric("usher_tls_certificate_not_after_timestamp_seconds", `cert="acme:shop.example.com"`); ends == 0 {
		t.Error("the metrics do not tell when the certificate ends")
	}
	if status := unfollowed(t, first.web+"/", "shop.example.com"); status != 301 {
		t.Errorf("everything else is answered %d", status)
	}
	second.write(withACME(ca, 0, agent.Addr(), storage, "shop.example.com, new.example.com"))
	eventually(t, time.Minute, "a certificate for the new name", func() bool {
		return second.metric(obtained, `result="obtained"`)+first.metric(obtained, `result="obtained"`) == 2
	})
	again := start(t, withACME(ca, 0, agent.Addr(), storage, "shop.example.com, new.example.com"))
	again.waitLog(`"msg":"certificates loaded","count":2`)
	if ca.Orders() != 2 || ca.Accounts() != 1 {
		t.Errorf("%d orders, %d accounts", ca.Orders(), ca.Accounts())
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

// A certificate in a folder is there after a restart, and one authority after another may
// be asked.
func TestACMEFiles(t *testing.T) {
	agent := consultest.Start(t)
	port := acmetest.FreePort(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: port})
	storage := fmt.Sprintf("path: %q", t.TempDir())
	u := start(t, withACME(ca, port, agent.Addr(), storage, "shop.example.com"))
	eventually(t, time.Minute, "a certificate", func() bool { return u.hasLog(`"msg":"certificate in use"`) })
	other := acmetest.Start(t, acmetest.Options{HTTPPort: port})
	u.write(withACME(other, port, agent.Addr(), storage, "shop.example.com"))
	eventually(t, time.Minute, "another authority's certificate", func() bool { return other.Orders() == 1 })
	eventually(t, time.Minute, "it is obtained", func() bool { return u.metric(obtained, `result="obtained"`) == 2 })
	again := start(t, withACME(other, 0, agent.Addr(), storage, "shop.example.com"))
	again.waitLog(`"msg":"certificates loaded","count":1`)
	if ca.Orders() != 1 || other.Orders() != 1 || u.metric(obtained, `result="failed"`) != 0 {
		t.Errorf("orders: %d, %d", ca.Orders(), other.Orders())
	}
}

package main_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"usher/proxy/upstream/upstreamtest"
	"usher/watcher/consul/consultest"
)

// handshake connects to a listener for a name. It returns the serial number of the
// certificate, or what is wrong.
func (u *usher) handshake(listener string, conf *tls.Config) (serial string, state tls.ConnectionState) {
	u.t.Helper()
	d := &net.Dialer{Timeout: 10 * time.Second}
	c, err := tls.DialWithDialer(d, "tcp", u.addressOf(listener), conf)
	if err != nil {
		return err.Error(), state
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	// The ticket comes with the response.
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+conf.ServerName+"\r\nConnection: close\r\n\r\n")
	if err != nil {
		return err.Error(), state
	}
	if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200 ") {
		return fmt.Sprintf("%v %q", err, b), state
	}
	state = c.ConnectionState()
	return state.PeerCertificates[0].SerialNumber.String(), state
}

// TestCertificates: from Consul's key-value store and from a folder, changed while a
// connection is kept, without a reload; sessions outlive one.
func TestCertificates(t *testing.T) {
	t.Parallel()
	agent, ca, dir := consultest.Start(t), upstreamtest.NewAuthority(t), t.TempDir()
	b := newBackend(t, "b", nil)
	issue := func(name string) (serial, both string) {
		pair, cert, key := ca.Issue(name)
		return pair.Leaf.SerialNumber.String(), cert + key
	}
	first, text := issue("kv.test")
	agent.Put("certs/kv", text)
	conf := func(more string) string {
		return fmt.Sprintf(`
listeners:
  - {name: web, address: "127.0.0.1:0", redirect_https: {port: 8443}}
  - name: secure
    address: "127.0.0.2:0"
    protocol: https
    tls: {certificate_kv: certs/, certificate_dirs: [%s], hsts: {max_age: 1h}%s}
admin: {address: "127.0.0.1:0"}
registries: [{type: consul, address: %q}]
`, dir, more, agent.Addr())
	}
	u := start(t, conf(""))
	register(agent, "b", b, "")
	cache := tls.NewLRUClientSessionCache(1)
	client := &tls.Config{RootCAs: ca.Pool(), ServerName: "kv.test", ClientSessionCache: cache}
	shown := func(name string) string {
		c := client.Clone()
		c.ServerName, c.ClientSessionCache = name, nil
		serial, _ := u.handshake("secure", c)
		return serial
	}
	eventually(t, 10*time.Second, "the key of the store is served", func() bool { return shown("kv.test") == first })

	kept := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "kv.test"}}
	defer kept.CloseIdleConnections()
	ask := func() (serial, hsts string) {
		t.Helper()
		resp, err := (&http.Client{Transport: kept}).Get("https://" + u.addressOf("secure") + "/")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp.TLS.PeerCertificates[0].SerialNumber.String(), resp.Header.Get("Strict-Transport-Security")
	}
	if serial, hsts := ask(); serial != first || hsts != "max-age=3600" {
		t.Errorf("got %s, HSTS %q", serial, hsts)
	}

	// Changes of either source are seen by the next handshake, and by no connection.
	second, text := issue("kv.test")
	agent.Put("certs/kv", text)
	eventually(t, 10*time.Second, "the change in the store", func() bool { return shown("kv.test") == second })
	filed, text := issue("file.test")
	writeFile(t, filepath.Join(dir, "file.pem"), text)
	eventually(t, 10*time.Second, "the new file", func() bool { return shown("file.test") == filed })
	agent.Put("certs/kv", "nonsense")
	eventually(t, 10*time.Second, "the bad one is refused", func() bool {
		return u.metric("usher_tls_refused_certificates") == 1
	})
	if got := shown("kv.test"); got != second {
		t.Errorf("after a bad change: %s", got)
	}
	if serial, _ := ask(); serial != first {
		t.Error("the connection was not kept")
	}

	// A session outlives a reload that changes the listener.
	if _, state := u.handshake("secure", client); state.DidResume {
		t.Error("resumed what there was not")
	}
	u.reload(conf(`, min_version: "1.3"`))
	if _, state := u.handshake("secure", client); !state.DidResume {
		t.Error("the session is gone with the reload")
	}
	// What is known outlives Consul.
	agent.Kill()
	if got := shown("kv.test"); got != second {
		t.Errorf("without Consul: %s", got)
	}

	plain := dialKept(t, u.addressOf("web"))
	resp := plain.ask(http.MethodGet, "kv.test", "/x?y=1", "")
	if resp.StatusCode != 308 || resp.Header.Get("Location") != "https://kv.test:8443/x?y=1" {
		t.Errorf("got %d %q", resp.StatusCode, resp.Header.Get("Location"))
	}
}

// TestSelfSigned: a listener for trying things out.
func TestSelfSigned(t *testing.T) {
	t.Parallel()
	b := newBackend(t, "b", nil)
	u := launch(t, strings.Replace(withFile, "listeners: [", `listeners: [{name: secure, address: "127.0.0.3:0", `+
		`protocol: https, tls: {self_signed: true}}, `, 1))
	writeFile(t, u.dir+"/services.yaml", fmt.Sprintf(
		"services: [{name: s, routes: [\"s.test/\"], instances: [{address: %q}]}]\n", b.address()))
	u.waitLog(`"msg":"services"`)
	u.waitStatus("s.test", 200)
	what, state := u.handshake("secure", &tls.Config{InsecureSkipVerify: true, ServerName: "s.test"})
	if len(state.PeerCertificates) == 0 {
		t.Fatal(what)
	}
	if err := state.PeerCertificates[0].VerifyHostname("s.test"); err != nil {
		t.Error(err)
	}
}

package main_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"usher/watcher/consul/consultest"
)

const busyConfig = `
listeners:
  - {name: web, address: "127.0.0.1:0"}
  - name: secure
    address: "127.0.0.1:0"
    protocol: https
    tls: {certificates: [{cert: %q, key: %q}]}
admin: {address: "127.0.0.1:0"}
discovery: {canary: true, canary_interval: 1s}
registries:
  - {type: file, path: services.yaml, start_timeout: 5s}
  - {type: consul, address: %q}
services:
  good: {health_check: {path: /, interval: 200ms}, adaptive_concurrency: {enabled: true}}
  small: {max_connections: 1}
  few: {max_requests: 1}
  slow: {hedge: {delay: 1ms}}
`

// busy is a usher that has met about everything that its metrics tell of, and all of what
// rules and dashboard ask for.
type busy struct {
	*usher
	client *http.Client
}

// startBusy starts it. One upgraded connection stays open.
func startBusy(t *testing.T) *busy {
	t.Helper()
	slow := func(w http.ResponseWriter, _ *http.Request) {
		pause(50 * time.Millisecond)
		fmt.Fprint(w, "slow")
	}
	failing := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
	var catalog strings.Builder
	catalog.WriteString("services:\n")
	serve := func(name string, addresses ...string) {
		fmt.Fprintf(&catalog, "  - {name: %s, routes: [%q], instances: [", name, name+".test/")
		for _, a := range addresses {
			fmt.Fprintf(&catalog, "{address: %q},", a)
		}
		catalog.WriteString("]}\n")
	}
	good := newBackend(t, "good", nil)
	serve("good", good.address(), newBackend(t, "good", nil).address())
	serve("dead", closedPort(t), closedPort(t))
	serve("half", closedPort(t), good.address())
	serve("sick", newBackend(t, "sick", failing).address(), good.address())
	serve("small", newBackend(t, "small", slow).address())
	serve("few", newBackend(t, "few", slow).address())
	serve("slow", newBackend(t, "slow", slow).address(), newBackend(t, "slow", slow).address())
	serve("tunnel", newBackend(t, "tunnel", switching).address())

	c := newCredentials(t)
	u := launch(t, fmt.Sprintf(busyConfig, c.cert, c.key, consultest.Start(t).Addr()))
	b := &busy{u, &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}}
	t.Cleanup(b.client.CloseIdleConnections)
	writeFile(t, b.dir+"/services.yaml", catalog.String())
	b.waitLog(`"msg":"services"`)
	b.waitStatus("good.test", http.StatusOK)
	b.waitMetricAbove("usher_discovery_canary_seconds_count", 0)
	b.work()
	return b
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	b := newBackend(t, "gone", nil)
	_ = b.server.Close()
	return b.address()
}

// switching agrees to another protocol and keeps the connection until its client has left.
func switching(w http.ResponseWriter, _ *http.Request) {
	nc, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = nc.Close() }()
	_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	_, _ = io.Copy(io.Discard, nc)
}

// ask sends a request and reads the answer, whatever it is; 0: there was none.
func (b *busy) ask(method, base, host, body string, fields ...string) int {
	req, err := http.NewRequest(method, base+"/", strings.NewReader(body))
	if err != nil {
		b.t.Error(err)
		return 0
	}
	req.Host = host
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// work makes the requests.
func (b *busy) work() {
	b.t.Helper()
	secure := "https://" + b.addressOf("secure")
	for range 20 {
		b.ask(http.MethodGet, b.web, "good.test", "")
		b.ask(http.MethodPost, b.web, "good.test", "body")
		b.ask("BREW", b.web, "half.test", "")
		b.ask(http.MethodGet, secure, "sick.test", "")
		b.ask(http.MethodGet, b.web, "nobody.test", "")
		b.ask(http.MethodGet, b.web, "dead.test", "")
		b.ask(http.MethodGet, b.web, "slow.test", "")
	}
	b.ask(http.MethodPost, secure, "nobody.test", "", "Content-Type", "application/grpc", "Te", "trailers")
	var asking sync.WaitGroup
	for i := range 40 {
		for _, host := range []string{"small.test", "few.test", "half.test", "dead.test"} {
			if i%10 == 0 || host == "dead.test" {
				asking.Go(func() { b.ask(http.MethodGet, b.web, host, "") })
			}
		}
	}
	asking.Wait()
	b.tunnel()
	b.fumble()
}

// tunnel opens a connection that changes its protocol.
func (b *busy) tunnel() {
	b.t.Helper()
	c := dialKept(b.t, strings.TrimPrefix(b.web, "http://"))
	resp := c.ask(http.MethodGet, "tunnel.test", "/", "Connection: Upgrade\r\nUpgrade: websocket\r\n")
	if resp.StatusCode != http.StatusSwitchingProtocols {
		b.t.Errorf("upgrade: %s", resp.Status)
	}
}

// fumble is what bad clients of TLS and HTTP/2 do.
func (b *busy) fumble() {
	b.t.Helper()
	plain, err := net.Dial("tcp", b.addressOf("secure"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = plain.Close() }()
	_, _ = io.WriteString(plain, "GET / HTTP/1.1\r\n\r\n")
	_, _ = io.Copy(io.Discard, plain)
	h2, err := tls.Dial("tcp", b.addressOf("secure"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = h2.Close() }()
	const settingsOfAStream = "\x00\x00\x00\x04\x00\x00\x00\x00\x01"
	_, _ = io.WriteString(h2, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+settingsOfAStream)
	_, _ = io.Copy(io.Discard, h2)
}

package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// addressOf is where a listener was bound last, empty if it was not.
func (u *usher) addressOf(name string) (address string) {
	for _, line := range u.logged() {
		var rec struct{ Msg, Listener, Address string }
		if json.Unmarshal([]byte(line), &rec) == nil && rec.Msg == "listening" && rec.Listener == name {
			address = rec.Address
		}
	}
	return address
}

// reload puts a configuration in force.
func (u *usher) reload(conf string) {
	u.t.Helper()
	before := u.metric("usher_config_reloads_total", `result="success"`)
	u.write(conf)
	eventually(u.t, 10*time.Second, "reloaded", func() bool {
		return u.metric("usher_config_reloads_total", `result="success"`) > before
	})
}

// keptConn is a client's connection that a test asks on again and again.
type keptConn struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func dialKept(t testing.TB, address string) *keptConn {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	return &keptConn{t, nc, bufio.NewReader(nc)}
}

// keptAnswer is an answer whose body ends with its connection.
type keptAnswer struct{ *http.Response }

// ask sends a request for a path of a host, and reads the head of the answer.
func (c *keptConn) ask(method, host, path, fields string) keptAnswer {
	c.t.Helper()
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", method, path, host, fields); err != nil {
		c.t.Fatal(err)
	}
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method}) //nolint:bodyclose // it ends with the connection
	if err != nil {
		c.t.Fatalf("%s%s: %v", host, path, err)
	}
	return keptAnswer{resp}
}

// status asks and returns the status; the body is read.
func (c *keptConn) status(host string) int {
	c.t.Helper()
	resp := c.ask(http.MethodGet, host, "/", "")
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode
}

// toWebSocket asks for an upgrade, and grants it.
const toWebSocket = "Connection: Upgrade\r\nUpgrade: websocket\r\n"

// halves is an instance that sends half of a body on /half and the rest when it may, and
// echoes what it is sent behind a 101 on /tunnel.
func halves(t *testing.T, rest <-chan struct{}) *backend {
	t.Helper()
	return newBackend(t, "b", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/half":
			w.Header().Set("Content-Length", "200000")
			_, _ = io.WriteString(w, strings.Repeat("a", 100000))
			_ = http.NewResponseController(w).Flush()
			select {
			case <-rest:
			case <-r.Context().Done():
			}
			_, _ = io.WriteString(w, strings.Repeat("b", 100000))
		case "/tunnel":
			nc, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\n"+toWebSocket+"\r\n")
			_, _ = io.Copy(nc, rw)
		default:
			fmt.Fprint(w, "b")
		}
	})
}

// longLived are connections that a reload must not touch: a quiet one, a download that is
// half done, and a tunnel.
type longLived struct{ quiet, download, tunnel *keptConn }

func openLongLived(t *testing.T, address string) *longLived {
	t.Helper()
	l := &longLived{dialKept(t, address), dialKept(t, address), dialKept(t, address)}
	if code := l.quiet.status("s.test"); code != http.StatusOK {
		t.Fatalf("got %d", code)
	}
	resp := l.download.ask(http.MethodGet, "s.test", "/half", "")
	if n, err := io.CopyN(io.Discard, resp.Body, 100000); err != nil || resp.Close {
		t.Fatalf("%d bytes, %v; it closes: %t", n, err, resp.Close)
	}
	resp = l.tunnel.ask(http.MethodGet, "s.test", "/tunnel", toWebSocket)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %s", resp.Status)
	}
	l.check(t, "at first")
	return l
}

// check asks on the quiet one and on the tunnel.
func (l *longLived) check(t *testing.T, when string) {
	t.Helper()
	resp := l.quiet.ask(http.MethodGet, "s.test", "/", "")
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "b" || resp.Close {
		t.Errorf("%s: got %q, %v; it closes: %t", when, b, err, resp.Close)
	}
	if _, err := io.WriteString(l.tunnel, when); err != nil {
		t.Error(err)
	}
	b := make([]byte, len(when))
	if _, err := io.ReadFull(l.tunnel.r, b); err != nil || string(b) != when {
		t.Errorf("%s: the tunnel returns %q, %v", when, b, err)
	}
}

// finish reads the rest of the download.
func (l *longLived) finish(t *testing.T) {
	t.Helper()
	b := make([]byte, 100000)
	if _, err := io.ReadFull(l.download.r, b); err != nil || string(b) != strings.Repeat("b", 100000) {
		t.Errorf("the rest of the download: %v", err)
	}
}

// withTwo is the configuration with a second listener, at an address and with more
// settings.
func withTwo(address, more string) string {
	return strings.Replace(withFile, "listeners: [", fmt.Sprintf("listeners: [{name: two, address: %q%s}, ",
		address, more), 1)
}

// freeAddress is an address that was free just now, and that no other test takes.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.3:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// Listeners come, change and go by reloads; what is open on the others stays as it is,
// and what runs on them is finished.
func TestReloadTouchesNoOtherListener(t *testing.T) {
	t.Parallel()
	rest := make(chan struct{})
	u := startWithFile(t, halves(t, rest), "")
	web := strings.TrimPrefix(u.web, "http://")
	untouched := openLongLived(t, web)

	two := freeAddress(t)
	u.reload(withTwo(two, ""))
	untouched.check(t, "a listener was added")
	changed := openLongLived(t, two)

	u.reload(withTwo(two, ", max_body_size: 10"))
	untouched.check(t, "another was changed")
	fresh := dialKept(t, two)
	if resp := fresh.ask(http.MethodPost, "s.test", "/", "Content-Length: 11\r\n"); resp.StatusCode != 413 {
		t.Errorf("the new settings: got %s", resp.Status)
	}
	if resp := changed.quiet.ask(http.MethodGet, "s.test", "/", ""); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("on a connection from before: got %s; it closes: %t", resp.Status, resp.Close)
	}

	u.reload(withFile)
	untouched.check(t, "another was removed")
	if nc, err := net.Dial("tcp", two); err == nil {
		nc.Close()
		t.Error("the removed listener still accepts")
	}
	close(rest)
	untouched.finish(t)
	changed.finish(t) // what ran when its listener changed, and when that went, as well
	untouched.check(t, "at the end")
}

// A route appears on the listeners that its rule names, and on no other: what is internal
// does not show on a public port, whoever says so, and follows a reload.
func TestRoutesOfListeners(t *testing.T) {
	t.Parallel()
	b := newBackend(t, "b", nil)
	conf := strings.Replace(withFile, "listeners: [", `listeners: [{name: internal, address: "127.0.0.2:0"}, `, 1) +
		"routes: [{name: r, match: {hosts: [config.test], listeners: [%s]}, service: s}]\n"
	u := launch(t, fmt.Sprintf(conf, "internal"))
	writeFile(t, u.dir+"/services.yaml", fmt.Sprintf(
		"services: [{name: s, routes: [%q, %q, %q], instances: [{address: %q}]}]\n",
		"both.test/", "tag.test/ listener=internal", "all.test/ listener=internal,web", b.address()))
	u.waitLog(`"msg":"services"`)
	u.waitStatus("both.test", http.StatusOK)
	web := dialKept(t, strings.TrimPrefix(u.web, "http://"))
	internal := dialKept(t, u.addressOf("internal"))
	check := func(when, host string, onWeb, onInternal int) {
		t.Helper()
		if a, b := web.status(host), internal.status(host); a != onWeb || b != onInternal {
			t.Errorf("%s, %s: %d on the public listener and %d on the internal one, want %d and %d",
				when, host, a, b, onWeb, onInternal)
		}
	}
	check("at first", "both.test", 200, 200)
	check("at first", "all.test", 200, 200)
	check("at first", "tag.test", 404, 200)
	check("at first", "config.test", 404, 200)
	u.reload(fmt.Sprintf(conf, "web"))
	check("moved", "config.test", 200, 404)
	check("moved", "tag.test", 404, 200)
	u.reload(fmt.Sprintf(conf, "web, internal"))
	check("on both", "config.test", 200, 200)
}

package proxy_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"usher/config"
	"usher/proxy/proxytest"
)

// socket returns a listening socket for another process, and its address.
func socket(t *testing.T) (*os.File, string) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f, err := ln.(*net.TCPListener).File() //nolint:forcetypeassert // it is TCP
	if err != nil {
		t.Fatal(err)
	}
	return f, ln.Addr().String()
}

// haproxy runs HAProxy with a configuration in which %s stands for each of the sockets, in
// their order, until the test ends.
func haproxy(t *testing.T, cfg string, sockets ...*os.File) {
	t.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		t.Skip("there is no haproxy")
	}
	fds := make([]any, len(sockets))
	for i := range sockets {
		fds[i] = fmt.Sprintf("fd@%d", 3+i)
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	text := "defaults\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n" + fmt.Sprintf(cfg, fds...)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-db", "-f", file)
	cmd.ExtraFiles = sockets
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, s := range sockets {
		s.Close()
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("haproxy said:\n%s", out.String())
		}
	})
}

// dialFrom connects from a loopback address that is not the usual one.
func dialFrom(t *testing.T, ip, address string) *proxytest.Client {
	t.Helper()
	c, err := proxytest.DialFrom(t, ip, address)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// HAProxy tells usher its clients, in both versions, for requests and connections alike.
func TestHAProxySends(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	web := believing(config.Listener{}, true)
	other := db()
	other.Name, other.Address = "db", "127.0.0.2:0"
	stream := believing(other, true)
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{web, stream},
		Services: []proxytest.Service{
			{Name: "web", Addresses: []string{origin.Addr}},
			{Name: "db", Routes: []string{":3306 pxyproto=true"}, Addresses: []string{telling(t).Addr}},
		},
	})
	var files []*os.File
	addresses := map[string]string{}
	var cfg strings.Builder
	for _, version := range []string{"send-proxy", "send-proxy-v2"} {
		for _, name := range []string{"web", "db"} {
			f, address := socket(t)
			files = append(files, f)
			addresses[name+" "+version] = address
			fmt.Fprintf(&cfg, "listen %s-%s\n  mode tcp\n  bind %%s\n  server usher %s %s\n",
				name, version, u.AddrOf(name), version)
		}
	}
	haproxy(t, cfg.String(), files...)
	for _, version := range []string{"send-proxy", "send-proxy-v2"} {
		c := dialFrom(t, "127.0.0.5", addresses["web "+version])
		for range 2 {
			r := c.Get("/")
			if r.StatusCode != 200 || !strings.Contains(r.Text, "X-Forwarded-For: 127.0.0.5\r\n") {
				t.Errorf("%s: got %s %q", version, r.Status, r.Text)
			}
		}
		c = dialFrom(t, "127.0.0.5", addresses["db "+version])
		c.Send("hello\n")
		receives(t, c.R, fmt.Sprintf("1 %s %s hello\n", c.LocalAddr(), c.RemoteAddr()))
	}
}

// HAProxy understands what usher tells it of its clients, in both versions, in front of
// connections and of requests.
func TestHAProxyReceives(t *testing.T) {
	t.Parallel()
	f, address := socket(t)
	haproxy(t, "frontend told\n  mode http\n  bind %s accept-proxy\n"+
		"  http-request return status 200 content-type text/plain lf-string \"%%[src]:%%[src_port] %%[dst_port]\"\n", f)
	other := db()
	other.Name, other.Address = "db", "127.0.0.2:0"
	for _, version := range []string{config.ProxyV1, config.ProxyV2} {
		p := config.Policy{}
		p.Upstream.ProxyProtocol = version
		u := proxytest.Start(t, proxytest.Options{
			Listeners: []config.Listener{{Name: "web"}, other},
			Policy:    p,
			Services: []proxytest.Service{
				{Name: "web", Addresses: []string{address}},
				{Name: "db", Routes: []string{":3306"}, Addresses: []string{address}},
			},
		})
		for _, name := range []string{"web", "db"} {
			c := dialFrom(t, "127.0.0.5", u.AddrOf(name))
			_, port, _ := net.SplitHostPort(u.AddrOf(name))
			for range 3 {
				c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				c.OK("GET", c.LocalAddr().String()+" "+port)
			}
		}
	}
}

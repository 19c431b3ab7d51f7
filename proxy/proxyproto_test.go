package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"usher/config"
	"usher/proxy/proxytest"
	"usher/watcher"
)

// v1Line is a header of version 1 of a client of the given address.
func v1Line(ip string) string { return "PROXY TCP4 " + ip + " 198.51.100.1 4711 80\r\n" }

// v2Header is the same of version 2, with a field that usher does not know.
func v2Header(t *testing.T, ip string) string {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(2, &net.TCPAddr{IP: net.ParseIP(ip), Port: 4711},
		&net.TCPAddr{IP: net.ParseIP("198.51.100.1"), Port: 80})
	if err := h.SetTLVs([]proxyproto.TLV{{Type: 0xE0, Value: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// believing makes a listener believe the PROXY headers of local peers.
func believing(l config.Listener, required bool) config.Listener {
	l.ProxyProtocol = config.ProxyProtocol{From: []string{"127.0.0.0/8"}, Required: required}
	return l
}

// stranger makes it believe only others.
func stranger(l config.Listener) config.Listener {
	l.ProxyProtocol = config.ProxyProtocol{From: []string{"192.0.2.0/24"}, Required: true}
	return l
}

// The client that a trusted peer names is the client: for X-Forwarded-For, for access
// rules, and for all requests of the connection.
func TestProxyHeaderHTTP(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{believing(config.Listener{Forwarded: true}, true)},
		Services: []proxytest.Service{
			{Name: "all", Addresses: []string{origin.Addr}},
			{Name: "some", Routes: []string{"/some allow=ip:203.0.113.0/24"}, Addresses: []string{origin.Addr}},
		},
	})
	for name, header := range map[string]string{"v1": v1Line("203.0.113.7"), "v2": v2Header(t, "203.0.113.7")} {
		c := u.Dial()
		c.Send("%s", header+"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		for range 2 {
			r := c.Read("GET")
			if !strings.Contains(r.Text, "X-Forwarded-For: 203.0.113.7\r\n") ||
				!strings.Contains(r.Text, `by="198.51.100.1:80"`) {
				t.Errorf("%s: the endpoint got %q", name, r.Text)
			}
			c.Send("GET /some HTTP/1.1\r\nHost: a\r\n\r\n")
		}
		if r := c.Read("GET"); r.StatusCode != 200 {
			t.Errorf("%s: got %s", name, r.Status)
		}
	}
	c := u.Dial()
	c.Send("%s", v1Line("203.0.114.7")+"GET /some HTTP/1.1\r\nHost: a\r\n\r\n")
	if r := c.Read("GET"); r.StatusCode != 403 {
		t.Errorf("got %s", r.Status)
	}
	// A connection of the peer's own is the peer's.
	for _, header := range []string{"PROXY UNKNOWN\r\n", string(localV2(t))} {
		c := u.Dial()
		c.Send("%s", header+"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if r := c.Read("GET"); !strings.Contains(r.Text, "X-Forwarded-For: 127.0.0.1\r\n") {
			t.Errorf("the endpoint got %q", r.Text)
		}
	}
	if n := u.Counter("usher_connections_total", nil); n != 5 {
		t.Errorf("%v connections are counted", n)
	}
}

func localV2(t *testing.T) []byte {
	t.Helper()
	b, err := proxyproto.HeaderProxyFromAddrs(2, nil, nil).Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A header of somebody else is no header.
func TestProxyHeaderForged(t *testing.T) {
	t.Parallel()
	web := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{stranger(config.Listener{})}, Services: proxytest.Origins(web.Addr),
	})
	for _, header := range []string{v1Line("203.0.113.7"), v2Header(t, "203.0.113.7")} {
		c := u.Dial()
		c.Send("%s", header+"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if r := c.Read("GET"); r.StatusCode != 400 {
			t.Errorf("got %s", r.Status)
		}
	}
	u.Dial().Get("/") // without one it is served
	if strings.Contains(web.Received(), "203.0.113.7") {
		t.Errorf("the endpoint got %q", web.Received())
	}

	origin := returningTCP(t)
	u = proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{stranger(db())}, Services: dbService(origin.Addr),
	})
	says(t, u.Dial(), "hello")
	for _, pieces := range [][]string{
		{v1Line("203.0.113.7")}, {v2Header(t, "203.0.113.7")}, {"PRO", "XY TCP4 203.0.113.7"},
	} {
		c := u.Dial()
		for i, p := range pieces {
			c.Send("%s", p)
			if i < len(pieces)-1 {
				receives(t, c.R, p) // a beginning passes, which is no header
			}
		}
		isReset(t, c.R, "")
	}
	if strings.Contains(origin.Received(), "203.0.113.7") || strings.Contains(origin.Received(), "PROXY ") {
		t.Errorf("the endpoint got %q", origin.Received())
	}
	proxytest.Eventually(t, "they are counted", func() bool { return reasons(u, "bad_request") == 3 })
}

// Without a header a trusted peer is refused, or served as itself.
func TestProxyHeaderMissing(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	for _, required := range []bool{true, false} {
		u := proxytest.Start(t, proxytest.Options{
			Listeners: []config.Listener{believing(config.Listener{}, required)},
			Services:  proxytest.Origins(origin.Addr),
		})
		c := u.Dial()
		c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if required {
			_, err := c.R.ReadByte()
			if err == nil {
				t.Error("it is served")
			}
			proxytest.Eventually(t, "it is counted", func() bool { return refused(t, u, "web") == "proxy_header 1" })
		} else if r := c.Read("GET"); !strings.Contains(r.Text, "X-Forwarded-For: 127.0.0.1\r\n") {
			t.Errorf("the endpoint got %q", r.Text)
		}
		for _, bad := range []string{"PROXY TCP9 x\r\n", "PROXY " + strings.Repeat("x", 200)} {
			c := u.Dial()
			c.Send("%s", bad)
			if _, err := c.R.ReadByte(); err == nil {
				t.Errorf("%q is answered", bad)
			}
		}
	}
}

// A header that does not come in time costs its own connection alone, and meanwhile
// counts as one.
func TestProxyHeaderSlow(t *testing.T) {
	t.Parallel()
	l := believing(config.Listener{MaxConnections: 3}, true)
	l.ProxyProtocol.Timeout = 300 * time.Millisecond
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{l}, Services: proxytest.Origins(proxytest.Echo(t).Addr),
	})
	slow, silent, fast := u.Dial(), u.Dial(), u.Dial()
	slow.Send("PROXY TCP4 ")
	fast.Send("%s", v1Line("203.0.113.7")+"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if r := fast.Read("GET"); r.StatusCode != 200 {
		t.Errorf("got %s", r.Status)
	}
	u.Dial().Closed() // there is no room
	for _, c := range []*proxytest.Client{slow, silent} {
		if _, err := c.R.ReadByte(); err == nil {
			t.Error("it is answered")
		}
	}
	proxytest.Eventually(t, "they are counted", func() bool {
		return refused(t, u, "web") == "listener 1, proxy_header 2"
	})
	again := u.Dial()
	again.Send("%s", v1Line("203.0.113.7")+"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if r := again.Read("GET"); r.StatusCode != 200 {
		t.Errorf("got %s", r.Status)
	}
}

// Where no header is required an endpoint that speaks first is heard, after the timeout.
func TestProxyHeaderServerSpeaksFirst(t *testing.T) {
	t.Parallel()
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		c.Reply("220 ready\r\n")
		_, _ = io.Copy(io.Discard, c.R)
	})
	l := believing(db(), false)
	l.ProxyProtocol.Timeout = 100 * time.Millisecond
	u := proxytest.Start(t, proxytest.Options{Listeners: []config.Listener{l}, Services: dbService(origin.Addr)})
	receives(t, u.Dial().R, "220 ready\r\n")
}

// The limit of a client is that of the client whom the header names.
func TestProxyHeaderClientLimit(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{believing(config.Listener{MaxConnectionsPerClient: 1, MaxConnections: 3}, true)},
		Services:  proxytest.Origins(proxytest.Echo(t).Addr),
	})
	ask := func(ip string) *proxytest.Client {
		c := u.Dial()
		c.Send("%s", v1Line(ip)+"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		return c
	}
	first, other := ask("203.0.113.7"), ask("203.0.113.8")
	for _, c := range []*proxytest.Client{first, other} {
		if r := c.Read("GET"); r.StatusCode != 200 {
			t.Errorf("got %s", r.Status)
		}
	}
	if _, err := ask("203.0.113.7").R.ReadByte(); err == nil {
		t.Error("a second connection of the client is served")
	}
	first.Close()
	proxytest.Eventually(t, "there is room", func() bool {
		_, err := ask("203.0.113.7").R.ReadByte()
		return err == nil
	})
}

// A drain does not wait for headers.
func TestProxyHeaderShutdown(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{Listeners: []config.Listener{believing(config.Listener{}, true)}})
	c := u.Dial()
	c.Send("PROXY")
	if n := u.Proxy.Shutdown(t.Context()); n != 0 {
		t.Errorf("%d connections were cut", n)
	}
	if _, err := c.R.ReadByte(); err == nil {
		t.Error("it is answered")
	}
}

// telling starts an origin that wants a header, and says whom it was told of in front of what
// it got.
func telling(tb testing.TB) *proxytest.Origin {
	tb.Helper()
	return proxytest.Raw(tb, func(c *proxytest.Conn) {
		h, err := proxyproto.Read(c.R)
		if err != nil {
			c.Reply("no header: %v", err)
			return
		}
		from, to := "local", ""
		if !h.Command.IsLocal() {
			from, to = h.SourceAddr.String(), h.DestinationAddr.String()
		}
		for {
			line, err := c.R.ReadString('\n')
			if err != nil {
				return
			}
			c.Reply("%d %s %s %s", h.Version, from, to, line)
		}
	})
}

// An endpoint that asks for it is told the client in front of the connection.
func TestProxyHeaderOut(t *testing.T) {
	t.Parallel()
	for version, n := range map[string]string{config.ProxyV1: "1", config.ProxyV2: "2"} {
		origin := telling(t)
		p := config.Policy{}
		p.Upstream.ProxyProtocol = version
		u := startDB(t, p, origin.Addr)
		c := u.Dial()
		c.Send("hello\n")
		want := n + " " + c.LocalAddr().String() + " " + u.Addr() + " hello\n"
		receives(t, c.R, want)
		c.Send("again\n")
		receives(t, c.R, strings.Replace(want, "hello", "again", 1))
	}
	// As the tag asks, and of the client that a header in front of usher has named.
	origin := telling(t)
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{believing(db(), true)},
		Services: []proxytest.Service{
			{Name: "o", Routes: []string{":3306 pxyproto=true"}, Addresses: []string{origin.Addr}},
		},
	})
	c := u.Dial()
	c.Send("%s", v1Line("203.0.113.7")+"hello\n")
	receives(t, c.R, "1 203.0.113.7:4711 198.51.100.1:80 hello\n")
}

// A connection to an endpoint that was told a client serves that client's requests alone.
func TestProxyHeaderOutHTTP(t *testing.T) {
	t.Parallel()
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		h, err := proxyproto.Read(c.R)
		if err != nil {
			t.Errorf("no header: %v", err)
			return
		}
		for {
			req, err := http.ReadRequest(c.R)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			who := h.SourceAddr.String()
			c.Reply("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(who), who)
		}
	})
	p := config.Policy{MaxConnections: 1, MaxPending: 8, PendingTimeout: proxytest.Patience}
	p.Upstream.ProxyProtocol = config.ProxyV2
	u := proxytest.Start(t, proxytest.Options{Policy: p, Services: proxytest.Origins(origin.Addr)})
	clients := []*proxytest.Client{u.Dial(), u.Dial(), u.Dial()}
	for range 3 {
		for _, c := range clients { // at the same time, through one place
			c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		}
		for _, c := range clients {
			c.OK("GET", c.LocalAddr().String())
		}
	}
	if n := origin.Accepted(); n != 9 {
		t.Errorf("%d connections for 9 requests", n)
	}
	u.Quiet()
}

// A health check of an endpoint that wants headers begins with one of its own.
func TestProxyHeaderOfProbes(t *testing.T) {
	t.Parallel()
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		h, err := proxyproto.Read(c.R)
		if err != nil {
			t.Errorf("no header: %v", err)
			return
		}
		req, err := http.ReadRequest(bufio.NewReader(c.R))
		if err != nil {
			return
		}
		if req.URL.Path == "/health" && !h.Command.IsLocal() {
			t.Errorf("the probe is for %s", h.SourceAddr)
		}
		c.Reply(proxytest.OK)
	})
	p := config.Policy{}
	p.Upstream.ProxyProtocol = config.ProxyV2
	p.Health = config.DefaultHealth()
	p.HealthCheck.Path, p.HealthCheck.Interval = "/health", 50*time.Millisecond
	u := proxytest.Start(t, proxytest.Options{
		Policy:   p,
		Services: []proxytest.Service{{Name: "origin", Addresses: []string{origin.Addr}, Status: watcher.Passing}},
	})
	proxytest.Eventually(t, "probes pass", func() bool {
		return u.Counter("usher_health_checks_total", map[string]string{"result": "pass"}) >= 2
	})
	if n := u.Counter("usher_health_checks_total", map[string]string{"result": "fail"}); n != 0 {
		t.Errorf("%v probes failed", n)
	}
}

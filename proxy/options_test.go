package proxy_test

import (
	"net"
	"regexp"
	"strings"
	"testing"

	"usher/config"
	"usher/proxy/proxytest"
)

// sentUpstream returns the head that an origin behind a listener with these settings
// receives, its lines each between CRLFs.
func sentUpstream(t *testing.T, l config.Listener, head string) string {
	t.Helper()
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{l}, Services: proxytest.Origins(origin.Addr),
	})
	_, port, err := net.SplitHostPort(u.Addr())
	if err != nil {
		t.Fatal(err)
	}
	address := u.Addr()
	if strings.HasPrefix(l.Address, "[::1]") {
		address = net.JoinHostPort("::1", port)
	}
	c := proxytest.Dial(t, address)
	c.Send("%s", head)
	r := c.Read("GET")
	if r.StatusCode != 200 {
		t.Fatalf("got %d %q", r.StatusCode, r.Text)
	}
	return strings.ReplaceAll(r.Text, port, "PORT")
}

// lines returns the lines of a head that begin with a name.
func lines(head, name string) (out []string) {
	for line := range strings.SplitSeq(head, "\r\n") {
		if rest, ok := strings.CutPrefix(line, name+": "); ok {
			out = append(out, rest)
		}
	}
	return out
}

func TestForwardedOption(t *testing.T) {
	t.Parallel()
	trusted := []string{"127.0.0.1", "::1"}
	for _, tc := range []struct {
		name     string
		listener config.Listener
		head     string
		want     []string
	}{
		{"off", config.Listener{}, get + "\r\n", nil},
		{
			"a token for host",
			config.Listener{Forwarded: true},
			get + "\r\n",
			[]string{`for=127.0.0.1;host=a;proto=http;by="127.0.0.1:PORT"`},
		},
		{
			"a port needs quotes",
			config.Listener{Forwarded: true},
			"GET / HTTP/1.1\r\nHost: a.example:81\r\n\r\n",
			[]string{`for=127.0.0.1;host="a.example:81";proto=http;by="127.0.0.1:PORT"`},
		},
		{
			"separators need quotes",
			config.Listener{Forwarded: true},
			"GET / HTTP/1.1\r\nHost: a;proto=https,b\r\n\r\n",
			[]string{`for=127.0.0.1;host="a;proto=https,b";proto=http;by="127.0.0.1:PORT"`},
		},
		{
			"without Host",
			config.Listener{Forwarded: true},
			"GET / HTTP/1.0\r\n\r\n",
			[]string{`for=127.0.0.1;proto=http;by="127.0.0.1:PORT"`},
		},
		{
			"IPv6 in brackets and quotes",
			config.Listener{Forwarded: true, Address: "[::1]:0"},
			get + "\r\n",
			[]string{`for="[::1]";host=a;proto=http;by="[::1]:PORT"`},
		},
		{
			"a stranger's is dropped",
			config.Listener{Forwarded: true},
			get + "Forwarded: for=6.6.6.6\r\n\r\n",
			[]string{`for=127.0.0.1;host=a;proto=http;by="127.0.0.1:PORT"`},
		},
		{
			"behind a trusted proxy's",
			config.Listener{Forwarded: true, TrustedProxies: trusted},
			get + "Forwarded: for=1.1.1.1\r\nforwarded: for=2.2.2.2;by=_x\r\n\r\n",
			[]string{"for=1.1.1.1", "for=2.2.2.2;by=_x", `for=127.0.0.1;host=a;proto=http;by="127.0.0.1:PORT"`},
		},
		{
			"it cannot be named away",
			config.Listener{Forwarded: true},
			get + "Connection: Forwarded\r\n\r\n",
			[]string{`for=127.0.0.1;host=a;proto=http;by="127.0.0.1:PORT"`},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := lines(sentUpstream(t, tc.listener, tc.head), "Forwarded")
			if strings.Join(got, "\n") != strings.Join(tc.want, "\n") {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestViaOption(t *testing.T) {
	t.Parallel()
	if got := lines(sentUpstream(t, config.Listener{}, get+"Via: 1.0 other\r\n\r\n"), "Via"); len(got) != 1 {
		t.Errorf("off: got %q", got)
	}
	got := lines(sentUpstream(t, config.Listener{Via: true}, get+"Via: 1.0 other\r\n\r\n"), "Via")
	if strings.Join(got, ", ") != "1.0 other, 1.1 usher" {
		t.Errorf("got %q", got)
	}
}

func TestRequestIDOption(t *testing.T) {
	t.Parallel()
	made := `[0-9a-f]{32}`
	trusted := config.Listener{RequestID: true, TrustedProxies: []string{"127.0.0.1"}}
	for _, tc := range []struct {
		name     string
		listener config.Listener
		fields   string
		want     string
	}{
		{"off", config.Listener{}, "", ""},
		{"off, and sent", config.Listener{}, "X-Request-Id: mine\r\n", "mine"},
		{"made", config.Listener{RequestID: true}, "", made},
		{"a stranger's is replaced", config.Listener{RequestID: true}, "X-Request-ID: a\r\nx-request-id: b\r\n", made},
		{"a trusted proxy's is kept", trusted, "X-Request-Id: kept-1\r\n", "kept-1"},
		{"a trusted proxy sent none", trusted, "", made},
		{"a trusted proxy's is empty", trusted, "X-Request-Id: \r\n", made},
		{"it cannot be named away", trusted, "Connection: X-Request-Id\r\nX-Request-Id: kept-1\r\n", made},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(lines(sentUpstream(t, tc.listener, get+tc.fields+"\r\n"), "X-Request-Id"), "|")
			if !regexp.MustCompile("^(" + tc.want + ")$").MatchString(got) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// Each request has a name of its own, also on one connection, and keeps it through its
// tries.
func TestRequestIDsDiffer(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{RequestID: true}},
		Services:  proxytest.Origins(proxytest.Nowhere(t), origin.Addr),
	})
	c := u.Dial()
	seen := map[string]bool{}
	const n = 20
	for range n {
		got := lines(c.Get("/").Text, "X-Request-Id")
		if len(got) != 1 {
			t.Fatalf("got %q", got)
		}
		seen[got[0]] = true
	}
	if len(seen) != n {
		t.Errorf("%d names for %d requests", len(seen), n)
	}
}

// The options cost no allocation once a connection has sent its first request.
func TestOptionsAllocateNothing(t *testing.T) {
	if proxytest.Race {
		t.Skip("the race detector allocates by itself")
	}
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{
			RequestID: true, Via: true, Forwarded: true, MaxConnections: 100, MaxConnectionsPerClient: 100,
		}},
		Services: proxytest.Origins(steady(t, 0, paths[0].answer)),
	})
	if per := mallocs(t, newExchange(t, u.Addr(), paths[0].request), 2000); per >= 0.05 {
		t.Errorf("%.3f allocations a request", per)
	}
}

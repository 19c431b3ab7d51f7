package proxy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"usher/config"
	"usher/proxy/proxytest"
)

// Each try begins again from what the client sent, whatever the one before made of
// it.
func TestRetryRewritesTheOriginal(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, rule, head, target, host string }{
		{"plain", "/", "GET /api/x?y=z HTTP/1.1\r\nHost: a\r\n", "/api/x?y=z", "a"},
		{"strip", "/api strip=/api", "GET /api/x?y=z HTTP/1.1\r\nHost: a\r\n", "/x?y=z", "a"},
		{"strip what is there twice", "/api strip=/api", "GET /api/api/x HTTP/1.1\r\nHost: a\r\n", "/api/x", "a"},
		{"prepend", "/ prepend=/v1", "GET /x?y=z HTTP/1.1\r\nHost: a\r\n", "/v1/x?y=z", "a"},
		{"host", "/ host=internal", "GET /x HTTP/1.1\r\nHost: example.com\r\n", "/x", "internal"},
		{"longer host", "/ host=internal.example.com", "GET /x HTTP/1.1\r\nHost: a\r\n", "/x", "internal.example.com"},
		{"endpoint's address", "/ host=dst", "GET /x HTTP/1.1\r\nHost: example.com\r\n", "/x", "dst"},
		{"absolute form", "/", "GET http://b.example/x?y=/z HTTP/1.1\r\nHost: a\r\n", "/x?y=/z", "b.example"},
		{
			"absolute form, longer than its prefix", "/",
			"GET http://b/" + strings.Repeat("x", 100) + " HTTP/1.1\r\nHost: a\r\n",
			"/" + strings.Repeat("x", 100), "b",
		},
		{
			"absolute form, strip", "/api strip=/api",
			"GET http://b.example/api/x HTTP/1.1\r\nHost: a\r\n", "/x", "b.example",
		},
		{
			"absolute form, host", "/ host=internal",
			"GET http://b.example/x HTTP/1.1\r\nHost: a\r\n", "/x", "internal",
		},
	} {
		for tries := 1; tries <= 3; tries++ {
			t.Run(fmt.Sprintf("%s, try %d", tc.name, tries), func(t *testing.T) {
				t.Parallel()
				nth(t, tries, tc.rule, tc.head, tc.target, tc.host)
			})
		}
	}
}

// nth sends a request whose first tries fail before and after it was sent, and
// looks at what the last one got.
func nth(t *testing.T, tries int, rule, head, target, host string) {
	t.Helper()
	var asked int
	seen := make(chan string, 3)
	die := func(c *proxytest.Conn) { seen <- c.Head() }
	addresses := make([]string, 0, tries)
	for range tries - 1 {
		addresses = append(addresses, proxytest.Raw(t, die).Addr)
	}
	addresses = append(addresses, proxytest.Raw(t, func(c *proxytest.Conn) {
		seen <- c.Head()
		c.Reply(proxytest.OK)
	}).Addr)
	u := proxytest.Start(t, proxytest.Options{
		Services: []proxytest.Service{{Name: "origin", Routes: []string{rule}, Addresses: addresses}},
	})
	c := u.Dial()
	c.Send("%s\r\n", head)
	c.OK("GET", "ok")
	client := "a"
	if strings.Contains(head, "example.com") {
		client = "example.com"
	}
	if _, rest, absolute := strings.Cut(head, "http://"); absolute {
		client, _, _ = strings.Cut(rest, "/")
	}
	for len(seen) > 0 {
		asked++
		got := <-seen
		if !strings.HasPrefix(got, "GET "+target+" HTTP/1.1\r\n") {
			t.Errorf("try %d asked for %.150q, want %q", asked, got, target)
		}
		want := "\r\nHost: " + host + "\r\n"
		if host == "dst" {
			want = "\r\nHost: 127.0.0.1:"
		}
		if !strings.Contains(got, want) || strings.Count(got, "\r\nHost:") != 1 {
			t.Errorf("try %d: %q is not once in %q", asked, want, got)
		}
		if want := "\r\nX-Forwarded-Host: " + client + "\r\n"; !strings.Contains(got, want) {
			t.Errorf("try %d: %q is missing in %q", asked, want, got)
		}
	}
}

// A buffered body goes along with each try.
func TestRetryKeepsTheBody(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("0123456789", 1000)
	bodies := make(chan string, 3)
	die := func(c *proxytest.Conn) {
		if req, b, _ := c.Request(); req != nil {
			bodies <- b
		}
	}
	last := proxytest.Raw(t, func(c *proxytest.Conn) {
		_, b, _ := c.Request()
		bodies <- b
		c.Reply(proxytest.OK)
	})
	u := proxytest.Start(t, proxytest.Options{
		Services: proxytest.Origins(proxytest.Raw(t, die).Addr, proxytest.Raw(t, die).Addr, last.Addr),
	})
	c := u.Dial()
	c.Send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	c.OK("PUT", "ok")
	for len(bodies) > 0 {
		if got := <-bodies; got != body {
			t.Errorf("got %d bytes, want %d", len(got), len(body))
		}
	}
}

// The endpoint is told which prefix was stripped for it, once, also when it is not the
// first one tried.
func TestForwardedPrefix(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{TrustedProxies: []string{"127.0.0.1"}}},
		Services: []proxytest.Service{{
			Name: "origin", Routes: []string{"/api strip=/api", "/"},
			Addresses: []string{proxytest.Nowhere(t), origin.Addr},
		}},
	})
	for _, tc := range []struct {
		path, head string
		want       []string
	}{
		{"/api/x", "", []string{"/api"}},
		{"/api", "", []string{"/api"}},
		{"/other", "", nil},
		{"/api/x", "X-Forwarded-Prefix: /outer\r\n", []string{"/outer"}},
	} {
		for range 3 {
			c := u.Dial()
			c.Send("GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n", tc.path, tc.head)
			r := c.Read("GET")
			var got []string
			for line := range strings.Lines(r.Text) {
				if value, ok := strings.CutPrefix(line, "X-Forwarded-Prefix: "); ok {
					got = append(got, strings.TrimSpace(value))
				}
			}
			if r.StatusCode != 200 || !slices.Equal(got, tc.want) {
				t.Errorf("%s %q: got %d, prefixes %q, want %q", tc.path, tc.head, r.StatusCode, got, tc.want)
			}
		}
	}
}

// A path that matched when decoded is stripped of what it matched by.
func TestStripAsMatched(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{Services: []proxytest.Service{{
		Name: "origin", Routes: []string{"/api strip=/api"}, Addresses: []string{origin.Addr},
	}}})
	r := u.Dial().Get("/%61p%69/%62?c=%64")
	if !strings.HasPrefix(r.Text, "GET /%62?c=%64 HTTP/1.1\r\n") ||
		!strings.Contains(r.Text, "\r\nX-Forwarded-Prefix: /%61p%69\r\n") {
		t.Errorf("got %d, the endpoint received %q", r.StatusCode, r.Text)
	}
}

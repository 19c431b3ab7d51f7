package core_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/core"
	"usher/proxy/proxytest"
	"usher/routetable"
	"usher/routetable/balance"
	"usher/watcher"
)

// site is an usher whose routes come from the text of a configuration.
type site struct {
	*proxytest.Usher

	t       *testing.T
	version uint64
}

// begin starts a site; a listener that trusts this machine is called web, one that does
// not is called public.
func begin(t *testing.T) *site {
	t.Helper()
	u := proxytest.Start(t, proxytest.Options{Listeners: []config.Listener{
		{TrustedProxies: []string{"127.0.0.0/8"}},
		{Name: "public", Address: "127.0.0.2:0"},
	}})
	return &site{Usher: u, t: t, version: 1}
}

// loaded reads a configuration from its text, beside some files.
func loaded(t *testing.T, text string, files map[string]string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "usher.yaml")
	listeners := "listeners: [{name: web, address: ':1'}, {name: public, address: ':2'}]\n"
	if err := os.WriteFile(path, []byte(listeners+text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, config.Options{Env: func(string) (string, bool) { return "", false }})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// publish puts a configuration in force, over services by name: a space parts the
// addresses from the rules they announce.
func (s *site) publish(cfg *config.Config, services map[string]string) {
	s.t.Helper()
	var all []*watcher.Service
	for name, text := range services {
		addresses, rules, _ := strings.Cut(text, " ")
		one := &watcher.Service{Key: watcher.Key{Registry: "test", Service: name}}
		for i, address := range strings.Split(addresses, ",") {
			in := watcher.Instance{ID: fmt.Sprint(name, i), Address: address, Weight: 1}
			for _, rule := range strings.Split(rules, ";") {
				if rule != "" {
					in.Announcements = append(in.Announcements, watcher.Announcement{Where: rule, Text: rule})
				}
			}
			one.Instances = append(one.Instances, in)
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b *watcher.Service) int { return a.Compare(b.Key) })
	s.version++
	table := routetable.Build(watcher.NewCatalog(s.version, all...), &routetable.Rules{
		Routes: cfg.Routes, Services: cfg.Services, Defaults: cfg.Defaults.Policy, ErrorPages: cfg.ErrorPages,
		Balancers: balance.All(),
	}, s.Proxy.Table())
	for _, r := range table.Refused() {
		s.t.Errorf("refused: %s: %s", r.Where, r.Reason)
	}
	s.Health.Adopt(table)
	s.Proxy.Publish(table)
}

// serving is a site with one service, echo, and routes.
func serving(t *testing.T, routes string) *site {
	t.Helper()
	s := begin(t)
	s.publish(loaded(t, routes, nil), map[string]string{"echo": proxytest.Echo(t).Addr})
	return s
}

// ask sends a head, whose first line is "GET /path" or more, and reads the answer.
func ask(c *proxytest.Client, line, fields string) *proxytest.Response {
	method, _, _ := strings.Cut(line, " ")
	if !strings.Contains(fields, "Host: ") {
		fields = "Host: a.example\r\n" + fields
	}
	c.Send("%s", line+" HTTP/1.1\r\n"+fields+"\r\n")
	return c.Read(method)
}

// A route's own settings go before the service's, which other routes keep.
func TestRoutePolicy(t *testing.T) {
	t.Parallel()
	s := begin(t)
	mute := proxytest.Raw(t, func(c *proxytest.Conn) { c.Gone() }).Addr
	half := proxytest.Raw(t, func(c *proxytest.Conn) {
		c.Head()
		c.Reply("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
		c.Gone()
	}).Addr
	dead, echo := proxytest.Nowhere(t), proxytest.Echo(t).Addr
	s.publish(loaded(t, `
defaults: {timeout: 1h, total_timeout: 1h, idle_timeout: 1h, connect_timeout: 1h, balance: round_robin}
services: {once: {retry: {attempts: 0}}, twice: {retry: {attempts: 0}}, empty: {retry: {attempts: 0}}}
routes:
  - {name: timeout, service: mute, match: {path: /timeout}, timeout: 20ms}
  - {name: total, service: mute, match: {path: /total}, total_timeout: 20ms}
  - {name: idle, service: half, match: {path: /idle}, idle_timeout: 20ms}
  - {name: connect, service: deaf, match: {path: /connect}, connect_timeout: 20ms}
  - {name: once, service: once, match: {path: /once}}
  - {name: twice, service: twice, match: {path: /twice}, retry: {attempts: 1}}
  - {name: empty, service: empty, match: {path: /empty}, retry: {}}
`, nil), map[string]string{
		"mute": mute, "half": half, "deaf": proxytest.Deaf(t), "once": dead + "," + echo, "twice": dead + "," + echo,
		"empty": dead + "," + echo,
	})
	for path, reason := range map[string]string{
		"/timeout": "upstream_timeout", "/total": "total_timeout", "/connect": "connect_timeout",
	} {
		if r := s.Dial().Get(path); r.StatusCode != 504 || r.Header.Get("X-Usher-Reason") != reason {
			t.Errorf("%s: got %d %q, want %q", path, r.StatusCode, r.Header.Get("X-Usher-Reason"), reason)
		}
	}
	if r := s.Dial().Get("/idle"); r.Text != "hello" || r.Err == nil {
		t.Errorf("idle: got %q, %v", r.Text, r.Err)
	}
	// Of two in a row one goes to the dead endpoint first.
	failed := map[string]int{}
	for range 2 {
		for _, path := range []string{"/once", "/twice", "/empty"} {
			if s.Dial().Get(path).StatusCode != 200 {
				failed[path]++
			}
		}
	}
	if failed["/once"] != 1 || failed["/empty"] != 1 || failed["/twice"] > 0 {
		t.Errorf("failed: %v", failed)
	}
}

// The path is matched and replaced as it was sent, the query stays.
func TestRewrite(t *testing.T) {
	t.Parallel()
	s := serving(t, `
routes:
  - {name: old, service: echo, match: {path: /old/}, rewrite: {path: "^/old/(.*)$", to: "/new/$1"}}
  - {name: swap, service: echo, match: {path: /swap/}, rewrite: {path: "^/swap/(?P<a>[^/]+)/(?P<b>.+)$",
        to: "/$${b}/$${a}"}}
  - {name: dollar, service: echo, match: {path: /dollar}, rewrite: {path: "^/dollar", to: "/$$1"}}
  - {name: each, service: echo, match: {path: /each}, rewrite: {path: "//+", to: "/"}}
  - {name: tail, service: echo, match: {path: /tail}, rewrite: {path: "^/tail(.*)$", to: "/$1"}, host: b.example}
`)
	for target, want := range map[string]string{
		"/old/a":             "/new/a",
		"/old/a?b=/old/c":    "/new/a?b=/old/c",
		"/old/%2Fa%41?":      "/new/%2Fa%41?",
		"/%6Fld/a":           "/%6Fld/a", // the route takes it, the expression does not
		"/swap/x/y/z?q":      "/y/z/x?q",
		"/dollar/x":          "/$1/x",
		"/each//a///b?c//d":  "/each/a/b?c//d",
		"/tail":              "/",
		"/tail/x":            "//x",
		"/old/?":             "/new/?",
		"/old/a?b?c":         "/new/a?b?c",
		"http://h/old/a?b=c": "/new/a?b=c",
	} {
		r := s.Dial().Get(target)
		line, _, _ := strings.Cut(r.Text, "\r\n")
		if r.StatusCode != 200 || line != "GET "+want+" HTTP/1.1" {
			t.Errorf("%s: got %d %q, want %q", target, r.StatusCode, line, want)
		}
	}
	if r := s.Dial().Get("/tail"); !strings.Contains(r.Text, "\r\nHost: b.example\r\n") {
		t.Errorf("Host: got %q", r.Text)
	}
}

// Where clients are sent, by configuration and by tag; a redirect to where the client
// is already leaves the request to the next route.
func TestRedirect(t *testing.T) {
	t.Parallel()
	s := begin(t)
	s.publish(loaded(t, `
routes:
  - {name: plain, match: {hosts: [a.example], path: /plain}, redirect: {to: "https://b.example/x"}}
  - {name: bare, match: {hosts: [a.example], path: /bare}, redirect: {to: "https://b.example"}}
  - {name: path, match: {hosts: [a.example], path: /path}, redirect: {code: 301, to: "https://$host$path"}}
  - {name: strip, match: {path: /strip}, redirect: {code: 307, to: "https://b.example$path"},
        strip_prefix: /strip, prepend_prefix: /p}
  - {name: re, match: {path: /re}, redirect: {code: 308, to: "/to$path"}, rewrite: {path: "^/re/(.*)$", to: "/$1"}}
  - {name: own, match: {path: /own}, redirect: {code: 303, to: "/search?of=$host&$query"}}
  - {name: relative, match: {path: /open}, redirect: {to: "$path"}, strip_prefix: /open}
  - {name: query, match: {path: /query}, redirect: {to: "/$query"}}
  - {name: dollar, match: {path: /dollar}, redirect: {to: "$scheme://b.example/$$path"}}
  - {name: fixed, match: {path: /fixed}, redirect: {to: "https://b.example$path?x=y"},
        response_headers: {set: {Cache-Control: "max-age=60", X-Client: $client_ip}}}
  - {name: tls, match: {hosts: [tls.example]}, redirect: {code: 301, to: "https://$host$path"}}
  - {name: canonical, match: {hosts: [c.example]}, redirect: {code: 301, to: "http://c.example$path"}, priority: 1}
  - {name: loop, match: {path: /loop}, redirect: {to: /loop}}
`, nil), map[string]string{
		"echo": proxytest.Echo(t).Addr + " tls.example/;c.example/;mixed.example/",
		"gone": "127.0.0.1:9 t.example/ redirect=301,https://x.example/$path;" +
			"t.example/s strip=/s redirect=302,https://$host$path;" +
			"mixed.example/ redirect=302,http://mixed.example$path;" +
			"denied.example/ deny=ip:127.0.0.0/8 redirect=301,https://x.example/",
	})
	const secure = "X-Forwarded-Proto: https\r\n"
	for _, tc := range []struct {
		line, fields string
		code         int
		location     string
	}{
		{"GET /plain?a=b", "", 302, "https://b.example/x"},
		{"GET /bare?a=b", "", 302, "https://b.example/"},
		{"GET /path/%2Fx?a=b?c", "Host: A.example:8080\r\n", 301, "https://a.example/path/%2Fx?a=b?c"},
		{"HEAD /path", "", 301, "https://a.example/path"},
		{"GET /strip/x?y", "", 307, "https://b.example/p/x?y"},
		{"GET /re/a/b?c", "", 308, "/to/a/b?c"},
		{"GET /own?a=b", "", 303, "/search?of=a.example&a=b"},
		{"GET /open//evil.example/x?y", "", 302, "/evil.example/x?y"},
		{"GET /open/\\evil.example", "", 302, "/evil.example"},
		{"GET /query?/evil.example", "", 302, "/evil.example"},
		{"GET /open/x", "", 302, "/x"},
		{"GET /dollar", secure, 302, "https://b.example/$path"},
		{"GET /dollar", "X-Forwarded-Proto: ftp\r\n", 302, "http://b.example/$path"},
		{"GET /fixed?z", "", 302, "https://b.example/fixed?x=y"},
		{"GET /x?y", "Host: tls.example\r\n", 301, "https://tls.example/x?y"},
		{"GET /x?y", "Host: tls.example:8443\r\n" + secure, 301, "https://tls.example/x?y"},
		{"GET /x?y", "Host: TLS.example\r\n" + secure, 200, ""},
		{"GET /x?y", "Host: tls.example:443\r\n" + secure, 200, ""},
		{"GET /x", "Host: c.example\r\n", 200, ""},
		{"GET /loop?x", "", 404, ""},
		{"GET /x?y", "Host: t.example\r\n", 301, "https://x.example/x?y"},
		{"GET /s/x?y", "Host: t.example\r\n", 302, "https://t.example/x?y"},
		{"GET /", "Host: mixed.example\r\n", 200, ""},
		{"GET /", "Host: denied.example\r\n", 403, ""},
	} {
		for range 3 {
			r := ask(s.Dial(), tc.line, tc.fields)
			if r.StatusCode != tc.code || r.Header.Get("Location") != tc.location {
				t.Errorf("%s %q: got %d %q, want %d %q", tc.line, tc.fields, r.StatusCode,
					r.Header.Get("Location"), tc.code, tc.location)
			}
			reason := r.Header.Get("X-Usher-Reason")
			if tc.location != "" && (reason != "redirect" || r.Text != "" || r.Close) {
				t.Errorf("%s: reason %q, body %q, close %t", tc.line, reason, r.Text, r.Close)
			}
		}
	}
	// Of a source that one instance redirects and another serves, each has its share.
	got := map[int]int{}
	for range 20 {
		got[ask(s.Dial(), "GET /", "Host: mixed.example\r\n"+secure).StatusCode]++
	}
	if got[200] == 0 || got[302] == 0 {
		t.Errorf("mixed: %v", got)
	}
	r := ask(s.Dial(), "GET /fixed", "X-Forwarded-For: 1.2.3.4\r\n")
	if r.Header.Get("Cache-Control") != "max-age=60" || r.Header.Get("X-Client") != "1.2.3.4" {
		t.Errorf("fields: %v", r.Header)
	}
	labels := map[string]string{"route": "plain", "code": "302", "service": "none"}
	if n := s.Counter("usher_requests_total", labels); n != 3 {
		t.Errorf("%v redirects are counted", n)
	}
	if n := s.Counter("usher_request_errors_total", map[string]string{"route": "plain"}); n != 0 {
		t.Errorf("%v redirects are counted as errors", n)
	}
	s.Quiet()
}

// The connection goes on after an answer of the route's own when the request's body
// has come with it, and ends when it has not; nobody is asked for it.
func TestOwnAnswerAndBody(t *testing.T) {
	t.Parallel()
	s := serving(t, `routes: [{name: r, redirect: {to: /a}}]`)
	c := s.Dial()
	c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nHost: a\r\n\r\n")
	if r := c.Read("POST"); r.StatusCode != 302 || r.Close {
		t.Errorf("got %d, close %t", r.StatusCode, r.Close)
	}
	if r := c.Read("GET"); r.StatusCode != 302 {
		t.Errorf("got %d", r.StatusCode)
	}
	for _, fields := range []string{
		"Content-Length: 5\r\nExpect: 100-continue", "Content-Length: 99999999", "Transfer-Encoding: chunked",
	} {
		c := s.Dial()
		c.Send("POST / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", fields)
		if r := c.Read("POST"); r.StatusCode != 302 || !r.Close {
			t.Errorf("%s: got %d, close %t", fields, r.StatusCode, r.Close)
		}
		c.Closed()
	}
}

func TestRespond(t *testing.T) {
	t.Parallel()
	s := begin(t)
	large := strings.Repeat("0123456789abcdef", 1<<16)
	s.publish(loaded(t, `
routes:
  - {name: empty, match: {path: /empty}, respond: {}}
  - {name: text, match: {path: /text}, respond: {body: "hi $host\n", headers: {X-A: b, Cache-Control: no-store}}}
  - {name: json, match: {path: /json}, respond: {status: 403, body: "{}", content_type: application/json}}
  - {name: file, match: {path: /file}, respond: {status: 503, body_file: down.html}}
  - {name: large, match: {path: /large}, respond: {body_file: large.txt}}
  - {name: none, match: {path: /none}, respond: {status: 204}}
`, map[string]string{"down.html": "<p>down", "large.txt": large}), nil)
	for path, want := range map[string]struct {
		status             int
		kind, reason, text string
	}{
		"/empty": {200, "", "", ""},
		"/text":  {200, "text/plain; charset=utf-8", "", "hi $host\n"},
		"/json":  {403, "application/json", "respond", "{}"},
		"/file":  {503, "text/html; charset=utf-8", "respond", "<p>down"},
		"/large": {200, "text/plain; charset=utf-8", "", large},
		"/none":  {204, "", "", ""},
	} {
		c := s.Dial()
		for _, method := range []string{"GET", "HEAD", "DELETE"} {
			r := ask(c, method+" "+path, "")
			text := want.text
			if method == "HEAD" {
				text = ""
			}
			if r.StatusCode != want.status || r.Text != text || r.Err != nil || r.Close ||
				r.Header.Get("Content-Type") != want.kind || r.Header.Get("X-Usher-Reason") != want.reason {
				t.Errorf("%s %s: got %d %v, %d bytes, %v", method, path, r.StatusCode, r.Header, len(r.Text), r.Err)
			}
			if length := r.Header.Get("Content-Length"); want.status != 204 && length != fmt.Sprint(len(want.text)) ||
				want.status == 204 && length != "" {
				t.Errorf("%s %s: length %q", method, path, length)
			}
		}
	}
	if r := s.Dial().Get("/text"); r.Header.Get("X-A") != "b" || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("fields %v", r.Header)
	}
	s.Quiet()
}

// Fields are removed, set and added, in both directions, whatever their case; every
// try has them once.
func TestHeaderEdits(t *testing.T) {
	t.Parallel()
	s := begin(t)
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		for head := c.Head(); head != ""; head = c.Head() {
			c.Reply("HTTP/1.1 200 OK\r\nServer: x\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nX-Old: 1\r\nx-old: 2\r\n"+
				"Content-Length: %d\r\n\r\n%s", len(head), head)
		}
	})
	s.publish(loaded(t, `
defaults: {balance: round_robin}
routes:
  - name: r
    service: two
    strip_prefix: /api
    request_headers:
      set: {x-client: "<$client_ip>", X-Scheme: $scheme, User-Agent: usher, X-Forwarded-Host: outside,
        X-Forwarded-Prefix: /outside}
      add: {Accept: "text/x; $$1", X-Host: "$host!"}
      remove: [cookie, X-Real-Ip, Authorization, X-Absent]
    response_headers:
      set: {server: usher, Strict-Transport-Security: max-age=1, X-To: "$client_ip $host $scheme"}
      add: {Set-Cookie: e=f}
      remove: [x-OLD]
  - {name: plain, service: two, match: {path: /plain}}
`, nil), map[string]string{"two": proxytest.Nowhere(t) + "," + origin.Addr})
	const fields = "Host: A.example:81\r\nCookie: a=b\r\nUser-Agent: curl\r\nAccept: */*\r\nX-CLIENT: forged\r\n" +
		"Authorization: Basic YTpi\r\nX-Forwarded-For: 9.9.9.9, 10.1.1.1, 127.0.0.9\r\nX-Forwarded-Proto: https\r\n"
	for range 4 { // a dead endpoint is tried first every other time
		r := ask(s.Dial(), "GET /api/x", fields)
		want(t, "request", r.Text, map[string][]string{
			"X-Client": {"<10.1.1.1>"}, "X-Scheme": {"https"}, "User-Agent": {"usher"}, "Accept": {"*/*", "text/x; $1"},
			"X-Host": {"a.example!"}, "Cookie": nil, "Authorization": nil, "X-Real-Ip": nil,
			"X-Forwarded-Host": {"outside"}, "X-Forwarded-Prefix": {"/outside"}, "Host": {"A.example:81"},
		})
		for name, values := range map[string][]string{
			"Server": {"usher"}, "Set-Cookie": {"a=b", "c=d", "e=f"}, "X-Old": nil,
			"Strict-Transport-Security": {"max-age=1"}, "X-To": {"10.1.1.1 a.example https"},
		} {
			if got := r.Header.Values(name); !slices.Equal(got, values) {
				t.Errorf("response: %s is %q, want %q", name, got, values)
			}
		}
	}
	r := ask(s.Dial(), "GET /plain", fields)
	want(t, "plain", r.Text, map[string][]string{
		"User-Agent": {"curl"}, "Cookie": {"a=b"}, "X-Client": {"forged"}, "X-Host": nil,
	})
	if r.Header.Get("Server") != "x" || len(r.Header.Values("X-Old")) != 2 {
		t.Errorf("plain: %v", r.Header)
	}
	// Who is no trusted proxy says nothing of itself.
	c := proxytest.Dial(t, s.AddrOf("public"))
	want(t, "public", ask(c, "GET /api/x", fields).Text, map[string][]string{
		"X-Client": {"<127.0.0.1>"}, "X-Scheme": {"http"},
	})
}

// want checks the fields of a head.
func want(t *testing.T, what, head string, fields map[string][]string) {
	t.Helper()
	for name, values := range fields {
		var got []string
		for line := range strings.Lines(head) {
			if n, v, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && strings.EqualFold(n, name) {
				got = append(got, v)
			}
		}
		if !slices.Equal(got, values) {
			t.Errorf("%s: %s is %q, want %q in\n%s", what, name, got, values, head)
		}
	}
}

// The conditions on query and fields, and how they rank: the route with more of them
// goes first, unless another has a higher priority. iprefix comes behind what is
// literal.
func TestPredicates(t *testing.T) {
	t.Parallel()
	s := begin(t)
	s.publish(loaded(t, `
routes:
  - {name: all, respond: {body: all}}
  - {name: beta, match: {query: {beta: "1"}}, respond: {body: beta}}
  - {name: any, match: {query: {any: ""}}, respond: {body: any}}
  - {name: two, match: {query: {beta: "1", any: ""}}, respond: {body: two}}
  - {name: word, match: {query: {"a b": "ä&="}}, respond: {body: word}}
  - {name: agent, match: {headers_regex: {User-Agent: "(?i)curl/[78]"}}, respond: {body: agent}}
  - {name: exact, match: {headers_regex: {x-tag: "^v[0-9]+$"}, headers: {X-B: "1"}}, respond: {body: exact}}
  - {name: three, match: {headers_regex: {User-Agent: curl}, query: {any: "x", beta: ""}}, respond: {body: three}}
  - {name: first, match: {query: {vip: ""}}, priority: 1, respond: {body: first}}
  - {name: case, match: {path: /Shop, path_type: iprefix}, respond: {body: case}}
  - {name: literal, match: {path: /shop/x}, respond: {body: literal}}
  - {name: host, match: {hosts: [b.example], path: /ÄB, path_type: iprefix}, respond: {body: host}}
`, nil), nil)
	for _, tc := range []struct{ target, fields, want string }{
		{"/", "", "all"},
		{"/?", "", "all"},
		{"/?beta=1", "", "beta"},
		{"/?a=b&beta=2&beta=1", "", "beta"},
		{"/?BETA=1", "", "all"},
		{"/?beta=1%20", "", "all"},
		{"/?beta=11", "", "all"},
		{"/?beta", "", "all"},
		{"/?bet%61=%31", "", "beta"},
		{"/?xbeta=1", "", "all"},
		{"/?any", "", "any"},
		{"/?any=", "", "any"},
		{"/?&&any=%", "", "any"},
		{"/any=?", "", "all"},
		{"/?a+b=%C3%A4%26%3D", "", "word"},
		{"/?a%20b=%c3%a4%26=", "", "word"},
		{"/?a%2Bb=%C3%A4%26%3D", "", "all"},
		{"/?beta=1&any=2", "", "two"},
		{"/", "User-Agent: Curl/8.1\r\n", "agent"},
		{"/", "User-Agent: curl/6\r\n", "all"},
		{"/", "X-Tag: v12\r\nX-B: 1\r\n", "exact"},
		{"/", "X-Tag: v12x\r\nX-B: 1\r\n", "all"},
		{"/", "X-B: 1\r\n", "all"},
		{"/?beta=1&any=x", "User-Agent: curl/8\r\n", "three"},
		{"/?beta=1&any=x&vip", "User-Agent: curl/8\r\n", "first"},
		{"/sHOP/y", "", "all"}, // literal paths go first, / among them
		{"/shop/x", "", "literal"},
		{"/x", "Host: b.example\r\n", "all"},
		{"/%C3%84b/x", "Host: b.example\r\n", "host"},
		{"/%C3%A4b/x", "Host: b.example\r\n", "all"}, // ASCII alone has no case
	} {
		if r := ask(s.Dial(), "GET "+tc.target, tc.fields); r.Text != tc.want {
			t.Errorf("%s %q: got %q, want %q", tc.target, tc.fields, r.Text, tc.want)
		}
	}
}

// The pages stand for what usher says by itself, and nothing else: the most special
// one, the route's before the others'. The reason stays.
func TestErrorPages(t *testing.T) {
	t.Parallel()
	s := begin(t)
	files := map[string]string{
		"none.json": `{"error":"none"}`, "502.html": "502", "5xx.htm": "5xx", "4xx": "4xx",
		"mine.txt": strings.Repeat("mine", 1<<18),
	}
	services := map[string]string{
		"dead": proxytest.Nowhere(t) + " closed.example/ auth=x", "fails": proxytest.Answering(t,
			"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno").Addr,
	}
	const routes = `
routes:
  - {name: dead, service: dead, match: {path: /dead}}
  - {name: absent, service: absent, match: {path: /absent}}
  - {name: mine, service: dead, match: {path: /mine}, error_pages: {"502": mine.txt}}
  - {name: part, service: absent, match: {path: /part}, error_pages: {"502": mine.txt}}
  - {name: fails, service: fails, match: {path: /fails}}
`
	const pages = `error_pages: {no_route: none.json, "502": 502.html, 5xx: 5xx.htm, 4xx: 4xx}`
	s.publish(loaded(t, routes+pages, files), services)
	const html, plain = "text/html; charset=utf-8", "text/plain; charset=utf-8"
	for _, tc := range []struct {
		line, fields string
		status       int
		reason, kind string
		text         string
	}{
		{"GET /", "", 404, "no_route", "application/json", files["none.json"]},
		{"HEAD /", "", 404, "no_route", "application/json", ""},
		{"GET /dead", "", 502, "connect_failed", html, "502"},
		{"GET /absent", "", 503, "no_healthy_endpoint", html, "5xx"},
		{"GET /mine", "", 502, "connect_failed", plain, files["mine.txt"]},
		{"GET /part", "", 503, "no_healthy_endpoint", html, "5xx"},
		{"GET /", "Host: closed.example\r\n", 401, "unauthorized", plain, "4xx"},
		{"GET / x", "", 400, "bad_request", plain, "4xx"},
		{"GET /fails", "", 503, "", "", "no"},
	} {
		r := ask(s.Dial(), tc.line, tc.fields)
		if r.StatusCode != tc.status || r.Header.Get("X-Usher-Reason") != tc.reason || r.Text != tc.text ||
			r.Header.Get("Content-Type") != tc.kind || r.Err != nil {
			t.Errorf("%s: got %d %v %.50q, %v", tc.line, r.StatusCode, r.Header, r.Text, r.Err)
		}
		if challenge := r.Header.Get("WWW-Authenticate"); (challenge != "") != (tc.status == http.StatusUnauthorized) {
			t.Errorf("%s: challenge %q", tc.line, challenge)
		}
	}
	s.publish(loaded(t, routes, files), services)
	if r := s.Dial().Get("/"); r.Text != "no_route\n" {
		t.Errorf("without pages: got %q", r.Text)
	}
}

// The configuration knows the words that a page may be for.
func TestReasonsOfPages(t *testing.T) {
	t.Parallel()
	words := core.Reasons()
	words = slices.DeleteFunc(words, func(w string) bool {
		return w == "client_gone" || w == "deadline_exceeded" // nobody reads it, or gRPC does, which has no pages
	})
	got := config.ErrorReasons()
	if !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(words))) {
		t.Errorf("config.ErrorReasons is %q, core.Reasons %q", got, words)
	}
}

// A split gives each service its share, and a request that is tried again stays where
// it was sent first.
func TestSplit(t *testing.T) {
	t.Parallel()
	s := begin(t)
	answer := func(text string) string {
		return proxytest.Answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"+text).Addr
	}
	s.publish(loaded(t, `
defaults: {balance: round_robin, retry: {attempts: 1}}
routes:
  - {name: split, split: [{service: a, weight: 90}, {service: b, weight: 10}, {service: c, weight: 0}]}
  - {name: apart, match: {path: /apart}, split: [{service: d, weight: 50}, {service: b, weight: 50}]}
`, nil), map[string]string{
		"a": answer("a") + "," + proxytest.Nowhere(t), "b": answer("b"), "c": answer("c"),
		"d": proxytest.Nowhere(t) + "," + proxytest.Nowhere(t),
	})
	const n = 2000
	got := map[string]int{}
	c := s.Dial()
	_ = c.SetDeadline(time.Now().Add(10 * proxytest.Patience))
	for range n {
		got[c.Get("/").Text]++
	}
	// Of so many requests fewer than 120 or more than 280 for b would be an accident of
	// more than six standard deviations.
	if got["a"]+got["b"] != n || got["b"] < 120 || got["b"] > 280 {
		t.Errorf("got %v", got)
	}
	apart := map[int]int{}
	for range 100 {
		apart[c.Get("/apart").StatusCode]++
	}
	if apart[200]+apart[502] != 100 || apart[200] == 0 || apart[502] == 0 {
		t.Errorf("a try went to the other service: %v", apart)
	}
}

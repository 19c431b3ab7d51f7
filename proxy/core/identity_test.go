package core_test

import (
	"strings"
	"testing"

	"usher/config"
	"usher/proxy/proxytest"
)

// What a client says in a field that tells endpoints who it is reaches nobody: not on the
// listener that asks for certificates, not on another, in no spelling, and no route is
// chosen by it.
func TestForgedIdentity(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	tls := config.ListenerTLS{ClientAuth: config.ClientAuth{Header: "X-Client-Cert"}}
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{
			{TLS: tls, UnderscoreHeaders: "drop"},
			{Name: "other", Address: "127.0.0.2:0", UnderscoreHeaders: "keep"},
			{Name: "trusting", Address: "127.0.0.3:0", TrustedProxies: []string{"127.0.0.0/8"}},
		},
		Services: proxytest.Origins(origin.Addr),
	})
	send := func(listener, fields string) {
		c := proxytest.Dial(t, u.AddrOf(listener))
		c.Send("%s", "GET / HTTP/1.1\r\nHost: a.example\r\n"+fields+"X-Kept: 1\r\n\r\n")
		if r := c.Read("GET"); r.StatusCode != 200 {
			t.Errorf("%s: %q: got %s", listener, fields, r.Status)
		}
	}
	for _, listener := range []string{"web", "other", "trusting"} {
		for _, fields := range []string{
			"X-Client-Cert: forged\r\n",
			"x-client-cert: forged\r\n",
			"X-CLIENT-CERT: forged\r\nx-client-cert: forged\r\n",
			"X_Client_Cert: forged\r\n",
			"x_client-cert: forged\r\nX-Client_Cert: forged\r\nX-CLIENT_CERT: forged\r\n",
			"X-Client-Cert: forged\r\nConnection: X-Client-Cert, X-Forwarded-For\r\n",
			"Connection: X_Client_Cert\r\nX_Client_Cert: forged\r\n",
		} {
			send(listener, fields)
		}
	}
	// The names stay reserved when the configuration no longer has them.
	u.Listen(config.Listener{}, config.Listener{Name: "other", Address: "127.0.0.2:0"})
	send("web", "X-Client-Cert: forged\r\n")
	got := origin.Received()
	if strings.Contains(got, "forged") {
		t.Errorf("the endpoint was told:\n%s", got)
	}
	if want := 22; strings.Count(got, "X-Kept: 1\r\n") != want {
		t.Errorf("the endpoint had %d requests, want %d", strings.Count(got, "X-Kept: 1\r\n"), want)
	}
}

// A route that asks for the field is not chosen by what a client says in it.
func TestForgedIdentityMatch(t *testing.T) {
	t.Parallel()
	s := serving(t, `
routes:
  - {name: admin, match: {headers: {X-Client-Cert: admin}}, respond: {body: "admin"}}
  - {name: rest, match: {path: /}, respond: {body: "rest"}}
`)
	s.Listen(config.Listener{TLS: config.ListenerTLS{ClientAuth: config.ClientAuth{Header: "x-client-cert"}}})
	c := s.Dial()
	if r := ask(c, "GET /", "X-Client-Cert: admin\r\n"); r.Text != "rest" {
		t.Errorf("got %q", r.Text)
	}
}

func TestRedirectHTTPS(t *testing.T) {
	t.Parallel()
	s := begin(t)
	origin := proxytest.Echo(t)
	s.publish(loaded(t, "", nil), map[string]string{"echo": origin.Addr + " /"})
	listen := func(r config.RedirectHTTPS) {
		s.Listen(config.Listener{RedirectHTTPS: &r, TrustedProxies: []string{"127.0.0.0/8"}})
	}
	listen(config.RedirectHTTPS{Code: 308, Port: 443})
	check := func(line, fields string, status int, location string) {
		t.Helper()
		r := ask(s.Dial(), line, fields)
		if r.StatusCode != status || r.Header.Get("Location") != location {
			t.Errorf("%s: got %d %q, want %d %q", line, r.StatusCode, r.Header.Get("Location"), status, location)
		}
		if reason := r.Header.Get("X-Usher-Reason"); (reason == "redirect") != (location != "") {
			t.Errorf("%s: reason %q", line, reason)
		}
		if r.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s: HSTS over http", line)
		}
	}
	check("GET /a%2Fb?x=1", "", 308, "https://a.example/a%2Fb?x=1")
	check("POST /a", "Host: a.example:8080\r\nContent-Length: 0\r\n", 308, "https://a.example/a")
	check("GET /", "Host: [::1]:8080\r\n", 308, "https://[::1]/")
	check("GET http://b.example/x", "", 308, "https://b.example/x")
	check("GET //evil.example/x", "", 308, "https://a.example//evil.example/x")
	check("GET /.well-known/acme-challenge/", "", 308, "https://a.example/.well-known/acme-challenge/")
	check("GET /.well-known/acme-challenge/../x", "", 308, "https://a.example/.well-known/acme-challenge/../x")
	check("GET /.well-known/acme-challenge/a%2Fb", "", 308, "https://a.example/.well-known/acme-challenge/a%2Fb")
	if n := origin.Accepted(); n != 0 {
		t.Errorf("the endpoint was asked %d times", n)
	}
	check("GET /.well-known/acme-challenge/aZ09-_", "", 200, "")
	check("GET /", "X-Forwarded-Proto: https\r\n", 200, "")

	c := s.Dial()
	c.Send("GET / HTTP/1.0\r\n\r\n")
	if r := c.Read("GET"); r.StatusCode != 400 {
		t.Errorf("without a host: got %s", r.Status)
	}
	c = s.Dial() // a kept connection goes on
	for range 2 {
		if r := ask(c, "GET /", ""); r.StatusCode != 308 {
			t.Errorf("kept: got %s", r.Status)
		}
	}
	listen(config.RedirectHTTPS{Code: 301, Port: 8443})
	check("GET /", "Host: a.example:80\r\n", 301, "https://a.example:8443/")
	s.Quiet()
}

package proxy_test

import (
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// The head that goes upstream is what the client sent, less what concerns its
// connection, plus what usher says of it.
func TestForwardedHead(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	for _, tc := range []struct {
		name, head string
		want, not  []string
	}{
		{
			"absolute form replaces Host", "GET http://b.example:81/x?y=//z HTTP/1.1\r\nHost: a\r\n\r\n",
			[]string{"GET /x?y=//z HTTP/1.1\r\n", "\r\nHost: b.example:81\r\n", "X-Forwarded-Host: b.example:81\r\n"},
			[]string{"Host: a\r\n"},
		},
		{
			"absolute form without a path", "GET HTTP://b HTTP/1.1\r\nHost: a\r\n\r\n",
			[]string{"GET / HTTP/1.1\r\n", "\r\nHost: b\r\n"},
			nil,
		},
		{
			"two slashes are a path", "GET //evil/?u=http://z HTTP/1.1\r\nHost: a\r\n\r\n",
			[]string{"GET //evil/?u=http://z HTTP/1.1\r\n", "\r\nHost: a\r\n"},
			nil,
		},
		{
			"hop-by-hop fields",
			get + "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\n" +
				"TE: trailers\r\nTrailer: X-A\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n" +
				"Proxy-Authorization: Basic x\r\nX-Keep: yes\r\n\r\n",
			[]string{"X-Keep: yes\r\n"},
			[]string{"Connection:", "Keep-Alive:", "Te:", "Trailer:", "Upgrade:", "Proxy-"},
		},
		{
			"hop-by-hop fields without Connection",
			get + "upgrade: websocket\r\nte: gzip\r\nkeep-alive: 1\r\n\r\n",
			nil,
			[]string{"Upgrade:", "Te:", "Keep-Alive:"},
		},
		{
			"nominated fields",
			get + "Connection: x-a, close,,X-B\r\nConnection: X-C\r\n" +
				"X-A: 1\r\nx-b: 2\r\nX-C: 3\r\nX-C: 4\r\nX-D: 5\r\n\r\n",
			[]string{"X-D: 5\r\n"},
			[]string{"X-A:", "X-B:", "X-C:", "Connection:"},
		},
		{
			"framing and routing cannot be nominated away",
			post("Connection: Content-Length, Host, Transfer-Encoding\r\nContent-Length: 2\r\n", "ok"),
			[]string{"\r\nHost: a\r\n", "Content-Length: 2\r\n", "\r\n\r\nok"},
			[]string{"Connection:"},
		},
		{
			"Transfer-Encoding cannot be nominated away",
			post("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"),
			[]string{"Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"},
			[]string{"Connection:"},
		},
		{
			"what usher adds cannot be nominated away",
			get + "Connection: X-Forwarded-For, X-Real-Ip, CDN-Loop\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
			[]string{"X-Forwarded-For: 127.0.0.1\r\n", "X-Real-Ip: 127.0.0.1\r\n", "CDN-Loop: usher-"},
			[]string{"6.6.6.6"},
		},
		{
			"forwarding fields of a stranger",
			get + "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\nX-Real-IP: 6.6.6.6\r\n" +
				"Forwarded: for=6.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\n" +
				"X-Forwarded-Port: 443\r\nX-Forwarded-Prefix: /evil\r\n\r\n",
			[]string{
				"X-Forwarded-For: 127.0.0.1\r\n", "X-Forwarded-Host: a\r\n", "X-Forwarded-Proto: http\r\n",
				"X-Real-Ip: 127.0.0.1\r\n",
			},
			[]string{"6.6.6.6", "7.7.7.7", "evil", "https", ": 443", "Forwarded: for"},
		},
		{
			"underscore names",
			get + "X_Forwarded_For: 6.6.6.6\r\nX_A: 1\r\nx_a: 2\r\n_: 3\r\nA__: 4\r\nX-A: 5\r\n" +
				"Content_Length: 6\r\n\r\n",
			[]string{"X-A: 5\r\n"},
			[]string{"_"},
		},
		{
			"a loop's mark of somebody else", get + "CDN-Loop: other; v=1, usher-0\r\n\r\n",
			[]string{"Cdn-Loop: other; v=1, usher-0\r\n", "CDN-Loop: usher-"},
			nil,
		},
		{
			"fields given twice", get + "Cookie: a=1\r\nCookie: b=2\r\nX-A: 1\r\nX-A: 2\r\n\r\n",
			[]string{"Cookie: a=1\r\n", "Cookie: b=2\r\n", "X-A: 1\r\n", "X-A: 2\r\n"},
			nil,
		},
		{
			"nothing is added", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok",
			nil,
			[]string{"User-Agent", "Content-Type", "Accept", "Date", "Via"},
		},
		{
			"HTTP/1.0 goes on as 1.1", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", []string{"GET / HTTP/1.1\r\n"}, nil,
		},
		{
			"HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", []string{"GET / HTTP/1.1\r\n", "\r\nHost:"}, nil,
		},
		{
			"Expect is for usher", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
			[]string{"\r\n\r\nok"},
			[]string{"Expect"},
		},
		{
			"a length is written anew, whoever reads the head",
			post("X-Real-Ip: 1\r\nContent-Length:\t0002\r\n", "ok"),
			[]string{"\r\nContent-Length: 2\r\n", "\r\n\r\nok"},
			nil,
		},
		{
			"so is chunked", post("Transfer-Encoding:\tcHunked\r\n", "2\r\nok\r\n0\r\n\r\n"),
			[]string{"\r\nTransfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"},
			nil,
		},
		{
			"credentials stay", get + "Authorization: Basic x\r\n\r\n",
			[]string{"Authorization: Basic x\r\n"},
			nil,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := proxytest.Dial(t, u.Addr())
			c.Send("%s", tc.head)
			r := c.Read("GET")
			if r.StatusCode != 200 {
				t.Fatalf("got %d %q", r.StatusCode, r.Text)
			}
			for _, want := range tc.want {
				if !strings.Contains(r.Text, want) {
					t.Errorf("%q is missing in %q", want, r.Text)
				}
			}
			for _, not := range tc.not {
				if strings.Contains(strings.ToLower(r.Text), strings.ToLower("\r\n"+not)) ||
					!strings.HasSuffix(not, ":") && strings.Contains(r.Text, not) {
					t.Errorf("%q is in %q", not, r.Text)
				}
			}
		})
	}
	u.Quiet()
}

// The fields of a trusted peer are believed and added to.
func TestForwardedByTrustedPeer(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	for _, tc := range []struct{ name, trusted, fields, want string }{
		{
			"chain", "127.0.0.0/8", "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2, 3.3.3.3\r\n",
			"X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 127.0.0.1\r\n",
		},
		{"one address", "127.0.0.1", "X-Forwarded-For: 1.1.1.1\r\n", "X-Forwarded-For: 1.1.1.1, 127.0.0.1\r\n"},
		{"other peer", "10.0.0.0/8", "X-Forwarded-For: 1.1.1.1\r\n", "\r\nX-Forwarded-For: 127.0.0.1\r\n"},
		{"scheme", "127.0.0.1", "X-Forwarded-Proto: https\r\n", "X-Forwarded-Proto: https\r\n"},
		{"host", "127.0.0.1", "X-Forwarded-Host: b\r\n", "X-Forwarded-Host: b\r\n"},
		{"port", "127.0.0.1", "X-Forwarded-Port: 443\r\n", "X-Forwarded-Port: 443\r\n"},
		{"real address", "127.0.0.1", "X-Real-Ip: 1.1.1.1\r\n", "X-Real-Ip: 1.1.1.1\r\n"},
		{"nothing said", "127.0.0.1", "", "X-Forwarded-For: 127.0.0.1\r\n"},
		{"something else said", "127.0.0.1", "X-Forwarded-Proto: https\r\n", "X-Forwarded-For: 127.0.0.1\r\n"},
		{"Forwarded", "127.0.0.1", "Forwarded: for=1.1.1.1\r\n", "Forwarded: for=1.1.1.1\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			u := proxytest.Start(t, proxytest.Options{
				Listeners: []config.Listener{{TrustedProxies: []string{tc.trusted}}},
				Services:  proxytest.Origins(origin.Addr),
			})
			c := u.Dial()
			c.Send(get+"%s\r\n", tc.fields)
			r := c.Read("GET")
			if strings.Count(r.Text, tc.want) != 1 {
				t.Errorf("%q is not once in %q", tc.want, r.Text)
			}
		})
	}
}

// The answer reaches the client as the origin sent it, less what concerns the
// origin's connection.
func TestRelayedHead(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, fields string
		want, not    []string
	}{
		{"nothing is added", "", nil, []string{"Date", "Server", "Content-Type", "Connection", "X-Usher", "Via"}},
		{
			"Date and Server", "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: mine\r\n",
			[]string{"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n", "Server: mine\r\n"},
			nil,
		},
		{"Content-Type", "Content-Type: a/b; c=d\r\n", []string{"Content-Type: a/b; c=d\r\n"}, nil},
		{"empty Content-Type", "Content-Type: \r\n", nil, []string{"text/plain"}},
		{
			"cookies",
			"Set-Cookie: a=1; Path=/\r\nSet-Cookie: a=2; Path=/x; HttpOnly\r\nset-cookie: b=3\r\nSet-Cookie: =\r\n",
			[]string{
				"Set-Cookie: a=1; Path=/\r\n", "Set-Cookie: a=2; Path=/x; HttpOnly\r\n", "set-cookie: b=3\r\n",
				"Set-Cookie: =\r\n",
			},
			nil,
		},
		{"fields given twice", "X-A: 1\r\nX-A: 2\r\nVary: a\r\nVary: b\r\n", []string{
			"X-A: 1\r\n", "X-A: 2\r\n", "Vary: a\r\n", "Vary: b\r\n",
		}, nil},
		{
			"hop-by-hop",
			"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nTE: x\r\n",
			nil,
			[]string{"Connection", "Keep-Alive", "Upgrade", "Te:"},
		},
		{
			"nominated", "Connection: X-A, x-b\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3\r\n",
			[]string{"X-C: 3\r\n"},
			[]string{"X-A", "X-B", "Connection"},
		},
		{
			"nominated beside close", "Connection: close, X-A\r\nX-A: 1\r\n", nil, []string{"X-A", "Connection"},
		},
		{
			"nominated on a second line",
			"Connection: keep-alive\r\nConnection: X-A\r\nX-A: 1\r\n", nil,
			[]string{"X-A"},
		},
		{
			"length cannot be nominated away", "Connection: Content-Length\r\n", []string{"Content-Length: 2\r\n"}, nil,
		},
		{"usher's reason is usher's", "X-A: 1\r\n", []string{"X-A: 1\r\n"}, []string{"X-Usher-Reason"}},
		{"coding of the content", "Content-Encoding: gzip\r\n", []string{"Content-Encoding: gzip\r\n"}, nil},
		{"challenge", "WWW-Authenticate: Basic\r\n", []string{"WWW-Authenticate: Basic\r\n"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"+tc.fields+"\r\nok")
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			c := u.Dial()
			c.Send(get + "Connection: close\r\n\r\n")
			b, err := io.ReadAll(c.R)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Replace(string(b), "\r\nConnection: close", "", 1)
			for _, want := range tc.want {
				if !strings.Contains(got, "\r\n"+want) {
					t.Errorf("%q is missing in %q", want, got)
				}
			}
			for _, not := range tc.not {
				if strings.Contains(got, not) {
					t.Errorf("%q is in %q", not, got)
				}
			}
			if !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(got, "\r\n\r\nok") {
				t.Errorf("got %q", got)
			}
		})
	}
}

// The reason phrase is the origin's.
func TestReasonPhrase(t *testing.T) {
	t.Parallel()
	origin := proxytest.Answering(t, "HTTP/1.1 299 Never Heard\r\nContent-Length: 0\r\n\r\n")
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	if r := u.Dial().Get("/"); r.Status != "299 Never Heard" {
		t.Errorf("got %q", r.Status)
	}
}

// Interim responses are for usher, but for those that carry something.
func TestInterimResponses(t *testing.T) {
	t.Parallel()
	origin := proxytest.Answering(t, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"+
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: close\r\n\r\n"+
		"HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n"+proxytest.OK)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	c := u.Dial()
	for range 2 {
		c.Send(get + "\r\n")
		for _, link := range []string{"</a>", "</b>"} {
			r := c.Begin("GET")
			if r.StatusCode != 103 || r.Header.Get("Link") != link || len(r.Header) != 1 {
				t.Fatalf("got %d %v", r.StatusCode, r.Header)
			}
		}
		c.OK("GET", "ok")
	}
	if n := origin.Accepted(); n != 1 {
		t.Errorf("the origin saw %d connections, want 1", n)
	}
	c.Send("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
	c.OK("GET", "ok")
}

// A request for usher itself is a loop; one through a second usher is not.
func TestLoop(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{})
	u.Publish(proxytest.Service{Name: "self", Addresses: []string{u.Addr()}})
	c := u.Dial()
	for range 2 {
		if r := c.Get("/"); r.StatusCode != 508 || r.Header.Get("X-Usher-Reason") != "loop" {
			t.Errorf("got %d %v", r.StatusCode, r.Header)
		}
	}
	u.Quiet()
	origin := proxytest.Echo(t)
	inner := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	u.Publish(proxytest.Service{Name: "inner", Addresses: []string{inner.Addr()}})
	if r := c.Get("/"); r.StatusCode != 200 || strings.Count(strings.ToLower(r.Text), "cdn-loop: usher-") != 2 {
		t.Errorf("got %d %q", r.StatusCode, r.Text)
	}
}

// The text of an answer of usher's own is whole, and none for HEAD.
func TestOwnAnswers(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{})
	c := u.Dial()
	for _, method := range []string{"GET", "HEAD", "POST"} {
		c.Send("%s / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", method)
		r := c.Read(method)
		if r.StatusCode != 404 || r.Header.Get("X-Usher-Reason") != "no_route" || r.Close || r.Err != nil {
			t.Errorf("%s: got %d %v (%v)", method, r.StatusCode, r.Header, r.Err)
		}
		if (r.Text == "") != (method == "HEAD") || r.ContentLength <= 0 || r.Header.Get("Date") == "" {
			t.Errorf("%s: got %q %v", method, r.Text, r.Header)
		}
	}
	c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n1234567")
	if r := c.Read("POST"); r.StatusCode != 404 || !r.Close {
		t.Errorf("with a body: got %d %v", r.StatusCode, r.Header)
	}
	_ = c.CloseWrite()
	c.Closed()
}

// Trailers of a response reach the client; those that would frame, route or
// authorise do not.
func TestResponseTrailers(t *testing.T) {
	t.Parallel()
	origin := proxytest.Answering(t, "HTTP/1.1 200 OK\r\nTrailer: X-T, X-U\r\nTransfer-Encoding: chunked\r\n\r\n"+
		"2\r\nok\r\n0\r\nX-T: a\r\nx-u: b\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\nTransfer-Encoding: x\r\n\r\n")
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	c := u.Dial()
	c.Send(get + "Connection: close\r\n\r\n")
	b, err := io.ReadAll(c.R)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(b), "\r\n\r\n")
	if !strings.Contains(head, "\r\nTrailer: X-T, X-U") {
		t.Errorf("the head announces no trailers: %q", head)
	}
	if body != "2\r\nok\r\n0\r\nX-T: a\r\nx-u: b\r\n\r\n" {
		t.Errorf("got %q", body)
	}
}

// An endless list of interim responses ends with the timeout.
func TestInterimFlood(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		c.Head()
		for c.Reply("HTTP/1.1 100 Continue\r\n\r\n") {
			n.Add(1)
		}
	})
	u := proxytest.Start(t, proxytest.Options{
		Policy: config.Policy{Timeout: 200 * time.Millisecond}, Services: proxytest.Origins(origin.Addr),
	})
	if r := u.Dial().Get("/"); r.StatusCode != 504 && r.StatusCode != 502 {
		t.Errorf("got %d after %d interim responses", r.StatusCode, n.Load())
	}
}

package proxy_test

import (
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// Behind each bad request stands a good one: it must be neither answered nor
// forwarded, whatever the framing of the bad one is taken for.
func TestRefusals(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	const next = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, tc := range refusals {
		t.Run(tc.name, func(t *testing.T) {
			c := proxytest.Dial(t, u.Addr())
			c.Send("%s", tc.head+next)
			r := c.Read("POST")
			if r.StatusCode != tc.status || r.Header.Get("X-Usher-Reason") != tc.reason {
				t.Errorf("got %d %q, want %d %q", r.StatusCode, r.Header.Get("X-Usher-Reason"), tc.status, tc.reason)
			}
			if !r.Close || r.Err != nil {
				t.Errorf("Connection: close is missing, or the body is cut: %v, %v", r.Header, r.Err)
			}
			_ = c.CloseWrite()
			c.Closed()
			if got := origin.Received(); got != "" {
				t.Errorf("the origin received %q", got)
			}
		})
	}
	u.Quiet()
}

// The same heads arrive a byte at a time.
func TestRefusalsBytewise(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	t.Run("heads", func(t *testing.T) {
		for _, tc := range refusals {
			if len(tc.head) > 200 || strings.HasPrefix(tc.head, "\r\n") {
				continue
			}
			t.Run(tc.name, func(t *testing.T) {
				t.Parallel()
				c := proxytest.Dial(t, u.Addr())
				sendBytewise(c, tc.head)
				if r := c.Read("POST"); r.StatusCode != tc.status {
					t.Errorf("got %d, want %d", r.StatusCode, tc.status)
				}
				_ = c.CloseWrite()
				c.Closed()
			})
		}
	})
	if got := origin.Received(); got != "" {
		t.Errorf("the origin received %q", got)
	}
}

// sendBytewise sends each byte in a segment of its own, until usher has heard
// enough.
func sendBytewise(c *proxytest.Client, s string) {
	for i := range len(s) {
		if _, err := c.Write([]byte{s[i]}); err != nil {
			return
		}
	}
}

// Blank lines in front of a request are bounded however they arrive.
func TestBlankLinesBytewise(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{})
	c := u.Dial()
	sendBytewise(c, strings.Repeat("\r\n", 5)+"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if r := c.Read("GET"); r.StatusCode != 400 {
		t.Errorf("got %d, want 400", r.StatusCode)
	}
}

// What is unusual but well formed must pass.
func TestAccepted(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	for _, tc := range []struct{ name, head, want string }{
		{"four blank lines in front", strings.Repeat("\r\n", 4) + get + "\r\n", "GET / HTTP/1.1\r\n"},
		{"unknown method", "BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n", "BREW /pot HTTP/1.1\r\n"},
		{"lower-case method", "get / HTTP/1.1\r\nHost: a\r\n\r\n", "get / HTTP/1.1\r\n"},
		{"no space behind the colon", "GET / HTTP/1.1\r\nHost:a\r\n\r\n", "Host: a\r\n"},
		{"spaces and tabs around a value", "GET / HTTP/1.1\r\nHost: \t a \t\r\n\r\n", "Host: a\r\n"},
		{"empty value", get + "X:\r\n\r\n", "\r\nX:\r\n"},
		{"non-ASCII value", get + "X: \xc3\xa4\xff\r\n\r\n", "X: \xc3\xa4\xff\r\n"},
		{"tab in a value", get + "X: 1\t2\r\n\r\n", "X: 1\t2\r\n"},
		{"IPv6 host", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "Host: [::1]:80\r\n"},
		{"host with an underscore", "GET / HTTP/1.1\r\nHost: a_b\r\n\r\n", "Host: a_b\r\n"},
		{"upper-case Transfer-Encoding", post("TRANSFER-ENCODING: CHUNKED\r\n", "0\r\n\r\n"), "\r\n\r\n0\r\n\r\n"},
		{"leading zeros of a length", post("Content-Length: 0002\r\n", "ok"), "\r\n\r\nok"},
		{"GET with a body", get + "Content-Length: 2\r\n\r\nok", "\r\n\r\nok"},
		{"HEAD with a body", "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok", ""},
		{"DELETE with a body", "DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok", "Content-Length: 2\r\n"},
		{"other than token in a value", get + "Cookie: a=\"b\\c\"\r\n\r\n", "Cookie: a=\"b\\c\"\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := proxytest.Dial(t, u.Addr())
			c.Send("%s", tc.head)
			method, _, _ := strings.Cut(strings.TrimLeft(tc.head, "\r\n"), " ")
			if r := c.Read(method); r.StatusCode != 200 || !strings.Contains(r.Text, tc.want) {
				t.Errorf("got %d %q, want %q in it", r.StatusCode, r.Text, tc.want)
			}
			if r := c.Get("/next"); r.StatusCode != 200 || !strings.HasPrefix(r.Text, "GET /next HTTP/1.1\r\n") {
				t.Errorf("then got %d %q", r.StatusCode, r.Text)
			}
		})
	}
}

// A head of exactly the limit passes; one byte more does not.
func TestHeadLimit(t *testing.T) {
	t.Parallel()
	origin := proxytest.Answering(t, proxytest.OK)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	const limit = 16 << 10
	head := func(n int) string {
		const begin, end = get + "X: ", "\r\n\r\n"
		return begin + strings.Repeat("x", n-len(begin)-len(end)) + end
	}
	for _, tc := range []struct {
		name         string
		size, status int
	}{{"one below", limit - 1, 200}, {"at it", limit, 200}, {"one over", limit + 1, 431}} {
		t.Run(tc.name, func(t *testing.T) {
			c := proxytest.Dial(t, u.Addr())
			c.Send("%s", head(tc.size))
			if r := c.Read("GET"); r.StatusCode != tc.status {
				t.Errorf("got %d, want %d", r.StatusCode, tc.status)
			}
		})
	}
}

func TestSlowHead(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{HeaderTimeout: 100 * time.Millisecond}},
		Services:  proxytest.Origins(origin.Addr),
	})
	for _, tc := range []struct{ name, begin string }{
		{"one byte", "G"},
		{"a line", "GET / HTTP/1.1\r\n"},
		{"all but the last byte", get + "\r"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := proxytest.Dial(t, u.Addr())
			c.Send("%s", tc.begin)
			r := c.Read("GET")
			if r.StatusCode != 408 || r.Header.Get("X-Usher-Reason") != "request_timeout" || !r.Close {
				t.Errorf("got %d %v", r.StatusCode, r.Header)
			}
			c.Closed()
		})
	}
	t.Run("behind a request in the same segment", func(t *testing.T) {
		c := proxytest.Dial(t, u.Addr())
		c.Send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HT")
		if r := c.Read("GET"); r.StatusCode != 200 {
			t.Fatalf("got %d", r.StatusCode)
		}
		if r := c.Read("GET"); r.StatusCode != 408 {
			t.Errorf("got %d, want 408", r.StatusCode)
		}
	})
	t.Run("the second request of a connection", func(t *testing.T) {
		c := proxytest.Dial(t, u.Addr())
		c.Get("/1")
		c.Send("GET /2 HT")
		if r := c.Read("GET"); r.StatusCode != 408 {
			t.Errorf("got %d, want 408", r.StatusCode)
		}
	})
	u.Quiet()
	if got := origin.Received(); strings.Contains(got, "/2") {
		t.Errorf("the origin received %q", got)
	}
}

// A connection that says nothing is closed without an answer.
func TestSilentConnection(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{KeepaliveTimeout: 100 * time.Millisecond}},
	})
	c := u.Dial()
	c.Closed()
	c = u.Dial()
	if r := c.Get("/"); r.StatusCode != 404 || r.Close {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}
	c.Closed()
}

func TestOptionsAsterisk(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	c := u.Dial()
	for range 2 {
		c.Send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
		if r := c.Read("OPTIONS"); r.StatusCode != 200 || r.Text != "" || r.ContentLength != 0 || r.Close {
			t.Errorf("got %d %v %q", r.StatusCode, r.Header, r.Text)
		}
	}
	c.Send("OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
	if r := c.Read("OPTIONS"); r.StatusCode != 200 || !r.Close {
		t.Errorf("with a body: got %d %v", r.StatusCode, r.Header)
	}
	_ = c.CloseWrite()
	c.Closed()
	if got := origin.Received(); got != "" {
		t.Errorf("the origin received %q", got)
	}
}

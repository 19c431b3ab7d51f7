package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"usher/config"
	"usher/proxy/proxytest"
)

// A chunked body that breaks the grammar, in its middle or at once, is a 400, and
// the origin never sees its end.
func TestMalformedRequestChunks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, body string }{
		{"no size", "\r\nhello\r\n0\r\n\r\n"},
		{"size is no number", "x\r\nhello\r\n0\r\n\r\n"},
		{"size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"},
		{"negative size", "-5\r\nhello\r\n0\r\n\r\n"},
		{"size with a plus", "+5\r\nhello\r\n0\r\n\r\n"},
		{"size with an underscore", "1_0\r\nhello\r\n0\r\n\r\n"},
		{"size too large", "10000000000000005\r\nhello\r\n0\r\n\r\n"},
		{"size of 64 bits", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n"},
		{"space before the size", " 5\r\nhello\r\n0\r\n\r\n"},
		{"space behind the size", "5 \r\nhello\r\n0\r\n\r\n"},
		{"tab behind the size", "5\t\r\nhello\r\n0\r\n\r\n"},
		{"size ends in LF", "5\nhello\r\n0\r\n\r\n"},
		{"size ends in CR", "5\rhello\r\n0\r\n\r\n"},
		{"bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"},
		{"LF in an extension", "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n"},
		{"semicolon alone", "5;\r\nhello\r\n0\r\n\r\n"},
		{"extension without a name", "5;=a\r\nhello\r\n0\r\n\r\n"},
		{"extension without a value", "5;a=\r\nhello\r\n0\r\n\r\n"},
		{"extension with an open quote", "5;a=\"b\r\nhello\r\n0\r\n\r\n"},
		{"extension with a NUL", "5;a\x00\r\nhello\r\n0\r\n\r\n"},
		{"extension too long", "5;" + strings.Repeat("a", 1000) + "\r\nhello\r\n0\r\n\r\n"},
		{"extension without end", "5;" + strings.Repeat("a", 100<<10)},
		{"data longer than said", "2\r\nhello\r\n0\r\n\r\n"},
		{"no CRLF behind the data", "5\r\nhello0\r\n\r\n"},
		{"LF behind the data", "5\r\nhello\n0\r\n\r\n"},
		{"second chunk", "5\r\nhello\r\nzz\r\n0\r\n\r\n"},
		{"trailer without a colon", "5\r\nhello\r\n0\r\nx\r\n\r\n"},
		{"trailer folded", "5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n"},
		{"trailer ends in LF", "5\r\nhello\r\n0\r\nX: a\n\r\n"},
		{"trailers end in LF", "5\r\nhello\r\n0\r\nX: a\r\n\n"},
		{"trailers too long", "5\r\nhello\r\n0\r\n" + strings.Repeat("X: "+strings.Repeat("a", 1000)+"\r\n", 10)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Echo(t)
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			c := u.Dial()
			c.Send("%s", post("Transfer-Encoding: chunked\r\n", tc.body+"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"))
			r := c.Read("POST")
			if r.StatusCode != 400 || r.Header.Get("X-Usher-Reason") != "bad_request" || !r.Close {
				t.Errorf("got %d %v %.200q", r.StatusCode, r.Header, r.Text)
			}
			_ = c.CloseWrite()
			c.Closed()
			u.Quiet()
			proxytest.Eventually(t, "usher has left the origin", func() bool { return origin.Open() == 0 })
			_, body, _ := strings.Cut(origin.Received(), "\r\n\r\n")
			if strings.HasSuffix(body, "0\r\n\r\n") || strings.Contains(body, "smuggled") {
				t.Errorf("the origin received %q", body)
			}
		})
	}
}

// Chunked bodies go on framed anew: without extensions and trailers.
func TestRequestChunks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, body, data string }{
		{"empty", "0\r\n\r\n", ""},
		{"one chunk", "5\r\nhello\r\n0\r\n\r\n", "hello"},
		{"several", "1\r\nh\r\n3\r\nell\r\n1\r\no\r\n0\r\n\r\n", "hello"},
		{"upper-case and zeros", "000A\r\n0123456789\r\n0000\r\n\r\n", "0123456789"},
		{"extensions", "5;a;b=c;d=\"e;\\\"f\"\r\nhello\r\n0;x=y\r\n\r\n", "hello"},
		{"trailers", "5\r\nhello\r\n0\r\nAuthorization: x\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n", "hello"},
		{"looks like an end", "7\r\n0\r\n\r\n0\r\r\n0\r\n\r\n", "0\r\n\r\n0\r"},
	} {
		for _, how := range []string{"at once", "bytewise"} {
			t.Run(tc.name+" "+how, func(t *testing.T) {
				t.Parallel()
				got := make(chan string, 1)
				origin := proxytest.Raw(t, func(c *proxytest.Conn) {
					for {
						req, body, raw := c.Request()
						if req == nil {
							return
						}
						if strings.Contains(raw, "6.6.6.6") || strings.Contains(raw, ";") {
							body = "extensions or trailers in " + raw
						}
						got <- body
						c.Reply(proxytest.OK)
					}
				})
				u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
				c := u.Dial()
				request := post("Transfer-Encoding: chunked\r\n", tc.body)
				if how == "bytewise" {
					sendBytewise(c, request)
				} else {
					c.Send("%s", request)
				}
				r := c.Read("POST")
				if body := <-got; body != tc.data || r.StatusCode != 200 {
					t.Errorf("got %d; the origin received %q, want %q", r.StatusCode, body, tc.data)
				}
				if !r.Close { // it may be: the answer can come before the end of the body is noticed
					c.Send(get + "\r\n")
					c.OK("GET", "ok")
				}
			})
		}
	}
}

// A request whose body the client cuts never looks whole to the origin.
func TestRequestBodyCut(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, request string
		reaches       bool
	}{
		{"small length", post("Content-Length: 10\r\n", "hello"), false},
		{"large length", post("Content-Length: 1000000\r\n", strings.Repeat("x", 400000)), true},
		{"above the buffer", post("Content-Length: 20000\r\n", "hello"), true},
		{"chunk", post("Transfer-Encoding: chunked\r\n", "5\r\nhel"), true},
		{"chunk boundary", post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"), true},
		{"last chunk", post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"), true},
	} {
		for _, how := range []string{"close", "half-close", "reset"} {
			t.Run(tc.name+", "+how, func(t *testing.T) {
				t.Parallel()
				whole, began := make(chan bool, 3), make(chan struct{}, 3)
				origin := proxytest.Raw(t, func(c *proxytest.Conn) {
					head := c.Head()
					began <- struct{}{}
					b, _ := io.ReadAll(c.R)
					whole <- strings.Contains(head, "chunked") && bytes.HasSuffix(b, []byte("0\r\n\r\n")) ||
						len(b) >= 1000000
				})
				u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
				c := u.Dial()
				c.Send("%s", tc.request)
				if tc.reaches {
					waitFor(t, began)
				}
				switch how {
				case "close":
					c.Close()
				case "reset":
					c.Cut()
				default:
					_ = c.CloseWrite()
					if b, err := io.ReadAll(c.R); err == nil && bytes.HasPrefix(b, []byte("HTTP/1.1 2")) {
						t.Errorf("got %q", b)
					}
				}
				u.Quiet()
				if tc.reaches && <-whole {
					t.Error("the origin received a whole request")
				}
				if n := origin.Accepted(); !tc.reaches && n != 0 {
					t.Errorf("the origin saw %d connections", n)
				}
			})
		}
	}
}

func TestMaxBodySize(t *testing.T) {
	t.Parallel()
	const limit = 20000
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		for {
			req, body, _ := c.Request()
			if req == nil || !c.Reply("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n%05d", len(body)) {
				return
			}
		}
	})
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{MaxBodySize: limit}}, Services: proxytest.Origins(origin.Addr),
	})
	chunks := func(n int) string {
		var b strings.Builder
		for ; n > 0; n -= min(n, 1000) {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", min(n, 1000), strings.Repeat("x", min(n, 1000)))
		}
		return b.String() + "0\r\n\r\n"
	}
	for _, tc := range []struct {
		name, request string
		status        int
	}{
		{"length at it", post(fmt.Sprintf("Content-Length: %d\r\n", limit), strings.Repeat("x", limit)), 200},
		{"length over it", post(fmt.Sprintf("Content-Length: %d\r\n", limit+1), strings.Repeat("x", limit+1)), 413},
		{"length far over it, not sent", post("Content-Length: 999999999\r\n", ""), 413},
		{"length over it, expecting 100", post("Expect: 100-continue\r\nContent-Length: 20001\r\n", ""), 413},
		{"chunks at it", post("Transfer-Encoding: chunked\r\n", chunks(limit)), 200},
		{"chunks over it", post("Transfer-Encoding: chunked\r\n", chunks(limit+1)), 413},
		{"chunks far over it", post("Transfer-Encoding: chunked\r\n", chunks(10*limit)), 413},
		{"one chunk far over it", post("Transfer-Encoding: chunked\r\n", "fffffff\r\n"+chunks(10*limit)), 413},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := proxytest.Dial(t, u.Addr())
			go func() { _, _ = io.WriteString(c.TCPConn, tc.request) }()
			r := c.Read("POST")
			if r.StatusCode != tc.status || tc.status == 413 && !r.Close {
				t.Errorf("got %d %v", r.StatusCode, r.Header)
			}
			if tc.status == 413 {
				if r.Header.Get("X-Usher-Reason") != "body_too_large" {
					t.Errorf("got %v", r.Header)
				}
				_ = c.CloseWrite()
				c.Closed()
			}
			u.Quiet()
		})
	}
}

// A client that expects 100 gets it before it sends its body, and only then.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		for {
			req, body, raw := c.Request()
			if req == nil {
				return
			}
			if strings.Contains(raw, "Expect") {
				body = "Expect came through"
			}
			c.Reply("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	})
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	large := strings.Repeat("x", 100000)
	for _, tc := range []struct{ name, fields, body, want string }{
		{"small", "Content-Length: 5\r\n", "hello", "hello"},
		{"large", "Content-Length: 100000\r\n", large, large},
		{"chunked", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := proxytest.Dial(t, u.Addr())
			for range 2 {
				c.Send("%s", post("Expect: 100-Continue\r\n"+tc.fields, ""))
				if r := c.Begin("POST"); r.StatusCode != 100 || len(r.Header) != 0 {
					t.Fatalf("got %d %v, want 100", r.StatusCode, r.Header)
				}
				c.Send("%s", tc.body)
				if r := c.Read("POST"); r.StatusCode != 200 || r.Text != tc.want {
					t.Fatalf("got %d %.100q", r.StatusCode, r.Text)
				} else if r.Close {
					return // the answer may come before the end of the body is noticed
				}
			}
		})
	}
	t.Run("a body that is there already", func(t *testing.T) {
		c := proxytest.Dial(t, u.Addr())
		c.Send("%s", post("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello"))
		c.OK("POST", "hello")
	})
	t.Run("no body", func(t *testing.T) {
		c := proxytest.Dial(t, u.Addr())
		c.Send(get + "Expect: 100-continue\r\n\r\n")
		c.OK("GET", "")
	})
	t.Run("HTTP/1.0", func(t *testing.T) {
		c := proxytest.Dial(t, u.Addr())
		c.Send("POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		c.Send("hello")
		c.OK("POST", "hello")
	})
	t.Run("no route", func(t *testing.T) {
		u := proxytest.Start(t, proxytest.Options{})
		c := u.Dial()
		c.Send("%s", post("Expect: 100-continue\r\nContent-Length: 5\r\n", ""))
		if r := c.Read("POST"); r.StatusCode != 404 || !r.Close {
			t.Errorf("got %d %v", r.StatusCode, r.Header)
		}
	})
}

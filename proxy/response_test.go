package proxy_test

import (
	"io"
	"strings"
	"testing"

	"usher/proxy/proxytest"
)

// Bytes that an origin sends behind a response belong to nobody: the next client
// must be answered by another connection.
func TestLateBytes(t *testing.T) {
	t.Parallel()
	const late = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned"
	for _, tc := range []struct{ name, method, answer string }{
		{"200 with a length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
		{"200 empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{"200 chunked", "GET", chunked + "2\r\nok\r\n0\r\n\r\n"},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n"},
		{"204 with a length", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"},
		{"204 chunked", "GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"},
		{"304 with a length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello"},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"},
		{"HEAD with a body", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
		{"HEAD chunked", "HEAD", chunked},
		{"large", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("x", 200000)},
	} {
		for _, when := range []string{"at once", "later"} {
			t.Run(tc.name+" "+when, func(t *testing.T) {
				t.Parallel()
				lateBytes(t, tc.method, tc.answer, late, when == "later")
			})
		}
	}
}

func lateBytes(t *testing.T, method, answer, late string, later bool) {
	t.Helper()
	first, sent := make(chan struct{}), make(chan struct{})
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		for {
			req, _, _ := c.Request()
			switch {
			case req == nil:
				return
			case req.URL.Path != "/first":
				c.Reply(proxytest.OK)
				continue
			case later:
				c.Reply("%s", answer)
				waitFor(t, first)
				c.Reply("%s", late)
			default:
				c.Reply("%s", answer+late)
			}
			close(sent)
		}
	})
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	c := u.Dial()
	c.Send("%s /first HTTP/1.1\r\nHost: a\r\n\r\n", method)
	if r := c.Read(method); r.Err != nil {
		t.Fatalf("the first response: %v", r.Err)
	}
	close(first)
	waitFor(t, sent)
	for i := range 3 {
		c := u.Dial()
		c.Send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
		if r := c.Read("GET"); r.StatusCode != 200 || r.Text != "ok" || r.Err != nil {
			t.Errorf("request %d: got %d %.100q (%v)", i, r.StatusCode, r.Text, r.Err)
		}
	}
}

// A connection that the origin means to close is not used again, however it says
// so, even when it stays open.
func TestOriginSaysClose(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, head string }{
		{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n"},
		{"Close", "HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n"},
		{"close and more", "HTTP/1.1 200 OK\r\nConnection: X-A, close\r\nContent-Length: 2\r\n"},
		{"on a second line", "HTTP/1.1 200 OK\r\nConnection: X-A\r\nConnection: close\r\nContent-Length: 2\r\n"},
		{"on a first line", "HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: X-A\r\nContent-Length: 2\r\n"},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Answering(t, tc.head+"\r\nok")
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			c := u.Dial()
			for range 3 {
				r := c.Get("/")
				if r.StatusCode != 200 || r.Text != "ok" || r.Proto != "HTTP/1.1" || r.Close {
					t.Errorf("got %s %d %q %v", r.Proto, r.StatusCode, r.Text, r.Header)
				}
			}
			if n := origin.Accepted(); n != 3 {
				t.Errorf("the origin saw %d connections, want 3", n)
			}
		})
	}
}

// A connection is used again where nothing speaks against it.
func TestOriginReused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, method, answer string }{
		{"with a length", "GET", proxytest.OK},
		{"keep-alive", "GET", "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"},
		{"HTTP/1.0 keep-alive", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"},
		{"chunked", "GET", chunked + "2\r\nok\r\n0\r\n\r\n"},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n"},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n"},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"},
		{"error of the origin", "GET", "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nok"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Answering(t, tc.answer)
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			c := u.Dial()
			for range 5 {
				c.Send("%s / HTTP/1.1\r\nHost: a\r\n\r\n", tc.method)
				if r := c.Read(tc.method); r.Err != nil || r.Close {
					t.Errorf("got %d %v (%v)", r.StatusCode, r.Header, r.Err)
				}
			}
			if n := origin.Accepted(); n != 1 {
				t.Errorf("the origin saw %d connections, want 1", n)
			}
		})
	}
}

// What is no response a proxy may relay is a 502, and its connection is not used
// again.
func TestMalformedResponses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, answer string }{
		{"101 unasked", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"},
		{"status 600", "HTTP/1.1 600 Huh\r\nContent-Length: 2\r\n\r\nok"},
		{"status 99", "HTTP/1.1 099 Huh\r\nContent-Length: 2\r\n\r\nok"},
		{"status 0", "HTTP/1.1 000 Huh\r\nContent-Length: 2\r\n\r\nok"},
		{"no status", "HTTP/1.1 \r\nContent-Length: 2\r\n\r\nok"},
		{"status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok"},
		{"status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"},
		{"not HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n"},
		{"lengths that differ", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"},
		{"length that is no number", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"},
		{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"},
		{"length with a plus", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"},
		{"length list", "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok"},
		{"length too large", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok"},
		{"unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok"},
		{"gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
		{
			"coding twice",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		},
		{"no colon", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX\r\n\r\nok"},
		{"NUL in a value", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: \x00\r\n\r\nok"},
		{"bare CR in a value", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\rSet-Cookie: b=c\r\n\r\nok"},
		{"space in a name", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX Y: a\r\n\r\nok"},
		{"bare CR in the reason", "HTTP/1.1 200 O\rSet-Cookie: b=c\r\nContent-Length: 2\r\n\r\nok"},
		{"head too large", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 64<<10) + "\r\nContent-Length: 2\r\n\r\nok"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Answering(t, tc.answer)
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			c := u.Dial()
			for range 2 {
				r := c.Get("/")
				if r.StatusCode != 502 || r.Header.Get("X-Usher-Reason") != "upstream_protocol" || r.Close {
					t.Errorf("got %d %v %q", r.StatusCode, r.Header, r.Text)
				}
			}
			if n := origin.Accepted(); n != 2 {
				t.Errorf("the origin saw %d connections, want 2", n)
			}
			u.Quiet()
		})
	}
}

// A response that is cut reaches the client as one that is cut: no terminator, no
// text appended, and the connection ends.
func TestTruncatedResponses(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 100<<10)
	for _, tc := range []struct{ name, answer string }{
		{"length, nothing of it", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
		{"length, a part", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"},
		{"length, a part of much", "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + big},
		{"chunked, nothing of it", chunked},
		{"chunked, within a size", chunked + "5"},
		{"chunked, behind a size", chunked + "5\r\n"},
		{"chunked, within a chunk", chunked + "5\r\nhel"},
		{"chunked, behind the data", chunked + "5\r\nhello"},
		{"chunked, at a boundary", chunked + "5\r\nhello\r\n"},
		{"chunked, behind the last size", chunked + "5\r\nhello\r\n0\r\n"},
		{"chunked, within the trailers", chunked + "0\r\nX: a\r\n"},
		{"chunked, much", chunked + "19000\r\n" + big + "\r\n"},
		{"malformed size", chunked + "5\r\nhello\r\nx\r\n"},
		{"negative size", chunked + "5\r\nhello\r\n-1\r\n"},
		{"size too large", chunked + "5\r\nhello\r\n10000000000000005\r\nhello\r\n"},
		{"no CRLF behind the data", chunked + "5\r\nhelloXX0\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Raw(t, func(c *proxytest.Conn) {
				if req, _, _ := c.Request(); req != nil {
					c.Reply("%s", tc.answer)
				}
			})
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			c := u.Dial()
			r := c.Get("/")
			_, body, _ := strings.Cut(tc.answer, "\r\n\r\n")
			if r.StatusCode != 200 || r.Err == nil {
				t.Errorf("got %d, want an error in the body: %.100q", r.StatusCode, r.Text)
			}
			if plain := strings.TrimRight(r.Text, "x"); !strings.Contains(body, plain) {
				t.Errorf("the body %.100q is not what the origin sent", r.Text)
			}
			c.Closed()
			u.Quiet()
		})
	}
}

// What came before the cut still reaches the client.
func TestTruncatedResponseKeepsItsBeginning(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, answer string }{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"},
		{"chunked", chunked + "5\r\nhello\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Raw(t, func(c *proxytest.Conn) {
				c.Request()
				c.Reply("%s", tc.answer)
			})
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			if r := u.Dial().Get("/"); r.Text != "hello" || r.Err == nil {
				t.Errorf("got %q (%v), want hello and an error", r.Text, r.Err)
			}
		})
	}
}

// An origin that ends its response by a reset is one that cut it.
func TestResetInResponse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, answer string }{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"},
		{"large", "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhello"},
		{"chunked", chunked + "5\r\nhello\r\n"},
		{"until close", "HTTP/1.1 200 OK\r\n\r\nhello"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			seen := make(chan struct{})
			origin := proxytest.Raw(t, func(c *proxytest.Conn) {
				c.Request()
				c.Reply("%s", tc.answer)
				waitFor(t, seen)
				c.Reset()
			})
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			c := u.Dial()
			c.Send(get + "\r\n")
			resp := c.Begin("GET")
			b := make([]byte, 5)
			if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != "hello" {
				t.Fatalf("got %q, %v", b, err)
			}
			close(seen)
			if rest, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("then %q and a clean end", rest)
			}
		})
	}
}

// waitFor waits for an event, at most until the test ends.
func waitFor[T any](t *testing.T, event <-chan T) {
	t.Helper()
	select {
	case <-event:
	case <-t.Context().Done():
	}
}

// A body that ends with the connection is whole when the connection ends in order.
func TestUntilClose(t *testing.T) {
	t.Parallel()
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		c.Request()
		c.Reply("HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nhello")
	})
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	c := u.Dial()
	for range 2 {
		if r := c.Get("/"); r.Text != "hello" || r.Err != nil || r.Close || r.ContentLength != -1 {
			t.Errorf("got %q (%v) %v", r.Text, r.Err, r.Header)
		}
	}
}

// A trailer section belongs to one response: the next one on the connection, whose body
// ends with its connection to the origin, has none.
func TestTrailersStayBehind(t *testing.T) {
	t.Parallel()
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		for {
			req, _, _ := c.Request()
			switch {
			case req == nil:
				return
			case req.URL.Path == "/trailers":
				c.Reply("%s", chunked+"2\r\nok\r\n0\r\nX-Secret: 1\r\n\r\n")
			default:
				c.Reply("%s", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok")
				return
			}
		}
	})
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	c := u.Dial()
	if r := c.Get("/trailers"); r.Text != "ok" || r.Trailer.Get("X-Secret") != "1" {
		t.Fatalf("got %q, trailers %v", r.Text, r.Trailer)
	}
	if r := c.Get("/close"); r.Text != "ok" || len(r.Trailer) > 0 {
		t.Errorf("got %q, trailers %v", r.Text, r.Trailer)
	}
}

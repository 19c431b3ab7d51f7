package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// An origin may answer before it has the whole body: the client gets the answer at
// once, and no request after it on that connection.
func TestEarlyResponse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, fields, begin, more string }{
		{"length", "Content-Length: 10000000\r\n", strings.Repeat("x", 50000), strings.Repeat("x", 100000)},
		{"chunked", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", "5\r\nhello\r\n"},
	} {
		for _, closes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, origin closes %v", tc.name, closes), func(t *testing.T) {
				t.Parallel()
				origin := proxytest.Raw(t, func(c *proxytest.Conn) {
					c.Head()
					c.Reply("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
					if closes { // in order: a reset could overtake the answer
						_ = c.CloseWrite()
					}
					c.Gone()
				})
				u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
				c := u.Dial()
				c.Send("%s", post(tc.fields, tc.begin))
				r := c.Read("POST")
				if r.StatusCode != 403 || r.Text != "no" || !r.Close {
					t.Fatalf("got %d %q %v", r.StatusCode, r.Text, r.Header)
				}
				_, _ = io.WriteString(c.TCPConn, tc.more)
				_ = c.CloseWrite()
				c.Closed()
				u.Quiet()
				proxytest.Eventually(t, "usher has left the origin", func() bool { return origin.Open() == 0 })
			})
		}
	}
}

// Both bodies may flow at once.
func TestDuplex(t *testing.T) {
	t.Parallel()
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		c.Head()
		c.Reply(chunked)
		for {
			size, _ := c.R.ReadString('\n')
			data, err := c.R.ReadString('\n')
			if err != nil || size == "0\r\n" {
				c.Reply("0\r\n\r\n")
				return
			}
			c.Reply("%s%s", size, data)
		}
	})
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	c := u.Dial()
	c.Send("%s", post("Transfer-Encoding: chunked\r\n", ""))
	resp := c.Begin("POST")
	for i := range 10 {
		c.Send("5\r\nping%d\r\n", i)
		b := make([]byte, 5)
		if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != fmt.Sprintf("ping%d", i) {
			t.Fatalf("got %q, %v", b, err)
		}
	}
	c.Send("0\r\n\r\n")
	if b, err := io.ReadAll(resp.Body); err != nil || len(b) > 0 {
		t.Errorf("at the end: %q, %v", b, err)
	}
}

// What an origin has sent of a slow stream reaches the client without waiting for
// more, wherever the segments end.
func TestSlowStream(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
	for _, tc := range []struct{ name, first, rest string }{
		{"chunk without its CRLF", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello", "\r\n0\r\n\r\n"},
		{"chunk with half its CRLF", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r", "\n0\r\n\r\n"},
		{"whole chunk", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "0\r\n\r\n"},
		{"chunk and a part of the next size", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0", "\r\n\r\n"},
		{"a part of a chunk", head + "Transfer-Encoding: chunked\r\n\r\n6\r\nhello", "!\r\n0\r\n\r\n"},
		{"two chunks", head + "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n", "0\r\n\r\n"},
		{"length", head + "Content-Length: 6\r\n\r\nhello", "!"},
		{"large length", head + "Content-Length: 600000\r\n\r\nhello", strings.Repeat("!", 600000-5)},
		{"until close", head + "\r\nhello", "!"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			seen := make(chan struct{})
			origin := proxytest.Raw(t, func(c *proxytest.Conn) {
				c.Request()
				c.Reply("%s", tc.first)
				waitFor(t, seen)
				c.Reply("%s", tc.rest)
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
			if _, err := io.ReadAll(resp.Body); err != nil {
				t.Errorf("at the end: %v", err)
			}
		})
	}
	t.Run("head alone", func(t *testing.T) {
		t.Parallel()
		for _, framing := range []string{"Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\n", ""} {
			seen := make(chan struct{})
			origin := proxytest.Raw(t, func(c *proxytest.Conn) {
				c.Request()
				c.Reply("%s%s\r\n", head, framing)
				waitFor(t, seen)
			})
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			c := u.Dial()
			c.Send(get + "\r\n")
			if resp := c.Begin("GET"); resp.StatusCode != 200 {
				t.Errorf("got %d", resp.StatusCode)
			}
			close(seen)
		}
	})
}

// What is at hand of an upload reaches the origin without waiting for more.
func TestSlowUpload(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, fields, first, rest string }{
		{"whole chunk", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", "0\r\n\r\n"},
		{"part of a chunk", "Transfer-Encoding: chunked\r\n", "6\r\nhello", "!\r\n0\r\n\r\n"},
		{"large length", "Content-Length: 600000\r\n", "hello", strings.Repeat("!", 600000-5)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			seen := make(chan struct{})
			origin := proxytest.Raw(t, func(c *proxytest.Conn) {
				req, err := http.ReadRequest(c.R)
				if err != nil {
					return
				}
				b := make([]byte, 5)
				if _, err := io.ReadFull(req.Body, b); err != nil || string(b) != "hello" {
					return
				}
				close(seen)
				if _, err := io.Copy(io.Discard, req.Body); err == nil {
					c.Reply(proxytest.OK)
				}
			})
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			c := u.Dial()
			c.Send("%s", post(tc.fields, tc.first))
			select {
			case <-seen:
			case <-time.After(proxytest.Patience):
				t.Fatal("the origin saw nothing")
			}
			c.Send("%s", tc.rest)
			c.OK("POST", "ok")
		})
	}
}

// A response may take its time after a whole request: neither the deadline of the
// head nor that of the body's reads is still running.
func TestResponseAfterLongWait(t *testing.T) {
	t.Parallel()
	const short = 100 * time.Millisecond
	for _, tc := range []struct {
		name, request string
		listener      config.Listener
		policy        config.Policy
	}{
		{"GET", get + "\r\n", config.Listener{HeaderTimeout: short}, config.Policy{}},
		{"small POST", post("Content-Length: 2\r\n", "ok"), config.Listener{HeaderTimeout: short}, config.Policy{}},
		{
			"chunked, whole in the buffer", post("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"),
			config.Listener{HeaderTimeout: short},
			config.Policy{},
		},
		{
			"large POST", post("Content-Length: 100000\r\n", strings.Repeat("x", 100000)),
			config.Listener{HeaderTimeout: short},
			config.Policy{},
		},
		{
			"large POST, short idle timeout", post("Content-Length: 100000\r\n", strings.Repeat("x", 100000)),
			config.Listener{},
			config.Policy{IdleTimeout: short},
		},
		{
			"chunked, short idle timeout",
			post("Transfer-Encoding: chunked\r\n", "10000\r\n"+strings.Repeat("x", 0x10000)+"\r\n0\r\n\r\n"),
			config.Listener{},
			config.Policy{IdleTimeout: short},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Raw(t, func(c *proxytest.Conn) {
				if req, _, _ := c.Request(); req == nil {
					return
				}
				select {
				case <-time.After(5 * short):
				case <-t.Context().Done():
				}
				c.Reply(proxytest.OK)
			})
			u := proxytest.Start(t, proxytest.Options{
				Listeners: []config.Listener{tc.listener}, Policy: tc.policy, Services: proxytest.Origins(origin.Addr),
			})
			c := u.Dial()
			c.Send("%s", tc.request)
			c.OK("POST", "ok")
		})
	}
}

// A body that stands still is given up.
func TestStalledBodies(t *testing.T) {
	t.Parallel()
	idle := config.Policy{IdleTimeout: 100 * time.Millisecond}
	for _, tc := range []struct{ name, answer string }{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"},
		{"large length", "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhello"},
		{"chunked", chunked + "5\r\nhello"},
		{"chunked, at a boundary", chunked + "5\r\nhello\r\n"},
		{"until close", "HTTP/1.1 200 OK\r\n\r\nhello"},
	} {
		t.Run("response by "+tc.name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Raw(t, func(c *proxytest.Conn) {
				c.Head()
				c.Reply("%s", tc.answer)
				c.Gone()
			})
			u := proxytest.Start(t, proxytest.Options{Policy: idle, Services: proxytest.Origins(origin.Addr)})
			if r := u.Dial().Get("/"); r.Text != "hello" || r.Err == nil {
				t.Errorf("got %q (%v)", r.Text, r.Err)
			}
			u.Quiet()
		})
	}
	for _, tc := range []struct{ name, fields, body string }{
		{"small length", "Content-Length: 10\r\n", "hello"},
		{"large length", "Content-Length: 1000000\r\n", "hello"},
		{"chunked", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"},
	} {
		t.Run("request by "+tc.name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Echo(t)
			u := proxytest.Start(t, proxytest.Options{Policy: idle, Services: proxytest.Origins(origin.Addr)})
			c := u.Dial()
			c.Send("%s", post(tc.fields, tc.body))
			if r := c.Read("POST"); r.StatusCode != 408 || r.Header.Get("X-Usher-Reason") != "request_timeout" {
				t.Errorf("got %d %v", r.StatusCode, r.Header)
			}
			u.Quiet()
		})
	}
}

// An upload that keeps moving may take longer than any one timeout.
func TestSteadyUpload(t *testing.T) {
	t.Parallel()
	const short = 600 * time.Millisecond
	origin := proxytest.Answering(t, proxytest.OK)
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{HeaderTimeout: short}},
		Policy:    config.Policy{IdleTimeout: short, Timeout: short}, Services: proxytest.Origins(origin.Addr),
	})
	c := u.Dial()
	c.Send("%s", post("Transfer-Encoding: chunked\r\n", ""))
	tick := time.NewTicker(short / 5)
	defer tick.Stop()
	for range 12 {
		<-tick.C
		c.Send("5\r\nhello\r\n")
	}
	c.Send("0\r\n\r\n")
	c.OK("POST", "ok")
}

// An upload does not cost the connection, however soon the answer comes.
func TestUploadsKeepTheConnection(t *testing.T) {
	t.Parallel()
	origin := proxytest.Answering(t, proxytest.OK)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	for _, tc := range []struct{ name, request string }{
		{"chunked", post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n")},
		{"length", post("Content-Length: 20000\r\n", strings.Repeat("x", 20000))},
	} {
		closed := 0
		c := u.Dial()
		for range 300 {
			c.Send("%s", tc.request)
			r := c.Read("POST")
			if r.StatusCode != 200 || r.Err != nil {
				t.Fatalf("%s: got %d (%v)", tc.name, r.StatusCode, r.Err)
			}
			if r.Close {
				closed++
				c = u.Dial()
			}
		}
		if closed > 0 {
			t.Errorf("%s: %d of 300 uploads cost their connection", tc.name, closed)
		}
	}
}

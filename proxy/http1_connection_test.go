package proxy_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// Requests that arrive together are answered in their order.
func TestPipelining(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	requests := []string{
		"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"\r\nGET /%d HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("x", 20000),
		"OPTIONS * HTTP/1.1\r\nHost: a\r\nX: %d\r\n\r\n",
		"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n",
	}
	for _, pieces := range []int{1, 2, 7, 1000} {
		t.Run(fmt.Sprintf("pieces of 1 in %d", pieces), func(t *testing.T) {
			t.Parallel()
			var all bytes.Buffer
			for i, r := range requests {
				fmt.Fprintf(&all, r, i)
			}
			c := proxytest.Dial(t, u.Addr())
			go sendInPieces(c, all.Bytes(), pieces)
			for i := range requests {
				r := c.Read("GET")
				want := fmt.Sprintf(" /%d HTTP/1.1\r\n", i)
				if own := i == 5; r.StatusCode != 200 || !own && !strings.Contains(r.Text, want) {
					t.Fatalf("response %d: got %d %.100q", i, r.StatusCode, r.Text)
				}
				if streamed := i == 2 || i == 4; streamed && r.Close {
					return // the answer may come before the end of the body is noticed
				}
			}
		})
	}
}

func sendInPieces(c *proxytest.Client, b []byte, n int) {
	step := max(1, len(b)/n)
	for len(b) > 0 {
		k := min(step, len(b))
		if _, err := c.Write(b[:k]); err != nil {
			return
		}
		b = b[k:]
	}
}

// What follows a request that ends its connection is not served.
func TestNothingAfterClose(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	for _, tc := range []struct{ name, head string }{
		{"close", "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"},
		{"close among others", "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Close\r\n\r\n"},
		{"HTTP/1.0", "GET /1 HTTP/1.0\r\nHost: a\r\n\r\n"},
		{"HTTP/1.0 close", "GET /1 HTTP/1.0\r\nHost: a\r\nConnection: close, keep-alive\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := proxytest.Dial(t, u.Addr())
			c.Send("%sGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", tc.head)
			if r := c.Read("GET"); r.StatusCode != 200 || !r.Close {
				t.Errorf("got %d %v", r.StatusCode, r.Header)
			}
			_ = c.CloseWrite()
			c.Closed()
		})
	}
	if got := origin.Received(); strings.Contains(got, "/2") {
		t.Errorf("the origin received %q", got)
	}
}

// A client that closes its side with its last request still gets the answer.
func TestHalfClosedClient(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	for _, tc := range []struct{ name, request string }{
		{"GET", get + "\r\n"},
		{"POST", post("Content-Length: 2\r\n", "ok")},
		{"chunked", post("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n")},
		{"large", post("Content-Length: 100000\r\n", strings.Repeat("x", 100000))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := proxytest.Dial(t, u.Addr())
			c.Send("%s", tc.request)
			_ = c.CloseWrite()
			if r := c.Read("GET"); r.StatusCode != 200 || r.Err != nil {
				t.Errorf("got %d (%v)", r.StatusCode, r.Err)
			}
			c.Closed()
		})
	}
	u.Quiet()
}

// HTTP/1.0 clients never get a chunked body.
func TestHTTP10(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, answer string
		keeps        bool
	}{
		{"length", proxytest.OK, true},
		{"chunked", chunked + "1\r\no\r\n1\r\nk\r\n0\r\n\r\n", false},
		{"chunked with trailers", chunked + "2\r\nok\r\n0\r\nX-T: a\r\n\r\n", false},
		{"until close", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", false},
	} {
		for _, keep := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, keep-alive %v", tc.name, keep), func(t *testing.T) {
				t.Parallel()
				origin := proxytest.Raw(t, func(c *proxytest.Conn) {
					c.Request()
					c.Reply("%s", tc.answer)
				})
				u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
				c := u.Dial()
				fields := ""
				if keep {
					fields = "Connection: Keep-Alive\r\n"
				}
				for i := range 2 {
					c.Send("GET / HTTP/1.0\r\nHost: a\r\n%s\r\n", fields)
					r := c.Read("GET")
					if r.Text != "ok" || r.Err != nil || len(r.TransferEncoding) > 0 || r.Trailer != nil {
						t.Errorf("got %q (%v) %v %v", r.Text, r.Err, r.TransferEncoding, r.Header)
					}
					if !keep || !tc.keeps {
						c.Closed()
						break
					}
					if got := r.Header.Get("Connection"); got != "keep-alive" {
						t.Errorf("response %d: Connection is %q", i, got)
					}
				}
				u.Quiet()
			})
		}
	}
}

// A body that ends with the connection has one way to say that it was cut: a reset.
func TestHTTP10Truncated(t *testing.T) {
	t.Parallel()
	origin := proxytest.Answering(t, chunked+"5\r\nhello\r\nx\r\n")
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	c := u.Dial()
	c.Send("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
	if r := c.Read("GET"); r.Err == nil {
		t.Errorf("the cut passed for an end: %q", r.Text)
	}
}

// A client that left ends the request upstream.
func TestClientGone(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, answer string }{
		{"before the response", ""},
		{"within a length", "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhello"},
		{"within chunks", chunked + "5\r\nhello"},
	} {
		for _, how := range []string{"close", "reset"} {
			t.Run(tc.name+", "+how, func(t *testing.T) {
				t.Parallel()
				asked, left := make(chan struct{}), make(chan bool, 1)
				origin := proxytest.Raw(t, func(c *proxytest.Conn) {
					c.Head()
					c.Reply("%s", tc.answer)
					close(asked)
					left <- c.Gone()
				})
				u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
				c := u.Dial()
				c.Send(get + "\r\n")
				waitFor(t, asked)
				if how == "reset" {
					c.Cut()
				} else {
					c.Close()
				}
				begin := time.Now()
				if !<-left || time.Since(begin) > 2*time.Second {
					t.Errorf("the origin was left after %v", time.Since(begin))
				}
			})
		}
	}
}

// A client that takes nothing does not hold an endpoint beyond the idle timeout.
func TestClientTakesNothing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, head string }{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"},
		{"until close", "HTTP/1.1 200 OK\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			left := make(chan struct{})
			origin := proxytest.Raw(t, func(c *proxytest.Conn) {
				c.Head()
				c.Reply("%s", tc.head)
				for c.Reply("%s", strings.Repeat("x", 100000)) {
				}
				close(left)
			})
			u := proxytest.Start(t, proxytest.Options{
				Policy: config.Policy{IdleTimeout: 200 * time.Millisecond}, Services: proxytest.Origins(origin.Addr),
			})
			c := u.Dial()
			c.Send(get + "\r\n")
			select {
			case <-left:
			case <-time.After(proxytest.Patience):
				t.Error("the origin is still sending")
			}
			u.Quiet()
		})
	}
}

// Connections beyond the limit are refused, and taken again when others have left.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	origin := proxytest.Answering(t, proxytest.OK)
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{MaxConnections: 2}}, Services: proxytest.Origins(origin.Addr),
	})
	a, b := u.Dial(), u.Dial()
	a.Get("/")
	b.Get("/")
	u.Dial().Closed()
	a.Close()
	open := u.Metrics.Downstream.Listener("web").Open
	proxytest.Eventually(t, "one connection is left", func() bool { return open.Value() == 1 })
	if r := u.Dial().Get("/"); r.StatusCode != 200 {
		t.Errorf("got %d", r.StatusCode)
	}
	if r := b.Get("/"); r.StatusCode != 200 {
		t.Errorf("got %d", r.StatusCode)
	}
}

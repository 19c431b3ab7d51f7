package proxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// TestResetOnReuse kills a kept connection just as a request goes out on it.
func TestResetOnReuse(t *testing.T) {
	t.Parallel()
	small, large := "hello", strings.Repeat("x", 100<<10)
	for _, tc := range []struct {
		name, method, body string
		status             int
		executed           int32
	}{
		{"GET", "GET", "", 200, 2},
		{"HEAD", "HEAD", "", 200, 2},
		{"OPTIONS", "OPTIONS", "", 200, 2},
		{"DELETE", "DELETE", "", 200, 2},
		{"PUT with a small body", "PUT", small, 200, 2},
		{"PUT with a large body", "PUT", large, 502, 1},
		{"POST", "POST", "", 502, 1},
		{"POST with a small body", "POST", small, 502, 1},
		{"POST with a large body", "POST", large, 502, 1},
		{"PATCH", "PATCH", small, 502, 1},
		{"unknown method", "BREW", "", 502, 1},
		{"lower-case get", "get", "", 502, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var ran atomic.Int32
			origin := proxytest.Raw(t, func(c *proxytest.Conn) { dieOnReuse(c, &ran) })
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			c := u.Dial()
			c.Get("/first")
			c.Send("%s /second HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", tc.method, len(tc.body), tc.body)
			r := c.Read(tc.method)
			if r.StatusCode != tc.status {
				t.Errorf("got %d %v, want %d", r.StatusCode, r.Header, tc.status)
			}
			if r.StatusCode == 502 && r.Header.Get("X-Usher-Reason") != "upstream_reset" {
				t.Errorf("got the reason %q", r.Header.Get("X-Usher-Reason"))
			}
			if n := ran.Load(); n != tc.executed {
				t.Errorf("the origin was asked %d times, want %d", n, tc.executed)
			}
			u.Quiet()
		})
	}
}

// dieOnReuse answers the first request of a connection and closes it, unanswered,
// at the second.
func dieOnReuse(c *proxytest.Conn, ran *atomic.Int32) {
	for i := range 2 {
		req, _, _ := c.Request()
		switch {
		case req == nil:
			return
		case req.URL.Path == "/second":
			ran.Add(1)
		}
		if i == 1 {
			return
		}
		if req.Method == http.MethodHead {
			c.Reply("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
			continue
		}
		c.Reply(proxytest.OK)
	}
}

// A request whose fresh connection dies is not the fault of keeping it: a GET goes
// elsewhere if there is somewhere else, a POST fails.
func TestResetOnFresh(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, method string
		origins      int
		status       int
		executed     int32
	}{
		{"GET, one endpoint", "GET", 1, 502, 1},
		{"GET, two endpoints", "GET", 2, 502, 2},
		{"GET, five endpoints", "GET", 5, 502, 3},
		{"POST, one endpoint", "POST", 1, 502, 1},
		{"POST, five endpoints", "POST", 5, 502, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var ran atomic.Int32
			var addresses []string
			for range tc.origins {
				o := proxytest.Raw(t, func(c *proxytest.Conn) {
					if req, _, _ := c.Request(); req != nil {
						ran.Add(1)
					}
				})
				addresses = append(addresses, o.Addr)
			}
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(addresses...)})
			c := u.Dial()
			c.Send("%s / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok", tc.method)
			if r := c.Read(tc.method); r.StatusCode != tc.status || r.Header.Get("X-Usher-Reason") != "upstream_reset" {
				t.Errorf("got %d %v", r.StatusCode, r.Header)
			}
			if n := ran.Load(); n != tc.executed {
				t.Errorf("%d executions, want %d", n, tc.executed)
			}
			u.Quiet()
		})
	}
}

// A kept connection that the origin closed in peace costs nothing, whatever the
// method: nothing was sent on it.
func TestIdleConnectionClosedByOrigin(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 100<<10)
	for _, tc := range []struct{ name, method, body string }{
		{"GET", "GET", ""},
		{"POST without a body", "POST", ""},
		{"POST with a small body", "POST", "hello"},
		{"POST with a large body", "POST", large},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			closing := make(chan struct{}, 1)
			var ran atomic.Int32
			origin := proxytest.Raw(t, func(c *proxytest.Conn) {
				if req, _, _ := c.Request(); req == nil {
					return
				}
				ran.Add(1)
				c.Reply(proxytest.OK)
				waitFor(t, closing)
			})
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			c := u.Dial()
			c.Get("/first")
			closing <- struct{}{}
			proxytest.Eventually(t, "the origin has closed", func() bool { return origin.Open() == 0 })
			closing <- struct{}{}
			c.Send("%s / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", tc.method, len(tc.body), tc.body)
			c.OK(tc.method, "ok")
			if n := ran.Load(); n != 2 {
				t.Errorf("%d executions, want 2", n)
			}
		})
	}
}

// A failed connect says that nothing was sent: any method goes to another
// endpoint.
func TestConnectFailedGoesElsewhere(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 100<<10)
	for _, tc := range []struct{ name, method, fields, body string }{
		{"GET", "GET", "", ""},
		{"POST", "POST", "Content-Length: 5\r\n", "hello"},
		{"large POST", "POST", fmt.Sprintf("Content-Length: %d\r\n", len(large)), large},
		{"chunked POST", "POST", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Echo(t)
			u := proxytest.Start(t, proxytest.Options{
				Services: proxytest.Origins(proxytest.Nowhere(t), origin.Addr, proxytest.Nowhere(t)),
			})
			for range 4 {
				c := u.Dial()
				c.Send("%s / HTTP/1.1\r\nHost: a\r\n%s\r\n%s", tc.method, tc.fields, tc.body)
				r := c.Read(tc.method)
				if r.StatusCode != 200 || !strings.HasSuffix(r.Text, "\r\n\r\n"+tc.body) {
					t.Fatalf("got %d %v %.300q", r.StatusCode, r.Header, r.Text)
				}
			}
			u.Quiet()
		})
	}
}

// A request that waits in vain is not repeated: it may be running.
func TestTimeoutIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			var ran atomic.Int32
			hang := func(c *proxytest.Conn) {
				c.Request()
				ran.Add(1)
				c.Gone()
			}
			u := proxytest.Start(t, proxytest.Options{
				Policy:   config.Policy{Timeout: 100 * time.Millisecond},
				Services: proxytest.Origins(proxytest.Raw(t, hang).Addr, proxytest.Raw(t, hang).Addr),
			})
			c := u.Dial()
			c.Send("%s / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok", method)
			if r := c.Read(method); r.StatusCode != 504 || r.Header.Get("X-Usher-Reason") != "upstream_timeout" {
				t.Errorf("got %d %v", r.StatusCode, r.Header)
			}
			if n := ran.Load(); n != 1 {
				t.Errorf("%d executions, want 1", n)
			}
		})
	}
}

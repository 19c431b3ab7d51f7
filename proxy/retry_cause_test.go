package proxy_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// counting starts an origin that gives each request the answer that f makes of its number,
// which counts from 1.
func counting(tb testing.TB, ran *atomic.Int32, f func(n int32) string) *proxytest.Origin {
	tb.Helper()
	return proxytest.Raw(tb, func(c *proxytest.Conn) {
		for {
			req, _, _ := c.Request()
			if req == nil {
				return
			}
			if !c.Reply("%s", f(ran.Add(1))) {
				return
			}
		}
	})
}

// always is a counting origin's answer.
func always(text string) func(int32) string { return func(int32) string { return text } }

func status(code int, fields string) string {
	return fmt.Sprintf("HTTP/1.1 %d Some\r\n%sContent-Length: 4\r\n\r\nfail", code, fields)
}

// gateway retries what gateways and origins answer when they cannot.
func gateway(attempts int, more ...int) config.Policy {
	return config.Policy{Retry: config.Retry{
		Attempts: attempts, On: []string{config.RetryConnectFailed, config.RetryReset, config.RetryGatewayErrors},
		RetriableStatus: more,
	}}
}

// A status that is retried is, where that is safe: and the last answer is the endpoint's
// own.
func TestRetryOfStatus(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 100<<10)
	for _, tc := range []struct {
		name, method, body string
		code               int
		policy             config.Policy
		status             int
		failed             int32
	}{
		{"GET 503", "GET", "", 503, gateway(1), 200, 1},
		{"GET 502", "GET", "", 502, gateway(1), 200, 1},
		{"GET 504, two tries more", "GET", "", 504, gateway(2), 200, 2},
		{"PUT with a small body", "PUT", "hello", 503, gateway(1), 200, 1},
		{"PUT with a large body", "PUT", large, 503, gateway(1), 503, 1},
		{"POST", "POST", "hello", 503, gateway(1), 503, 1},
		{"GET 500", "GET", "", 500, gateway(1), 500, 1},
		{"GET 500, listed", "GET", "", 500, gateway(1, 429, 500), 200, 1},
		{"POST 429, listed", "POST", "", 429, gateway(1, 429), 429, 1},
		{"no attempt", "GET", "", 503, gateway(-1), 503, 1},
		{"no cause", "GET", "", 503, config.Policy{}, 503, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var bad, good atomic.Int32
			fails := counting(t, &bad, always(status(tc.code, "")))
			again := counting(t, &bad, always(status(tc.code, "")))
			works := counting(t, &good, always(proxytest.OK))
			addresses := []string{fails.Addr, works.Addr}
			if tc.failed == 2 {
				addresses = []string{fails.Addr, again.Addr, works.Addr}
			}
			u := proxytest.Start(t, proxytest.Options{Policy: tc.policy, Services: proxytest.Origins(addresses...)})
			c := u.Dial()
			c.Send("%s / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", tc.method, len(tc.body), tc.body)
			r := c.Read(tc.method)
			if r.StatusCode != tc.status || r.Header.Get("X-Usher-Reason") != "" {
				t.Errorf("got %s %v, want %d", r.Status, r.Header, tc.status)
			}
			if n := bad.Load(); n != tc.failed {
				t.Errorf("%d tries failed, want %d", n, tc.failed)
			}
			if n := good.Load(); (n == 1) != (tc.status == 200) || n > 1 {
				t.Errorf("%d tries went well", n)
			}
			u.Quiet()
		})
	}
}

// Where all endpoints fail, the client gets the answer of one of them, after as many tries
// as may be.
func TestRetryOfStatusInVain(t *testing.T) {
	t.Parallel()
	var ran atomic.Int32
	var addresses []string
	for range 5 {
		addresses = append(addresses, counting(t, &ran, always(status(503, "X-Own: 1\r\n"))).Addr)
	}
	u := proxytest.Start(t, proxytest.Options{Policy: gateway(2), Services: proxytest.Origins(addresses...)})
	c := u.Dial()
	for range 3 {
		if r := c.Get("/"); r.StatusCode != 503 || r.Header.Get("X-Own") != "1" || r.Text != "fail" {
			t.Errorf("got %s %v", r.Status, r.Header)
		}
	}
	if n := ran.Load(); n != 9 {
		t.Errorf("%d tries, want 9", n)
	}
	labels := map[string]string{"service": "origin", "reason": "status", "outcome": "answered"}
	if n := u.Counter("usher_upstream_retries_total", labels); n != 6 {
		t.Errorf("%v retries are counted, want 6", n)
	}
	// With nobody else to ask the answer is passed on at once.
	u.Publish(proxytest.Origins(addresses[0])...)
	if r := c.Get("/"); r.StatusCode != 503 || r.Text != "fail" || ran.Load() != 10 {
		t.Errorf("got %s after %d tries", r.Status, ran.Load())
	}
}

// A response that is dropped leaves its connection for others, if it is at hand, and none
// of its bytes.
func TestRetryDropsTheResponse(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200<<10)
	for _, tc := range []struct {
		name, answer string
		connections  int
	}{
		{"short", status(503, ""), 1},
		{"without a body", "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", 1},
		{"close", status(503, "Connection: close\r\n"), 4},
		{"long", fmt.Sprintf("HTTP/1.1 503 No\r\nContent-Length: %d\r\n\r\n%s", len(long), long), 4},
		{"chunked", "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfail\r\n0\r\n\r\n", 4},
		{"with bytes behind", status(503, "") + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var bad, good atomic.Int32
			fails, works := counting(t, &bad, always(tc.answer)), counting(t, &good, always(proxytest.OK))
			// The first listed is asked first, always.
			u := proxytest.Start(t, proxytest.Options{
				Policy: withBalance(gateway(1), "first"), Balancers: firstListed(),
				Services: proxytest.Origins(fails.Addr, works.Addr),
			})
			c := u.Dial()
			for range 4 {
				c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				c.OK("GET", "ok")
			}
			if n := bad.Load(); n != 4 {
				t.Errorf("%d tries failed, want 4", n)
			}
			if n := fails.Accepted(); n != tc.connections {
				t.Errorf("%d connections, want %d", n, tc.connections)
			}
			u.Quiet()
		})
	}
}

// An endpoint that says when to come back is left alone until then, unless there is no
// other.
func TestRetryAfterIsHeeded(t *testing.T) {
	t.Parallel()
	var busy, idle atomic.Int32
	first := counting(t, &busy, always(status(503, "Retry-After: 3600\r\n")))
	second := counting(t, &idle, always(proxytest.OK))
	u := proxytest.Start(t, proxytest.Options{
		Policy: gateway(1), Services: proxytest.Origins(first.Addr, second.Addr),
	})
	c := u.Dial()
	for range 10 {
		c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		c.OK("GET", "ok")
	}
	if busy.Load() != 1 || idle.Load() != 10 {
		t.Errorf("%d tries at the busy one, %d at the other; want 1 and 10", busy.Load(), idle.Load())
	}
	u.Publish(proxytest.Origins(first.Addr)...)
	if r := c.Get("/"); r.StatusCode != 503 || r.Header.Get("Retry-After") != "3600" || busy.Load() != 2 {
		t.Errorf("alone: got %s %v after %d tries", r.Status, r.Header, busy.Load())
	}
}

// A try that takes too long moves on, where another may follow.
func TestPerTryTimeout(t *testing.T) {
	t.Parallel()
	const short = 60 * time.Millisecond
	policy := config.Policy{Retry: config.Retry{Attempts: 1, PerTryTimeout: short}}
	t.Run("moves on", func(t *testing.T) {
		t.Parallel()
		var ran atomic.Int32
		u := proxytest.Start(t, proxytest.Options{
			Policy: withBalance(policy, "first"), Balancers: firstListed(),
			Services: proxytest.Origins(hanging(t, &ran).Addr, proxytest.Answering(t, proxytest.OK).Addr),
		})
		c := u.Dial()
		c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		c.OK("GET", "ok")
		if ran.Load() != 1 {
			t.Errorf("%d executions", ran.Load())
		}
		labels := map[string]string{"reason": "timeout", "outcome": "answered"}
		if n := u.Counter("usher_upstream_retries_total", labels); n != 1 {
			t.Errorf("%v retries are counted", n)
		}
		u.Quiet()
	})
	// The last try, one that is alone, and one that must not be repeated have the whole
	// timeout: the origin answers after more than two short ones.
	for _, tc := range []struct {
		name, method string
		origins      int
		executed     int32
	}{
		{"the last", "GET", 2, 2}, {"alone", "GET", 1, 1}, {"POST", "POST", 2, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var ran atomic.Int32
			slow := func(c *proxytest.Conn) {
				for {
					if req, _, _ := c.Request(); req == nil {
						return
					}
					ran.Add(1)
					select {
					case <-time.After(4 * short):
					case <-t.Context().Done():
					}
					c.Reply(proxytest.OK)
				}
			}
			var addresses []string
			for range tc.origins {
				addresses = append(addresses, proxytest.Raw(t, slow).Addr)
			}
			u := proxytest.Start(t, proxytest.Options{Policy: policy, Services: proxytest.Origins(addresses...)})
			c := u.Dial()
			c.Send("%s / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", tc.method)
			c.OK(tc.method, "ok")
			if n := ran.Load(); n != tc.executed {
				t.Errorf("%d executions, want %d", n, tc.executed)
			}
		})
	}
}

// hanging starts an origin that takes requests and never answers.
func hanging(tb testing.TB, ran *atomic.Int32) *proxytest.Origin {
	tb.Helper()
	return proxytest.Raw(tb, func(c *proxytest.Conn) {
		if req, _, _ := c.Request(); req != nil {
			ran.Add(1)
			c.Gone()
		}
	})
}

// Between two tries nothing is held, and the wait ends when nobody waits any more.
func TestBackoff(t *testing.T) {
	t.Parallel()
	long := config.Backoff{Base: time.Hour, Max: time.Hour}
	begin := func(t *testing.T, p config.Policy) (*proxytest.Usher, *proxytest.Client, *atomic.Int32) {
		ran := &atomic.Int32{}
		p.Retry.Attempts, p.Retry.Backoff = 2, long
		fails := func() string {
			return proxytest.Raw(t, func(c *proxytest.Conn) {
				if req, _, _ := c.Request(); req != nil {
					ran.Add(1)
				}
			}).Addr
		}
		u := proxytest.Start(t, proxytest.Options{Policy: p, Services: proxytest.Origins(fails(), fails())})
		c := u.Dial()
		c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		proxytest.Eventually(t, "the request pauses", func() bool {
			listeners, endpoints := u.InFlight()
			return ran.Load() == 1 && listeners == 1 && endpoints == 0
		})
		return u, c, ran
	}
	t.Run("the client leaves", func(t *testing.T) {
		t.Parallel()
		u, c, ran := begin(t, config.Policy{})
		c.Close()
		u.Quiet()
		if ran.Load() != 1 {
			t.Errorf("%d executions", ran.Load())
		}
	})
	t.Run("the time is over", func(t *testing.T) {
		t.Parallel()
		u, c, ran := begin(t, config.Policy{TotalTimeout: 500 * time.Millisecond})
		if r := c.Read("GET"); r.StatusCode != 504 || r.Header.Get("X-Usher-Reason") != "total_timeout" || r.Close {
			t.Errorf("got %s %v", r.Status, r.Header)
		}
		if ran.Load() != 1 {
			t.Errorf("%d executions", ran.Load())
		}
		u.Quiet()
	})
	t.Run("usher stops", func(t *testing.T) {
		t.Parallel()
		u, _, _ := begin(t, config.Policy{})
		u.Proxy.Close() // waits for all connections
		u.Quiet()
	})
}

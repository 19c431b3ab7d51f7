package proxy_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// moody is an origin that answers, or resets each request's connection.
type moody struct {
	*proxytest.Origin
	ran  atomic.Int32
	sick atomic.Bool
}

func newMoody(tb testing.TB, sick bool) *moody {
	tb.Helper()
	m := &moody{}
	m.sick.Store(sick)
	m.Origin = proxytest.Raw(tb, func(c *proxytest.Conn) {
		for {
			if req, _, _ := c.Request(); req == nil {
				return
			}
			m.ran.Add(1)
			if m.sick.Load() || !c.Reply(proxytest.OK) {
				c.Reset()
				return
			}
		}
	})
	return m
}

// clients runs n clients at once, each on a connection of its own.
func clients(t *testing.T, u *proxytest.Usher, n int, each func(c *proxytest.Client, nth int)) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		c := u.Dial()
		_ = c.SetDeadline(time.Now().Add(3 * proxytest.Patience))
		wg.Go(func() { each(c, i) })
	}
	wg.Wait()
}

// ask sends a request and is what a client reads: the status and the reason.
func ask(c *proxytest.Client, request, method string) (int, string, error) {
	if _, err := c.Write([]byte(request)); err != nil {
		return 0, "", err
	}
	r, err := c.TryBegin(method)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		return 0, "", err
	}
	return r.StatusCode, r.Header.Get("X-Usher-Reason"), nil
}

const plainGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// When all endpoints fail there is no storm of retries; once they are well again every
// request is answered, by the first try.
func TestNoRetryStorm(t *testing.T) {
	t.Parallel()
	origins := []*moody{newMoody(t, true), newMoody(t, true), newMoody(t, true)}
	var addresses []string
	for _, o := range origins {
		addresses = append(addresses, o.Addr)
	}
	attempts := func() (n int) {
		for _, o := range origins {
			n += int(o.ran.Load())
		}
		return n
	}
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(addresses...)})
	const each, at = 150, 8
	var refused atomic.Int32
	begin := time.Now()
	clients(t, u, at, func(c *proxytest.Client, _ int) {
		for range each {
			code, reason, err := ask(c, plainGet, "GET")
			switch {
			case err != nil || code != 502:
				t.Errorf("got %d %s, %v", code, reason, err)
				return
			case reason == "retry_budget":
				refused.Add(1)
			}
		}
	})
	const requests = each * at
	floor := 30 + 3*time.Since(begin).Seconds()
	if n := attempts(); float64(n) > 1.2*requests+floor {
		t.Errorf("%d attempts for %d requests, want at most %.0f", n, requests, 1.2*requests+floor)
	} else if n <= requests {
		t.Errorf("%d attempts for %d requests: nothing was tried again", n, requests)
	}
	if n := u.Counter("usher_upstream_retry_budget_exhausted_total", nil); n != float64(refused.Load()) || n == 0 {
		t.Errorf("%v retries refused by the metric, %d by the answers", n, refused.Load())
	}
	for _, o := range origins {
		o.sick.Store(false)
	}
	before := attempts()
	clients(t, u, at, func(c *proxytest.Client, _ int) {
		for range each {
			if code, reason, err := ask(c, plainGet, "GET"); err != nil || code != 200 {
				t.Errorf("after that: got %d %s, %v", code, reason, err)
				return
			}
		}
	})
	if n := attempts() - before; n != requests {
		t.Errorf("after that: %d attempts for %d requests", n, requests)
	}
	u.Quiet()
}

// An answer that the budget allows no retry of says both: that, and what failed.
func TestRetryBudgetIsTold(t *testing.T) {
	t.Parallel()
	sick := []*moody{newMoody(t, true), newMoody(t, true)}
	u := proxytest.Start(t, proxytest.Options{
		Policy:   config.Policy{Retry: config.Retry{Budget: config.RetryBudget{MinPerSecond: 1e-9}}},
		Services: proxytest.Origins(sick[0].Addr, sick[1].Addr),
	})
	c := u.Dial()
	r := c.Get("/")
	if r.StatusCode != 502 || r.Header.Get("X-Usher-Reason") != "retry_budget" ||
		r.Text != "retry_budget: upstream_reset\n" {
		t.Errorf("got %s %v %q", r.Status, r.Header, r.Text)
	}
	if n := sick[0].ran.Load() + sick[1].ran.Load(); n != 1 {
		t.Errorf("%d tries, want 1", n)
	}
	if n := u.Counter("usher_request_errors_total", map[string]string{"reason": "retry_budget"}); n != 1 {
		t.Errorf("%v are counted", n)
	}
}

// In panic those that cannot be connected to are tried now and then. As long as there is
// one that answers, that costs no client anything, whatever the budget.
func TestDeadOnesInPanic(t *testing.T) {
	t.Parallel()
	policy := config.Policy{Retry: config.Retry{Budget: config.RetryBudget{MinPerSecond: 1e-9}}}
	policy.Outlier = config.DefaultHealth().Outlier
	policy.Outlier.BaseTime, policy.Outlier.MaxTime = time.Hour, time.Hour // the panic lasts
	u := proxytest.Start(t, proxytest.Options{
		Policy: policy,
		Services: proxytest.Origins(
			nobody(t), nobody(t), proxytest.Answering(t, proxytest.OK).Addr,
		),
	})
	c := u.Dial()
	proxytest.Eventually(t, "panic", func() bool {
		c.Get("/")
		return u.Proxy.Table().Clusters()[0].View().Panic
	})
	dead := func() float64 { return u.Counter("usher_upstream_connect_errors_total", nil) }
	before, asked := dead(), 0
	for ; asked < 100 || dead() == before; asked++ {
		if resp := c.Get("/"); resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s in panic", resp.StatusCode, resp.Header.Get("X-Usher-Reason"))
		}
	}
	t.Logf("%d requests in panic, %v of the dead tried", asked, dead()-before)
}

// nobody is an address that nobody listens at.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A budget is the service's: neither new tables nor a short absence fill it again.
func TestBudgetOutlivesTables(t *testing.T) {
	t.Parallel()
	sick := newMoody(t, true)
	u := proxytest.Start(t, proxytest.Options{
		Policy:   config.Policy{Retry: config.Retry{Budget: config.RetryBudget{MinPerSecond: 0.2}}},
		Services: proxytest.Origins(sick.Addr, newMoody(t, true).Addr),
	})
	c := u.Dial()
	spend := func() (retries float64) {
		before := u.Counter("usher_upstream_retries_total", nil)
		for range 20 {
			c.Get("/")
		}
		return u.Counter("usher_upstream_retries_total", nil) - before
	}
	if n := spend(); n != 2 {
		t.Errorf("%v retries at first, want 2", n)
	}
	for range 100 {
		u.Publish(proxytest.Origins(newMoody(t, true).Addr, sick.Addr)...)
	}
	if n := spend(); n != 0 {
		t.Errorf("%v retries after new tables, want none", n)
	}
	u.Publish()
	if r := c.Get("/"); r.StatusCode != 404 {
		t.Fatalf("got %s", r.Status)
	}
	u.Publish(proxytest.Origins(newMoody(t, true).Addr, sick.Addr)...)
	if n := spend(); n != 0 {
		t.Errorf("%v retries after an absence, want none", n)
	}
}

// An endpoint that dies under load costs no idempotent request, and no other is executed
// twice, while tables are swapped.
func TestKillUnderLoad(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	executed := map[string]int{}
	serve := func(c *proxytest.Conn) {
		for {
			req, _, _ := c.Request()
			if req == nil {
				return
			}
			if req.Method == http.MethodPost {
				mu.Lock()
				executed[req.URL.Path]++
				mu.Unlock()
			}
			if !c.Reply(proxytest.OK) {
				return
			}
		}
	}
	origins := []*proxytest.Origin{proxytest.Raw(t, serve), proxytest.Raw(t, serve), proxytest.Raw(t, serve)}
	addresses := []string{origins[0].Addr, origins[1].Addr, origins[2].Addr}
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(addresses...)})
	const each, at = 400, 8
	var halfway sync.WaitGroup
	halfway.Add(at)
	killed := make(chan struct{})
	var swaps sync.WaitGroup
	swaps.Go(func() {
		halfway.Wait()
		for i := range 50 {
			u.Publish(proxytest.Origins(addresses...)...)
			if i == 25 {
				origins[1].Close()
				close(killed)
			}
		}
	})
	var posts, failed atomic.Int32
	clients(t, u, at, func(c *proxytest.Client, nth int) {
		for i := range each {
			if i == each/4 {
				halfway.Done()
			}
			if i == each/2 {
				<-killed
			}
			request, method := plainGet, "GET"
			if i%4 == 0 {
				method = "POST"
				request = fmt.Sprintf("POST /%d-%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok", nth, i)
			}
			code, reason, err := ask(c, request, method)
			switch {
			case err == nil && code == 200 && method == "POST":
				posts.Add(1)
			case err == nil && code == 200:
			case err == nil && code == 502 && method == "POST" && reason == "upstream_reset":
				failed.Add(1)
			default:
				t.Errorf("%s: got %d %s, %v", method, code, reason, err)
				return
			}
		}
	})
	swaps.Wait()
	if n := failed.Load(); n > at {
		t.Errorf("%d POSTs failed, of %d clients with one in flight", n, at)
	}
	for path, n := range executed {
		if n > 1 {
			t.Errorf("POST %s was executed %d times", path, n)
		}
	}
	if n := int32(len(executed)); n < posts.Load() {
		t.Errorf("%d POSTs executed, %d answered", n, posts.Load())
	}
	u.Quiet()
}

// takeOut ejects the endpoint at an address, as probes or evidence would.
func takeOut(t *testing.T, u *proxytest.Usher, address string) {
	t.Helper()
	for _, c := range u.Proxy.Table().Clusters() {
		for _, e := range c.Endpoints {
			if e.Address == address {
				e.State.SetOut(true)
				return
			}
		}
	}
	t.Fatalf("no endpoint at %s", address)
}

// A request that waits for an endpoint which is taken out moves on, if it is safe to
// repeat and there is somewhere to go; it waits on if not.
func TestRequestsMoveOn(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 100<<10)
	for _, tc := range []struct {
		name, method, body string
		policy             config.Policy
		alone, moves       bool
	}{
		{"GET", "GET", "", config.Policy{}, false, true},
		{"PUT with a small body", "PUT", "hello", config.Policy{}, false, true},
		{"PUT with a large body", "PUT", large, config.Policy{}, false, false},
		{"POST", "POST", "hello", config.Policy{}, false, false},
		{"GET without retries", "GET", "", config.Policy{Retry: config.Retry{Attempts: -1}}, false, false},
		{"GET, nowhere to go", "GET", "", config.Policy{}, true, false},
		{
			"GET, no budget", "GET", "",
			config.Policy{Retry: config.Retry{Budget: config.RetryBudget{MinPerSecond: 1e-9}}},
			false, false,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			asked, let := make(chan struct{}, 8), make(chan struct{})
			stuck := proxytest.Raw(t, func(c *proxytest.Conn) {
				if req, _, _ := c.Request(); req == nil {
					return
				}
				asked <- struct{}{}
				if !tc.moves {
					waitFor(t, let)
					c.Reply("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
				}
				c.Gone()
			})
			var ran atomic.Int32
			other := counting(t, &ran, always(proxytest.OK))
			addresses := []string{stuck.Addr, other.Addr}
			if tc.alone {
				addresses = addresses[:1]
			}
			u := proxytest.Start(t, proxytest.Options{
				Policy: withBalance(tc.policy, "first"), Balancers: firstListed(),
				Services: proxytest.Origins(addresses...),
			})
			c := u.Dial()
			c.Send("%s / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", tc.method, len(tc.body), tc.body)
			waitFor(t, asked)
			takeOut(t, u, stuck.Addr)
			if tc.moves {
				c.OK(tc.method, "ok")
				labels := map[string]string{"reason": "endpoint_out", "outcome": "answered"}
				if n := u.Counter("usher_upstream_retries_total", labels); n != 1 {
					t.Errorf("%v moves are counted", n)
				}
			} else {
				// It waits for longer than any that moves.
				<-time.After(600 * time.Millisecond)
				let <- struct{}{}
				c.OK(tc.method, "late")
			}
			u.Quiet()
		})
	}
}

// A response that has begun is never given up for another.
func TestResponsesDoNotMove(t *testing.T) {
	t.Parallel()
	asked, let := make(chan struct{}, 1), make(chan struct{})
	stuck := proxytest.Raw(t, func(c *proxytest.Conn) {
		if req, _, _ := c.Request(); req == nil {
			return
		}
		c.Reply("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nla")
		asked <- struct{}{}
		waitFor(t, let)
		c.Reply("te")
		c.Gone()
	})
	other := proxytest.Answering(t, proxytest.OK)
	u := proxytest.Start(t, proxytest.Options{
		Policy: config.Policy{Balance: "first"}, Balancers: firstListed(),
		Services: proxytest.Origins(stuck.Addr, other.Addr),
	})
	c := u.Dial()
	c.Send(plainGet)
	r := c.Begin("GET")
	waitFor(t, asked)
	takeOut(t, u, stuck.Addr)
	// The request waited for longer than any that moves.
	<-time.After(600 * time.Millisecond)
	let <- struct{}{}
	b := make([]byte, 4)
	if n, err := readFull(r, b); n != 4 || string(b) != "late" {
		t.Errorf("got %q, %v", b[:n], err)
	}
	u.Quiet()
}

func readFull(r *proxytest.Response, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Body.Read(b[n:])
		n += m
	}
	return n, err
}

package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
	"usher/routetable"
)

// hedging asks a second endpoint almost at once, as often as may be.
func hedging() config.Policy {
	return config.Policy{
		Hedge: config.Hedge{Delay: time.Millisecond},
		Retry: config.Retry{Budget: config.RetryBudget{Share: 10, MinPerSecond: 1e6}},
	}
}

// inOrder picks the endpoints in their order, so that a test knows which try is whose.
type inOrder struct{}

func (inOrder) Pick(v *routetable.View, p *routetable.PickInfo) (int, error) {
	for _, i := range v.Usable {
		if !p.Tried(i) {
			return int(i), nil
		}
	}
	return -1, routetable.ErrNoEndpoint
}

// hedge starts an usher before n origins, which are tried in order. They call f with each
// request and with their number, which counts from 1; f says whether the connection goes on.
func hedge(
	t *testing.T, policy config.Policy, n int, f func(nth int, c *proxytest.Conn, r *http.Request) bool,
) *proxytest.Usher {
	t.Helper()
	var addresses []string
	for nth := 1; nth <= n; nth++ {
		addresses = append(addresses, proxytest.Raw(t, func(c *proxytest.Conn) {
			for {
				req, _, _ := c.Request()
				if req == nil || !f(nth, c, req) {
					return
				}
			}
		}).Addr)
	}
	return startInOrder(t, policy, addresses...)
}

// startInOrder starts an usher that tries the addresses in their order.
func startInOrder(t *testing.T, policy config.Policy, addresses ...string) *proxytest.Usher {
	t.Helper()
	policy.Balance = "in_order"
	return proxytest.Start(t, proxytest.Options{
		Policy: policy, Services: proxytest.Origins(addresses...),
		Balancers: map[string]routetable.Balancer{
			"in_order": func(*routetable.Cluster, *routetable.ClusterState) routetable.Picker { return inOrder{} },
		},
	})
}

// number is an answer that says which request it is to.
func number(n int) string { return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n) }

// hedged waits until so many second tries are over.
func hedged(t *testing.T, u *proxytest.Usher, won, lost, failed float64) {
	t.Helper()
	count := func(outcome string) float64 {
		return u.Counter("usher_upstream_hedges_total", map[string]string{"service": "origin", "outcome": outcome})
	}
	proxytest.Eventually(t, "all second tries are over", func() bool {
		return count("won")+count("lost")+count("failed") >= won+lost+failed
	})
	if w, l, f := count("won"), count("lost"), count("failed"); w != won || l != lost || f != failed {
		t.Errorf("%v won, %v lost, %v failed, want %v, %v and %v", w, l, f, won, lost, failed)
	}
	u.Quiet()
}

// Only what is safe to repeat is sent twice. The slow connection is closed, the other one
// is used again.
func TestHedge(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		method string
		body   int
		hedged bool
	}{
		{"GET", 0, true},
		{"HEAD", 0, true},
		{"PUT", 5, true},
		{"PUT", 100 << 10, false},
		{"POST", 0, false},
		{"POST", 5, false},
		{"PATCH", 5, false},
	} {
		t.Run(fmt.Sprint(tc.method, " ", tc.body), func(t *testing.T) {
			t.Parallel()
			left := make(chan bool, 1)
			u := hedge(t, hedging(), 2, func(n int, c *proxytest.Conn, r *http.Request) bool {
				switch {
				case n > 1:
				case tc.hedged:
					left <- c.Gone()
					return false
				default:
					<-time.After(50 * time.Millisecond) // whoever sends it twice has done so
				}
				if r.Method == http.MethodHead {
					return c.Reply("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
				}
				return c.Reply("%s", number(n))
			})
			c := u.Dial()
			c.Send("%s / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s",
				tc.method, tc.body, strings.Repeat("x", tc.body))
			r := c.Read(tc.method)
			if !tc.hedged {
				if r.StatusCode != 200 || r.Text != "1" {
					t.Errorf("got %s %q, want the first answer", r.Status, r.Text)
				}
				hedged(t, u, 0, 0, 0)
				return
			}
			if r.StatusCode != 200 || tc.method != "HEAD" && r.Text != "2" {
				t.Errorf("got %s %q, want the second answer", r.Status, r.Text)
			}
			if !<-left {
				t.Error("the slow connection stays open")
			}
			hedged(t, u, 1, 0, 0)
		})
	}
}

// The first try answers after all: the second one is cut off.
func TestHedgeLoses(t *testing.T) {
	t.Parallel()
	second, left := make(chan struct{}), make(chan bool, 1)
	u := hedge(t, hedging(), 2, func(n int, c *proxytest.Conn, _ *http.Request) bool {
		if n == 2 {
			close(second)
			left <- c.Gone()
			return false
		}
		<-second
		return c.Reply("%s", number(n))
	})
	if r := u.Dial().Get("/"); r.StatusCode != 200 || r.Text != "1" {
		t.Errorf("got %s %q, want the first answer", r.Status, r.Text)
	}
	if !<-left {
		t.Error("the second connection stays open")
	}
	hedged(t, u, 0, 1, 0)
}

// One of the two fails: the other is waited for.
func TestHedgeOutlivesFailures(t *testing.T) {
	t.Parallel()
	for _, fails := range []int{1, 2} {
		t.Run(fmt.Sprint("try ", fails), func(t *testing.T) {
			t.Parallel()
			second, failed := make(chan struct{}), make(chan struct{})
			u := hedge(t, hedging(), 2, func(n int, c *proxytest.Conn, _ *http.Request) bool {
				if n == 2 {
					close(second)
				}
				<-second
				if n == fails {
					c.Reset()
					close(failed)
					return false
				}
				<-failed
				return c.Reply("%s", number(n))
			})
			if r := u.Dial().Get("/"); r.StatusCode != 200 || r.Text != fmt.Sprint(3-fails) {
				t.Errorf("got %s %q, want answer %d", r.Status, r.Text, 3-fails)
			}
			u.Quiet()
		})
	}
}

// Both fail: that is a reason for another try.
func TestHedgeRetries(t *testing.T) {
	t.Parallel()
	second := make(chan struct{})
	u := hedge(t, hedging(), 3, func(n int, c *proxytest.Conn, _ *http.Request) bool {
		switch n {
		case 1:
			<-second
			c.Reset()
			return false
		case 2:
			c.Reset()
			close(second)
			return false
		default:
			return c.Reply("%s", number(n))
		}
	})
	if r := u.Dial().Get("/"); r.StatusCode != 200 || r.Text != "3" {
		t.Errorf("got %s %q, want the third answer", r.Status, r.Text)
	}
	u.Quiet()
}

// Neither answers in time.
func TestHedgeTimesOut(t *testing.T) {
	t.Parallel()
	policy := hedging()
	policy.Timeout = 100 * time.Millisecond
	u := hedge(t, policy, 2, func(_ int, c *proxytest.Conn, _ *http.Request) bool {
		c.Gone()
		return false
	})
	if r := u.Dial().Get("/"); r.StatusCode != 504 {
		t.Errorf("got %s, want 504", r.Status)
	}
	u.Quiet()
}

// The client leaves while two endpoints work for it.
func TestHedgeClientLeaves(t *testing.T) {
	t.Parallel()
	both := make(chan struct{})
	left := make(chan bool, 2)
	u := hedge(t, hedging(), 2, func(n int, c *proxytest.Conn, _ *http.Request) bool {
		if n == 2 {
			close(both)
		}
		left <- c.Gone()
		return false
	})
	c := u.Dial()
	c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-both
	c.Cut()
	for range 2 {
		if !<-left {
			t.Error("a connection stays open")
		}
	}
	hedged(t, u, 0, 1, 0)
}

// A second try is a retry to the budget, and to the number of attempts.
func TestHedgeWithinBudget(t *testing.T) {
	t.Parallel()
	none, attempts := hedging(), hedging()
	none.Retry.Budget = config.RetryBudget{Share: 1e-9}
	attempts.Retry.Attempts = -1
	for name, policy := range map[string]config.Policy{"budget": none, "attempts": attempts} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := hedge(t, policy, 2, func(n int, c *proxytest.Conn, _ *http.Request) bool {
				<-time.After(50 * time.Millisecond) // whoever sends it twice has done so
				return c.Reply("%s", number(n))
			})
			if r := u.Dial().Get("/"); r.StatusCode != 200 || r.Text != "1" {
				t.Errorf("got %s %q, want the first answer", r.Status, r.Text)
			}
			hedged(t, u, 0, 0, 0)
			labels := map[string]string{"service": "origin"}
			exhausted := u.Counter("usher_upstream_retry_budget_exhausted_total", labels)
			if (exhausted > 0) != (name == "budget") {
				t.Errorf("%v times without a budget", exhausted)
			}
		})
	}
}

// meetings lets the two tries of each request answer at the same time.
type meetings struct {
	mu  sync.Mutex
	met map[string]chan struct{}
}

// wait waits for the other try, or for a time in which it would have come.
func (m *meetings) wait(target string) {
	m.mu.Lock()
	ch := m.met[target]
	if ch == nil {
		ch = make(chan struct{})
		m.met[target] = ch
	} else {
		close(ch)
		delete(m.met, target)
	}
	m.mu.Unlock()
	select {
	case <-ch:
	case <-time.After(20 * time.Millisecond):
	}
}

// Both answer at the same time, over and over: each client gets its own answers, whole,
// and nothing is left over.
func TestHedgeAtTheSameTime(t *testing.T) {
	t.Parallel()
	meet := &meetings{met: map[string]chan struct{}{}}
	policy := hedging()
	policy.Outlier.StallTimeout = 0
	u := hedge(t, policy, 3, func(_ int, c *proxytest.Conn, r *http.Request) bool {
		meet.wait(r.URL.Path)
		return c.Reply("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(r.URL.Path), r.URL.Path)
	})
	var clients sync.WaitGroup
	for client := range 4 {
		c := u.Dial()
		clients.Go(func() {
			for i := range 50 {
				target := fmt.Sprintf("/%d/%d", client, i)
				c.Send("GET %s HTTP/1.1\r\nHost: a\r\n\r\n", target)
				r, err := c.TryBegin("GET")
				if err != nil {
					t.Errorf("%s: %v", target, err)
					return
				}
				text, err := io.ReadAll(r.Body)
				if r.StatusCode != 200 || string(text) != target || err != nil {
					t.Errorf("%s: got %s %q, %v", target, r.Status, text, err)
					return
				}
			}
		})
	}
	clients.Wait()
	u.Quiet()
	if n := u.Counter("usher_upstream_hedges_total", map[string]string{"service": "origin"}); n == 0 {
		t.Error("nothing was sent twice")
	}
}

// The second endpoint cannot be connected to: the first is waited for as before.
func TestHedgeUnreachable(t *testing.T) {
	t.Parallel()
	answer := make(chan struct{})
	slow := proxytest.Raw(t, func(c *proxytest.Conn) {
		if req, _, _ := c.Request(); req != nil {
			<-answer
			c.Reply("%s", number(1))
		}
	})
	u := startInOrder(t, hedging(), slow.Addr, proxytest.Nowhere(t))
	c := u.Dial()
	c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	proxytest.Eventually(t, "the second try has failed", func() bool {
		return u.Counter("usher_upstream_hedges_total", map[string]string{"outcome": "failed"}) == 1
	})
	close(answer)
	c.OK("GET", "1")
	hedged(t, u, 0, 0, 1)
}

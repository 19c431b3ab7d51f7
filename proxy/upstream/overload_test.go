package upstream_test

import (
	"cmp"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
	"usher/proxy/wire"
)

// held starts an origin that answers a request when it is let, by a value on the channel.
func (tr *transport) held(t *testing.T) (origin *proxytest.Origin, asked <-chan string, let chan<- struct{}) {
	t.Helper()
	in, out := make(chan string, 16), make(chan struct{}, 16)
	origin = tr.raw(t, func(p *peer) {
		for {
			req, _, _ := p.Request()
			if req == nil {
				return
			}
			in <- req.URL.Path
			select {
			case <-out:
				p.Reply(proxytest.OK)
			case <-t.Context().Done():
				return
			}
		}
	})
	return origin, in, out
}

// busy is an Usher whose only endpoint serves a request on the one connection it may
// have.
func busy(t *testing.T, tr *transport, p config.Policy) (
	u *proxytest.Usher, first *proxytest.Client, asked <-chan string, let chan<- struct{},
) {
	t.Helper()
	origin, asked, let := tr.held(t)
	p.Upstream, p.MaxConnections = tr.policy().Upstream, 1
	p.ConnectTimeout = cmp.Or(p.ConnectTimeout, proxytest.Patience)
	u = proxytest.Start(t, proxytest.Options{Policy: p, Services: proxytest.Origins(origin.Addr)})
	first = u.Dial()
	first.Send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
	if path := receive(t, asked); path != "/first" {
		t.Fatalf("got %s", path)
	}
	return u, first, asked, let
}

// wantOverloaded wants an answer that says when to come back, on a connection that stays.
func wantOverloaded(t *testing.T, c *proxytest.Client, method string) {
	t.Helper()
	r := c.Read(method)
	reason, later := r.Header.Get("X-Usher-Reason"), r.Header.Get("Retry-After")
	if r.StatusCode != 503 || reason != "overloaded" || later != "1" || r.Close {
		t.Errorf("got %s %v", r.Status, r.Header)
	}
}

// waiting waits until that many requests are at the endpoint, the waiting ones included.
func waiting(t *testing.T, u *proxytest.Usher, n int64) {
	t.Helper()
	proxytest.Eventually(t, "the request waits", func() bool {
		_, endpoints := u.InFlight()
		return endpoints == n
	})
}

// Beyond its connections an endpoint gets no request: nobody waits where none may, and
// the client may come back on the same connection.
func TestOverloaded(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, tr *transport) {
		u, first, _, let := busy(t, tr, config.Policy{})
		c := u.Dial()
		for range 3 {
			c.Send(request)
			wantOverloaded(t, c, "GET")
		}
		c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
		wantOverloaded(t, c, "POST")
		let <- struct{}{}
		first.OK("GET", "ok")
		waiting(t, u, 0) // the connection is back a moment after the answer
		let <- struct{}{}
		c.Send(request)
		c.OK("GET", "ok")
		u.Quiet()
		if n := u.Counter("usher_request_errors_total", map[string]string{"reason": "overloaded"}); n != 4 {
			t.Errorf("%v are counted", n)
		}
	})
}

// Those who may wait are all served, and no connection is made for them.
func TestPending(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, tr *transport) {
		u, first, asked, let := busy(t, tr, config.Policy{MaxPending: 2, PendingTimeout: proxytest.Patience})
		second, third := u.Dial(), u.Dial()
		second.Send("GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
		third.Send("POST /third HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
		waiting(t, u, 3)
		let <- struct{}{}
		first.OK("GET", "ok")
		one := receive(t, asked)
		select {
		case two := <-asked:
			t.Errorf("%s and %s are served at a time", one, two)
		default:
		}
		let <- struct{}{}
		if two := receive(t, asked); one+two != "/second/third" && one+two != "/third/second" {
			t.Errorf("got %s and %s", one, two)
		}
		let <- struct{}{}
		second.OK("GET", "ok")
		third.OK("POST", "ok")
	})
}

// The time in the queue is not the endpoint's: its timeout begins when it is asked.
func TestPendingBeforeTimeout(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, tr *transport) {
		const timeout = 2 * time.Second
		asked, let := make(chan struct{}, 2), make(chan struct{})
		origin := tr.raw(t, func(p *peer) {
			for range 2 {
				if req, _, _ := p.Request(); req == nil {
					return
				}
				// The first body outlasts the second request's timeout. No head does.
				<-time.After(4 * wire.Tick)
				p.Reply("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
				asked <- struct{}{}
				<-let
				p.Reply("k")
			}
		})
		p := config.Policy{MaxPending: 1, PendingTimeout: proxytest.Patience, Timeout: timeout}
		p.Upstream, p.MaxConnections = tr.policy().Upstream, 1
		u := proxytest.Start(t, proxytest.Options{Policy: p, Services: proxytest.Origins(origin.Addr)})
		first, second := u.Dial(), u.Dial()
		first.Send(request)
		receive(t, asked)
		second.Send(request)
		waiting(t, u, 2)
		<-time.After(timeout + timeout/4)
		close(let)
		first.OK("GET", "ok")
		second.OK("GET", "ok")
	})
}

// A wait ends when it has lasted long enough, by pending_timeout or with the request.
func TestPendingTimeout(t *testing.T) {
	t.Parallel()
	plain := transports(t)[0]
	for name, tc := range map[string]struct {
		policy config.Policy
		reason string
	}{
		"pending_timeout": {config.Policy{PendingTimeout: 50 * time.Millisecond}, "overloaded"},
		"connect_timeout": {config.Policy{ConnectTimeout: time.Second}, "overloaded"},
		"total_timeout": {
			config.Policy{PendingTimeout: proxytest.Patience, TotalTimeout: 100 * time.Millisecond}, "total_timeout",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.policy.MaxPending = 1
			u, _, _, _ := busy(t, &plain, tc.policy)
			c := u.Dial()
			c.Send(request)
			if r := c.Read("GET"); r.Header.Get("X-Usher-Reason") != tc.reason {
				t.Errorf("got %s %v", r.Status, r.Header)
			}
		})
	}
}

// A client that leaves is not waited for: its place is free before its time is over.
func TestPendingClientLeaves(t *testing.T) {
	t.Parallel()
	plain := transports(t)[0]
	u, first, asked, let := busy(t, &plain, config.Policy{MaxPending: 1, PendingTimeout: time.Hour})
	c := u.Dial()
	c.Send("GET /left HTTP/1.1\r\nHost: a\r\n\r\n")
	waiting(t, u, 2)
	c.Close()
	waiting(t, u, 1)
	proxytest.Eventually(t, "the request is counted", func() bool {
		return u.Counter("usher_requests_total", map[string]string{"code": "499"}) == 1
	})
	let <- struct{}{}
	first.OK("GET", "ok")
	next := u.Dial()
	next.Send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
	if path := receive(t, asked); path != "/next" {
		t.Errorf("%s was served", path)
	}
	let <- struct{}{}
	next.OK("GET", "ok")
}

// An end of the proxy ends the waits.
func TestPendingEndsWithProxy(t *testing.T) {
	t.Parallel()
	plain := transports(t)[0]
	u, _, _, _ := busy(t, &plain, config.Policy{MaxPending: 1, PendingTimeout: time.Hour})
	c := u.Dial()
	c.Send(request)
	waiting(t, u, 2)
	within(t, "Close", u.Proxy.Close)
}

// An endpoint at its bound is passed over for one that is not, whatever the retries
// allow; with all at their bound the answer is that.
func TestOverloadedGoesElsewhere(t *testing.T) {
	t.Parallel()
	plain := transports(t)[0]
	origin, asked, let := plain.held(t)
	other, otherAsked, otherLet := plain.held(t)
	u := proxytest.Start(t, proxytest.Options{
		Policy: config.Policy{
			MaxConnections: 1, ConnectTimeout: proxytest.Patience, Retry: config.Retry{Attempts: -1},
		},
		Services: proxytest.Origins(origin.Addr, other.Addr),
	})
	first := u.Dial()
	first.Send(request)
	free, freeLet, firstLet := otherAsked, otherLet, let
	select {
	case <-asked:
	case <-otherAsked:
		free, freeLet, firstLet = asked, let, otherLet
	case <-time.After(proxytest.Patience):
		t.Fatal("nothing comes")
	}
	c := u.Dial()
	for range 5 { // whichever endpoint's turn it is
		freeLet <- struct{}{}
		c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
		c.OK("POST", "ok")
		receive(t, free)
	}
	c.Send(request)
	receive(t, free)
	last := u.Dial()
	last.Send(request)
	wantOverloaded(t, last, "GET")
	freeLet <- struct{}{}
	c.OK("GET", "ok")
	firstLet <- struct{}{}
	first.OK("GET", "ok")
}

package proxy_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// workshop is an origin whose requests are answered when they are let, and that knows how
// many it had at once.
type workshop struct {
	*proxytest.Origin
	at, most atomic.Int32
	asked    chan string
	let      chan struct{}
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	w := &workshop{asked: make(chan string, 256), let: make(chan struct{}, 256)}
	w.Origin = proxytest.Raw(t, func(c *proxytest.Conn) {
		for {
			req, _, _ := c.Request()
			if req == nil {
				return
			}
			now := w.at.Add(1)
			for most := w.most.Load(); now > most && !w.most.CompareAndSwap(most, now); most = w.most.Load() {
			}
			w.asked <- req.URL.Path
			select {
			case <-w.let:
			case <-t.Context().Done():
				return
			}
			w.at.Add(-1)
			if !c.Reply(proxytest.OK) {
				return
			}
		}
	})
	return w
}

// wantShed wants an answer that says when to come back.
func wantShed(t *testing.T, c *proxytest.Client, method string, closes bool) {
	t.Helper()
	r := c.Read(method)
	if r.StatusCode != 503 || r.Header.Get("X-Usher-Reason") != "overloaded" || r.Header.Get("Retry-After") != "1" {
		t.Errorf("got %s %v", r.Status, r.Header)
	}
	if r.Close != closes {
		t.Errorf("the connection closes: %t, want %t", r.Close, closes)
	}
}

// Beyond max_requests a request is shed, before its body is read, while those within go on,
// whatever tables come; and the limit is that of the service in all its routes.
func TestMaxRequests(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	services := func(addresses ...string) []proxytest.Service {
		return []proxytest.Service{{Name: "shop", Routes: []string{"/a", "/b"}, Addresses: addresses}}
	}
	u := proxytest.Start(t, proxytest.Options{
		Policy: config.Policy{MaxRequests: 2}, Services: services(w.Addr),
	})
	first, second := u.Dial(), u.Dial()
	first.Send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
	second.Send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
	receiveFrom(t, w.asked)
	receiveFrom(t, w.asked)
	c := u.Dial()
	for _, path := range []string{"/a", "/b"} {
		c.Send("GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
		wantShed(t, c, "GET", false)
	}
	c.Send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
	wantShed(t, c, "POST", false)
	if n := u.Counter("usher_requests_shed_total", map[string]string{"limit": "max_requests"}); n != 3 {
		t.Errorf("%v are counted, want 3", n)
	}
	for range 10 {
		u.Publish(services(w.Addr, proxytest.Nowhere(t))...)
		u.Publish(services(w.Addr)...)
	}
	// Of this body not a byte has been sent.
	c.Send("POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n")
	wantShed(t, c, "POST", true)
	w.let <- struct{}{}
	w.let <- struct{}{}
	first.OK("GET", "ok")
	second.OK("GET", "ok")
	first.Send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
	receiveFrom(t, w.asked)
	w.let <- struct{}{}
	first.OK("GET", "ok")
	u.Quiet()
}

// receiveFrom waits for the next value.
func receiveFrom[T any](t *testing.T, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(proxytest.Patience):
		t.Fatal("nothing came")
	}
	return v
}

// An endpoint at its max_endpoint_requests is passed over; when all are, the request is
// shed.
func TestMaxEndpointRequests(t *testing.T) {
	t.Parallel()
	shops := []*workshop{newWorkshop(t), newWorkshop(t), newWorkshop(t)}
	u := proxytest.Start(t, proxytest.Options{
		Policy: config.Policy{MaxEndpointRequests: 2, Balance: "first"}, Balancers: firstListed(),
		Services: proxytest.Origins(shops[0].Addr, shops[1].Addr, shops[2].Addr),
	})
	var busy []*proxytest.Client
	for i := range 6 {
		c := u.Dial()
		c.Send(plainGet)
		receiveFrom(t, shops[i/2].asked)
		busy = append(busy, c)
	}
	c := u.Dial()
	for range 3 {
		c.Send(plainGet)
		wantShed(t, c, "GET", false)
	}
	if n := u.Counter("usher_requests_shed_total", map[string]string{"limit": "max_endpoint_requests"}); n != 3 {
		t.Errorf("%v are counted, want 3", n)
	}
	shops[1].let <- struct{}{}
	proxytest.Eventually(t, "there is room", func() bool {
		_, n := u.InFlight()
		return n == 5
	})
	c.Send(plainGet)
	receiveFrom(t, shops[1].asked)
	for _, shop := range shops {
		shop.let <- struct{}{}
		shop.let <- struct{}{}
	}
	for _, b := range append(busy, c) {
		b.OK("GET", "ok")
	}
	u.Quiet()
}

// However many come at once, no limit is exceeded by one.
func TestLimitsAreExact(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		policy config.Policy
		most   int32
	}{
		{"max_requests", config.Policy{MaxRequests: 3}, 3},
		{"max_endpoint_requests", config.Policy{MaxEndpointRequests: 3}, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorkshop(t)
			u := proxytest.Start(t, proxytest.Options{Policy: tc.policy, Services: proxytest.Origins(w.Addr)})
			stop := make(chan struct{})
			var letting sync.WaitGroup
			letting.Go(func() {
				for {
					select {
					case <-w.asked:
						w.let <- struct{}{}
					case <-stop:
						return
					}
				}
			})
			var served, shed atomic.Int32
			clients(t, u, 16, func(c *proxytest.Client, _ int) {
				for range 200 {
					code, reason, err := ask(c, plainGet, "GET")
					switch {
					case err == nil && code == 200:
						served.Add(1)
					case err == nil && code == 503 && reason == "overloaded":
						shed.Add(1)
					default:
						t.Errorf("got %d %s, %v", code, reason, err)
						return
					}
				}
			})
			close(stop)
			letting.Wait()
			if w.most.Load() > tc.most {
				t.Errorf("%d requests at once, want at most %d", w.most.Load(), tc.most)
			}
			if served.Load() == 0 || served.Load()+shed.Load() != 3200 {
				t.Errorf("%d served, %d shed", served.Load(), shed.Load())
			}
			u.Quiet()
		})
	}
}

// At three times its capacity a service still does all it can: each worker has a request,
// and the others are turned away before any of these is done.
func TestOverloadIsShed(t *testing.T) {
	t.Parallel()
	const workers, rounds = 8, 25
	w := newWorkshop(t)
	u := proxytest.Start(t, proxytest.Options{
		Policy: config.Policy{MaxRequests: workers}, Services: proxytest.Origins(w.Addr),
	})
	type result struct {
		code   int
		reason string
		err    error
	}
	results := make(chan result, 3*workers)
	start := make([]chan struct{}, 3*workers)
	for i := range start {
		start[i] = make(chan struct{})
	}
	var running sync.WaitGroup
	running.Go(func() {
		clients(t, u, 3*workers, func(c *proxytest.Client, nth int) {
			for range start[nth] {
				code, reason, err := ask(c, plainGet, "GET")
				results <- result{code, reason, err}
			}
		})
	})
	for range rounds {
		for _, s := range start {
			s <- struct{}{}
		}
		for range 2 * workers { // while all workers are at work
			if r := receiveFrom(t, results); r.code != 503 || r.reason != "overloaded" || r.err != nil {
				t.Fatalf("shed: got %+v", r)
			}
		}
		for range workers {
			receiveFrom(t, w.asked)
		}
		if n := w.at.Load(); n != workers {
			t.Fatalf("%d at work, want %d", n, workers)
		}
		for range workers {
			w.let <- struct{}{}
		}
		for range workers {
			if r := receiveFrom(t, results); r.code != 200 || r.err != nil {
				t.Fatalf("served: got %+v", r)
			}
		}
		u.Quiet()
	}
	for _, s := range start {
		close(s)
	}
	running.Wait()
	if w.most.Load() != workers {
		t.Errorf("%d at once, want %d", w.most.Load(), workers)
	}
}

// Adaptive concurrency finds by itself what a service with few workers can do: the line
// before them stays short, and the rest is shed.
func TestAdaptiveConcurrency(t *testing.T) {
	t.Parallel()
	const workers, hold = 4, 5 * time.Millisecond
	slots := make(chan struct{}, workers)
	var waiting atomic.Int32
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		for {
			if req, _, _ := c.Request(); req == nil {
				return
			}
			waiting.Add(1)
			slots <- struct{}{}
			<-time.After(hold)
			<-slots
			waiting.Add(-1)
			if !c.Reply(proxytest.OK) {
				return
			}
		}
	})
	u := proxytest.Start(t, proxytest.Options{
		Policy: config.Policy{
			AdaptiveConcurrency: config.AdaptiveConcurrency{Enabled: true, Min: 1, Max: 64},
		},
		Services: proxytest.Origins(origin.Addr),
	})
	var stop atomic.Bool
	var running sync.WaitGroup
	running.Go(func() {
		clients(t, u, 64, func(c *proxytest.Client, _ int) {
			for !stop.Load() {
				code, reason, err := ask(c, plainGet, "GET")
				if err != nil || code != 200 && reason != "overloaded" {
					t.Errorf("got %d %s, %v", code, reason, err)
					return
				}
				if code == 503 {
					<-time.After(hold) // as its Retry-After would have it, and more
				}
			}
		})
	})
	labels := map[string]string{"service": "origin", "limit": "adaptive_concurrency"}
	proxytest.Eventually(t, "requests are shed", func() bool {
		return u.Counter("usher_requests_shed_total", labels) > 100
	})
	proxytest.Eventually(t, "the line is short", func() bool { return waiting.Load() < 10*workers })
	stop.Store(true)
	running.Wait()
	u.Quiet()
}

// What is shed keeps its connection, whatever the request.
func TestShedKeepsTheConnection(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	u := proxytest.Start(t, proxytest.Options{
		Policy: config.Policy{MaxRequests: 1}, Services: proxytest.Origins(w.Addr),
	})
	first := u.Dial()
	first.Send(plainGet)
	receiveFrom(t, w.asked)
	c := u.Dial()
	c.Send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
	wantShed(t, c, "HEAD", false)
	// Pipelined requests are each answered.
	c.Send("%s", strings.Repeat(plainGet, 5))
	for range 5 {
		wantShed(t, c, "GET", false)
	}
	w.let <- struct{}{}
	first.OK("GET", "ok")
	u.Quiet()
}

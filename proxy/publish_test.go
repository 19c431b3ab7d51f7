package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
	"usher/routetable"
	"usher/watcher"
)

// After all is over nothing is counted and no connection to an origin is open.
func TestCountersReturnToZero(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	cut := proxytest.Answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\nConnection: close\r\n\r\nok")
	u := proxytest.Start(t, proxytest.Options{Services: []proxytest.Service{
		{Name: "well", Routes: []string{"/well"}, Addresses: []string{origin.Addr}},
		{Name: "ill", Routes: []string{"/ill"}, Addresses: []string{cut.Addr}},
		{Name: "gone", Routes: []string{"/gone"}, Addresses: []string{proxytest.Nowhere(t)}},
		{Name: "none", Routes: []string{"/none"}},
	}})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for _, path := range []string{"/well", "/gone", "/none", "/"} {
				c := u.Dial()
				c.Get(path)
				if i%2 == 0 {
					c.Cut()
				}
			}
			c := u.Dial()
			c.Send("GET /ill HTTP/1.1\r\nHost: a\r\n\r\n")
			c.Begin("GET")
			c.Cut()
		})
	}
	wg.Wait()
	cut.Close()
	u.Quiet()
	u.Publish()
	proxytest.Eventually(t, "pools of endpoints that left are closed", func() bool { return origin.Open() == 0 })
	if n := u.Proxy.Shutdown(t.Context()); n != 0 {
		t.Errorf("%d were cut", n)
	}
	if n := u.Metrics.Downstream.Listener("web").Open.Value(); n != 0 {
		t.Errorf("%d connections are counted", n)
	}
}

// A request in flight outlives its endpoint.
func TestEndpointLeavesDuringRequest(t *testing.T) {
	t.Parallel()
	h := hold(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(h.Addr)})
	c := u.Dial()
	c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	waitFor(t, h.asked)
	state := u.Proxy.Table().Clusters()[0].Endpoints[0].State
	u.Publish()
	close(h.release)
	c.OK("GET", "ok")
	proxytest.Eventually(t, "its connection is closed", func() bool { return h.Open() == 0 })
	if n := state.InFlight.Load(); n != 0 {
		t.Errorf("%d in flight", n)
	}
	if r := c.Get("/"); r.StatusCode != 404 {
		t.Errorf("then got %d", r.StatusCode)
	}
}

// faulty is a policy with a fault.
type faulty struct{}

func (faulty) Pick(*routetable.View, *routetable.PickInfo) (int, error) {
	panic("a fault, made on purpose")
}

// A fault in one request costs that request.
func TestPanic(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{
		Policy: config.Policy{Balance: "faulty"}, Services: proxytest.Origins(proxytest.Nowhere(t)),
		Balancers: map[string]routetable.Balancer{
			"faulty": func(*routetable.Cluster, *routetable.ClusterState) routetable.Picker { return faulty{} },
		},
	})
	for range 3 {
		c := u.Dial()
		r := c.Get("/")
		if r.StatusCode != 500 || r.Header.Get("X-Usher-Reason") != "internal_error" || !r.Close {
			t.Errorf("got %d %v", r.StatusCode, r.Header)
		}
		c.Closed()
	}
	u.Quiet()
	if n := u.Counter("usher_request_errors_total", map[string]string{"reason": "internal_error"}); n != 3 {
		t.Errorf("%v are counted, want 3", n)
	}
}

// The word in the answer is the word in the metrics, and what was asked and sent is
// counted.
func TestMetrics(t *testing.T) {
	t.Parallel()
	origin := proxytest.Answering(t, proxytest.OK)
	u := proxytest.Start(t, proxytest.Options{Services: []proxytest.Service{
		{Name: "well", Routes: []string{"/well"}, Addresses: []string{origin.Addr}},
		{Name: "gone", Routes: []string{"/gone"}, Addresses: []string{proxytest.Nowhere(t)}},
		{Name: "none", Routes: []string{"/none"}, Addresses: []string{origin.Addr}, Status: watcher.Critical},
	}})
	for range 3 {
		for path, reason := range map[string]string{
			"/well": "", "/gone": "connect_failed", "/none": "no_healthy_endpoint", "/": "no_route", "*": "bad_request",
		} {
			if got := u.Dial().Get(path).Header.Get("X-Usher-Reason"); got != reason {
				t.Errorf("%s: got the reason %q, want %q", path, got, reason)
			}
		}
	}
	c := u.Dial()
	c.Send("POST /well HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
	in := u.Metrics.Downstream.Listener("web").InFlight
	proxytest.Eventually(t, "the request is there", func() bool { return in.Value() == 1 })
	c.Cut()
	u.Quiet()
	for _, reason := range []string{"connect_failed", "no_healthy_endpoint", "no_route", "bad_request"} {
		if n := u.Counter("usher_request_errors_total", map[string]string{"reason": reason}); n != 3 {
			t.Errorf("%s: %v are counted, want 3", reason, n)
		}
	}
	good := map[string]string{"code": "200", "service": "well", "method": "GET"}
	if n := u.Counter("usher_requests_total", good); n != 3 {
		t.Errorf("%v good ones are counted, want 3", n)
	}
	if n := u.Counter("usher_requests_total", map[string]string{"code": "499"}); n != 1 {
		t.Errorf("%v that left are counted, want 1", n)
	}
	if n := u.Counter("usher_response_body_bytes_total", nil); n != 6 {
		t.Errorf("%v bytes are counted, want 6", n)
	}
}

// Tables follow one another each millisecond, endpoints come and go, listeners
// change: no request fails.
func TestPublishStorm(t *testing.T) {
	t.Parallel()
	var addresses []string
	for i := range 4 {
		o := proxytest.Answering(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", i))
		addresses = append(addresses, o.Addr)
	}
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(addresses...)})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	var served, swaps atomic.Int64
	for i := range 4 {
		method := []string{"GET", "POST"}[i%2]
		wg.Go(func() {
			c := u.Dial()
			for ctx.Err() == nil {
				c.Send("%s / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok", method)
				resp, err := c.TryBegin(method)
				if err != nil {
					t.Errorf("%s: %v", method, err)
					return
				}
				if b, err := io.ReadAll(resp.Body); resp.StatusCode != 200 || err != nil || len(b) != 1 {
					t.Errorf("%s: got %d %q (%v)", method, resp.StatusCode, b, err)
				}
				served.Add(1)
			}
		})
	}
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			<-tick.C
			u.Publish(proxytest.Origins(addresses[i%4], addresses[(i+1)%4])...)
			swaps.Add(1)
		}
	})
	wg.Wait()
	if served.Load() < 100 || swaps.Load() < 100 {
		t.Errorf("%d requests beside %d tables prove nothing", served.Load(), swaps.Load())
	}
	u.Quiet()
	t.Logf("%d requests, %d tables", served.Load(), swaps.Load())
}

// An ejected endpoint gets no further requests while another one is well, and the
// only one is tried all the same.
func TestEjection(t *testing.T) {
	t.Parallel()
	origin := proxytest.Answering(t, proxytest.OK)
	gone := proxytest.Nowhere(t)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(gone, origin.Addr)})
	c := u.Dial()
	for range 4 {
		if r := c.Get("/"); r.StatusCode != 200 {
			t.Errorf("got %d", r.StatusCode)
		}
	}
	for _, e := range u.Proxy.Table().Clusters()[0].Endpoints {
		proxytest.Eventually(t, e.Address+" is ejected if it is gone", func() bool {
			h, known := u.Health.Of("test", "origin", e.ID, e.Address)
			return known && (h.Ejections > 0) == (e.Address == gone)
		})
	}
	u.Publish(proxytest.Origins(gone)...)
	for range 3 {
		if r := c.Get("/"); r.StatusCode != 502 || r.Header.Get("X-Usher-Reason") != "connect_failed" || r.Close {
			t.Errorf("got %d %v", r.StatusCode, r.Header)
		}
	}
}

// A listener's settings change each millisecond while clients come: none is lost.
func TestListenStorm(t *testing.T) {
	t.Parallel()
	origin := proxytest.Answering(t, proxytest.OK)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var wg sync.WaitGroup
	var served, changes atomic.Int64
	address := u.Addr()
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := once(address); err != nil {
					t.Error(err)
				}
				served.Add(1)
			}
		})
	}
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			<-tick.C
			u.Listen(config.Listener{MaxBodySize: config.Size(1000 + i)})
			changes.Add(1)
		}
	})
	wg.Wait()
	if served.Load() < 100 || changes.Load() < 100 {
		t.Errorf("%d requests beside %d changes prove nothing", served.Load(), changes.Load())
	}
}

// once sends one request on a connection of its own.
func once(address string) error {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(proxytest.Patience))
	if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		return err
	}
	if got, err := bufio.NewReader(nc).ReadString('\n'); got != "HTTP/1.1 200 OK\r\n" {
		return fmt.Errorf("got %q (%w)", got, err)
	}
	return nil
}

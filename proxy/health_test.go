package proxy_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"usher/config"
	"usher/healthcheck"
	"usher/proxy/proxytest"
)

// standing is the state of an origin of the service origin.
func standing(u *proxytest.Usher, place int, address string) healthcheck.Report {
	rep, _ := u.Health.Of("test", "origin", fmt.Sprintf("origin-%d", place), address)
	return rep
}

// stalling are settings by which a silence of a tenth of a second is long.
func stalling() config.Policy {
	p := config.Policy{Balance: "round_robin", Retry: config.Retry{Attempts: -1}}
	p.Outlier = config.DefaultHealth().Outlier
	p.Outlier.StallTimeout, p.Outlier.BaseTime, p.Outlier.MaxTime = 100*time.Millisecond, time.Hour, time.Hour
	return p
}

// An endpoint that takes requests and answers none is taken out though none has failed
// yet, and those who come later do not see it.
func TestStalledEndpoint(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	h := proxytest.Raw(t, func(c *proxytest.Conn) {
		c.Request()
		<-release
	})
	b, c := proxytest.Answering(t, proxytest.OK), proxytest.Answering(t, proxytest.OK)
	u := proxytest.Start(t, proxytest.Options{
		Policy: stalling(), Services: proxytest.Origins(h.Addr, b.Addr, c.Addr),
	})
	proxytest.Eventually(t, "it is ejected", func() bool {
		client := u.Dial() // every third waits
		client.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		_ = client.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, _ = client.TryBegin("GET")
		return standing(u, 0, h.Addr).State == healthcheck.Ejected
	})
	if !u.Proxy.Table().Clusters()[0].Endpoints[0].State.Out() {
		t.Error("who waits for it is not told")
	}
	client := u.Dial()
	for range 20 {
		if r := client.Get("/"); r.StatusCode != 200 {
			t.Errorf("got %d", r.StatusCode)
		}
	}
}

// A service whose every answer takes ten times the stall timeout keeps its endpoints.
func TestSlowService(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var asked sync.WaitGroup
	asked.Add(12)
	var addresses []string
	for range 3 {
		addresses = append(addresses, proxytest.Raw(t, func(c *proxytest.Conn) {
			if req, _, _ := c.Request(); req != nil {
				asked.Done()
				waitFor(t, release)
				c.Reply(proxytest.OK)
			}
		}).Addr)
	}
	u := proxytest.Start(t, proxytest.Options{Policy: stalling(), Services: proxytest.Origins(addresses...)})
	clients := make([]*proxytest.Client, 12)
	for i := range clients {
		clients[i] = u.Dial()
		clients[i].Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	asked.Wait()
	wait := time.NewTimer(time.Second)
	<-wait.C
	for i, a := range addresses {
		if rep := standing(u, i, a); rep.State != healthcheck.Healthy {
			t.Errorf("%s is %s: %s", a, rep.State, rep.Cause)
		}
	}
	close(release)
	for _, c := range clients {
		c.OK("GET", "ok")
	}
	u.Quiet()
	for i, a := range addresses {
		if rep := standing(u, i, a); rep.State != healthcheck.Healthy {
			t.Errorf("%s is %s: %s", a, rep.State, rep.Cause)
		}
	}
}

// One that answers 500 to everything is taken out.
func TestFailingEndpoint(t *testing.T) {
	t.Parallel()
	bad := proxytest.Answering(t, "HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n")
	good := proxytest.Answering(t, proxytest.OK)
	u := proxytest.Start(t, proxytest.Options{
		Policy: stalling(), Services: proxytest.Origins(bad.Addr, good.Addr),
	})
	c := u.Dial()
	failures := 0
	proxytest.Eventually(t, "it is ejected", func() bool {
		if c.Get("/").StatusCode == 500 {
			failures++
		}
		return standing(u, 0, bad.Addr).State == healthcheck.Ejected
	})
	if failures < 5 {
		t.Errorf("it is ejected after %d failures", failures)
	}
	for range 20 {
		if r := c.Get("/"); r.StatusCode != 200 {
			t.Errorf("got %d", r.StatusCode)
		}
	}
	labels := map[string]string{"service": "origin", "reason": "5xx"}
	if n := u.Counter("usher_upstream_ejections_total", labels); n != 1 {
		t.Errorf("%v ejections are counted", n)
	}
}

// An endpoint that says so in an answer gets no new request; the answer is a good one,
// and what it has begun it finishes.
func TestDrainHeader(t *testing.T) {
	t.Parallel()
	release, asked := make(chan struct{}), make(chan struct{}, 1)
	leaving := proxytest.Raw(t, func(c *proxytest.Conn) {
		for {
			req, _, _ := c.Request()
			if req == nil {
				return
			}
			if req.URL.Path == "/long" {
				asked <- struct{}{}
				waitFor(t, release)
			}
			c.Reply("HTTP/1.1 200 OK\r\nUsher-Drain: 1\r\nContent-Length: 7\r\n\r\nleaving")
		}
	})
	stays := proxytest.Answering(t, proxytest.OK)
	p := stalling()
	p.DrainHeader = "Usher-Drain"
	u := proxytest.Start(t, proxytest.Options{Policy: p, Services: proxytest.Origins(leaving.Addr)})
	long := u.Dial()
	long.Send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
	waitFor(t, asked)
	u.Publish(proxytest.Origins(leaving.Addr, stays.Addr)...)
	c := u.Dial()
	proxytest.Eventually(t, "it drains", func() bool {
		if r := c.Get("/"); r.StatusCode != 200 {
			t.Errorf("got %d", r.StatusCode)
		}
		return standing(u, 0, leaving.Addr).State == healthcheck.Draining
	})
	for range 10 {
		if r := c.Get("/"); r.Text != "ok" {
			t.Errorf("got %q", r.Text)
		}
	}
	close(release)
	long.OK("GET", "leaving")
}

// An answer that is dropped for another try is heard too.
func TestDrainHeaderOfDroppedAnswer(t *testing.T) {
	t.Parallel()
	leaving := proxytest.Answering(t, "HTTP/1.1 503 No\r\nUsher-Drain: 1\r\nContent-Length: 0\r\n\r\n")
	stays := proxytest.Answering(t, proxytest.OK)
	p := gateway(1)
	p.Health = config.DefaultHealth()
	p.Outlier.Enabled = false
	p.DrainHeader = "Usher-Drain"
	u := proxytest.Start(t, proxytest.Options{Policy: p, Services: proxytest.Origins(leaving.Addr, stays.Addr)})
	c := u.Dial()
	for range 2 { // one of them is sent to each endpoint first
		if r := c.Get("/"); r.Text != "ok" {
			t.Errorf("got %s %q", r.Status, r.Text)
		}
	}
	proxytest.Eventually(t, "it drains", func() bool {
		return standing(u, 0, leaving.Addr).State == healthcheck.Draining
	})
}

package proxy_test

import (
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/healthcheck"
	"usher/proxy/proxytest"
	"usher/proxy/wire"
)

// The client says how long the answer may take; the endpoint is left when that is over.
func TestGRPCDeadline(t *testing.T) {
	t.Parallel()
	t.Run("longer than timeout", func(t *testing.T) {
		t.Parallel()
		slow := proxytest.Raw(t, func(c *proxytest.Conn) {
			c.Request()
			<-time.After(400 * time.Millisecond)
			c.Reply("%s", reply(0))
		})
		u := proxytest.Start(t, proxytest.Options{
			Policy: config.Policy{Timeout: 50 * time.Millisecond}, Services: proxytest.Origins(slow.Addr),
		})
		if r := call(u.Dial(), "grpc-timeout: 10S\r\n"); r.StatusCode != 200 || r.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("got %d %v %v", r.StatusCode, r.Header, r.Trailer)
		}
	})
	t.Run("the endpoint is left", func(t *testing.T) {
		t.Parallel()
		gone := make(chan struct{}, 1)
		u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(mute(t, gone).Addr)})
		if r := call(u.Dial(), "grpc-timeout: 50m\r\n"); !told(r, "4", "deadline_exceeded") {
			t.Errorf("got %d %v", r.StatusCode, r.Header)
		}
		<-gone
		u.Quiet()
	})
	t.Run("the endpoint keeps it", func(t *testing.T) {
		t.Parallel()
		for _, begun := range []string{"", streamHead} {
			prompt := proxytest.Raw(t, func(c *proxytest.Conn) {
				c.Request()
				c.Reply("%s", begun)
				<-time.After(20 * time.Millisecond) // it began later than the client did
			})
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(prompt.Addr)})
			for range 5 {
				r := call(u.Dial(), "grpc-timeout: 20m\r\n")
				reason := r.Header.Get("X-Usher-Reason") + r.Trailer.Get("X-Usher-Reason")
				if reason != "deadline_exceeded" {
					t.Errorf("got %d %v %v", r.StatusCode, r.Header, r.Trailer)
				}
			}
		}
	})
	t.Run("a stream", func(t *testing.T) {
		t.Parallel()
		gone := make(chan struct{}, 1)
		begins := proxytest.Raw(t, func(c *proxytest.Conn) {
			c.Head()
			c.Reply("%s", streamHead+"7\r\n"+message+"\r\n")
			if c.Gone() {
				gone <- struct{}{}
			}
		})
		u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(begins.Addr)})
		c := u.Dial()
		c.Send("POST /s/M HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\ngrpc-timeout: 300m\r\n" +
			"Transfer-Encoding: chunked\r\n\r\n7\r\n" + message + "\r\n")
		r := c.Read("POST")
		if r.StatusCode != 200 || r.Text != message || r.Err != nil ||
			r.Trailer.Get("Grpc-Status") != "4" || r.Trailer.Get("X-Usher-Reason") != "deadline_exceeded" {
			t.Errorf("got %d %q (%v) %v", r.StatusCode, r.Text, r.Err, r.Trailer)
		}
		<-gone
		u.Quiet()
	})
	t.Run("a request that does not end", func(t *testing.T) {
		t.Parallel()
		gone := make(chan struct{}, 1)
		u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(mute(t, gone).Addr)})
		c := u.Dial()
		c.Send("POST /s/M HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\ngrpc-timeout: 200m\r\n" +
			"Transfer-Encoding: chunked\r\n\r\n7\r\n" + message + "\r\n")
		if r := c.Read("POST"); !told(r, "4", "deadline_exceeded") {
			t.Errorf("got %d %v", r.StatusCode, r.Header)
		}
		<-gone
		u.Quiet()
	})
	t.Run("what is left of it", func(t *testing.T) {
		t.Parallel()
		echo := proxytest.Echo(t)
		u := proxytest.Start(t, proxytest.Options{
			Policy: withBalance(config.Policy{}, "first"), Balancers: firstListed(),
			Services: proxytest.Origins(proxytest.Nowhere(t), echo.Addr),
		})
		r := call(u.Dial(), "Grpc-Timeout: 9S\r\n")
		text := strings.ToLower(r.Text)
		_, rest, _ := strings.Cut(text, "grpc-timeout: ")
		value, _, _ := strings.Cut(rest, "\r\n")
		left, ok := wire.ParseGRPCTimeout([]byte(strings.Replace(value, "s", "S", 1)))
		if !ok || left >= 9*time.Second || left < 3*time.Second || strings.Count(text, "grpc-timeout") != 1 {
			t.Errorf("%v is left in %q", left, r.Text)
		}
	})
}

// The total time bounds a body that is streamed, whoever is slow.
func TestTotalTimeoutOfStreamedBody(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{
		Policy: config.Policy{TotalTimeout: 100 * time.Millisecond}, Services: proxytest.Origins(mute(t, nil).Addr),
	})
	for range 3 {
		c := u.Dial()
		c.Send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
		if r := c.Read("POST"); r.StatusCode != 504 || r.Header.Get("X-Usher-Reason") != "total_timeout" {
			t.Errorf("got %d %v", r.StatusCode, r.Header)
		}
	}
	u.Quiet()
}

// Clients in a hurry say nothing of an endpoint.
func TestGRPCHurry(t *testing.T) {
	t.Parallel()
	for _, hurry := range []bool{true, false} {
		p := config.Policy{TotalTimeout: time.Hour}
		fields := "grpc-timeout: 20m\r\n"
		if !hurry {
			p.TotalTimeout, fields = 20*time.Millisecond, ""
		}
		p.Outlier = config.DefaultHealth().Outlier
		p.Outlier.BaseTime, p.Outlier.MaxTime = time.Hour, time.Hour
		a, b := mute(t, nil), mute(t, nil)
		u := proxytest.Start(t, proxytest.Options{Policy: p, Services: proxytest.Origins(a.Addr, b.Addr)})
		c := u.Dial()
		for range 8 {
			if r := call(c, fields); r.Header.Get("Grpc-Status") != "4" {
				t.Errorf("got %d %v", r.StatusCode, r.Header)
			}
		}
		out := func() bool {
			return standing(u, 0, a.Addr).State == healthcheck.Ejected ||
				standing(u, 1, b.Addr).State == healthcheck.Ejected
		}
		if hurry {
			u.Quiet()
			if out() {
				t.Error("an endpoint is ejected for its clients' haste")
			}
		} else {
			proxytest.Eventually(t, "one of the two is ejected", out)
		}
	}
}

// An exchange in which one side speaks is not idle.
func TestGRPCOneWay(t *testing.T) {
	t.Parallel()
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		c.Head()
		c.Reply("%s", streamHead+"7\r\n"+message+"\r\n")
		for {
			line, err := c.R.ReadString('\n')
			if err != nil {
				return
			}
			if line == "0\r\n" {
				c.Reply("0\r\ngrpc-status: 0\r\n\r\n")
			}
		}
	})
	u := proxytest.Start(t, proxytest.Options{
		Policy: config.Policy{IdleTimeout: time.Second}, Services: proxytest.Origins(origin.Addr),
	})
	c := u.Dial()
	c.Send("POST /s/M HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n")
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 40 {
		c.Send("2\r\nhi\r\n")
		<-tick.C
	}
	c.Send("0\r\n\r\n")
	if r := c.Read("POST"); r.Text != message || r.Err != nil || r.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("got %q (%v) %v", r.Text, r.Err, r.Trailer)
	}
}

package proxy_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"usher/config"
	"usher/healthcheck"
	"usher/proxy/proxytest"
	"usher/proxy/wire"
	"usher/watcher"
)

// message is one of gRPC: five bytes, and two of its own.
const message = "\x00\x00\x00\x00\x02hi"

// sendCall sends a call whose body is whole.
func sendCall(c *proxytest.Client, fields string) {
	c.Send("%s", "POST /pkg.Service/Get HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc+proto\r\nTE: trailers\r\n"+
		fields+fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(message), message))
}

func call(c *proxytest.Client, fields string) *proxytest.Response {
	sendCall(c, fields)
	return c.Read("POST")
}

// reply is a response to a call, with its status among the trailers.
func reply(status int) string {
	return fmt.Sprintf("%s%x\r\n%s\r\n0\r\ngrpc-status: %d\r\n\r\n", streamHead, len(message), message, status)
}

const streamHead = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n"

// trailersOnly is one with its status in the head.
func trailersOnly(status int, fields string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n%sgrpc-status: %d\r\nContent-Length: 0\r\n\r\n",
		fields, status)
}

// told says whether a response is usher's answer to a call.
func told(r *proxytest.Response, status, reason string) bool {
	h := r.Header
	return r.StatusCode == 200 && h.Get("Grpc-Status") == status && h.Get("X-Usher-Reason") == reason &&
		h.Get("Content-Type") == "application/grpc" && strings.HasPrefix(h.Get("Grpc-Message"), reason) &&
		r.Text == "" && r.Err == nil
}

// mute starts an origin that takes requests and answers none; gone is told of each
// whose connection ends.
func mute(tb testing.TB, gone chan<- struct{}) *proxytest.Origin {
	tb.Helper()
	return proxytest.Raw(tb, func(c *proxytest.Conn) {
		if c.Head(); c.Gone() && gone != nil {
			gone <- struct{}{}
		}
	})
}

// What fails is told as gRPC tells it.
func TestGRPCFailures(t *testing.T) {
	t.Parallel()
	const short = 100 * time.Millisecond
	hangs := mute(t, nil)
	resets := proxytest.Raw(t, func(c *proxytest.Conn) { c.Head() })
	babbles := proxytest.Answering(t, "SSH-2.0-x\r\n\r\n")
	for _, tc := range []struct {
		name    string
		service proxytest.Service
		policy  config.Policy
		fields  string
		status  string
		reason  string
	}{
		{"no route", proxytest.Service{Routes: []string{"/other"}}, config.Policy{}, "", "12", "no_route"},
		{
			"no healthy endpoint",
			proxytest.Service{Status: watcher.Critical, Addresses: []string{hangs.Addr}},
			config.Policy{},
			"", "14", "no_healthy_endpoint",
		},
		{"refused", proxytest.Service{}, config.Policy{}, "", "14", "connect_failed"},
		{
			"never connected",
			proxytest.Service{Addresses: []string{proxytest.Deaf(t)}},
			config.Policy{ConnectTimeout: short},
			"", "14", "connect_timeout",
		},
		{
			"no response in time",
			proxytest.Service{Addresses: []string{hangs.Addr}},
			config.Policy{Timeout: short},
			"", "4", "upstream_timeout",
		},
		{
			"no response in time, the timeout is none",
			proxytest.Service{Addresses: []string{hangs.Addr}},
			config.Policy{Timeout: short},
			"grpc-timeout: 1s\r\n", "4", "upstream_timeout",
		},
		{
			"total time",
			proxytest.Service{Addresses: []string{hangs.Addr}},
			config.Policy{TotalTimeout: short},
			"grpc-timeout: 10S\r\n", "4", "total_timeout",
		},
		{
			"the client's time",
			proxytest.Service{Addresses: []string{hangs.Addr}},
			config.Policy{TotalTimeout: time.Hour},
			"grpc-timeout: 100m\r\n", "4", "deadline_exceeded",
		},
		{
			"time that is over",
			proxytest.Service{Addresses: []string{hangs.Addr}},
			config.Policy{},
			"grpc-timeout: 0n\r\n", "4", "deadline_exceeded",
		},
		{"reset", proxytest.Service{Addresses: []string{resets.Addr}}, config.Policy{}, "", "14", "upstream_reset"},
		{"no HTTP", proxytest.Service{Addresses: []string{babbles.Addr}}, config.Policy{}, "", "13", "upstream_protocol"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.service.Name = "origin"
			if tc.service.Addresses == nil {
				tc.service.Addresses = []string{proxytest.Nowhere(t)}
			}
			u := proxytest.Start(t, proxytest.Options{Policy: tc.policy, Services: []proxytest.Service{tc.service}})
			for range 2 {
				if r := call(u.Dial(), tc.fields); !told(r, tc.status, tc.reason) {
					t.Errorf("got %d %v %q (%v), want %s %s", r.StatusCode, r.Header, r.Text, r.Err, tc.status, tc.reason)
				}
			}
			u.Quiet()
		})
	}
}

// A body that is too large, and requests that are none of gRPC.
func TestGRPCOrNot(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{
		Services:  proxytest.Origins(proxytest.Nowhere(t)),
		Listeners: []config.Listener{{MaxBodySize: config.Size(len(message))}},
	})
	const post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\n"
	c := u.Dial()
	c.Send(post + "Content-Length: 8\r\n\r\n" + message + "x")
	if r := c.Read("POST"); !told(r, "8", "body_too_large") {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}
	c = u.Dial()
	c.Send("%s", strings.Replace(post, "POST", "GET", 1)+"\r\n")
	if r := c.Read("GET"); r.StatusCode != 502 || r.Header.Get("Grpc-Status") != "" {
		t.Errorf("GET: got %d %v", r.StatusCode, r.Header)
	}
	c.Send("%s", strings.Replace(post, "grpc", "grpc-web+proto", 1)+"Content-Length: 0\r\n\r\n")
	if r := c.Read("POST"); r.StatusCode != 502 || r.Header.Get("Grpc-Status") != "" || r.Text != "connect_failed\n" {
		t.Errorf("gRPC-Web: got %d %v", r.StatusCode, r.Header)
	}
}

// An endpoint's own words go on as they are, gRPC's or not.
func TestGRPCPassesOn(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, answer string
		status       int
		field, value string
		trailer      string
	}{
		{"a message", reply(0), 200, "Content-Type", "application/grpc", "0"},
		{"a failure", reply(14), 200, "Grpc-Status", "", "14"},
		{"a failure without a message", trailersOnly(5, "grpc-message: not%20here\r\n"), 200, "Grpc-Message", "not%20here", ""},
		{"a page", "HTTP/1.1 503 No\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n", 503, "Content-Type", "text/html", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Answering(t, tc.answer)
			u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
			r := call(u.Dial(), "grpc-timeout: 5S\r\n")
			if r.StatusCode != tc.status || r.Header.Get(tc.field) != tc.value || r.Err != nil ||
				r.Trailer.Get("Grpc-Status") != tc.trailer || r.Header.Get("X-Usher-Reason") != "" {
				t.Errorf("got %d %v %v (%v)", r.StatusCode, r.Header, r.Trailer, r.Err)
			}
			if got := origin.Received(); !strings.Contains(got, "\r\ngrpc-timeout: 5S\r\n") {
				t.Errorf("sent %q", got)
			}
		})
	}
}

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
				if reason := r.Header.Get("X-Usher-Reason") + r.Trailer.Get("X-Usher-Reason"); reason != "deadline_exceeded" {
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
		_, rest, _ := strings.Cut(strings.ToLower(r.Text), "grpc-timeout: ")
		value, _, _ := strings.Cut(rest, "\r\n")
		left, ok := wire.ParseGRPCTimeout([]byte(strings.Replace(value, "s", "S", 1)))
		if !ok || left >= 9*time.Second || left < 3*time.Second || strings.Count(strings.ToLower(r.Text), "grpc-timeout") != 1 {
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
			return standing(u, 0, a.Addr).State == healthcheck.Ejected || standing(u, 1, b.Addr).State == healthcheck.Ejected
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

// A response that breaks off ends with a status.
func TestGRPCCut(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer string
		policy config.Policy
		text   string
		status string
		reason string
	}{
		"between messages": {
			streamHead + "7\r\n" + message + "\r\n", config.Policy{}, message, "14", "upstream_reset",
		},
		"within a message": {
			streamHead + "7\r\n" + message[:4], config.Policy{}, message[:4], "14", "upstream_reset",
		},
		"no chunk": {
			streamHead + "7\r\n" + message + "\r\nno\r\n", config.Policy{}, message, "13", "upstream_protocol",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Raw(t, func(c *proxytest.Conn) {
				c.Request()
				c.Reply("%s", tc.answer)
			})
			u := proxytest.Start(t, proxytest.Options{Policy: tc.policy, Services: proxytest.Origins(origin.Addr)})
			c := u.Dial()
			for range 2 {
				r := call(c, "")
				if r.StatusCode != 200 || r.Text != tc.text || r.Err != nil || r.Trailer.Get("Grpc-Status") != tc.status ||
					r.Trailer.Get("Grpc-Message") != tc.reason || r.Trailer.Get("X-Usher-Reason") != tc.reason {
					t.Errorf("got %d %q (%v) %v", r.StatusCode, r.Text, r.Err, r.Trailer)
				}
			}
			u.Quiet()
			labels := map[string]string{"reason": tc.reason}
			if n := u.Counter("usher_request_errors_total", labels); n != 2 {
				t.Errorf("%v are counted", n)
			}
		})
	}
	t.Run("not gRPC's", func(t *testing.T) {
		t.Parallel()
		origin := proxytest.Raw(t, func(c *proxytest.Conn) {
			c.Request()
			c.Reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
		})
		u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
		if r := call(u.Dial(), ""); r.Err == nil || len(r.Trailer) > 0 {
			t.Errorf("got %q (%v) %v", r.Text, r.Err, r.Trailer)
		}
	})
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

// retrying retries calls by their status.
func retrying(words ...string) config.Policy {
	return config.Policy{Retry: config.Retry{Attempts: 1, GRPCStatus: words}}
}

// A call is tried again for the statuses that are listed, if nothing else is lost by it.
func TestGRPCRetry(t *testing.T) {
	t.Parallel()
	const chunked = "Transfer-Encoding: chunked\r\n\r\n7\r\n" + message + "\r\n0\r\n\r\n"
	large := strings.Repeat("x", 16<<10+1)
	many := "Transfer-Encoding: chunked\r\n\r\n4001\r\n" + large + "\r\n0\r\n\r\n"
	long := "Content-Length: 16385\r\n\r\n" + large
	for _, tc := range []struct {
		name, answer, request string
		policy                config.Policy
		again                 bool
		status                string
	}{
		{"listed", trailersOnly(14, ""), "", retrying("resource_exhausted", "unavailable"), true, "0"},
		{"another", trailersOnly(8, ""), "", retrying("unavailable"), false, "8"},
		{"none", trailersOnly(14, ""), "", retrying(), false, "14"},
		{"among the trailers", reply(14), "", retrying("unavailable"), false, "14"},
		{"in chunks", trailersOnly(14, ""), chunked, retrying("unavailable"), true, "0"},
		{"in chunks, large", trailersOnly(14, ""), many, retrying("unavailable"), false, "14"},
		{"large", trailersOnly(14, ""), long, retrying("unavailable"), false, "14"},
		{"no attempt", trailersOnly(14, ""), "", config.Policy{Retry: config.Retry{
			Attempts: -1, GRPCStatus: []string{"unavailable"},
		}}, false, "14"},
		{"pushed back", trailersOnly(14, "grpc-retry-pushback-ms: -1\r\n"), "", retrying("unavailable"), false, "14"},
		{"put off", trailersOnly(14, "grpc-retry-pushback-ms: 60000\r\n"), "", retrying("unavailable"), true, "0"},
		{"reset", "", "", retrying("unavailable"), true, "0"},
		{"reset, not listed", "", "", retrying("aborted"), false, "14"},
		{"reset, in chunks", "", chunked, retrying("unavailable"), true, "0"},
		{"reset, in chunks, not listed", "", chunked, retrying("aborted"), false, "14"},
		{"reset, large", "", long, retrying("unavailable"), false, "14"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var bad, good atomic.Int32
			fails := counting(t, &bad, func(int32) string { return tc.answer })
			if tc.answer == "" {
				fails = proxytest.Raw(t, func(c *proxytest.Conn) {
					c.Request()
					bad.Add(1)
				})
			}
			works := proxytest.Raw(t, func(c *proxytest.Conn) {
				if req, body, _ := c.Request(); req != nil && body == message && req.ContentLength == int64(len(message)) {
					good.Add(1)
				}
				c.Reply("%s", trailersOnly(0, ""))
			})
			u := proxytest.Start(t, proxytest.Options{
				Policy: withBalance(tc.policy, "first"), Balancers: firstListed(),
				Services: proxytest.Origins(fails.Addr, works.Addr),
			})
			c := u.Dial()
			if tc.request == "" {
				sendCall(c, "")
			} else {
				c.Send("%s", "POST /s/M HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\n"+tc.request)
			}
			r := c.Read("POST")
			status := r.Header.Get("Grpc-Status") + r.Trailer.Get("Grpc-Status")
			if status != tc.status || bad.Load() != 1 || (good.Load() == 1) != tc.again {
				t.Errorf("got %s, tried %d and %d times", status, bad.Load(), good.Load())
			}
			if tc.name == "put off" {
				if call(c, ""); bad.Load() != 1 {
					t.Error("the endpoint is not left alone")
				}
			}
			u.Quiet()
		})
	}
}

// How calls end is held against their endpoint, wherever it is said.
func TestGRPCEvidence(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, answer, fields string
		out                  bool
	}{
		{"unavailable, trailers", reply(14), "", true},
		{"internal, trailers", reply(13), "", true},
		{"unavailable, head", trailersOnly(14, ""), "", true},
		{"unknown, head", trailersOnly(2, ""), "", true},
		{"too late by itself", reply(4), "", true},
		{"no status", strings.Replace(reply(0), "grpc-status: 0\r\n", "", 1), "", true},
		{"too late for the client", reply(4), "grpc-timeout: 10S\r\n", false},
		{"not found", reply(5), "", false},
		{"unimplemented", trailersOnly(12, ""), "", false},
		{"fine", reply(0), "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := config.Policy{Health: config.DefaultHealth()}
			p.Outlier.BaseTime, p.Outlier.MaxTime = time.Hour, time.Hour
			fails, works := proxytest.Answering(t, tc.answer), proxytest.Answering(t, reply(0))
			u := proxytest.Start(t, proxytest.Options{Policy: p, Services: proxytest.Origins(fails.Addr, works.Addr)})
			c := u.Dial()
			for range 12 {
				call(c, tc.fields)
			}
			u.Quiet()
			out := func() bool { return standing(u, 0, fails.Addr).State == healthcheck.Ejected }
			if tc.out {
				proxytest.Eventually(t, "it is ejected", out)
			} else if out() {
				t.Error("it is ejected")
			}
		})
	}
}

// Calls are counted by how they ended.
func TestGRPCMetrics(t *testing.T) {
	t.Parallel()
	answers := []string{
		reply(0), reply(5), trailersOnly(7, ""), strings.Replace(reply(0), "status: 0", "status: 99", 1),
		"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", proxytest.OK, reply(0),
	}
	var ran atomic.Int32
	origin := counting(t, &ran, func(n int32) string { return answers[n-1] })
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)})
	c := u.Dial()
	for range len(answers) - 1 {
		call(c, "")
	}
	c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc-web\r\nContent-Length: 0\r\n\r\n")
	c.Read("POST")
	u.Quiet()
	for status, want := range map[string]float64{
		"ok": 1, "not_found": 1, "permission_denied": 1, "unknown": 2, "unavailable": 1,
	} {
		if n := u.Counter("usher_grpc_requests_total", map[string]string{"grpc_status": status}); n != want {
			t.Errorf("%s: %v, want %v", status, n, want)
		}
	}
	if n := u.Counter("usher_grpc_requests_total", map[string]string{"service": "origin"}); n != 6 {
		t.Errorf("%v calls of the service", n)
	}
	if n := u.Counter("usher_requests_total", map[string]string{"code": "200"}); n != 6 {
		t.Errorf("%v answers are 200", n)
	}
}

// A call without a route is counted, too.
func TestGRPCMetricsOfNoRoute(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{})
	call(u.Dial(), "")
	u.Quiet()
	labels := map[string]string{"route": "none", "grpc_status": "unimplemented"}
	if n := u.Counter("usher_grpc_requests_total", labels); n != 1 {
		t.Errorf("%v are counted", n)
	}
}

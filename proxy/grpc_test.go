package proxy_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
	"usher/watcher"
)

// message is one of gRPC: five bytes, and two of its own.
const message = "\x00\x00\x00\x00\x02hi"

// sendCall sends a call whose body is whole.
func sendCall(c *proxytest.Client, fields string) {
	c.Send("%s", "POST /pkg.Service/Get HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc+proto\r\n"+
		"TE: trailers\r\n"+fields+fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(message), message))
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
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n"
	return head + fields + fmt.Sprintf("grpc-status: %d\r\nContent-Length: 0\r\n\r\n", status)
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
		{
			"no HTTP",
			proxytest.Service{Addresses: []string{babbles.Addr}},
			config.Policy{},
			"", "13", "upstream_protocol",
		},
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
					t.Errorf("got %d %v %q (%v), want %s", r.StatusCode, r.Header, r.Text, r.Err, tc.status)
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
		{
			"a failure without a message", trailersOnly(5, "grpc-message: not%20here\r\n"),
			200, "Grpc-Message", "not%20here", "",
		},
		{
			"a page", "HTTP/1.1 503 No\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n",
			503, "Content-Type", "text/html", "",
		},
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
				if r.StatusCode != 200 || r.Text != tc.text || r.Err != nil ||
					r.Trailer.Get("Grpc-Status") != tc.status || r.Trailer.Get("Grpc-Message") != tc.reason ||
					r.Trailer.Get("X-Usher-Reason") != tc.reason {
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

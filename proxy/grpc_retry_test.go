package proxy_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"usher/config"
	"usher/healthcheck"
	"usher/proxy/proxytest"
)

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
				req, body, _ := c.Request()
				if req != nil && body == message && req.ContentLength == int64(len(message)) {
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

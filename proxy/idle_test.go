package proxy_test

import (
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// The client is under no deadline while its endpoint is waited for: not even when what
// has come of a chunk is nothing to send yet.
func TestIdleIsTheEndpoints(t *testing.T) {
	t.Parallel()
	const idle, pause = 3 * time.Second, 1800 * time.Millisecond
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
	} {
		t.Run(request[:4], func(t *testing.T) {
			t.Parallel()
			idleBeside(t, idle, pause, request)
		})
	}
}

// idleBeside wants a request answered, and another one after it, by an endpoint that pauses
// twice within a body.
func idleBeside(t *testing.T, idle, pause time.Duration, request string) {
	t.Helper()
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		c.Request()
		c.Reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n")
		for _, part := range []string{"1\r\n", "k\r\n0\r\n\r\n"} {
			<-time.After(pause)
			c.Reply("%s", part)
		}
		c.Request()
		c.Reply(proxytest.OK)
	})
	u := proxytest.Start(t, proxytest.Options{
		Policy: config.Policy{IdleTimeout: idle}, Services: proxytest.Origins(origin.Addr),
	})
	c := u.Dial()
	c.Send("%s", request)
	c.OK("GET", "ok")
	c.Send("%s", request)
	c.OK("GET", "ok")
}

package proxy_test

import (
	"testing"

	"usher/config"
	"usher/proxy/proxytest"
)

// How long an endpoint takes is measured by the requests that are there whole: how long a
// client takes for its body is not the endpoint's doing. An early hint is nothing against
// it.
func TestWhatIsTimed(t *testing.T) {
	t.Parallel()
	const hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
	for name, tc := range map[string]struct {
		request, answer string
		timed           bool
	}{
		"GET":      {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", proxytest.OK, true},
		"hinted":   {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", hint + proxytest.OK, true},
		"a body":   {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", proxytest.OK, true},
		"a stream": {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", proxytest.OK, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Answering(t, tc.answer)
			u := proxytest.Start(t, proxytest.Options{
				Policy: config.Policy{Balance: "ewma"}, Services: proxytest.Origins(origin.Addr),
			})
			c := u.Dial()
			c.Send("%s", tc.request)
			if name == "hinted" && c.Begin("GET").StatusCode != 103 {
				t.Error("there is no hint")
			}
			c.OK("GET", "ok")
			for _, cl := range u.Proxy.Table().Clusters() {
				if _, timed := cl.Endpoints[0].State.Latency.Average(1); timed != tc.timed {
					t.Errorf("timed: %t", timed)
				}
			}
		})
	}
}

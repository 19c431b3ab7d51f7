package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"usher/config"
	"usher/proxy/proxytest"
)

// TestDebug: those who may are told how their request was routed when they ask, over every
// protocol, and endpoints do not see that they asked.
func TestDebug(t *testing.T) {
	options := proxytest.Options{Listeners: []config.Listener{{Debug: config.Debug{From: []string{"127.0.0.0/8"}}}}}
	conform(t, options, func(t *testing.T, f *fixture) {
		var forwarded string
		address := serve(t, func(_ http.ResponseWriter, r *http.Request) { forwarded = r.Header.Get("X-Usher-Debug") })
		f.Publish(proxytest.Service{Name: "origin", Routes: []string{"/here"}, Addresses: []string{address}})
		for _, tc := range []struct {
			path, value string
			told        bool
		}{
			{"/here", "1", true},
			{"/here", "true", true},
			{"/here", "", false},
			{"/here", "0", false},
			{"/nowhere", "1", true},
		} {
			req := f.request(http.MethodGet, tc.path, nil)
			if tc.value != "" {
				req.Header.Set("X-Usher-Debug", tc.value)
			}
			got := f.do(req).Header
			if told := got.Get("X-Usher-Generation") != ""; told != tc.told {
				t.Errorf("%s %q: told %v: %v", tc.path, tc.value, told, got)
			}
			endpoint, path := got.Get("X-Usher-Endpoint"), got.Get("X-Usher-Route")
			attempts := got.Get("X-Usher-Attempts")
			switch routed := tc.told && tc.path == "/here"; {
			case routed && (!strings.HasPrefix(endpoint, address+"; id=") || attempts != "1"),
				routed == (path == ""):
				t.Errorf("%s: %v", tc.path, got)
			case !routed && endpoint != "":
				t.Errorf("%s: %v", tc.path, got)
			}
			if forwarded != "" {
				t.Errorf("the endpoint was asked for %q", forwarded)
			}
		}
	})
}

// Nobody is told by default, nor a client whom a trusted proxy tells of that may not know.
func TestDebugRefused(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{}, {
			Name: "behind", Address: "127.0.0.2:0", TrustedProxies: []string{"127.0.0.1"},
			Debug: config.Debug{From: []string{"127.0.0.1", "192.0.2.1"}},
		}},
		Services: proxytest.Origins(origin.Addr),
	})
	for _, tc := range []struct {
		listener, fields string
		told             bool
	}{
		{"web", "", false},
		{"behind", "", true},
		{"behind", "X-Forwarded-For: 192.0.2.1\r\n", true},
		{"behind", "X-Forwarded-For: 192.0.2.2\r\n", false},
		{"behind", "Connection: close, x-custom\r\n", true},
	} {
		c := proxytest.Dial(t, u.AddrOf(tc.listener))
		c.Send("GET / HTTP/1.1\r\nHost: a\r\n%sx-usher-debug: 1\r\n\r\n", tc.fields)
		r := c.Read("GET")
		if told := r.Header.Get("X-Usher-Endpoint") != ""; told != tc.told {
			t.Errorf("%s %q: %v", tc.listener, tc.fields, r.Header)
		}
	}
	if strings.Contains(strings.ToLower(origin.Received()), "x-usher-debug") {
		t.Error("the field was forwarded")
	}
}

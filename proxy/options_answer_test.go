package proxy_test

import (
	"fmt"
	"strings"
	"testing"

	"usher/config"
	"usher/proxy/proxytest"
)

// The client is told the name that its request went on with, whatever the endpoint
// says.
func TestRequestIDIsTold(t *testing.T) {
	t.Parallel()
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		for {
			req, _, _ := c.Request()
			if req == nil {
				return
			}
			id := req.Header.Get("X-Request-Id")
			c.Reply("HTTP/1.1 200 OK\r\nx-request-id: mine\r\nContent-Length: %d\r\n\r\n%s", len(id), id)
		}
	})
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{{RequestID: true}},
		Services:  []proxytest.Service{{Name: "a", Routes: []string{"/here"}, Addresses: []string{origin.Addr}}},
	})
	c := u.Dial()
	seen := map[string]bool{}
	for range 3 {
		r := c.Get("/here")
		told := strings.Join(r.Header.Values("X-Request-Id"), "|")
		if len(told) != 32 || told != r.Text {
			t.Errorf("the client was told %q, the endpoint %q", told, r.Text)
		}
		own := c.Get("/nowhere")
		if id := own.Header.Get("X-Request-Id"); own.StatusCode != 404 || len(id) != 32 {
			t.Errorf("usher's own answer: %d %q", own.StatusCode, id)
		}
		seen[told], seen[own.Header.Get("X-Request-Id")] = true, true
	}
	if len(seen) != 6 {
		t.Errorf("%d names for 6 requests", len(seen))
	}
	c.Send("GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
	if r := c.Read("GET"); r.StatusCode != 400 || r.Header.Get("X-Request-Id") != "" {
		t.Errorf("a head that was not read: %d %v", r.StatusCode, r.Header)
	}
}

func TestViaOfResponses(t *testing.T) {
	t.Parallel()
	origin := proxytest.Answering(t, "HTTP/1.1 200 OK\r\nVia: 1.0 other\r\nContent-Length: 2\r\n\r\nok")
	for _, on := range []bool{true, false} {
		u := proxytest.Start(t, proxytest.Options{
			Listeners: []config.Listener{{Via: on}}, Services: proxytest.Origins(origin.Addr),
		})
		want := map[bool]string{true: "1.0 other|1.1 usher", false: "1.0 other"}[on]
		if got := strings.Join(u.Dial().Get("/").Header.Values("Via"), "|"); got != want {
			t.Errorf("%v: got %q, want %q", on, got, want)
		}
	}
}

func TestUnderscoreHeaders(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]int{"": 0, "drop": 0, "keep": 1} {
		t.Run(fmt.Sprintf("%q", word), func(t *testing.T) {
			t.Parallel()
			head := get + "X_Plain: 1\r\nX-Plain: 2\r\n\r\n"
			got := strings.ToLower(sentUpstream(t, config.Listener{UnderscoreHeaders: word}, head))
			if strings.Count(got, "\r\nx_plain: 1\r\n") != want || !strings.Contains(got, "\r\nx-plain: 2\r\n") {
				t.Errorf("got %q", got)
			}
		})
	}
}

package upstream_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"usher/config"
)

// Requests and their answers go through HTTP/2 as through HTTP/1.1.
func TestH2Messages(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		origin := tr.serve(t, func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			if err != nil || r.ProtoMajor != 2 {
				t.Errorf("%s, %v", r.Proto, err)
			}
			w.Header().Set("X-Got", fmt.Sprintf("%s %s %s %s", r.Method, r.Host, r.RequestURI, r.Header.Get("X-Sent")))
			switch r.URL.Path {
			case "/length":
				w.Header().Set("Content-Length", fmt.Sprint(len(b)))
			case "/none":
				w.WriteHeader(204)
				return
			}
			_, _ = w.Write(b)
		})
		u := tr.proxied(t, config.Policy{}, origin.Addr)
		c := u.Dial()
		for _, size := range []int{0, 2, 10 << 10, 100 << 10, 3<<20 + 1} {
			body := strings.Repeat("0123456789abcde\n", size/16+1)[:size]
			for _, path := range []string{"/length", "/chunks"} {
				c.Send("POST %s HTTP/1.1\r\nHost: a\r\nX-Sent: x\r\nContent-Length: %d\r\n\r\n%s", path, size, body)
				c.OK("POST", body)
				c.Send("POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", path)
				if size > 0 {
					c.Send("%x\r\n%s\r\n", size, body)
				}
				c.Send("0\r\n\r\n")
				c.OK("POST", body)
			}
		}
		c.Send("HEAD /length?q HTTP/1.1\r\nHost: b.test:81\r\nX-Sent: y\r\n\r\n")
		r := c.Read("HEAD")
		if got := r.Header.Get("X-Got"); r.StatusCode != 200 || got != "HEAD b.test:81 /length?q y" {
			t.Errorf("got %s %q", r.Status, got)
		}
		c.Send("GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
		if r := c.Read("GET"); r.StatusCode != 204 || r.Text != "" {
			t.Errorf("got %s %q", r.Status, r.Text)
		}
		if n := origin.accepted.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
		u.Clean(1, 1)
	})
}

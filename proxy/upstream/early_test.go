package upstream_test

import (
	"io"
	"testing"
	"time"

	"usher/proxy/proxytest"
)

// What a peer says or ends before it is asked anything, on a connection just made, is
// found at once: the news of it has come before anybody waited for news.
func TestEarly(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		early func(c *proxytest.Conn)
		want  string
	}{
		"answer":     {func(c *proxytest.Conn) { c.Reply(proxytest.OK) }, "ok"},
		"half-close": {func(c *proxytest.Conn) { _ = c.CloseWrite() }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := proxytest.Raw(t, func(c *proxytest.Conn) {
				tc.early(c)
				_, _ = io.Copy(io.Discard, c.R)
			})
			s := newScene(t)
			c := s.get(s.Acquire(endpoint(origin.Addr)))
			defer c.Close()
			proxytest.Eventually(t, "it has come", func() bool { return !c.Idle() })
			c.Watch.Arm(s.sweeper.Now() + int64(2*time.Second))
			text, err := ask(c)
			if text != tc.want || c.Watch.Fired() {
				t.Errorf("got %q, %v; the time was over: %t", text, err, c.Watch.Fired())
			}
		})
	}
}

// What one side of a connection has ended, the other may still answer.
func TestCloseWrite(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, tr *transport) {
		origin := tr.raw(t, func(p *peer) {
			b, err := io.ReadAll(p.R)
			p.Reply("got %s, %v", b, err)
		})
		s := newScene(t)
		c := s.get(s.Acquire(tr.endpoint(origin.Addr)))
		defer c.Close()
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); string(b) != "got hello, <nil>" || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
		if _, err := c.Write([]byte("more")); err == nil {
			t.Error("more is taken behind the end")
		}
	})
}

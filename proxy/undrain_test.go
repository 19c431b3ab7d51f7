package proxy_test

import (
	"testing"

	"usher/config"
	"usher/proxy/proxytest"
)

// After Undrain connections live on as before Drain, and a shutdown still waits for those
// that were made before.
func TestUndrain(t *testing.T) {
	t.Parallel()
	h := hold(t)
	close(h.release)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(h.Addr)})
	ask := func(c *proxytest.Client, last bool) {
		t.Helper()
		c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if r := c.Read("GET"); r.StatusCode != 200 || r.Close != last {
			t.Errorf("got %d %v, last: %v", r.StatusCode, r.Header, last)
		}
	}
	before := u.Dial()
	ask(before, false)
	u.Proxy.Undrain() // there is nothing to undo
	ask(before, false)
	for range 3 {
		u.Proxy.Drain()
		during := u.Dial()
		ask(during, true)
		during.Closed()
		u.Proxy.Undrain()
		after := u.Dial()
		ask(after, false)
		ask(after, false)
	}
	ask(before, true) // it was told to end
	before.Closed()
	idle := u.Dial()
	ask(idle, false)
	if n := u.Proxy.Shutdown(t.Context()); n != 0 {
		t.Errorf("%d connections were cut", n)
	}
	idle.Closed()
}

// A listener that is new while usher drains drains too, and is undrained with the rest.
func TestUndrainOfANewListener(t *testing.T) {
	t.Parallel()
	h := hold(t)
	close(h.release)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(h.Addr)})
	u.Proxy.Drain()
	u.Listen(config.Listener{}, config.Listener{Name: "second"})
	for _, last := range []bool{true, false} {
		c := proxytest.Dial(t, u.AddrOf("second"))
		c.Send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if r := c.Read("GET"); r.StatusCode != 200 || r.Close != last {
			t.Errorf("got %d %v, last: %v", r.StatusCode, r.Header, last)
		}
		u.Proxy.Undrain()
	}
}

package metrics

import (
	"sync"
	"testing"
)

func TestTunnels(t *testing.T) {
	d := newDownstream(nil)
	h := handler(d)
	const a, b = `usher_upgraded_connections{service="a"}`, `usher_upgraded_connections{service="b"}`
	if got := only(scrape(t, h), "usher_upgraded"); len(got) != 0 {
		t.Errorf("without tunnels: got %v", got)
	}
	d.TunnelOpened("a")
	d.TunnelOpened("a")
	d.TunnelOpened("b")
	d.TunnelClosed("b")
	if got := only(scrape(t, h), "usher_upgraded"); len(got) != 2 || got[a] != 2 || got[b] != 0 {
		t.Errorf("two and none left: got %v", got)
	}
	if got := only(scrape(t, h), "usher_upgraded"); len(got) != 1 || got[a] != 2 {
		t.Errorf("what has ended is shown once more: got %v", got)
	}
	d.TunnelClosed("a")
	d.TunnelOpened("b")
	if got := only(scrape(t, h), "usher_upgraded"); len(got) != 2 || got[a] != 1 || got[b] != 1 {
		t.Errorf("again: got %v", got)
	}
	if d.Upgraded("a") != 1 || d.Upgraded("c") != 0 {
		t.Errorf("got %d and %d", d.Upgraded("a"), d.Upgraded("c"))
	}
}

func TestTunnelsConcurrently(t *testing.T) {
	d := newDownstream(nil)
	h := handler(d)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				d.TunnelOpened("a")
				d.TunnelClosed("a")
			}
		})
	}
	for range 20 {
		if n := only(scrape(t, h), "usher_upgraded")[`usher_upgraded_connections{service="a"}`]; n < 0 || n > 8 {
			t.Errorf("got %v", n)
		}
	}
	wg.Wait()
	if n := d.Upgraded("a"); n != 0 {
		t.Errorf("%d are left", n)
	}
}

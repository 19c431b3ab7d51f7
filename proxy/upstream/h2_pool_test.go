package upstream_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"usher/proxy/proxytest"
	"usher/proxy/upstream"
)

// okHandler answers every request.
func okHandler(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }

// Requests share one connection, which the counts tell, and which ends when it was idle for
// too long.
func TestH2Pool(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		origin := tr.serve(t, okHandler)
		s := newScene(t)
		p := s.Acquire(tr.endpoint(origin.Addr))
		a := s.get(p)
		b := s.get(p)
		if a.Reused || !b.Reused || !b.Alive() || a.Endpoint().Address != origin.Addr {
			t.Errorf("used before: %t and %t", a.Reused, b.Reused)
		}
		if _, _, plain := a.Plain(); plain {
			t.Error("its bytes are no one's to move")
		}
		s.wantSeries(map[string]float64{
			`usher_upstream_connections{service="orders",state="active"}`: 1,
			`usher_upstream_connections{service="orders",state="idle"}`:   0,
			`usher_upstream_connect_duration_seconds{service="orders"}`:   1,
		})
		for _, c := range []*upstream.Conn{b, a} {
			if text, err := ask(c); text != "ok" || err != nil {
				t.Errorf("got %q, %v", text, err)
			}
		}
		a.Release()
		b.Close()
		eventuallyIdle(t, s, 1)
		if places, waiting := p.Places(); places != 1 || waiting != 0 || s.Open() != 1 {
			t.Errorf("%d places, %d waiting, %d open", places, waiting, s.Open())
		}
		if c := s.get(p); c != a {
			t.Error("its memory is not used again")
		} else {
			c.Release() // nothing was sent
		}
		s.Expire(0)
		s.asks(p)
		eventuallyIdle(t, s, 1)
		s.Expire(s.sweeper.Now() + int64(time.Hour))
		proxytest.Eventually(t, "the idle one is gone", func() bool { return s.Open() == 0 })
		if places, _ := p.Places(); places != 0 {
			t.Errorf("%d places are taken", places)
		}
		s.asks(p)
		if n := origin.accepted.Load(); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// eventuallyIdle waits until so many connections are idle.
func eventuallyIdle(t *testing.T, s *scene, n float64) {
	t.Helper()
	proxytest.Eventually(t, "it is idle", func() bool {
		return s.series()[`usher_upstream_connections{service="orders",state="idle"}`] == n
	})
}

// An endpoint that leaves finishes what runs, on a connection that ends with it.
func TestH2Retire(t *testing.T) {
	t.Parallel()
	tr := h2Transports(t)[0]
	origin := tr.serve(t, okHandler)
	s := newScene(t)
	e := tr.endpoint(origin.Addr)
	p := s.Acquire(e)
	c := s.get(p)
	s.Release(e)
	if text, err := ask(c); text != "ok" || err != nil {
		t.Errorf("got %q, %v", text, err)
	}
	c.Release()
	proxytest.Eventually(t, "the connection is gone", func() bool {
		places, _ := p.Places()
		return places == 0
	})
	// Whoever still has the pool may use it, for one request.
	s.asks(p)
	proxytest.Eventually(t, "this one as well", func() bool {
		places, _ := p.Places()
		return places == 0
	})
}

// An endpoint that goes from HTTP/1.1 to HTTP/2 is spoken to anew.
func TestH2PoolKey(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	old := endpoint("127.0.0.1:1")
	next := *old
	next.HTTP2 = true
	if s.Acquire(old) == s.Acquire(&next) {
		t.Error("both have one pool")
	}
}

// A fresh connection is one made after it was asked for. It takes the place of an idle one
// if need be, or else is one that there is.
func TestH2Fresh(t *testing.T) {
	t.Parallel()
	tr := h2Transports(t)[0]
	origin := tr.serve(t, okHandler)
	s := newScene(t)
	e := tr.endpoint(origin.Addr)
	e.MaxConnections = 2
	p := s.Acquire(e)
	get := func() *upstream.Conn {
		c, err := p.Get(true, proxytest.Patience)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	a, b := get(), get()
	if n := origin.accepted.Load(); n != 2 {
		t.Errorf("%d connections, want two", n)
	}
	if c := get(); !c.Reused {
		t.Error("there is no place for a third one")
	} else {
		c.Release()
	}
	a.Release()
	eventuallyIdle(t, s, 1)
	c := get()
	if n := origin.accepted.Load(); n != 3 || c.Reused {
		t.Errorf("%d connections, want that an idle one has made room", n)
	}
	b.Release()
	c.Release()
	proxytest.Eventually(t, "the bound holds", func() bool {
		places, _ := p.Places()
		return places == 2
	})
	e.MaxConnections = 1
	s.Acquire(e)
	proxytest.Eventually(t, "the new bound holds", func() bool {
		places, _ := p.Places()
		return places == 1
	})
}

// Requests that come while a connection is made share it, and its failure.
func TestH2ConnectsOnce(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		origin := tr.serve(t, okHandler)
		s := newScene(t)
		well, gone := s.Acquire(tr.endpoint(origin.Addr)), s.Acquire(tr.endpoint(proxytest.Nowhere(t)))
		silent := proxytest.Raw(t, func(c *proxytest.Conn) { c.Gone() })
		mute := s.Acquire(tr.endpoint(silent.Addr))
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				c, err := well.Get(false, proxytest.Patience)
				if err != nil {
					t.Error(err)
					return
				}
				if text, err := ask(c); text != "ok" || err != nil {
					t.Errorf("got %q, %v", text, err)
				}
				c.Release()
			})
			wg.Go(func() {
				_, err := gone.Get(false, proxytest.Patience)
				if err == nil || err.Kind != upstream.Connect || err.Timeout() {
					t.Errorf("got %v", err)
				}
			})
			wg.Go(func() {
				_, err := mute.Get(false, 100*time.Millisecond)
				if err == nil || err.Kind != upstream.Connect || !err.Timeout() {
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		if n := origin.accepted.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
		for _, p := range []*upstream.Pool{gone, mute} {
			if places, waiting := p.Places(); places != 0 || waiting != 0 {
				t.Errorf("%d places, %d waiting", places, waiting)
			}
		}
	})
}

// Who waits for a stream gets the first that is free, and a connection is made for those
// who wait when there is a place.
func TestH2Queue(t *testing.T) {
	t.Parallel()
	tr := h2Transports(t)[0]
	origin := tr.serve(t, okHandler, func(s *http.Server) { s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 2} })
	s := newScene(t)
	e := tr.endpoint(origin.Addr)
	e.MaxConnections, e.MaxPending = 1, 3
	p := s.Acquire(e)
	a, b := s.get(p), s.get(p)
	if !p.Full() {
		t.Error("it passes for one with room")
	}
	_, err := p.Get(false, proxytest.Patience)
	wantFull(t, err)
	first, second, third := queue(t, p), queue(t, p), queue(t, p)
	if text, err := ask(a); text != "ok" || err != nil {
		t.Errorf("got %q, %v", text, err)
	}
	a.Release()
	c := <-waits(first)
	second.Cancel()
	if _, err := second.Wait(proxytest.Patience, proxytest.Patience); err == nil {
		t.Error("it has waited after it has left")
	}
	e.MaxConnections = 2
	s.Acquire(e)
	d := <-waits(third)
	if c == nil || d == nil {
		t.Fatal("who waited was not served")
	}
	for _, c := range []*upstream.Conn{b, c, d} {
		if text, err := ask(c); text != "ok" || err != nil {
			t.Errorf("got %q, %v", text, err)
		}
		c.Release()
	}
	if n := origin.accepted.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
	s.wantSeries(map[string]float64{`usher_upstream_pool_exhausted_total{service="orders"}`: 1})
}

// An endpoint that allows no request cannot be connected to.
func TestH2NoStreams(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	address := proxytest.Raw(t, func(c *proxytest.Conn) {
		_ = http2.NewFramer(c.Conn, nil).WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0})
		c.Gone()
	}).Addr
	p := s.Acquire(h2Transports(t)[0].endpoint(address))
	if _, err := p.Get(false, proxytest.Patience); err == nil || err.Kind != upstream.Connect {
		t.Errorf("got %v", err)
	}
	proxytest.Eventually(t, "its connection is gone", func() bool {
		places, _ := p.Places()
		return places == 0 && s.Open() == 0
	})
}

// What is idle when everything ends is ended before Close returns.
func TestH2Close(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		origin := tr.serve(t, okHandler)
		s := newScene(t)
		s.asks(s.Acquire(tr.endpoint(origin.Addr)))
		eventuallyIdle(t, s, 1)
		within(t, "Close", s.Close)
		if n := s.Open(); n != 0 {
			t.Errorf("%d are open", n)
		}
	})
}

package upstream_test

import (
	"testing"
	"time"

	"usher/proxy/proxytest"
	"usher/proxy/upstream"
)

// waits begins a wait in the background.
func waits(w *upstream.Pending) <-chan *upstream.Conn {
	out := make(chan *upstream.Conn, 1)
	go func() {
		c, _ := w.Wait(proxytest.Patience, proxytest.Patience)
		out <- c
	}()
	return out
}

// queue takes a place in the queue.
func queue(t *testing.T, p *upstream.Pool) *upstream.Pending {
	t.Helper()
	w, err := p.Queue()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// wantFull wants to be told that all connections are in use.
func wantFull(t *testing.T, err *upstream.Error) {
	t.Helper()
	if err == nil || err.Kind != upstream.Full {
		t.Errorf("got %v, want that all connections are in use", err)
	}
}

// Who waits longest is served first: by a connection put back, or the place of one that
// was closed.
func TestQueueOrder(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, tr *transport) {
		s := newScene(t)
		e := tr.endpoint(tr.ok(t).Addr)
		e.MaxConnections, e.MaxPending = 1, 3
		p := s.Acquire(e)
		held := s.get(p)
		if _, err := p.Get(false, proxytest.Patience); err != nil {
			wantFull(t, err)
		}
		queued := []*upstream.Pending{queue(t, p), queue(t, p), queue(t, p)}
		_, err := p.Queue()
		wantFull(t, err)
		if !p.Full() {
			t.Error("it passes for one with room")
		}
		for i, w := range queued {
			if i == 1 {
				held.Close()
			} else {
				held.Release()
			}
			if _, waiting := p.Places(); waiting != len(queued)-1-i {
				t.Errorf("%d are waiting after %d were served", waiting, i+1)
			}
			c := <-waits(w)
			if c == nil || (c == held) != (i != 1) {
				t.Fatalf("%d: got %v", i, c)
			}
			if text, err := ask(c); text != "ok" || err != nil {
				t.Errorf("%d: got %q, %v", i, text, err)
			}
			held = c
		}
		held.Release()
		if places, waiting := p.Places(); places != 1 || waiting != 0 || p.Full() {
			t.Errorf("%d places, %d waiting, full: %t", places, waiting, p.Full())
		}
		s.wantSeries(map[string]float64{
			`usher_upstream_pool_exhausted_total{service="orders"}`:       1,
			`usher_upstream_connections{service="orders",state="idle"}`:   1,
			`usher_upstream_connections{service="orders",state="active"}`: 0,
			`usher_upstream_connect_duration_seconds{service="orders"}`:   2,
		})
	})
}

// A wait ends by itself, by Cancel, and with everything; who has left the queue is not
// served, and what was to be theirs is not lost.
func TestQueueEnds(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	plain := transports(t)[0]
	p := s.Acquire(bounded(plain.ok(t).Addr, 1, 2))
	held := s.get(p)
	_, err := queue(t, p).Wait(time.Millisecond, proxytest.Patience)
	wantFull(t, err)

	cancelled := queue(t, p)
	cancelled.Cancel()
	cancelled.Cancel() // once more does no harm
	_, err = cancelled.Wait(proxytest.Patience, proxytest.Patience)
	wantFull(t, err)

	cut := waits(queue(t, p))
	proxytest.Eventually(t, "the wait is cut", func() bool {
		s.CancelDials()
		select {
		case c := <-cut:
			return c == nil
		default:
			return false
		}
	})
	if places, waiting := p.Places(); places != 1 || waiting != 0 {
		t.Errorf("%d places, %d waiting", places, waiting)
	}
	held.Release()
	if c := s.get(p); c != held {
		t.Error("the connection went elsewhere")
	}
	held.Close()
}

// What is given to one who has just left goes to the next.
func TestQueueGivesBack(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	plain := transports(t)[0]
	for name, end := range map[string]func(c *upstream.Conn){
		"connection": (*upstream.Conn).Release, "place": (*upstream.Conn).Close,
	} {
		p := s.Acquire(bounded(plain.ok(t).Addr, 1, 2))
		held := s.get(p)
		left, next := queue(t, p), queue(t, p)
		end(held) // left is served,
		left.Cancel()
		if c, _ := left.Wait(proxytest.Patience, proxytest.Patience); c != nil {
			c.Release() // may take it still,
		}
		c := <-waits(next) // and next gets it in either case
		if c == nil {
			t.Fatalf("%s: lost", name)
		}
		c.Close()
		if places, waiting := p.Places(); places != 0 || waiting != 0 {
			t.Errorf("%s: %d places, %d waiting", name, places, waiting)
		}
	}
}

// Bounds that change are in force at once: those who wait are served, and what is too
// much closes after use.
func TestBoundsChange(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	plain := transports(t)[0]
	origin := plain.ok(t)
	e := bounded(origin.Addr, 1, 5)
	p := s.Acquire(e)
	a := s.get(p)
	first, second := waits(queue(t, p)), waits(queue(t, p))
	e.MaxConnections = 0
	s.Acquire(e)
	b, c := <-first, <-second
	if b == nil || c == nil {
		t.Fatal("who waited was not served")
	}
	e.MaxConnections = 1
	s.Acquire(e)
	for _, x := range []*upstream.Conn{a, b, c} {
		if text, err := ask(x); text != "ok" || err != nil {
			t.Errorf("got %q, %v", text, err)
		}
		x.Release()
	}
	if n := s.Open(); n != 1 {
		t.Errorf("%d connections are left, want 1", n)
	}
}

// A new connection that is asked for takes the place of one that is idle.
func TestFreshWithinBound(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	plain := transports(t)[0]
	origin := plain.ok(t)
	p := s.Acquire(bounded(origin.Addr, 1, 0))
	s.asks(p)
	c, err := p.Get(true, proxytest.Patience)
	if err != nil || c.Reused {
		t.Fatalf("got %v", err)
	}
	if n := s.Open(); n != 1 {
		t.Errorf("%d are open", n)
	}
	_, err = p.Get(true, proxytest.Patience)
	wantFull(t, err)
	c.Close()
}

// A connect that fails gives its place to the next.
func TestFailedConnectGivesPlace(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	p := s.Acquire(bounded(proxytest.Nowhere(t), 1, 2))
	for range 3 {
		if _, err := p.Get(false, proxytest.Patience); err == nil || err.Kind != upstream.Connect {
			t.Errorf("got %v", err)
		}
	}
	if places, _ := p.Places(); places != 0 {
		t.Errorf("%d places are taken", places)
	}
}

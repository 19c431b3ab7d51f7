package upstream_test

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"usher/proxy/proxytest"
	"usher/proxy/upstream"
)

// The connection used last is used first: the others can expire.
func TestReuse(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, tr *transport) {
		origin := tr.ok(t)
		s := newScene(t)
		p := s.Acquire(tr.endpoint(origin.Addr))
		a, b := s.get(p), s.get(p)
		for _, c := range []*upstream.Conn{a, b} {
			if text, err := ask(c); text != "ok" || err != nil || c.Reused {
				t.Fatalf("got %q, %v, reused: %t", text, err, c.Reused)
			}
		}
		b.Release()
		a.Release()
		for _, want := range []*upstream.Conn{a, b} {
			c := s.get(p)
			if c != want || !c.Reused || !c.Alive() {
				t.Errorf("reused: %t, alive: %t, the one used last: %t", c.Reused, c.Alive(), c == want)
			}
			if text, err := ask(c); text != "ok" || err != nil {
				t.Errorf("got %q, %v", text, err)
			}
		}
		fresh, err := p.Get(true, proxytest.Patience)
		if err != nil || fresh.Reused {
			t.Errorf("asked for a new one: %v", err)
		}
		for _, c := range []*upstream.Conn{a, b, fresh} {
			c.Close()
			c.Close() // once more does no harm
		}
		if n := s.Open(); n != 0 {
			t.Errorf("%d open", n)
		}
		proxytest.Eventually(t, "three connections were made", func() bool { return origin.Accepted() == 3 })
	})
}

// A connection that the peer has touched while it was idle is never written to.
func TestStale(t *testing.T) {
	t.Parallel()
	for name, touch := range map[string]func(p *peer){
		"late bytes": func(p *peer) { p.Reply("HTTP/1.1 200 OK\r\n\r\n") },
		"end":        func(p *peer) { p.Close() },
		"half-close": func(p *peer) { _ = p.tcp.CloseWrite() },
		"reset":      func(p *peer) { p.reset() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachTransport(t, func(t *testing.T, tr *transport) {
				idle := make(chan struct{})
				origin := tr.raw(t, func(p *peer) {
					p.Request()
					p.Reply(proxytest.OK)
					select {
					case <-idle:
					case <-t.Context().Done():
					}
					touch(p)
					_, _ = io.Copy(io.Discard, p.R)
				})
				s := newScene(t)
				p := s.Acquire(tr.endpoint(origin.Addr))
				s.asks(p)
				c := s.get(p)
				close(idle)
				proxytest.Eventually(t, "the connection is no longer alive", func() bool { return !c.Alive() })
				if _, err := ask(c); !errors.Is(err, upstream.ErrStale) {
					t.Errorf("got %v, want that it is stale", err)
				}
				c.Close()
				if n := strings.Count(origin.Received(), "GET"); n != 1 {
					t.Errorf("%d requests were written", n)
				}
			})
		})
	}
}

// Bytes behind an answer that were read along with it are as late as any.
func TestBufferedLateBytes(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, tr *transport) {
		origin := tr.raw(t, func(p *peer) {
			p.Request()
			p.Reply(proxytest.OK + "HTTP/1.1 200 OK\r\n\r\n")
			_, _ = io.Copy(io.Discard, p.R)
		})
		s := newScene(t)
		p := s.Acquire(tr.endpoint(origin.Addr))
		s.asks(p)
		if n := s.Open(); n != 0 {
			t.Error("the connection is kept")
		}
	})
}

// A pool that nobody holds any more closes its connections, those in use after use.
func TestRetire(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, tr *transport) {
		origin := tr.ok(t)
		s := newScene(t)
		e := tr.endpoint(origin.Addr)
		p := s.Acquire(e)
		if s.Acquire(e) != p {
			t.Fatal("an endpoint has two pools")
		}
		inUse := s.get(p)
		s.asks(p)
		s.Release(e)
		s.asks(p)
		if n := origin.Accepted(); n != 2 {
			t.Errorf("%d connections, want that the idle one stays while somebody holds the pool", n)
		}
		s.Release(e)
		proxytest.Eventually(t, "one connection", func() bool { return origin.Open() == 1 })
		if text, err := ask(inUse); text != "ok" || err != nil {
			t.Errorf("got %q, %v", text, err)
		}
		inUse.Release()
		proxytest.Eventually(t, "no connection", func() bool { return origin.Open() == 0 })
		if places, _ := p.Places(); places != 0 {
			t.Errorf("%d places are taken", places)
		}
		if s.Acquire(e) == p {
			t.Error("a retired pool came back")
		}
	})
}

// Connections idle for too long close, and those that their peer has closed.
func TestExpire(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, tr *transport) {
		origin := tr.ok(t)
		s := newScene(t)
		p := s.Acquire(tr.endpoint(origin.Addr))
		old, young := s.get(p), s.get(p)
		for _, c := range []*upstream.Conn{old, young} {
			if _, err := ask(c); err != nil {
				t.Fatal(err)
			}
		}
		old.Release()
		released := s.sweeper.Recent()
		proxytest.Eventually(t, "a tick", func() bool { return s.sweeper.Recent() > released })
		between := s.sweeper.Recent()
		young.Release()
		s.Expire(between)
		if n := s.Open(); n != 1 {
			t.Fatalf("%d open, want the young one", n)
		}
		if c := s.get(p); c != young {
			t.Error("another one is left")
		}
		young.Release()
		origin.Close()
		proxytest.Eventually(t, "the one that was closed is gone", func() bool {
			s.Expire(0)
			return s.Open() == 0
		})
	})
}

// Abort ends the wait of another goroutine, and the connection is of no more use.
func TestAbort(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, tr *transport) {
		asked := make(chan struct{})
		origin := tr.raw(t, func(p *peer) {
			p.Request()
			close(asked)
			p.Gone()
		})
		s := newScene(t)
		c := s.get(s.Acquire(tr.endpoint(origin.Addr)))
		go func() {
			<-asked
			c.Abort()
		}()
		within(t, "an aborted wait", func() {
			if _, err := ask(c); err == nil {
				t.Error("an answer came")
			}
		})
		c.Close()
	})
}

// A deadline ends what the connection waits for, and it is never put back.
func TestDeadline(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, tr *transport) {
		origin := tr.raw(t, func(p *peer) { p.Gone() })
		s := newScene(t)
		c := s.get(s.Acquire(tr.endpoint(origin.Addr)))
		c.Watch.Arm(1)
		if _, err := ask(c); err == nil || !c.Watch.Fired() {
			t.Errorf("got %v, fired: %t", err, c.Watch.Fired())
		}
		c.Release()
		if n := s.Open(); n != 0 {
			t.Error("the connection is kept")
		}
	})
}

// The end of everything ends connects as well.
func TestCancelDials(t *testing.T) {
	t.Parallel()
	silent := proxytest.Raw(t, func(c *proxytest.Conn) { c.Gone() })
	secure := transports(t)[1]
	for name, e := range map[string]*struct{ address string }{
		"connect": {proxytest.Deaf(t)}, "handshake": {silent.Addr},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			p := s.Acquire(secure.endpoint(e.address))
			failed := make(chan *upstream.Error)
			go func() {
				_, err := p.Get(false, time.Hour)
				failed <- err
			}()
			proxytest.Eventually(t, "the connect ends", func() bool {
				s.CancelDials()
				select {
				case err := <-failed:
					if err == nil || err.Kind != upstream.Connect {
						t.Errorf("got %v", err)
					}
					return true
				default:
					return false
				}
			})
			if places, _ := p.Places(); places != 0 {
				t.Errorf("%d places are taken", places)
			}
		})
	}
}

// Connects that fail say why, and count it.
func TestConnectErrors(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, tc := range []struct {
		address, reason string
		timeout         time.Duration
	}{
		{proxytest.Nowhere(t), "refused", proxytest.Patience},
		{proxytest.Deaf(t), "timeout", 100 * time.Millisecond},
		{"127.0.0.1:99999", "other", proxytest.Patience},
	} {
		_, err := s.Acquire(endpoint(tc.address)).Get(false, tc.timeout)
		if err == nil || err.Kind != upstream.Connect || err.Timeout() != (tc.reason == "timeout") {
			t.Errorf("%s: got %v", tc.reason, err)
		}
		s.wantSeries(map[string]float64{
			fmt.Sprintf(`usher_upstream_connect_errors_total{reason=%q,service="orders"}`, tc.reason): 1,
		})
	}
}

// A request that the socket does not take at once arrives whole all the same.
func TestPartialWrite(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, tr *transport) {
		const size = 8 << 20
		origin := tr.raw(t, func(p *peer) {
			br := bufio.NewReader(p.Conn.Conn)
			for {
				req, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				sum := crc32.NewIEEE()
				_, _ = io.Copy(sum, req.Body)
				if !p.Reply("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n%08x", sum.Sum32()) {
					return
				}
			}
		})
		s := newScene(t)
		p := s.Acquire(tr.endpoint(origin.Addr))
		body := make([]byte, size)
		for i := range body {
			body[i] = byte(i * i >> 8)
		}
		message := fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)
		message = append(message, body...)
		want := fmt.Sprintf("%08x", crc32.ChecksumIEEE(body))
		for range 2 { // on a new connection, and on a used one
			c := s.get(p)
			c.Send(message)
			if text, err := answer(c); text != want || err != nil {
				t.Fatalf("got %q, %v, want %s", text, err, want)
			}
			c.Release()
		}
		if n := origin.Accepted(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// Many take, use and drop connections of one endpoint at a time, while it leaves and
// comes back: none is used by two, none is lost, and the bound holds.
func TestPoolRaces(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, tr *transport) {
		const bound, users, rounds = 4, 16, 60
		origin := tr.raw(t, func(p *peer) {
			for {
				req, _, _ := p.Request()
				if req == nil {
					return
				}
				id := req.URL.Path
				p.Reply("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(id), id)
			}
		})
		s := newScene(t)
		e := tr.endpoint(origin.Addr)
		e.MaxConnections, e.MaxPending = bound, users
		p := s.Acquire(e)
		var wg sync.WaitGroup
		for u := range users {
			wg.Go(func() {
				for i := range rounds {
					roundOfRaces(t, p, fmt.Sprintf("/%d-%d", u, i))
				}
			})
		}
		stop := make(chan struct{})
		var others sync.WaitGroup
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					s.Expire(s.sweeper.Now() - int64(time.Millisecond))
					s.Acquire(e)
					s.Release(e)
					s.series()
					if n := s.Open(); n > bound {
						t.Errorf("%d connections are open", n)
					}
				}
			}
		})
		wg.Wait()
		close(stop)
		others.Wait()
		if places, waiting := p.Places(); waiting != 0 || int64(places) != s.Open() {
			t.Errorf("%d places and %d waiting, %d open", places, waiting, s.Open())
		}
		s.Release(e)
		proxytest.Eventually(t, "no connection", func() bool { return origin.Open() == 0 })
		if places, _ := p.Places(); places != 0 {
			t.Errorf("%d places are taken", places)
		}
	})
}

// roundOfRaces does one request, whose answer must be its own.
func roundOfRaces(t *testing.T, p *upstream.Pool, id string) {
	c, err := p.Get(rand.IntN(8) == 0, proxytest.Patience)
	if err != nil && err.Kind == upstream.Full {
		var w *upstream.Pending
		if w, err = p.Queue(); err == nil {
			if rand.IntN(8) == 0 {
				go w.Cancel()
			}
			c, err = w.Wait(proxytest.Patience, proxytest.Patience)
		}
	}
	if err != nil {
		if err.Kind != upstream.Full {
			t.Errorf("%s: %v", id, err)
		}
		return
	}
	c.Send([]byte("GET " + id + " HTTP/1.1\r\nHost: a\r\n\r\n"))
	switch text, err := answer(c); {
	case errors.Is(err, upstream.ErrStale):
		c.Close()
	case err != nil || text != id:
		t.Errorf("%s: got %q, %v", id, text, err)
		c.Close()
	case rand.IntN(4) == 0:
		c.Close()
	default:
		c.Release()
	}
}

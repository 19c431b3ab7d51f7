package upstream_test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// A response that is cut is never taken for a whole one, and the connection goes on.
func TestH2Cut(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		origin := tr.serve(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/whole":
				_, _ = io.WriteString(w, "ok")
				return
			case "/length":
				w.Header().Set("Content-Length", "100")
			}
			_, _ = io.WriteString(w, "0123456789")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		u := tr.proxied(t, config.Policy{}, origin.Addr)
		for _, path := range []string{"/length", "/chunks"} {
			if r := u.Dial().Get(path); r.StatusCode != 200 || r.Text != "0123456789" || r.Err == nil {
				t.Errorf("%s: got %s %q, %v", path, r.Status, r.Text, r.Err)
			}
			if r := u.Dial().Get("/whole"); r.Text != "ok" {
				t.Errorf("got %s", r.Status)
			}
		}
		if n := origin.accepted.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// A response that does not come in time ends its stream alone.
func TestH2Timeout(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		left := make(chan struct{}, 1)
		origin := tr.serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				<-r.Context().Done()
				left <- struct{}{}
				return
			}
			_, _ = io.WriteString(w, "ok")
		})
		u := tr.proxied(t, config.Policy{Timeout: 100 * time.Millisecond}, origin.Addr)
		c := u.Dial()
		if r := c.Get("/slow"); r.StatusCode != 504 || r.Header.Get("X-Usher-Reason") != "upstream_timeout" {
			t.Errorf("got %s %v", r.Status, r.Header)
		}
		receive(t, left)
		if r := c.Get("/"); r.Text != "ok" {
			t.Errorf("got %s", r.Status)
		}
		if n := origin.accepted.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// Requests that come together make one connection; more than it takes make another one, and
// none where there is a bound.
func TestH2Concurrency(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		const limit, n = 3, 10
		asked, let := make(chan struct{}, n), make(chan struct{})
		limited := func(s *http.Server) { s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: limit} }
		origin := tr.serve(t, func(w http.ResponseWriter, _ *http.Request) {
			asked <- struct{}{}
			<-let
			_, _ = io.WriteString(w, "ok")
		}, limited)
		u := tr.proxied(t, config.Policy{}, origin.Addr)
		var clients []*proxytest.Client
		for range n {
			c := u.Dial()
			c.Send(request)
			clients = append(clients, c)
		}
		for range n {
			receive(t, asked)
		}
		if got := origin.accepted.Load(); got != (n+limit-1)/limit {
			t.Errorf("%d connections for %d requests", got, n)
		}
		bounded := tr.proxied(t, config.Policy{
			MaxConnections: 1, MaxPending: 1, PendingTimeout: proxytest.Patience,
		}, origin.Addr)
		for range limit {
			c := bounded.Dial()
			c.Send(request)
			clients = append(clients, c)
			receive(t, asked)
		}
		waits := bounded.Dial()
		waits.Send(request)
		waiting(t, bounded, limit+1)
		c := bounded.Dial()
		c.Send(request)
		wantOverloaded(t, c, "GET")
		close(let)
		for _, c := range append(clients, waits) {
			c.OK("GET", "ok")
		}
		u.Clean(n, n)
		bounded.Clean(limit+2, 1)
	})
}

// An endpoint that speaks HTTP/1.1 alone is not connected to.
func TestH2NotSpoken(t *testing.T) {
	t.Parallel()
	for i, tr := range h2Transports(t) {
		old := transport{authority: tr.authority, server: tr.server}
		u := tr.proxied(t, config.Policy{}, old.ok(t).Addr)
		c := u.Dial()
		c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
		if r := c.Read("POST"); r.StatusCode != 502 || r.Header.Get("X-Usher-Reason") != "connect_failed" {
			t.Errorf("%d: got %s %v", i, r.Status, r.Header)
		}
		if n := u.Counter("usher_upstream_connect_errors_total", map[string]string{"reason": "handshake"}); n == 0 {
			t.Errorf("%d: it is not counted", i)
		}
	}
	silent := proxytest.Raw(t, func(c *proxytest.Conn) { c.Gone() })
	tr := h2Transports(t)[0]
	u := tr.proxied(t, config.Policy{ConnectTimeout: 100 * time.Millisecond}, silent.Addr)
	if r := u.Dial().Get("/"); r.StatusCode != 504 || r.Header.Get("X-Usher-Reason") != "connect_timeout" {
		t.Errorf("got %s %v", r.Status, r.Header)
	}
}

// What fails between two requests, or before anything is done, is tried again.
func TestH2Retries(t *testing.T) {
	t.Parallel()
	tr := h2Transports(t)[0]
	for name, tc := range map[string]struct {
		method string
		first  func(f *rawH2)
		status int
	}{
		"refused":         {"POST", func(f *rawH2) { f.refuse(1) }, 200},
		"left by GOAWAY":  {"POST", func(f *rawH2) { f.goAway(0) }, 200},
		"left by the end": {"GET", func(f *rawH2) { f.close() }, 200},
		"taken, then cut": {"POST", func(f *rawH2) { f.close() }, 502},
		"reset":           {"POST", func(f *rawH2) { f.reset(1) }, 502},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := rawServer(t, func(f *rawH2, nth, id uint32) {
				if nth == 1 {
					tc.first(f)
				} else {
					f.answer(id)
				}
			})
			well := rawServer(t, func(f *rawH2, _, id uint32) { f.answer(id) })
			u := proxytest.Start(t, proxytest.Options{
				Policy: tr.policy(config.Policy{Balance: "first"}), Services: proxytest.Origins(origin, well),
				Balancers: firstBalancer(),
			})
			c := u.Dial()
			c.Send("%s / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", tc.method)
			if r := c.Read(tc.method); r.StatusCode != tc.status {
				t.Errorf("got %s %v", r.Status, r.Header)
			}
			u.Quiet()
		})
	}
}

// One endpoint that refuses is asked again itself.
func TestH2RefusedAlone(t *testing.T) {
	t.Parallel()
	tr := h2Transports(t)[0]
	var refusals atomic.Int32
	origin := rawServer(t, func(f *rawH2, _, id uint32) {
		if refusals.Add(1) <= 2 {
			f.refuse(id)
		} else {
			f.answer(id)
		}
	})
	u := tr.proxied(t, config.Policy{}, origin)
	c := u.Dial()
	c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
	c.OK("POST", "ok")
}

// A request whose body streams is not sent a second time, whatever its endpoint says.
func TestH2StreamedNotRepeated(t *testing.T) {
	t.Parallel()
	tr := h2Transports(t)[0]
	var asked atomic.Int32
	origin := rawServer(t, func(f *rawH2, _, id uint32) {
		asked.Add(1)
		f.refuse(id)
	})
	u := tr.proxied(t, config.Policy{}, origin)
	c := u.Dial()
	c.Send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
	r := c.Read("POST")
	if r.StatusCode != 502 || r.Header.Get("X-Usher-Reason") != "upstream_reset" || asked.Load() != 1 {
		t.Errorf("got %s %v, asked %d times", r.Status, r.Header, asked.Load())
	}
}

// A request with two endpoints has the faster one's answer.
func TestH2Hedge(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		left := make(chan struct{}, 1)
		slow := tr.serve(t, func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			left <- struct{}{}
		})
		fast := tr.serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
		u := proxytest.Start(t, proxytest.Options{
			Policy: tr.policy(config.Policy{
				Balance: "first", Hedge: config.Hedge{Delay: 20 * time.Millisecond},
			}),
			Services: proxytest.Origins(slow.Addr, fast.Addr), Balancers: firstBalancer(),
		})
		c := u.Dial()
		c.Send(request)
		c.OK("GET", "ok")
		receive(t, left)
		u.Clean(1, 2)
	})
}

// Many clients do all sorts of things at a time.
func TestH2Storm(t *testing.T) {
	t.Parallel()
	eachH2(t, func(t *testing.T, tr *h2Transport) {
		origin := tr.serve(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/cut":
				_, _ = io.WriteString(w, "part")
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			case "/slow":
				<-r.Context().Done()
			case "/early":
				_, _ = io.WriteString(w, "no need for all that")
			default:
				sum := crc32.NewIEEE()
				n, err := io.Copy(sum, r.Body)
				_, _ = fmt.Fprintf(w, "%d %08x %v", n, sum.Sum32(), err)
			}
		}, func(s *http.Server) { s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 5} })
		u := tr.proxied(t, config.Policy{}, origin.Addr)
		var wg sync.WaitGroup
		for i := range 24 {
			wg.Go(func() { storm(t, u, i) })
		}
		wg.Wait()
		u.Clean(0, 24)
	})
}

// storm is what one client of TestH2Storm does.
func storm(t *testing.T, u *proxytest.Usher, seed int) {
	random := rand.New(rand.NewPCG(1, uint64(seed)))
	for range 15 {
		c, err := proxytest.TryDial(t, u.Addr())
		if err != nil {
			t.Error(err)
			return
		}
		size := random.IntN(300_000)
		body := bytes.Repeat([]byte{byte(size)}, size)
		path := []string{"/cut", "/slow", "/early", "/sum", "/sum", "/sum"}[random.IntN(6)]
		_, _ = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", path, size, body)
		if path == "/slow" {
			c.Close()
			continue
		}
		r, err := c.TryBegin("POST")
		if err == nil {
			b, failed := io.ReadAll(r.Body)
			r.Text, err = string(b), failed
		}
		want := fmt.Sprintf("%d %08x <nil>", size, crc32.ChecksumIEEE(body))
		if path == "/sum" && (err != nil || r.Text != want) || path == "/cut" && err == nil {
			t.Errorf("%s: got %v, %v, want %s", path, r, err, want)
		}
		c.Close()
	}
}

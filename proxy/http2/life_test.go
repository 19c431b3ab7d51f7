package http2_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"usher/proxy/http2"
	"usher/proxy/wire"
)

const short = 100 * time.Millisecond

// TestDeadlines: what a client must say has its time.
func TestDeadlines(t *testing.T) {
	impatient := func(o *http2.Options) { o.HeaderTimeout, o.KeepaliveTimeout = short, 10*short }
	for name, c := range map[string]struct {
		say  func(r *raw)
		code xhttp2.ErrCode
	}{
		"nothing":      {func(*raw) {}, xhttp2.ErrCodeProtocol},
		"half preface": {func(r *raw) { r.send(io.WriteString(r.nc, http2.Preface[:10])) }, xhttp2.ErrCodeProtocol},
		"no settings":  {func(r *raw) { r.send(io.WriteString(r.nc, http2.Preface)) }, xhttp2.ErrCodeProtocol},
		"no acknowledgement": {func(r *raw) {
			r.send(io.WriteString(r.nc, http2.Preface))
			r.must(r.WriteSettings())
		}, xhttp2.ErrCodeSettingsTimeout},
		"half a frame": {func(r *raw) {
			r.send(io.WriteString(r.nc, http2.Preface))
			r.must(r.WriteSettings())
			r.must(r.WriteSettingsAck())
			r.send(r.nc.Write([]byte{0, 0, 8, 6}))
		}, xhttp2.ErrCodeEnhanceYourCalm},
		"half a header block": {func(r *raw) {
			r.send(io.WriteString(r.nc, http2.Preface))
			r.must(r.WriteSettings())
			r.must(r.WriteSettingsAck())
			r.must(r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}}))
		}, xhttp2.ErrCodeEnhanceYourCalm},
		"idle": {func(r *raw) {
			r.send(io.WriteString(r.nc, http2.Preface))
			r.must(r.WriteSettings())
			r.must(r.WriteSettingsAck())
			r.open(1, true, r.request("GET", "/"))
			r.outcome(1)
		}, xhttp2.ErrCodeNo},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, hello, impatient)
			r := s.dial()
			c.say(r)
			if code, told := r.gone(); code != c.code || !told {
				t.Errorf("%v, told: %t", code, told)
			}
			s.until("the connection has ended", func() bool { return s.open.Load() == 0 })
		})
	}
}

// TestNoPreface: what is no HTTP/2 is no HTTP/2.
func TestNoPreface(t *testing.T) {
	s := newScene(t, hello, nil)
	r := s.dial()
	r.send(io.WriteString(r.nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	if code, _ := r.gone(); code != xhttp2.ErrCodeProtocol {
		t.Error(code)
	}
}

// TestStuckClient: a client that takes nothing is given up.
func TestStuckClient(t *testing.T) {
	met := make(chan error, 1)
	h := handlerFunc(func(s *http2.Stream) {
		met <- s.Respond([]byte("HTTP/1.1 200 OK\r\n\r\n"), make([]byte, 32<<20))
	})
	s := newScene(t, h, func(o *http2.Options) { o.KeepaliveTimeout = 3 * short })
	r := s.greet(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1 << 30})
	r.must(r.WriteWindowUpdate(0, 1<<30))
	r.open(1, true, r.request("GET", "/"))
	if err := <-met; !errors.Is(err, http2.ErrGone) {
		t.Error(err)
	}
	s.until("the connection has ended", func() bool { return s.open.Load() == 0 })
}

// gate is a Handler whose streams wait.
type gate struct {
	began chan struct{}
	open  chan struct{}
}

func newGate() gate { return gate{make(chan struct{}, 100), make(chan struct{})} }

func (g gate) Serve(s *http2.Stream) {
	g.began <- struct{}{}
	<-g.open
	hello(s)
}

// TestDrain: a client is told in two steps; what it had begun is answered, and what it
// begins between the steps too; then the connection closes.
func TestDrain(t *testing.T) {
	g := newGate()
	s := newScene(t, g, nil)
	r := s.greet()
	r.open(1, true, r.request("GET", "/"))
	<-g.began
	s.server.Drain()
	f, ok := r.read().(*xhttp2.GoAwayFrame)
	if !ok || f.LastStreamID != 1<<31-1 || f.ErrCode != xhttp2.ErrCodeNo {
		t.Fatalf("%v", f)
	}
	ping, ok := r.read().(*xhttp2.PingFrame)
	if !ok || ping.IsAck() {
		t.Fatalf("%v", ping)
	}
	r.open(3, true, r.request("GET", "/")) // it was under way
	<-g.began
	r.must(r.WritePing(true, ping.Data))
	f, ok = r.read().(*xhttp2.GoAwayFrame)
	if !ok || f.LastStreamID != 3 || f.ErrCode != xhttp2.ErrCodeNo {
		t.Fatalf("%v", f)
	}
	r.open(5, true, r.request("GET", "/")) // and this one should not be
	close(g.open)
	answered := map[uint32]bool{}
	for {
		f, err := r.ReadFrame()
		if err != nil {
			r.nc.Close()
			break
		}
		if d, ok := f.(*xhttp2.DataFrame); ok && d.StreamEnded() {
			answered[d.StreamID] = true
		}
	}
	if !answered[1] || !answered[3] || answered[5] {
		t.Errorf("answered: %v", answered)
	}
	s.until("the connection has ended", func() bool { return s.open.Load() == 0 })
}

// TestDrainUnanswered: a client that does not answer the PING is told all the same.
func TestDrainUnanswered(t *testing.T) {
	s := newScene(t, hello, nil)
	r := s.greet()
	r.open(1, true, r.request("GET", "/"))
	r.outcome(1)
	s.server.Drain()
	if code, told := r.gone(); code != xhttp2.ErrCodeNo || !told {
		t.Errorf("%v, told: %t", code, told)
	}
}

// TestDrainNew: a connection that is made during a drain is served once.
func TestDrainNew(t *testing.T) {
	s := newScene(t, hello, nil)
	s.server.Drain()
	c := newClient(t, s, "http")
	for range 3 {
		if resp, _ := c.do(c.request("GET", "/", nil)); resp.code != 200 {
			t.Errorf("%d", resp.code)
		}
	}
}

// TestShutdown: idle connections close, others finish, and what takes too long is cut.
func TestShutdown(t *testing.T) {
	g := newGate()
	s := newScene(t, g, nil)
	idle, busy := s.greet(), s.greet()
	busy.open(1, true, busy.request("GET", "/"))
	<-g.began
	var wg sync.WaitGroup
	wg.Go(func() {
		if cut := s.server.Shutdown(context.Background()); cut != 0 {
			t.Errorf("%d connections were cut", cut)
		}
	})
	if code, told := idle.gone(); code != xhttp2.ErrCodeNo || !told {
		t.Errorf("%v, told: %t", code, told)
	}
	close(g.open)
	if o := busy.outcome(1); o.status != "200" || !o.ended {
		t.Errorf("%+v", o)
	}
	busy.nc.Close()
	wg.Wait()
}

func TestShutdownCuts(t *testing.T) {
	s := newScene(t, waiting, nil)
	r := s.greet()
	r.open(1, true, r.request("GET", "/wait"))
	r.open(3, true, r.request("GET", "/"))
	r.outcome(3) // so the other one has begun
	ctx, cancel := context.WithTimeout(context.Background(), short)
	defer cancel()
	if cut := s.server.Shutdown(ctx); cut != 1 {
		t.Errorf("%d connections were cut", cut)
	}
	r.gone()
}

// withPoller has connections parked.
func withPoller(tb testing.TB) func(*http2.Options) {
	tb.Helper()
	p, err := wire.NewPoller()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return func(o *http2.Options) { o.Poller = p }
}

// TestPark: a quiet connection is parked, and goes on as if it had not been: the windows
// and HPACK's table are what they were.
func TestPark(t *testing.T) {
	t.Run("h2c", func(t *testing.T) { t.Parallel(); park(t, newScene(t, echo, withPoller(t))) })
	t.Run("TLS", func(t *testing.T) { t.Parallel(); park(t, newSecureScene(t, echo, withPoller(t))) })
}

func park(t *testing.T, s *scene) {
	t.Helper()
	r := s.greet()
	for i := range 2 {
		id := uint32(4*i + 1)
		r.open(id, true, r.request("GET", "/", "x-in-table", "value"))
		if o := r.outcome(id); o.status != "200" || !bytes.Contains(o.body, []byte("x-in-table: value")) {
			t.Fatalf("%+v", o)
		}
		s.until("the connection is parked", func() bool { return s.parked.Load() == int64(i+1) })
	}
	r.must(r.WritePing(false, [8]byte{1})) // that alone does not keep it
	for {
		if _, ok := r.read().(*xhttp2.PingFrame); ok {
			break
		}
	}
	s.until("the connection is parked", func() bool { return s.parked.Load() == 3 })
}

// TestParkedEnds: a parked connection ends when its client leaves, when it has been idle
// for too long, and at a shutdown.
func TestParkedEnds(t *testing.T) {
	parked := func(t *testing.T, change func(*http2.Options)) (*scene, *raw) {
		t.Helper()
		poller := withPoller(t)
		s := newScene(t, hello, func(o *http2.Options) {
			poller(o)
			if change != nil {
				change(o)
			}
		})
		r := s.greet()
		r.open(1, true, r.request("GET", "/"))
		r.outcome(1)
		s.until("the connection is parked", func() bool { return s.parked.Load() == 1 })
		return s, r
	}
	t.Run("client leaves", func(t *testing.T) {
		t.Parallel()
		s, r := parked(t, nil)
		r.nc.Close()
		s.until("the connection has ended", func() bool { return s.open.Load() == 0 })
	})
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		s, r := parked(t, func(o *http2.Options) { o.KeepaliveTimeout = 15 * short })
		if code, told := r.gone(); code != xhttp2.ErrCodeNo || !told {
			t.Errorf("%v, told: %t", code, told)
		}
		s.until("the connection has ended", func() bool { return s.open.Load() == 0 })
	})
	t.Run("shutdown", func(t *testing.T) {
		t.Parallel()
		s, r := parked(t, nil)
		var wg sync.WaitGroup
		wg.Go(func() { s.server.Shutdown(context.Background()) })
		if code, told := r.gone(); code != xhttp2.ErrCodeNo || !told {
			t.Errorf("%v, told: %t", code, told)
		}
		wg.Wait()
	})
	t.Run("drain", func(t *testing.T) {
		t.Parallel()
		s, r := parked(t, nil)
		s.server.Drain()
		r.open(3, true, r.request("GET", "/"))
		if o := r.outcome(3); o.status != "200" || !o.ended {
			t.Errorf("%+v", o)
		}
		r.gone()
	})
}

// TestWorkersEnd: the goroutines that are not needed any more end.
func TestWorkersEnd(t *testing.T) {
	g := newGate()
	s := newScene(t, g, nil)
	r := s.greet()
	before := runtime.NumGoroutine()
	for id := uint32(1); id < 200; id += 2 {
		r.open(id, true, r.request("GET", "/"))
		<-g.began
	}
	n := runtime.NumGoroutine()
	close(g.open)
	if n < before+90 { // some that were there before may have ended
		t.Errorf("%d goroutines, %d before", n, before)
	}
	s.until("goroutines have ended", func() bool { return runtime.NumGoroutine() < before+10 })
}

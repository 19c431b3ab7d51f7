package http2_test

import (
	"bytes"
	"io"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"usher/proxy/http2"
)

// TestWindowsReceiving: a client that sends beyond a window is refused.
func TestWindowsReceiving(t *testing.T) {
	stop := make(chan struct{})
	h := handlerFunc(func(s *http2.Stream) { <-stop })
	s := newScene(t, h, nil)
	defer close(stop)
	full := make([]byte, 16<<10)
	t.Run("stream", func(t *testing.T) {
		r := s.greet()
		r.open(1, false, r.request("POST", "/"))
		for range 4 {
			r.must(r.WriteData(1, false, full))
		}
		r.must(r.WriteData(1, false, []byte("x")))
		if o := r.outcome(1); !o.reset || o.code != xhttp2.ErrCodeFlowControl {
			t.Errorf("%+v", o)
		}
	})
	t.Run("padding counts", func(t *testing.T) {
		r := s.greet()
		r.open(1, false, r.request("POST", "/"))
		for range 4 {
			r.must(r.WriteData(1, false, full))
		}
		r.must(r.WriteDataPadded(1, false, nil, make([]byte, 10)))
		if o := r.outcome(1); !o.reset || o.code != xhttp2.ErrCodeFlowControl {
			t.Errorf("%+v", o)
		}
	})
}

// TestSlowStreams: bodies that nobody reads hold no other, however many there are.
func TestSlowStreams(t *testing.T) {
	stop := make(chan struct{})
	h := handlerFunc(func(s *http2.Stream) {
		if bytes.HasPrefix(s.Head(), []byte("POST /slow ")) {
			<-stop
			n, err := io.Copy(io.Discard, s)
			if n != 64<<10 || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
		}
		hello(s)
	})
	s := newScene(t, h, nil)
	r := s.greet()
	full := make([]byte, 16<<10)
	id := uint32(1)
	for range 100 {
		r.open(id, false, r.request("POST", "/slow"))
		for range 4 {
			r.must(r.WriteData(id, false, full))
		}
		id += 2
	}
	for range 10 {
		r.open(id, false, r.request("POST", "/fast"))
		r.must(r.WriteData(id, true, full))
		if o := r.outcome(id); o.status != "200" {
			t.Fatalf("%+v", o)
		}
		id += 2
	}
	close(stop)
	for slow := uint32(1); slow < 200; slow += 2 {
		r.must(r.WriteData(slow, true, nil))
	}
	if o := r.outcome(199); o.status != "200" && !o.ended {
		t.Fatalf("%+v", o)
	}
}

// TestWindowsSending: usher sends what the windows let it and no more, also when a setting
// makes one negative.
func TestWindowsSending(t *testing.T) {
	data := bytes.Repeat([]byte("x"), 1000)
	h := handlerFunc(func(s *http2.Stream) { _ = s.Respond([]byte("HTTP/1.1 200 OK\r\n\r\n"), data) })
	s := newScene(t, h, nil)
	window := func(n uint32) xhttp2.Setting {
		return xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: n}
	}
	r := s.greet(window(10))
	r.open(1, true, r.request("GET", "/"))
	have := 0
	// next reads DATA until want bytes are there, and then that there is no more of it: a
	// PING is answered before.
	next := func(want int) (ended bool) {
		t.Helper()
		r.must(r.WritePing(false, [8]byte{1}))
		for {
			switch f := r.read().(type) {
			case *xhttp2.DataFrame:
				have += len(f.Data())
				ended = f.StreamEnded()
			case *xhttp2.PingFrame:
				if have > want {
					t.Fatalf("got %d bytes, want %d", have, want)
				}
				if have == want {
					return ended
				}
				r.must(r.WritePing(false, [8]byte{1}))
			}
		}
	}
	next(10)
	r.must(r.WriteWindowUpdate(1, 5))
	next(15)
	r.must(r.WriteSettings(window(3))) // now 7 are too much
	r.must(r.WriteWindowUpdate(1, 7))
	next(15)
	r.must(r.WriteWindowUpdate(1, 1))
	next(16)
	r.must(r.WriteSettings(window(903)))
	next(916)
	r.must(r.WriteWindowUpdate(1, 1000))
	if !next(1000) {
		t.Error("not ended")
	}
}

// TestConnectionWindow: streams share the connection's window, each in its turn.
func TestConnectionWindow(t *testing.T) {
	data := make([]byte, 256<<10)
	h := handlerFunc(func(s *http2.Stream) { _ = s.Respond([]byte("HTTP/1.1 200 OK\r\n\r\n"), data) })
	s := newScene(t, h, nil)
	r := s.greet(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1 << 30})
	const streams = 4
	for i := range streams {
		r.open(uint32(2*i+1), true, r.request("GET", "/"))
	}
	got := map[uint32]int{}
	total, granted, ended := 0, 65535, 0
	for ended < streams {
		f, ok := r.read().(*xhttp2.DataFrame)
		if !ok {
			continue
		}
		got[f.StreamID] += len(f.Data())
		total += len(f.Data())
		if total > granted {
			t.Fatalf("%d bytes of %d", total, granted)
		}
		if f.StreamEnded() {
			ended++
		}
		if total == granted {
			r.must(r.WriteWindowUpdate(0, 64<<10))
			granted += 64 << 10
		}
		if total == 8*64<<10-1 {
			for id, n := range got {
				if n < 64<<10 || n > 3*64<<10 {
					t.Errorf("stream %d has got %d of %d bytes", id, n, total)
				}
			}
		}
	}
	if total != streams*len(data) {
		t.Errorf("%d bytes", total)
	}
}

// TestWindowOverflow: a window beyond 2^31-1 ends the stream, or the connection.
func TestWindowOverflow(t *testing.T) {
	stop := make(chan struct{})
	s := newScene(t, handlerFunc(func(*http2.Stream) { <-stop }), nil)
	defer close(stop)
	r := s.greet()
	r.open(1, true, r.request("GET", "/"))
	r.must(r.WriteWindowUpdate(1, 1<<31-1))
	if o := r.outcome(1); !o.reset || o.code != xhttp2.ErrCodeFlowControl {
		t.Errorf("%+v", o)
	}
	r.must(r.WriteWindowUpdate(0, 1<<31-1))
	if code, _ := r.gone(); code != xhttp2.ErrCodeFlowControl {
		t.Errorf("%v", code)
	}
}

package http2_test

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"usher/proxy/http2"
)

// abuse is what a client may do to do harm: it returns what to send first and what again
// and again, once it is greeted.
type abuse func(r *raw) (first []byte, again func(i int) []byte)

// frames returns the bytes of frames written by f.
func frames(f func(*xhttp2.Framer)) []byte {
	var b bytes.Buffer
	fr := xhttp2.NewFramer(&b, nil)
	fr.AllowIllegalWrites = true
	f(fr)
	return b.Bytes()
}

// same repeats some frames.
func same(f func(*xhttp2.Framer)) func(int) []byte {
	b := bytes.Repeat(frames(f), 100)
	return func(int) []byte { return b }
}

// running opens a stream that goes on.
func running(r *raw) []byte {
	block := r.request("POST", "/wait")
	return frames(func(f *xhttp2.Framer) {
		_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: block})
	})
}

// whole is the first request, and all of it.
func whole(block []byte) []byte {
	return frames(func(f *xhttp2.Framer) {
		_ = f.WriteHeaders(xhttp2.HeadersFrameParam{
			StreamID: 1, EndStream: true, EndHeaders: true, BlockFragment: block,
		})
	})
}

var abuses = map[string]abuse{
	"CONTINUATION flood": func(r *raw) ([]byte, func(int) []byte) {
		block := r.request("GET", "/")
		first := frames(func(f *xhttp2.Framer) {
			_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block})
		})
		return first, same(func(f *xhttp2.Framer) { _ = f.WriteContinuation(1, false, nil) })
	},
	"100 MB of headers": func(r *raw) ([]byte, func(int) []byte) {
		block := r.request("GET", "/")
		first := frames(func(f *xhttp2.Framer) {
			_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block})
		})
		field := r.block("x", strings.Repeat("x", 16000))
		return first, same(func(f *xhttp2.Framer) { _ = f.WriteContinuation(1, false, field) })
	},
	"rapid reset": func(r *raw) ([]byte, func(int) []byte) {
		first := whole(r.request("GET", "/wait"))
		block := r.request("GET", "/wait") // indexed
		return first, func(i int) []byte {
			return frames(func(f *xhttp2.Framer) {
				id := uint32(2*i + 3)
				_ = f.WriteHeaders(xhttp2.HeadersFrameParam{
					StreamID: id, EndStream: true, EndHeaders: true, BlockFragment: block,
				})
				_ = f.WriteRSTStream(id, xhttp2.ErrCodeCancel)
			})
		}
	},
	"malformed requests": func(r *raw) ([]byte, func(int) []byte) {
		first := whole(r.request("GET", "/", "connection", "close"))
		block := r.request("GET", "/", "connection", "close") // indexed
		return first, func(i int) []byte {
			return frames(func(f *xhttp2.Framer) {
				_ = f.WriteHeaders(xhttp2.HeadersFrameParam{
					StreamID: uint32(2*i + 3), EndStream: true, EndHeaders: true, BlockFragment: block,
				})
			})
		}
	},
	"streams beyond the limit": func(r *raw) ([]byte, func(int) []byte) {
		first := whole(r.request("GET", "/wait"))
		block := r.request("GET", "/wait") // indexed
		return first, func(i int) []byte {
			return frames(func(f *xhttp2.Framer) {
				_ = f.WriteHeaders(xhttp2.HeadersFrameParam{
					StreamID: uint32(2*i + 3), EndStream: true, EndHeaders: true, BlockFragment: block,
				})
			})
		}
	},
	"PING": func(*raw) ([]byte, func(int) []byte) {
		return nil, same(func(f *xhttp2.Framer) { _ = f.WritePing(false, [8]byte{}) })
	},
	"acknowledged PING": func(*raw) ([]byte, func(int) []byte) {
		return nil, same(func(f *xhttp2.Framer) { _ = f.WritePing(true, [8]byte{}) })
	},
	"SETTINGS": func(*raw) ([]byte, func(int) []byte) {
		return nil, same(func(f *xhttp2.Framer) { _ = f.WriteSettings() })
	},
	"acknowledged SETTINGS": func(*raw) ([]byte, func(int) []byte) {
		return nil, same(func(f *xhttp2.Framer) { _ = f.WriteSettingsAck() })
	},
	"empty DATA": func(r *raw) ([]byte, func(int) []byte) {
		return running(r), same(func(f *xhttp2.Framer) { _ = f.WriteData(1, false, nil) })
	},
	"DATA on a closed stream": func(r *raw) ([]byte, func(int) []byte) {
		first := append(running(r), frames(func(f *xhttp2.Framer) { _ = f.WriteRSTStream(1, 0) })...)
		return first, same(func(f *xhttp2.Framer) { _ = f.WriteData(1, false, []byte("x")) })
	},
	"PRIORITY": func(*raw) ([]byte, func(int) []byte) {
		return nil, same(func(f *xhttp2.Framer) { _ = f.WritePriority(1, xhttp2.PriorityParam{StreamDep: 3}) })
	},
	"WINDOW_UPDATE": func(r *raw) ([]byte, func(int) []byte) {
		return running(r), same(func(f *xhttp2.Framer) { _ = f.WriteWindowUpdate(1, 1) })
	},
	"RST_STREAM of closed streams": func(r *raw) ([]byte, func(int) []byte) {
		return running(r), same(func(f *xhttp2.Framer) { _ = f.WriteRSTStream(1, 0) })
	},
	"unknown frames": func(*raw) ([]byte, func(int) []byte) {
		return nil, same(func(f *xhttp2.Framer) { _ = f.WriteRawFrame(0xee, 0, 0, []byte("x")) })
	},
}

// waiting answers, but for /wait, which ends when the client lets it go.
var waiting = handlerFunc(func(s *http2.Stream) {
	if bytes.Contains(s.Head(), []byte(" /wait ")) {
		wait := make(aborted)
		if s.Hold(wait) {
			<-wait
		}
		return
	}
	hello(s)
})

// commit does it until the connection is gone; it must be soon.
func (a abuse) commit(s *scene) {
	s.tb.Helper()
	r := s.greet()
	first, again := a(r)
	r.send(r.nc.Write(first))
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, r.nc) // the answers are taken: it is no matter of those
	}()
	sent := 0
	for i := 0; ; i++ {
		n, err := r.nc.Write(again(i))
		sent += n
		if err != nil {
			break
		}
		if sent > 32<<20 {
			s.tb.Errorf("still open after %d bytes", sent)
			break
		}
	}
	r.nc.Close()
	<-read
}

// TestAbuse: each kind ends the connection of who does it, with the reason.
func TestAbuse(t *testing.T) {
	for name, a := range abuses {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, waiting, nil)
			a.commit(s)
			s.until("the connection has ended", func() bool { return s.open.Load() == 0 })
			if s.refused[http2.EnhanceYourCalm].Load() != 1 {
				t.Error("it was not told why")
			}
		})
	}
}

// TestOthersAreServed: while connections do all of that, the requests of another one are
// served, and memory stays bounded.
func TestOthersAreServed(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS=%t", secure), func(t *testing.T) {
			s := newScene(t, waiting, nil)
			if secure {
				s = newSecureScene(t, waiting, nil)
			}
			good := s.greet()
			_ = good.nc.SetDeadline(time.Now().Add(10 * patience)) // under the race detector all of this is slow
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			defer wg.Wait()
			for _, name := range []string{"CONTINUATION flood", "100 MB of headers", "rapid reset", "PING"} {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							abuses[name].commit(s)
						}
					}
				})
			}
			const requests = 100
			var worst time.Duration
			peak := uint64(0)
			for i := range requests {
				begin := time.Now()
				id := uint32(2*i + 1)
				good.open(id, true, good.request("GET", "/"))
				if o := good.outcome(id); o.status != "200" {
					t.Errorf("request %d: %+v", i, o)
					break
				}
				worst = max(worst, time.Since(begin))
				if i%10 == 0 {
					runtime.ReadMemStats(&after)
					peak = max(peak, after.HeapAlloc)
				}
			}
			close(stop)
			wg.Wait()
			t.Logf("the slowest of %d requests took %s; the heap went from %d to %d KiB",
				requests, worst, before.HeapAlloc>>10, peak>>10)
			if peak > before.HeapAlloc+64<<20 {
				t.Errorf("the heap has grown from %d to %d", before.HeapAlloc, peak)
			}
			s.until("offenders are gone", func() bool { return s.open.Load() == 1 })
		})
	}
}

// TestBomb: a small block that stands for many large fields is no more than a large head.
func TestBomb(t *testing.T) {
	s := newScene(t, echo, nil)
	r := s.greet()
	r.open(1, true, r.request("GET", "/", "x", strings.Repeat("x", 4000)))
	if o := r.outcome(1); o.status != "200" {
		t.Fatalf("%+v", o)
	}
	reference := r.block("x", strings.Repeat("x", 4000))
	if len(reference) > 2 {
		t.Fatal("not in the table")
	}
	block := append(r.request("GET", "/"), bytes.Repeat(reference, 16000)...)
	r.open(3, true, block)
	if o := r.outcome(3); o.status != "431" {
		t.Fatalf("%+v", o)
	}
}

// TestAnswersNotTaken: a client that asks and does not read is not answered without bound.
func TestAnswersNotTaken(t *testing.T) {
	s := newScene(t, waiting, func(o *http2.Options) {
		o.HTTP2.MaxEmptyFrames = 1 << 30
		o.KeepaliveTimeout = 200 * time.Millisecond
	})
	r := s.greet()
	again := same(func(f *xhttp2.Framer) { _ = f.WritePing(false, [8]byte{}) })
	for i := 0; ; i++ {
		if _, err := r.nc.Write(again(i)); err != nil {
			break
		}
	}
	s.until("the connection has ended", func() bool { return s.open.Load() == 0 })
}

// TestStreamLimit: a stream too many is refused, so that the client may send it again.
func TestStreamLimit(t *testing.T) {
	s := newScene(t, waiting, func(o *http2.Options) { o.HTTP2.MaxConcurrentStreams = 2 })
	r := s.greet()
	r.open(1, true, r.request("GET", "/wait"))
	r.open(3, true, r.request("GET", "/wait"))
	r.open(5, true, r.request("GET", "/"))
	if o := r.outcome(5); !o.reset || o.code != xhttp2.ErrCodeRefusedStream {
		t.Fatalf("%+v", o)
	}
	r.must(r.WriteRSTStream(1, xhttp2.ErrCodeCancel))
	r.open(7, true, r.request("GET", "/"))
	if o := r.outcome(7); o.status != "200" {
		t.Errorf("%+v", o)
	}
}

// TestHandlersLinger: streams that the client has broken off count until their Handlers
// have returned.
func TestHandlersLinger(t *testing.T) {
	stop := make(chan struct{})
	s := newScene(t, handlerFunc(func(*http2.Stream) { <-stop }), func(o *http2.Options) {
		o.HTTP2.MaxConcurrentStreams = 2
	})
	defer close(stop)
	r := s.greet()
	for id := uint32(1); id < 9; id += 2 {
		r.open(id, true, r.request("GET", "/"))
		r.must(r.WritePing(false, [8]byte{}))
		for { // so that each is in a batch of its own
			if _, ok := r.read().(*xhttp2.PingFrame); ok {
				break
			}
		}
		r.must(r.WriteRSTStream(id, xhttp2.ErrCodeCancel))
	}
	r.open(9, true, r.request("GET", "/"))
	if o := r.outcome(9); !o.reset || o.code != xhttp2.ErrCodeRefusedStream {
		t.Errorf("%+v", o)
	}
}

// TestHonestResets: who breaks off requests that have taken long, or some among those that
// are answered, is no abuser.
func TestHonestResets(t *testing.T) {
	few := func(o *http2.Options) { o.HTTP2.MaxResets = 5 }
	t.Run("some", func(t *testing.T) {
		t.Parallel()
		r := newScene(t, waiting, few).greet()
		for id := uint32(1); id < 80; id += 4 {
			r.open(id, true, r.request("GET", "/wait"))
			r.must(r.WriteRSTStream(id, xhttp2.ErrCodeCancel))
			r.open(id+2, true, r.request("GET", "/"))
			if o := r.outcome(id + 2); o.status != "200" {
				t.Fatalf("%+v", o)
			}
		}
	})
	t.Run("late", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, waiting, few)
		r := s.greet()
		for id := uint32(1); id < 40; id += 2 {
			r.open(id, true, r.request("GET", "/wait"))
		}
		begin := s.sweeper.Now()
		s.until("they have taken long", func() bool { return s.sweeper.Now()-begin > int64(1200*time.Millisecond) })
		for id := uint32(1); id < 40; id += 2 {
			r.must(r.WriteRSTStream(id, xhttp2.ErrCodeCancel))
		}
		r.open(41, true, r.request("GET", "/"))
		if o := r.outcome(41); o.status != "200" {
			t.Fatalf("%+v", o)
		}
	})
}

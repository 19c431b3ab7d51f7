package h2

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// A session has as many streams as the endpoint allows, and tells when there is room.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	p := newRemote(t, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 2})
	a, b := p.open(get), p.stream()
	if p.Reserve() != nil || p.Room() {
		t.Error("there is room for a third one")
	}
	p.head(1, true, ":status", "204")
	if _, err := readAll(a, all); err != nil {
		t.Error(err)
	}
	receive(t, p.owner.freed)
	a.Release()
	c := p.open(get)
	// A bound that is made smaller counts for what is not begun yet.
	p.must(p.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1}))
	want[*http2.SettingsFrame](p)
	if err := b.Open([]byte(get), true); !errors.Is(err, ErrUnsent) {
		t.Errorf("got %v", err)
	}
	b.Close()
	if p.Room() {
		t.Error("there is room for a second one")
	}
	c.Close()
	p.wantReset(3, http2.ErrCodeCancel)
	p.must(p.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1 << 31}))
	want[*http2.SettingsFrame](p)
	for range maxStreams {
		defer p.stream().Close()
	}
	if p.Room() {
		t.Error("there is no bound of our own")
	}
}

func receive[T any](t *testing.T, ch <-chan T) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatal("nothing comes")
	}
}

// An endpoint that leaves finishes what it has taken; the rest was not sent.
func TestGoAway(t *testing.T) {
	t.Parallel()
	p := newRemote(t)
	taken, left, late := p.open(get), p.open(get), p.stream()
	p.must(p.WriteGoAway(1, http2.ErrCodeNo, nil))
	if got, err := readAll(left, all); got != "" || !errors.Is(err, ErrUnsent) {
		t.Errorf("got %q, %v", got, err)
	}
	if err := late.Open([]byte(get), true); !errors.Is(err, ErrUnsent) || late.Alive() {
		t.Errorf("got %v, alive: %t", err, late.Alive())
	}
	if p.Reserve() != nil {
		t.Error("it takes more")
	}
	left.Close()
	late.Close()
	p.head(1, false, ":status", "200", "content-length", "2")
	p.must(p.WriteData(1, true, []byte("ok")))
	if got, err := readAll(taken, all); !strings.HasSuffix(got, "ok") || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	taken.Release()
	p.wantGone(http2.ErrCodeNo)
	receive(t, p.Done())
}

// The graceful end of an endpoint in two steps (RFC 9113 §6.8).
func TestGoAwayTwice(t *testing.T) {
	t.Parallel()
	p := newRemote(t)
	a, b := p.open(get), p.open(get)
	p.must(p.WriteGoAway(maxStreamID, http2.ErrCodeNo, nil))
	eventually(t, "it takes no more", func() bool { return !p.Room() })
	p.must(p.WriteGoAway(1, http2.ErrCodeNo, nil))
	if _, err := readAll(b, all); !errors.Is(err, ErrUnsent) {
		t.Errorf("got %v", err)
	}
	p.must(p.nc.Close())
	if _, err := readAll(a, all); !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrUnsent) {
		t.Errorf("got %v", err)
	}
	a.Close()
	b.Close()
}

// What an endpoint resets is an error that says how. What came before can be read.
func TestReset(t *testing.T) {
	t.Parallel()
	var reset *ResetError
	cut := func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }
	for name, tc := range map[string]struct {
		code  http2.ErrCode
		begun bool
		right func(err error) bool
	}{
		"refused": {http2.ErrCodeRefusedStream, false, func(err error) bool { return errors.Is(err, ErrRefused) }},
		"refused within": {http2.ErrCodeRefusedStream, true, func(err error) bool {
			return errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, ErrRefused)
		}},
		"failed":     {http2.ErrCodeInternal, false, func(err error) bool { return errors.As(err, &reset) }},
		"cut":        {http2.ErrCodeInternal, true, cut},
		"no error":   {http2.ErrCodeNo, true, cut},
		"want HTTP1": {http2.ErrCodeHTTP11Required, false, func(err error) bool { return errors.As(err, &reset) }},
	} {
		t.Run(name, func(t *testing.T) {
			p := newRemote(t)
			st := p.open(get)
			want := ""
			if tc.begun {
				p.head(1, false, ":status", "200")
				p.must(p.WriteData(1, false, []byte("hello")))
				want = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
			}
			p.must(p.WriteRSTStream(1, tc.code))
			if got, err := readAll(st, all); got != want || !tc.right(err) {
				t.Errorf("got %q, %v", got, err)
			}
			if st.Alive() {
				t.Error("it passes for alive")
			}
			st.Close()
			if idle, _ := p.Idle(); !idle {
				t.Error("its place is held")
			}
		})
	}
}

// A session that ends takes its streams with it, and those who write as well.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	p := newRemote(t)
	st := p.begin("Content-Length: 1000000")
	wrote := make(chan error, 1)
	go func() {
		_, err := st.Write(make([]byte, 1_000_000))
		wrote <- err
	}()
	want[*http2.DataFrame](p)
	p.must(p.nc.Close())
	if err := <-wrote; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	if _, err := readAll(st, all); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	st.Close()
	receive(t, p.Done())
}

// Time that is over and an abort end both waits; the stream is reset when it is closed, and
// the session goes on.
func TestExpire(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(st *Stream){"expire": (*Stream).Expire, "abort": (*Stream).Abort} {
		t.Run(name, func(t *testing.T) {
			p := newRemote(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			st := p.begin("Transfer-Encoding: chunked")
			waits := make(chan error, 2)
			go func() { waits <- st.WriteChunk([]byte("x")) }()
			go func() {
				_, err := st.Read(make([]byte, 10))
				waits <- err
			}()
			end(st)
			for range 2 {
				if err := <-waits; !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("got %v", err)
				}
			}
			st.Close()
			end(st) // too late
			p.wantReset(1, http2.ErrCodeCancel)
			next := p.open(get)
			p.head(3, true, ":status", "204")
			if _, err := readAll(next, all); err != nil {
				t.Error(err)
			}
			next.Release()
		})
	}
}

// A stream whose response was read whole waits for the end that says so, and not for long.
// More of the response does not come to the next.
func TestLingering(t *testing.T) {
	t.Parallel()
	respond := func(p *remote, id uint32) {
		st := p.open(get)
		p.head(id, false, ":status", "200", "content-length", "2")
		p.must(p.WriteData(id, false, []byte("ok")))
		if got, err := readAll(st, len("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")); err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
		st.Release()
		if idle, _ := p.Idle(); idle {
			t.Fatal("its place is free though the endpoint is not done")
		}
	}
	p := newRemote(t)
	respond(p, 1)
	p.must(p.WriteData(1, true, nil))
	receive(t, p.owner.freed)

	respond(p, 3)
	p.must(p.WriteData(3, false, []byte("more")))
	p.wantReset(3, http2.ErrCodeProtocol)
	receive(t, p.owner.freed)

	respond(p, 5)
	p.time.Add(int64(lingerTime))
	p.Check(p.time.Load())
	p.wantReset(5, http2.ErrCodeCancel)
	receive(t, p.owner.freed)
	if idle, _ := p.Idle(); !idle {
		t.Error("places are held")
	}
}

// Streams are used again, and remember nothing.
func TestStreamsUsedAgain(t *testing.T) {
	t.Parallel()
	p := newRemote(t)
	seen := map[*Stream]bool{}
	for i := range 100 {
		id := uint32(2*i + 1)
		st := p.open("POST / HTTP/1.1\r\nHost: a\r\n\r\n")
		seen[st] = true
		p.head(id, false, ":status", "103", "n", fmt.Sprint(i))
		p.head(id, false, ":status", "200", "n", fmt.Sprint(i))
		p.must(p.WriteData(id, false, []byte("x")))
		p.head(id, true, "t", fmt.Sprint(i))
		want := fmt.Sprintf("HTTP/1.1 103 Early Hints\r\nn: %d\r\n\r\nHTTP/1.1 200 OK\r\nn: %[1]d\r\n"+
			"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nt: %[1]d\r\n\r\n", i)
		if got, err := readAll(st, all); got != want || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
		st.Release()
	}
	if len(seen) != 1 {
		t.Errorf("%d were made", len(seen))
	}
}

// A session that leaves ends with its last stream, by GOAWAY.
func TestLeave(t *testing.T) {
	t.Parallel()
	p := newRemote(t)
	st, late := p.open(get), p.stream()
	p.Leave()
	p.Leave()
	p.must(late.Open([]byte(get), true)) // it was given out before
	want[*http2.MetaHeadersFrame](p)
	late.Close()
	p.wantReset(3, http2.ErrCodeCancel)
	if p.Reserve() != nil {
		t.Error("it takes more")
	}
	p.head(1, true, ":status", "204")
	if got, err := readAll(st, all); got != "HTTP/1.1 204 No Content\r\n\r\n" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	st.Release()
	p.wantGone(http2.ErrCodeNo)
	receive(t, p.Done())
}

// step lets the session's time go on and has it look after itself.
func (p *remote) step(d time.Duration) {
	p.time.Add(int64(d))
	p.Check(p.time.Load())
}

// wantNoFrame wants nothing to have been sent.
func (p *remote) wantNoFrame() {
	p.tb.Helper()
	p.must(p.WritePing(false, [8]byte{9}))
	if f := want[*http2.PingFrame](p); !f.IsAck() {
		p.tb.Fatalf("got %v", f)
	}
}

// An endpoint that is silent while requests wait is asked, and given up when it does not
// answer.
func TestSilence(t *testing.T) {
	t.Parallel()
	p := newRemote(t)
	p.step(time.Hour) // nobody waits
	p.wantNoFrame()
	st := p.open(get)
	p.step(silence - 1)
	p.wantNoFrame() // which is an answer itself
	p.step(silence)
	ping := want[*http2.PingFrame](p)
	p.must(p.WritePing(true, [8]byte{42})) // another's
	p.step(pingTime - 1)
	p.must(p.WritePing(true, ping.Data))
	eventually(t, "the answer has come", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.ping.sent == 0
	})
	// It is not asked often while it says nothing of a response,
	p.step(pingEvery - pingTime)
	p.step(pingTime)
	ping = want[*http2.PingFrame](p)
	p.must(p.WritePing(true, ping.Data))
	eventually(t, "the answer has come", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.ping.sent == 0
	})
	// and as soon as it is silent when it does.
	p.head(1, false, ":status", "200")
	if _, err := readAll(st, 5); err != nil {
		t.Fatal(err)
	}
	p.step(silence)
	want[*http2.PingFrame](p)
	p.step(pingTime)
	if _, err := readAll(st, all); !errors.Is(err, ErrSilent) {
		t.Errorf("got %v", err)
	}
	st.Close()
	receive(t, p.Done())
}

// A stream that runs out of time on a session that is silent has new requests go elsewhere,
// until something comes.
func TestSuspect(t *testing.T) {
	t.Parallel()
	p := newRemote(t)
	p.step(time.Hour)
	st := p.open(get)
	p.time.Add(int64(doubtful) - 1)
	st.Expire()
	if !p.Room() {
		t.Error("that was no long silence")
	}
	p.time.Add(1)
	st.Expire()
	ping := want[*http2.PingFrame](p)
	if p.Room() {
		t.Error("it passes for well")
	}
	p.must(p.WritePing(true, ping.Data))
	receive(t, p.owner.freed)
	if !p.Room() {
		t.Error("it has answered")
	}
	st.Close()
	p.wantReset(1, http2.ErrCodeCancel)
	// One that must not be asked again ends with its last stream.
	st = p.open(get)
	p.time.Add(int64(doubtful))
	st.Expire()
	st.Close()
	p.wantReset(3, http2.ErrCodeCancel)
	p.wantGone(http2.ErrCodeNo)
}

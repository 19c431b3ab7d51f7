package http2_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"usher/config"
	"usher/proxy/http2"
	"usher/proxy/wire"
)

// FuzzFrames: whatever frames a client sends, the connection answers a PING or ends, and
// nothing remains of it. What Handlers are handed is what the scanner takes for one head.
func FuzzFrames(f *testing.F) {
	get := "\x82\x86\x84\x41\x01a"
	for _, seed := range []string{
		"\x01\x05\x01\x06" + get,                                              // a request
		"\x01\x04\x01\x06" + get + "\x00\x01\x01\x04body",                     // and one with a body
		"\x01\x01\x01\x03\x82\x86\x84" + "\x09\x04\x01\x03\x41\x01a",          // in two parts
		"\x01\x0d\x01\x08\x01" + get + "\x00",                                 // padded
		"\x01\x2d\x01\x0d\x01\x00\x00\x00\x03\x07" + get + "\x00",             // with a priority
		"\x01\x05\x01\x06" + get + "\x03\x00\x01\x04\x00\x00\x00\x08",         // and broken off
		"\x04\x00\x00\x06\x00\x04\x00\x00\x00\x01" + "\x01\x05\x01\x06" + get, // through a small window
		"\x01\x05\x01\x06" + get + "\x08\x00\x01\x04\x00\x00\x00\x08",
		"\x06\x00\x00\x08abcdefgh", "\x07\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00", "\x04\x01\x00\x00",
		"\x01\x04\x01\x06" + get + "\x01\x05\x01\x05\x00\x01x\x011", // trailers
		"\x02\x00\x01\x05\x00\x00\x00\x03\x07", "\x05\x04\x01\x04\x00\x00\x00\x02", "\xee\x00\x00\x01x",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, script []byte) { play(t, framesOf(script)) })
}

// framesOf makes frames of a script: each is its kind, flags, stream and length, in a byte
// each, and that much payload.
func framesOf(script []byte) (out []byte) {
	for len(script) >= 4 {
		n := min(int(script[3]), len(script)-4)
		out = append(out, 0, 0, byte(n), script[0], script[1])
		out = binary.BigEndian.AppendUint32(out, uint32(script[2]))
		out = append(out, script[4:4+n]...)
		script = script[4+n:]
	}
	return out
}

// strictEcho is echo, and looks at the head.
func strictEcho(t *testing.T) handlerFunc {
	return func(s *http2.Stream) {
		head := wire.Head{}
		head.Reset()
		err := head.ScanRequest(s.Head())
		var refused *wire.Refused
		if !s.TooLarge() && err != nil && !errors.As(err, &refused) || err == nil && head.Len != len(s.Head()) {
			t.Errorf("%q: %v, %d bytes long", s.Head(), err, head.Len)
		}
		echo(s)
	}
}

func play(t *testing.T, frames []byte) {
	t.Helper()
	sweeper := wire.NewSweeper()
	s := http2.NewServer(http2.Options{
		HTTP2: config.DefaultHTTP2(), Handler: strictEcho(t), Sweeper: sweeper,
		Log: slog.Default(), Cut: sweeper.ExpireAll,
	})
	ours, theirs := net.Pipe()
	s.Serve(theirs, &wire.Client{}, nil)
	_ = ours.SetDeadline(time.Now().Add(patience))
	defer ours.SetDeadline(time.Time{}) // thousands of timers would be left behind
	done := make(chan error, 1)
	go func() { done <- awaitPing(ours) }()
	out := append([]byte(http2.Preface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"), frames...)
	out = append(out, "\x00\x00\x08\x06\x00\x00\x00\x00\x00lastping"...)
	_, _ = ours.Write(out) // it may be closed before the end
	if err := <-done; errors.Is(err, context.DeadlineExceeded) {
		t.Error("neither an answer nor an end")
	}
	_ = ours.Close()
	cut, cancel := context.WithCancel(context.Background())
	cancel()
	s.Shutdown(cut)
}

// awaitPing reads until the last PING is answered, or the connection ends.
func awaitPing(nc net.Conn) error {
	fr := xhttp2.NewFramer(io.Discard, nc)
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				return context.DeadlineExceeded
			}
			return err
		}
		if p, ok := f.(*xhttp2.PingFrame); ok && p.IsAck() && string(p.Data[:]) == "lastping" {
			return nil
		}
	}
}

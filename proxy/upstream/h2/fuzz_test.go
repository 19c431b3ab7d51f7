package h2

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// script is a connection whose endpoint says what a fuzzer makes up, and then ends. What it
// is sent it forgets.
type script struct {
	net.Conn
	// settings come first, says when asked is closed.
	settings, says *bytes.Reader
	asked          chan struct{}
	closed         atomic.Bool
}

func (c *script) Read(p []byte) (int, error) {
	if n, _ := c.settings.Read(p); n > 0 {
		return n, nil
	}
	<-c.asked
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	return c.says.Read(p)
}

func (c *script) Write(p []byte) (int, error) {
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	return len(p), nil
}

func (c *script) Close() error {
	c.closed.Store(true)
	return nil
}

func (c *script) SetWriteDeadline(time.Time) error { return nil }

// FuzzFrames: whatever an endpoint sends, three requests end, what they give is HTTP/1.1 as
// it is framed or an error, and nothing is held.
func FuzzFrames(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, says []byte) {
		conn := &script{
			settings: bytes.NewReader(appendSettings(nil)), says: bytes.NewReader(says), asked: make(chan struct{}),
		}
		s := Start(Options{Conn: conn, Socket: conn, Clock: func() int64 { return 1 }, Owner: &owner{}})
		var streams []*Stream
		for _, text := range []string{
			get, "HEAD / HTTP/1.1\r\n\r\n",
			"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100_000),
		} {
			st := s.Reserve()
			if err := st.Open([]byte(text), true); err != nil {
				t.Fatal(err)
			}
			streams = append(streams, st)
		}
		close(conn.asked)
		for i, st := range streams {
			got, err := readAll(st, all)
			if checkText(t, got, err, i == 1); err == nil {
				st.Release()
			} else {
				st.Close()
			}
		}
		within(t, "the session", func() {
			_ = s.Ready(context.Background())
			s.Leave()
			<-s.Done()
		})
		if idle, _ := s.Idle(); !idle {
			t.Error("something is held")
		}
	})
}

// checkText checks that a whole response is one.
func checkText(t *testing.T, text string, err error, isHead bool) {
	t.Helper()
	if err != nil {
		return
	}
	for {
		head, rest, ok := strings.Cut(text, "\r\n\r\n")
		if !ok || !strings.HasPrefix(head, "HTTP/1.1 ") || strings.ContainsAny(head, "\x00") {
			t.Fatalf("got %q", text)
		}
		text = rest
		status := head[len("HTTP/1.1 "):][:3]
		switch {
		case status[0] == '1':
			continue
		case isHead || status == "204" || status == "304":
			if text != "" {
				t.Fatalf("a body: %q", text)
			}
		case strings.HasSuffix(head, "Transfer-Encoding: chunked"):
			if !strings.Contains(text, "0\r\n") || !strings.HasSuffix(text, "\r\n\r\n") {
				t.Fatalf("no end: %q", text)
			}
		}
		return
	}
}

// seeds are sessions as endpoints have them, and some as they should not.
func seeds() (out [][]byte) {
	var b bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	fr.AllowIllegalWrites = true
	block := func(pairs ...string) []byte {
		var h bytes.Buffer
		enc := hpack.NewEncoder(&h)
		for i := 0; i < len(pairs); i += 2 {
			_ = enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
		}
		return h.Bytes()
	}
	head := func(id uint32, end bool, pairs ...string) {
		_ = fr.WriteHeaders(http2.HeadersFrameParam{
			StreamID: id, EndHeaders: true, EndStream: end, BlockFragment: block(pairs...),
		})
	}
	for _, f := range []func(){
		func() {
			head(1, false, ":status", "200", "content-length", "2")
			_ = fr.WriteData(1, true, []byte("ok"))
			head(3, true, ":status", "200")
			head(5, false, ":status", "103")
			head(5, false, ":status", "200", "content-type", "application/grpc")
			_ = fr.WriteWindowUpdate(0, 1<<20)
			_ = fr.WriteWindowUpdate(5, 1<<20)
			_ = fr.WriteDataPadded(5, false, []byte("ok"), make([]byte, 9))
			head(5, true, "grpc-status", "0")
		},
		func() {
			_ = fr.WriteSettings(
				http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3},
				http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1},
			)
			_ = fr.WritePing(false, [8]byte{1})
			_ = fr.WriteHeaders(http2.HeadersFrameParam{
				StreamID: 1, BlockFragment: block(":status", "200"), PadLength: 3,
			})
			_ = fr.WriteContinuation(1, true, block("a", "b"))
			_ = fr.WriteRSTStream(1, http2.ErrCodeNo)
			_ = fr.WriteGoAway(1, http2.ErrCodeNo, []byte("bye"))
		},
		func() { _ = fr.WriteRSTStream(1, http2.ErrCodeRefusedStream); head(3, true, ":status", "204") },
		func() { _ = fr.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2}) },
	} {
		b.Reset()
		f()
		out = append(out, bytes.Clone(b.Bytes()))
	}
	return append(out, []byte("HTTP/1.1 200 OK\r\n\r\n"), nil)
}

// FuzzRequest: a request that is taken arrives as fields that HTTP/2 allows.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		get, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTE: trailers\r\n\r\nx",
		"GET / HTTP/1.1\r\nA: b\r\nhost:c\r\n\r\n", "* * HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var r request
		if err := r.parse([]byte(text), false); err != nil {
			if !errors.Is(err, ErrRequest) {
				t.Fatal(err)
			}
			return
		}
		fields, err := hpack.NewDecoder(4096, nil).DecodeFull(r.block)
		if err != nil {
			t.Fatal(err)
		}
		regular := false
		for _, f := range fields {
			if pseudo := strings.HasPrefix(f.Name, ":"); pseudo && regular {
				t.Fatalf("%v is behind a field", f)
			} else if !pseudo {
				regular = true
				if !validName(f.Name) || strings.Contains(f.Value, "\n") || f.Name == "connection" || f.Name == "host" {
					t.Fatalf("got %q", f)
				}
			}
		}
	})
}

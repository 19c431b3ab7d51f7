package h2

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// A request arrives as HTTP/2 has it.
func TestRequest(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text, want, body string
	}{
		"GET": {
			"GET /a?b=c HTTP/1.1\r\nHost: A.test:80\r\nUser-Agent:  x \r\nX-Empty:\r\n\r\n",
			":method=GET :scheme=http :path=/a?b=c :authority=A.test:80 user-agent=x x-empty=", "",
		},
		"Host is not first": {
			"PATCH / HTTP/1.1\r\nAccept: */*\r\nHost: a\r\n\r\n",
			":method=PATCH :scheme=http :path=/ :authority=a accept=*/*", "",
		},
		"no Host": {"GET / HTTP/1.1\r\n\r\n", ":method=GET :scheme=http :path=/", ""},
		"asterisk": {
			"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", ":method=OPTIONS :scheme=http :path=* :authority=a", "",
		},
		"bytes beyond": {
			"GET /\xe4 HTTP/1.1\r\nHost: a\r\nX: \xe4\r\n\r\n",
			":method=GET :scheme=http :path=/\xe4 :authority=a x=\xe4", "",
		},
		"POST": {
			"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
			":method=POST :scheme=http :path=/ :authority=a content-length=5", "hello",
		},
		"no length": {
			"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
			":method=POST :scheme=http :path=/ :authority=a content-length=0", "",
		},
		"of one connection": {
			"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nKeep-Alive: 1\r\nTE: gzip\r\n" +
				"Proxy-Connection: x\r\nTea: 1\r\nHosts: 2\r\n\r\n",
			":method=GET :scheme=http :path=/ :authority=a tea=1 hosts=2", "",
		},
		"gRPC": {
			"POST /s/M HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc+proto\r\nContent-Length: 5\r\n\r\n" +
				"\x00\x00\x00\x00\x00",
			":method=POST :scheme=http :path=/s/M :authority=a content-type=application/grpc+proto " +
				"content-length=5 te=trailers",
			"\x00\x00\x00\x00\x00",
		},
		"secrets": {
			"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\nCookie: a=b; c=d\r\n\r\n",
			":method=GET :scheme=http :path=/ :authority=a authorization=x! cookie=a=b; c=d!", "",
		},
		"long": {
			"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 40_000) + "\r\n\r\n",
			":method=GET :scheme=http :path=/ :authority=a x=" + strings.Repeat("x", 40_000), "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newRemote(t)
			st := p.stream()
			p.must(st.Open([]byte(tc.text), true))
			h := want[*http2.MetaHeadersFrame](p)
			var got []string
			for _, f := range h.Fields {
				s := f.Name + "=" + f.Value
				if f.Sensitive {
					s += "!"
				}
				got = append(got, s)
			}
			if text := strings.Join(got, " "); text != tc.want || h.StreamEnded() != (tc.body == "") {
				t.Errorf("got %s, ended: %t", text, h.StreamEnded())
			}
			if tc.body != "" {
				if d := want[*http2.DataFrame](p); string(d.Data()) != tc.body || !d.StreamEnded() {
					t.Errorf("got %v", d)
				}
			}
			st.Close()
			p.wantReset(1, http2.ErrCodeCancel)
		})
	}
}

// A call of gRPC without a message ends with DATA, on which alone its servers hear the end.
func TestEmptyCall(t *testing.T) {
	t.Parallel()
	p := newRemote(t)
	st := p.stream()
	p.must(st.Open([]byte("POST /s/M HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\n\r\n"), true))
	if h := want[*http2.MetaHeadersFrame](p); h.StreamEnded() {
		t.Error("HEADERS end the call")
	}
	if d := want[*http2.DataFrame](p); len(d.Data()) > 0 || !d.StreamEnded() {
		t.Errorf("got %v", d)
	}
	st.Close()
	p.wantReset(1, http2.ErrCodeCancel)
}

// What is no request is not sent.
func TestBadRequest(t *testing.T) {
	t.Parallel()
	p := newRemote(t)
	for _, text := range []string{
		"", "\r\n\r\n", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.0\r\n\r\n",
		"GET  HTTP/1.1\r\n\r\n", "G:T / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n",
		"GET / HTTP/1.1\r\nHost\r\n\r\n",
		"GET / HTTP/1.1\r\nA b: c\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
		"GET / HTTP/1.1\r\nContent-Length: 2\r\n\r\nx", "GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\nxy",
		"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
		"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		st := p.stream()
		if err := st.Open([]byte(text), true); !errors.Is(err, ErrRequest) && text[:3] != "GET" || err == nil {
			t.Errorf("%q: %v", text, err)
		}
		st.Release()
	}
	st := p.open(get)
	st.Close()
	p.wantReset(1, http2.ErrCodeCancel)
}

// The first block says that no table is kept, and so does one behind new settings.
func TestTableSize(t *testing.T) {
	t.Parallel()
	p := newRemote(t)
	p.ReadMetaHeaders = nil
	for i, resized := range []bool{true, false, true} {
		if i == 2 {
			p.must(p.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0}))
			want[*http2.SettingsFrame](p)
		}
		st := p.stream()
		p.must(st.Open([]byte(get), true))
		if b := want[*http2.HeadersFrame](p).HeaderBlockFragment(); (b[0] == resize) != resized {
			t.Errorf("%d: got %x", i, b)
		}
		st.Close()
		want[*http2.RSTStreamFrame](p)
	}
}

// data reads a frame of data.
func (p *remote) data(id uint32, n int, end bool) {
	p.tb.Helper()
	if d := want[*http2.DataFrame](p); d.StreamID != id || len(d.Data()) != n || d.StreamEnded() != end {
		p.tb.Fatalf("got %v with %d bytes, want %d of %d, end: %t", d, len(d.Data()), n, id, end)
	}
}

// begin begins a request whose body follows.
func (p *remote) begin(fields string) *Stream {
	p.tb.Helper()
	st := p.stream()
	p.must(st.Open([]byte("POST / HTTP/1.1\r\nHost: a\r\n"+fields+"\r\n\r\n"), false))
	if want[*http2.MetaHeadersFrame](p).StreamEnded() {
		p.tb.Fatal("its body is not sent yet")
	}
	return st
}

// A body is sent in frames that the endpoint takes, as its windows allow, and ended once.
func TestSendWindows(t *testing.T) {
	t.Parallel()
	p := newRemote(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
	st := p.begin("Content-Length: 100000")
	sent := make(chan error, 1)
	go func() {
		_, err := st.Write(make([]byte, 100_000))
		sent <- err
	}()
	p.data(1, 10, false)
	p.must(p.WriteWindowUpdate(1, 5))
	p.data(1, 5, false)
	// A window that is made smaller becomes negative, and nothing is sent until it is not.
	p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
	want[*http2.SettingsFrame](p)
	p.must(p.WriteWindowUpdate(1, 10))
	p.must(p.WritePing(false, [8]byte{1}))
	want[*http2.PingFrame](p)
	p.must(p.WriteWindowUpdate(1, 3))
	p.data(1, 3, false)
	p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 7}))
	// The data may come before the acknowledgement or behind it.
	for range 2 {
		switch f, err := p.ReadFrame(); f := f.(type) {
		case *http2.SettingsFrame:
		case *http2.DataFrame:
			if len(f.Data()) != 7 {
				t.Fatalf("got %v, %v", f, err)
			}
		default:
			t.Fatalf("got %v, %v", f, err)
		}
	}
	// Now the session's window is the bound.
	p.must(p.WriteWindowUpdate(1, 1<<20))
	for left := firstWindow - 25; left > 0; left -= leastFrame {
		p.data(1, min(left, leastFrame), false)
	}
	p.must(p.WriteWindowUpdate(0, 1<<20))
	for left := 100_000 - firstWindow; left > 0; left -= leastFrame {
		p.data(1, min(left, leastFrame), left <= leastFrame)
	}
	p.must(<-sent)
	if _, err := st.Write([]byte("x")); err == nil {
		t.Error("more is taken than the length says")
	}
	st.Close()
	p.wantReset(1, http2.ErrCodeCancel)
}

// Larger frames are sent where they are taken.
func TestFrameSize(t *testing.T) {
	t.Parallel()
	p := newRemote(t, http2.Setting{ID: http2.SettingMaxFrameSize, Val: 20_000})
	st := p.begin("Transfer-Encoding: chunked")
	p.must(st.WriteChunk(make([]byte, 30_000)))
	p.data(1, 20_000, false)
	p.data(1, 10_000, false)
	if _, err := st.Write([]byte("x")); err == nil {
		t.Error("it has no length")
	}
	p.must(st.WriteEnd())
	p.data(1, 0, true)
	if err := st.WriteChunk([]byte("x")); err == nil {
		t.Error("more is taken behind the end")
	}
	st.Close()
	p.wantReset(1, http2.ErrCodeCancel)
}

// A body that is at hand and larger than the window is sent as it opens, though nobody
// waits for that; the response may come before.
func TestSendsWithoutWaiting(t *testing.T) {
	t.Parallel()
	p := newRemote(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	st := p.stream()
	text := []byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n123456")
	p.must(st.Open(text, true))
	clear(text) // it is not used any more
	want[*http2.MetaHeadersFrame](p)
	p.data(1, 1, false)
	p.head(1, false, ":status", "200", "content-length", "2")
	p.must(p.WriteData(1, false, []byte("ok")))
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	if got, err := readAll(st, len(answer)); got != answer || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	p.must(p.WriteWindowUpdate(1, 3))
	if d := want[*http2.DataFrame](p); string(d.Data()) != "234" || d.StreamEnded() {
		t.Errorf("got %q", d.Data())
	}
	p.must(p.WriteWindowUpdate(1, 100))
	if d := want[*http2.DataFrame](p); string(d.Data()) != "56" || !d.StreamEnded() {
		t.Errorf("got %q", d.Data())
	}
	p.must(p.WriteData(1, true, nil))
	st.Release()
	eventually(t, "the stream is over", func() bool { idle, _ := p.Idle(); return idle })
}

// Streams that wait for the session's window have it one after the other, and one that
// leaves the queue does not stop it.
func TestStarved(t *testing.T) {
	t.Parallel()
	p := newRemote(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	first := p.begin("Content-Length: 65535")
	_, err := first.Write(make([]byte, firstWindow))
	p.must(err)
	for left := firstWindow; left > 0; left -= leastFrame {
		p.data(1, min(left, leastFrame), left <= leastFrame)
	}
	const n = 5
	var streams []*Stream
	sent := make(chan error, n)
	for i := range n {
		st := p.begin("Transfer-Encoding: chunked")
		streams = append(streams, st)
		go func() { sent <- st.WriteChunk(make([]byte, 100)) }()
		eventually(t, "it waits", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.starved) == i+1
		})
	}
	streams[0].Abort()
	if err := <-sent; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	p.must(p.WriteWindowUpdate(0, 1000))
	var got []uint32
	for range n - 1 {
		d := want[*http2.DataFrame](p)
		got = append(got, d.StreamID)
		p.must(<-sent)
	}
	slices.Sort(got)
	if !slices.Equal(got, []uint32{5, 7, 9, 11}) {
		t.Errorf("got data of %v", got)
	}
	for _, st := range append(streams, first) {
		st.Close()
		want[*http2.RSTStreamFrame](p)
	}
}

// An endpoint that reads nothing makes those wait who send bodies, and what waits is
// bounded. Others go on when it reads, and what it has asked for meanwhile is bounded.
func TestBackpressure(t *testing.T) {
	t.Parallel()
	p := newRemote(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: maxWindow})
	p.must(p.WriteWindowUpdate(0, maxWindow-firstWindow))
	st := p.begin("Transfer-Encoding: chunked")
	const size = 64 << 20
	sent := make(chan error, 1)
	go func() {
		for left := size; left > 0; left -= 1 << 20 {
			if err := st.WriteChunk(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
				sent <- err
				return
			}
		}
		sent <- st.WriteEnd()
	}()
	eventually(t, "what waits is as much as may", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.out) > outLimit+leastFrame+frameHeader {
			t.Fatalf("%d bytes wait", len(p.out))
		}
		return len(p.out) >= outLimit
	})
	for got := 0; ; {
		d := want[*http2.DataFrame](p)
		if got += len(d.Data()); d.StreamEnded() {
			if got != size {
				t.Errorf("got %d bytes", got)
			}
			break
		}
	}
	p.must(<-sent)
	st.Close()
	p.wantReset(1, http2.ErrCodeCancel)
}

// What an endpoint asks for without taking the answers ends the session.
func TestAnswersHeapUp(t *testing.T) {
	t.Parallel()
	p := newRemote(t)
	go func() { // it reads nothing
		for i := 0; ; i++ {
			if p.WritePing(false, [8]byte{}) != nil {
				return
			}
			if i%500 == 0 { // which is not a flood
				p.mu.Lock()
				p.peer.floods = 0
				p.mu.Unlock()
			}
		}
	}()
	within(t, "the session", func() { <-p.Done() })
	if err := p.Err(); !errors.Is(err, ErrViolation) {
		t.Errorf("got %v", err)
	}
}

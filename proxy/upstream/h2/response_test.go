package h2

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// What an endpoint is told that does wrong.
const (
	broken      = http2.ErrCodeProtocol
	flow        = http2.ErrCodeFlowControl
	calm        = http2.ErrCodeEnhanceYourCalm
	frameSize   = http2.ErrCodeFrameSize
	compression = http2.ErrCodeCompression
)

// What an endpoint answers is read as HTTP/1.1 has it.
func TestResponse(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		method string
		answer func(p *remote)
		want   string
	}{
		"length": {"GET", func(p *remote) {
			p.head(1, false, ":status", "200", "a", "b", "content-length", "5")
			p.must(p.WriteData(1, false, []byte("hel")))
			p.must(p.WriteData(1, true, []byte("lo")))
		}, "HTTP/1.1 200 OK\r\na: b\r\nContent-Length: 5\r\n\r\nhello"},
		"no body": {"GET", func(p *remote) {
			p.head(1, true, ":status", "200", "a", "b")
		}, "HTTP/1.1 200 OK\r\na: b\r\nContent-Length: 0\r\n\r\n"},
		"no body, said late": {"GET", func(p *remote) {
			p.head(1, false, ":status", "404", "content-length", "0")
			p.must(p.WriteData(1, true, nil))
		}, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"},
		"trailers": {"GET", func(p *remote) {
			p.head(1, false, ":status", "200")
			p.must(p.WriteData(1, false, []byte("hello")))
			p.head(1, true, "grpc-status", "0", "x", "")
		}, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\ngrpc-status: 0\r\nx: \r\n\r\n"},
		"trailers alone": {"POST", func(p *remote) {
			p.head(1, true, ":status", "200", "content-type", "application/grpc", "grpc-status", "5")
		}, "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 5\r\nContent-Length: 0\r\n\r\n"},
		"trailers and a length": {"GET", func(p *remote) {
			p.head(1, false, ":status", "200", "content-length", "5", "trailer", "x")
			p.must(p.WriteData(1, false, []byte("hello")))
			p.head(1, true, "x", "y")
		}, "HTTP/1.1 200 OK\r\ntrailer: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: y\r\n\r\n"},
		"empty chunks": {"GET", func(p *remote) {
			p.head(1, false, ":status", "200")
			p.must(p.WriteData(1, false, nil))
			p.must(p.WriteData(1, true, nil))
		}, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		"HEAD": {"HEAD", func(p *remote) {
			p.head(1, true, ":status", "200", "content-length", "5")
		}, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
		"HEAD without a length, said late": {"HEAD", func(p *remote) {
			p.head(1, false, ":status", "200")
			p.must(p.WriteData(1, true, nil))
		}, "HTTP/1.1 200 OK\r\n\r\n"},
		"204": {"GET", func(p *remote) {
			p.head(1, true, ":status", "204", "content-length", "0")
		}, "HTTP/1.1 204 No Content\r\n\r\n"},
		"304": {"GET", func(p *remote) {
			p.head(1, true, ":status", "304", "content-length", "5", "etag", "x")
		}, "HTTP/1.1 304 Not Modified\r\netag: x\r\nContent-Length: 5\r\n\r\n"},
		"interim": {"GET", func(p *remote) {
			p.head(1, false, ":status", "100")
			p.head(1, false, ":status", "103", "link", "</x>")
			p.head(1, true, ":status", "200")
		}, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" +
			"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"an unknown status": {"GET", func(p *remote) {
			p.head(1, true, ":status", "299")
		}, "HTTP/1.1 299 Unknown Status Code\r\nContent-Length: 0\r\n\r\n"},
		"space around a value": {"GET", func(p *remote) {
			p.head(1, true, ":status", "200", "grpc-message", " x\t")
		}, "HTTP/1.1 200 OK\r\ngrpc-message: x\r\nContent-Length: 0\r\n\r\n"},
		"fields in pieces, padded": {"GET", func(p *remote) {
			b := p.fields(":status", "200", "a", "b")
			p.must(p.WriteHeaders(http2.HeadersFrameParam{
				StreamID: 1, BlockFragment: b[:1], PadLength: 7, Priority: http2.PriorityParam{Weight: 3},
			}))
			for i := 1; i < len(b); i++ {
				p.must(p.WriteContinuation(1, i == len(b)-1, b[i:i+1]))
			}
			p.must(p.WriteDataPadded(1, false, []byte("x"), make([]byte, 200)))
			p.must(p.WriteDataPadded(1, true, nil, make([]byte, 1)))
		}, "HTTP/1.1 200 OK\r\na: b\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"},
		"reset after the end": {"POST", func(p *remote) {
			p.head(1, true, ":status", "200")
			p.must(p.WriteRSTStream(1, http2.ErrCodeNo))
		}, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"unknown frames": {"GET", func(p *remote) {
			p.must(p.WriteRawFrame(0xfa, 0xff, 1, []byte("x")))
			p.must(p.WritePriority(1, http2.PriorityParam{Weight: 1}))
			p.must(p.WritePriority(77, http2.PriorityParam{Weight: 1}))
			p.head(1, true, ":status", "200")
		}, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newRemote(t)
			st := p.open(tc.method + " / HTTP/1.1\r\nHost: a\r\n\r\n")
			tc.answer(p)
			if got, err := readAll(st, all); got != tc.want || err != nil {
				t.Errorf("got %q, %v\nwant %q", got, err, tc.want)
			}
			st.Release()
			eventually(t, "the stream is over", func() bool { idle, _ := p.Idle(); return idle })
		})
	}
}

// What is no response by RFC 9113 is refused, and its stream reset. The session goes on.
func TestMalformedResponse(t *testing.T) {
	t.Parallel()
	with := func(pairs ...string) func(p *remote) {
		return func(p *remote) { p.head(1, false, append([]string{":status", "200"}, pairs...)...) }
	}
	for name, tc := range map[string]struct {
		method string
		answer func(p *remote)
		code   http2.ErrCode
	}{
		"upper case":          {"GET", with("A", "b"), broken},
		"empty name":          {"GET", with("", "b"), broken},
		"name with a space":   {"GET", with("a b", "c"), broken},
		"name with a colon":   {"GET", with("a:b", "c"), broken},
		"line break":          {"GET", with("a", "b\r\nc: d"), broken},
		"NUL":                 {"GET", with("a", "b\x00"), broken},
		"connection":          {"GET", with("connection", "close"), broken},
		"keep-alive":          {"GET", with("keep-alive", "x"), broken},
		"proxy-connection":    {"GET", with("proxy-connection", "x"), broken},
		"transfer-encoding":   {"GET", with("transfer-encoding", "chunked"), broken},
		"upgrade":             {"GET", with("upgrade", "x"), broken},
		"two statuses":        {"GET", with(":status", "200"), broken},
		"pseudo-field behind": {"GET", with("a", "b", ":status", "200"), broken},
		"unknown pseudo":      {"GET", with(":path", "/"), broken},
		"two lengths":         {"GET", with("content-length", "1", "content-length", "1"), broken},
		"a bad length":        {"GET", with("content-length", "+1"), broken},
		"no status":           {"GET", func(p *remote) { p.head(1, false, "a", "b") }, broken},
		"status of two":       {"GET", func(p *remote) { p.head(1, false, ":status", "20") }, broken},
		"status 099":          {"GET", func(p *remote) { p.head(1, false, ":status", "099") }, broken},
		"status 600":          {"GET", func(p *remote) { p.head(1, false, ":status", "600") }, broken},
		"status +20":          {"GET", func(p *remote) { p.head(1, false, ":status", "+20") }, broken},
		"101":                 {"GET", func(p *remote) { p.head(1, false, ":status", "101") }, broken},
		"interim at the end":  {"GET", func(p *remote) { p.head(1, true, ":status", "103") }, broken},
		"body first":          {"GET", func(p *remote) { p.must(p.WriteData(1, false, []byte("x"))) }, broken},
		"no body, a length": {"GET", func(p *remote) {
			p.head(1, true, ":status", "200", "content-length", "5")
		}, broken},
		"body of HEAD": {"HEAD", func(p *remote) {
			p.head(1, false, ":status", "200", "content-length", "1")
			p.must(p.WriteData(1, false, []byte("x")))
		}, broken},
		"body of 204": {"GET", func(p *remote) {
			p.head(1, false, ":status", "204")
			p.must(p.WriteData(1, true, []byte("x")))
		}, broken},
		"too long": {"GET", func(p *remote) {
			p.head(1, false, ":status", "200", "content-length", "1")
			p.must(p.WriteData(1, true, []byte("xy")))
		}, broken},
		"too short": {"GET", func(p *remote) {
			p.head(1, false, ":status", "200", "content-length", "3")
			p.must(p.WriteData(1, true, []byte("xy")))
		}, broken},
		"too short, trailers": {"GET", func(p *remote) {
			p.head(1, false, ":status", "200", "content-length", "3")
			p.head(1, true, "a", "b")
		}, broken},
		"fields within": {"GET", func(p *remote) {
			p.head(1, false, ":status", "200")
			p.head(1, false, "a", "b")
		}, broken},
		"status in trailers": {"GET", func(p *remote) {
			p.head(1, false, ":status", "200")
			p.head(1, true, ":status", "200")
		}, broken},
		"too many fields": {"GET", func(p *remote) {
			p.head(1, false, ":status", "200", "a", strings.Repeat("b", 8<<10), "c", strings.Repeat("d", 8<<10))
		}, broken},
		"too many fields by the table": {"GET", func(p *remote) {
			pairs := []string{":status", "200"}
			for range 1000 {
				pairs = append(pairs, "a", strings.Repeat("b", 1<<10))
			}
			p.head(1, false, pairs...)
		}, broken},
		"interim without end": {"GET", func(p *remote) {
			for range 40 {
				p.head(1, false, ":status", "103", "a", strings.Repeat("b", 1<<10))
			}
		}, calm},
		"a window update of nothing": {"GET", func(p *remote) { p.must(p.WriteWindowUpdate(1, 0)) }, broken},
		"a window too large": {"GET", func(p *remote) {
			p.must(p.WriteWindowUpdate(1, maxWindow))
		}, flow},
		"more than the window": {"GET", func(p *remote) {
			p.head(1, false, ":status", "200")
			for range streamWindow/leastFrame + 1 {
				p.must(p.WriteData(1, false, make([]byte, leastFrame)))
			}
		}, flow},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newRemote(t)
			st := p.open(tc.method + " / HTTP/1.1\r\nHost: a\r\n\r\n")
			tc.answer(p)
			p.wantReset(1, tc.code)
			if got, err := readAll(st, all); !errors.Is(err, ErrMalformed) {
				t.Errorf("got %q, %v", got, err)
			}
			st.Close()
			next := p.open(get)
			p.head(3, true, ":status", "204")
			if got, err := readAll(next, all); got != "HTTP/1.1 204 No Content\r\n\r\n" || err != nil {
				t.Errorf("behind it: got %q, %v", got, err)
			}
			next.Release()
		})
	}
}

// What breaks the protocol ends the session.
func TestViolations(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		sends func(p *remote)
		code  http2.ErrCode
	}{
		"a push": {func(p *remote) {
			p.must(p.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true}))
		}, broken},
		"fields of a stream never begun": {func(p *remote) { p.head(3, true, ":status", "200") }, broken},
		"fields of its own stream":       {func(p *remote) { p.head(2, true, ":status", "200") }, broken},
		"fields of no stream":            {func(p *remote) { p.head(0, true, ":status", "200") }, broken},
		"data of no stream":              {func(p *remote) { p.must(p.WriteData(0, true, nil)) }, broken},
		"data of a stream never begun":   {func(p *remote) { p.must(p.WriteData(3, true, nil)) }, broken},
		"reset of a stream never begun":  {func(p *remote) { p.must(p.WriteRSTStream(5, 0)) }, broken},
		"window of a stream never begun": {func(p *remote) { p.must(p.WriteWindowUpdate(5, 1)) }, broken},
		"no window":                      {func(p *remote) { p.must(p.WriteWindowUpdate(0, 0)) }, broken},
		"window too large":               {func(p *remote) { p.must(p.WriteWindowUpdate(0, maxWindow)) }, flow},
		"initial window too large": {func(p *remote) {
			p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}))
		}, flow},
		"initial window too large for a stream": {func(p *remote) {
			p.must(p.WriteWindowUpdate(1, 1<<30))
			p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1}))
		}, flow},
		"frame size out of range": {func(p *remote) {
			p.must(p.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1}))
		}, broken},
		"frame too large": {func(p *remote) {
			p.must(p.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, leastFrame+1)))
		}, frameSize},
		"fields interrupted": {func(p *remote) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.fields(":status", "200")}))
			p.must(p.WritePing(false, [8]byte{}))
		}, broken},
		"continuation of nothing": {func(p *remote) { p.must(p.WriteContinuation(1, true, nil)) }, broken},
		"broken compression": {func(p *remote) {
			p.block1(0xff, 0xff)
		}, compression},
		"an index of nothing": {func(p *remote) {
			p.block1(0xfe)
		}, compression},
		"a table too large": {func(p *remote) {
			p.block1(0x3f, 0xff, 0x7f)
		}, compression},
		"more padding than frame": {func(p *remote) {
			p.must(p.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{9, 1}))
		}, broken},
		"padded, and empty": {func(p *remote) {
			p.must(p.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, nil))
		}, frameSize},
		"fields shorter than their priority": {func(p *remote) {
			const flags = http2.FlagHeadersPriority | http2.FlagHeadersEndHeaders
			p.must(p.WriteRawFrame(http2.FrameHeaders, flags, 1, []byte{1, 2}))
		}, frameSize},
		"endless fields": {func(p *remote) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.fields(":status", "200")}))
			for range maxFrames {
				p.must(p.WriteContinuation(1, false, nil))
			}
		}, calm},
		"a flood of PING": {func(p *remote) {
			for range maxFloods + 1 {
				p.must(p.WritePing(false, [8]byte{}))
			}
		}, calm},
		"a flood of SETTINGS": {func(p *remote) {
			for range maxFloods + 1 {
				p.must(p.WriteSettings())
			}
		}, calm},
		"a flood of empty DATA": {func(p *remote) {
			p.head(1, false, ":status", "200")
			for range maxFloods + 1 {
				p.must(p.WriteData(1, false, nil))
			}
		}, calm},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newRemote(t)
			st := p.open(get)
			tc.sends(p)
			p.wantGone(tc.code)
			if got, err := readAll(st, all); !errors.Is(err, ErrViolation) && !errors.Is(err, ErrMalformed) {
				t.Errorf("got %q, %v", got, err)
			}
			st.Close()
			if p.Reserve() != nil {
				t.Error("it takes more requests")
			}
			within(t, "the session", func() { <-p.Done() })
			if p.Err() == nil {
				t.Error("it has ended for nothing")
			}
		})
	}
}

// An endpoint that speaks something else is told from one that speaks HTTP/2.
func TestNotHTTP2(t *testing.T) {
	t.Parallel()
	for name, says := range map[string]string{
		"HTTP/1.1": "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
		"nothing":  "",
		"a PING":   "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678",
		"an ack":   "\x00\x00\x00\x04\x01\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := dialRemote(t)
			_, err := fmt.Fprint(p.nc, says)
			p.must(err)
			if says == "" {
				_ = p.nc.Close()
			}
			if err := p.Ready(t.Context()); err == nil {
				t.Error("it passes for HTTP/2")
			}
		})
	}
}

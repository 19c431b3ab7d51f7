package h2

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2"
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
		"upper case":          {"GET", with("A", "b"), http2.ErrCodeProtocol},
		"empty name":          {"GET", with("", "b"), http2.ErrCodeProtocol},
		"name with a space":   {"GET", with("a b", "c"), http2.ErrCodeProtocol},
		"name with a colon":   {"GET", with("a:b", "c"), http2.ErrCodeProtocol},
		"line break":          {"GET", with("a", "b\r\nc: d"), http2.ErrCodeProtocol},
		"NUL":                 {"GET", with("a", "b\x00"), http2.ErrCodeProtocol},
		"connection":          {"GET", with("connection", "close"), http2.ErrCodeProtocol},
		"keep-alive":          {"GET", with("keep-alive", "x"), http2.ErrCodeProtocol},
		"proxy-connection":    {"GET", with("proxy-connection", "x"), http2.ErrCodeProtocol},
		"transfer-encoding":   {"GET", with("transfer-encoding", "chunked"), http2.ErrCodeProtocol},
		"upgrade":             {"GET", with("upgrade", "x"), http2.ErrCodeProtocol},
		"two statuses":        {"GET", with(":status", "200"), http2.ErrCodeProtocol},
		"pseudo-field behind": {"GET", with("a", "b", ":status", "200"), http2.ErrCodeProtocol},
		"unknown pseudo":      {"GET", with(":path", "/"), http2.ErrCodeProtocol},
		"two lengths":         {"GET", with("content-length", "1", "content-length", "1"), http2.ErrCodeProtocol},
		"a bad length":        {"GET", with("content-length", "+1"), http2.ErrCodeProtocol},
		"no status":           {"GET", func(p *remote) { p.head(1, false, "a", "b") }, http2.ErrCodeProtocol},
		"status of two":       {"GET", func(p *remote) { p.head(1, false, ":status", "20") }, http2.ErrCodeProtocol},
		"status 099":          {"GET", func(p *remote) { p.head(1, false, ":status", "099") }, http2.ErrCodeProtocol},
		"status 600":          {"GET", func(p *remote) { p.head(1, false, ":status", "600") }, http2.ErrCodeProtocol},
		"status +20":          {"GET", func(p *remote) { p.head(1, false, ":status", "+20") }, http2.ErrCodeProtocol},
		"101":                 {"GET", func(p *remote) { p.head(1, false, ":status", "101") }, http2.ErrCodeProtocol},
		"interim at the end":  {"GET", func(p *remote) { p.head(1, true, ":status", "103") }, http2.ErrCodeProtocol},
		"body first":          {"GET", func(p *remote) { p.must(p.WriteData(1, false, []byte("x"))) }, http2.ErrCodeProtocol},
		"no body, a length":   {"GET", func(p *remote) { p.head(1, true, ":status", "200", "content-length", "5") }, http2.ErrCodeProtocol},
		"body of HEAD": {"HEAD", func(p *remote) {
			p.head(1, false, ":status", "200", "content-length", "1")
			p.must(p.WriteData(1, false, []byte("x")))
		}, http2.ErrCodeProtocol},
		"body of 204": {"GET", func(p *remote) {
			p.head(1, false, ":status", "204")
			p.must(p.WriteData(1, true, []byte("x")))
		}, http2.ErrCodeProtocol},
		"too long": {"GET", func(p *remote) {
			p.head(1, false, ":status", "200", "content-length", "1")
			p.must(p.WriteData(1, true, []byte("xy")))
		}, http2.ErrCodeProtocol},
		"too short": {"GET", func(p *remote) {
			p.head(1, false, ":status", "200", "content-length", "3")
			p.must(p.WriteData(1, true, []byte("xy")))
		}, http2.ErrCodeProtocol},
		"too short, trailers": {"GET", func(p *remote) {
			p.head(1, false, ":status", "200", "content-length", "3")
			p.head(1, true, "a", "b")
		}, http2.ErrCodeProtocol},
		"fields within": {"GET", func(p *remote) {
			p.head(1, false, ":status", "200")
			p.head(1, false, "a", "b")
		}, http2.ErrCodeProtocol},
		"status in trailers": {"GET", func(p *remote) {
			p.head(1, false, ":status", "200")
			p.head(1, true, ":status", "200")
		}, http2.ErrCodeProtocol},
		"too many fields": {"GET", func(p *remote) {
			p.head(1, false, ":status", "200", "a", strings.Repeat("b", 8<<10), "c", strings.Repeat("d", 8<<10))
		}, http2.ErrCodeProtocol},
		"too many fields by the table": {"GET", func(p *remote) {
			pairs := []string{":status", "200"}
			for range 1000 {
				pairs = append(pairs, "a", strings.Repeat("b", 1<<10))
			}
			p.head(1, false, pairs...)
		}, http2.ErrCodeProtocol},
		"interim without end": {"GET", func(p *remote) {
			for range 40 {
				p.head(1, false, ":status", "103", "a", strings.Repeat("b", 1<<10))
			}
		}, http2.ErrCodeEnhanceYourCalm},
		"a window update of nothing": {"GET", func(p *remote) { p.must(p.WriteWindowUpdate(1, 0)) }, http2.ErrCodeProtocol},
		"a window too large": {"GET", func(p *remote) {
			p.must(p.WriteWindowUpdate(1, maxWindow))
		}, http2.ErrCodeFlowControl},
		"more than the window": {"GET", func(p *remote) {
			p.head(1, false, ":status", "200")
			for range streamWindow/leastFrame + 1 {
				p.must(p.WriteData(1, false, make([]byte, leastFrame)))
			}
		}, http2.ErrCodeFlowControl},
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
		}, http2.ErrCodeProtocol},
		"fields of a stream never begun": {func(p *remote) { p.head(3, true, ":status", "200") }, http2.ErrCodeProtocol},
		"fields of its own stream":       {func(p *remote) { p.head(2, true, ":status", "200") }, http2.ErrCodeProtocol},
		"fields of no stream":            {func(p *remote) { p.head(0, true, ":status", "200") }, http2.ErrCodeProtocol},
		"data of no stream":              {func(p *remote) { p.must(p.WriteData(0, true, nil)) }, http2.ErrCodeProtocol},
		"data of a stream never begun":   {func(p *remote) { p.must(p.WriteData(3, true, nil)) }, http2.ErrCodeProtocol},
		"reset of a stream never begun":  {func(p *remote) { p.must(p.WriteRSTStream(5, 0)) }, http2.ErrCodeProtocol},
		"window of a stream never begun": {func(p *remote) { p.must(p.WriteWindowUpdate(5, 1)) }, http2.ErrCodeProtocol},
		"no window":                      {func(p *remote) { p.must(p.WriteWindowUpdate(0, 0)) }, http2.ErrCodeProtocol},
		"window too large":               {func(p *remote) { p.must(p.WriteWindowUpdate(0, maxWindow)) }, http2.ErrCodeFlowControl},
		"initial window too large": {func(p *remote) {
			p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}))
		}, http2.ErrCodeFlowControl},
		"initial window too large for a stream": {func(p *remote) {
			p.must(p.WriteWindowUpdate(1, 1<<30))
			p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1}))
		}, http2.ErrCodeFlowControl},
		"frame size out of range": {func(p *remote) {
			p.must(p.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1}))
		}, http2.ErrCodeProtocol},
		"frame too large": {func(p *remote) {
			p.must(p.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, leastFrame+1)))
		}, http2.ErrCodeFrameSize},
		"fields interrupted": {func(p *remote) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.fields(":status", "200")}))
			p.must(p.WritePing(false, [8]byte{}))
		}, http2.ErrCodeProtocol},
		"continuation of nothing": {func(p *remote) { p.must(p.WriteContinuation(1, true, nil)) }, http2.ErrCodeProtocol},
		"broken compression": {func(p *remote) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: []byte{0xff, 0xff}}))
		}, http2.ErrCodeCompression},
		"an index of nothing": {func(p *remote) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: []byte{0xfe}}))
		}, http2.ErrCodeCompression},
		"a table too large": {func(p *remote) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: []byte{0x3f, 0xff, 0x7f}}))
		}, http2.ErrCodeCompression},
		"more padding than frame": {func(p *remote) {
			p.must(p.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{9, 1}))
		}, http2.ErrCodeProtocol},
		"padded, and empty": {func(p *remote) {
			p.must(p.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, nil))
		}, http2.ErrCodeFrameSize},
		"fields shorter than their priority": {func(p *remote) {
			p.must(p.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersPriority|http2.FlagHeadersEndHeaders, 1, []byte{1, 2}))
		}, http2.ErrCodeFrameSize},
		"endless fields": {func(p *remote) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.fields(":status", "200")}))
			for range maxFrames {
				p.must(p.WriteContinuation(1, false, nil))
			}
		}, http2.ErrCodeEnhanceYourCalm},
		"a flood of PING": {func(p *remote) {
			for range maxFloods + 1 {
				p.must(p.WritePing(false, [8]byte{}))
			}
		}, http2.ErrCodeEnhanceYourCalm},
		"a flood of SETTINGS": {func(p *remote) {
			for range maxFloods + 1 {
				p.must(p.WriteSettings())
			}
		}, http2.ErrCodeEnhanceYourCalm},
		"a flood of empty DATA": {func(p *remote) {
			p.head(1, false, ":status", "200")
			for range maxFloods + 1 {
				p.must(p.WriteData(1, false, nil))
			}
		}, http2.ErrCodeEnhanceYourCalm},
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

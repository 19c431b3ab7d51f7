package http2_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"usher/proxy/http2"
)

// raw is a client that says what it likes, with x/net's Framer.
type raw struct {
	*xhttp2.Framer
	tb  testing.TB
	nc  net.Conn
	enc *hpack.Encoder
	buf bytes.Buffer
}

// dial connects; greet says hello too.
func (s *scene) dial() *raw {
	s.tb.Helper()
	var nc net.Conn
	var err error
	if s.tls == nil {
		nc, err = net.Dial("tcp", s.addr())
	} else {
		nc, err = tls.Dial("tcp", s.addr(), &tls.Config{RootCAs: s.pool, NextProtos: []string{"h2"}})
	}
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	r := &raw{Framer: xhttp2.NewFramer(nc, nc), tb: s.tb, nc: nc}
	r.AllowIllegalWrites = true
	r.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	r.enc = hpack.NewEncoder(&r.buf)
	return r
}

// greet is dial, and the exchange of settings.
func (s *scene) greet(settings ...xhttp2.Setting) *raw {
	s.tb.Helper()
	r := s.dial()
	r.send(io.WriteString(r.nc, http2.Preface))
	r.must(r.WriteSettings(settings...))
	r.must(r.WriteSettingsAck())
	for {
		if f, ok := r.read().(*xhttp2.SettingsFrame); ok && f.IsAck() {
			return r
		}
	}
}

func (r *raw) must(err error) {
	r.tb.Helper()
	if err != nil {
		r.tb.Fatal(err)
	}
}

func (r *raw) send(_ int, err error) { r.tb.Helper(); r.must(err) }

// read returns the next frame.
func (r *raw) read() xhttp2.Frame {
	r.tb.Helper()
	f, err := r.ReadFrame()
	r.must(err)
	return f
}

// block encodes fields.
func (r *raw) block(fields ...string) []byte {
	r.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		r.must(r.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	return bytes.Clone(r.buf.Bytes())
}

// request encodes a request's head, with more fields behind it.
func (r *raw) request(method, path string, fields ...string) []byte {
	return r.block(append([]string{
		":method", method, ":scheme", "http", ":path", path, ":authority", "example.com",
	}, fields...)...)
}

// open sends the head of a request.
func (r *raw) open(id uint32, end bool, block []byte) {
	r.tb.Helper()
	r.must(r.WriteHeaders(xhttp2.HeadersFrameParam{
		StreamID: id, EndStream: end, EndHeaders: true, BlockFragment: block,
	}))
}

// outcome is what became of a stream or a connection.
type outcome struct {
	status string
	body   []byte
	// code is why the stream or the connection ended; ended says that it came to its end.
	code      xhttp2.ErrCode
	ended     bool
	reset     bool
	goAway    bool
	closed    bool
	lastID    uint32
	debugData string
}

// outcome reads until the stream has ended, or the connection.
func (r *raw) outcome(id uint32) (o outcome) {
	r.tb.Helper()
	for {
		f, err := r.ReadFrame()
		if err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				r.tb.Fatal("neither an answer nor an end")
			}
			o.closed, o.debugData = true, err.Error()
			return o
		}
		switch f := f.(type) {
		case *xhttp2.GoAwayFrame:
			o.goAway, o.code, o.lastID, o.debugData = true, f.ErrCode, f.LastStreamID, string(f.DebugData())
			if f.ErrCode != xhttp2.ErrCodeNo {
				return o
			}
		case *xhttp2.RSTStreamFrame:
			if f.StreamID == id {
				o.reset, o.code = true, f.ErrCode
				return o
			}
		case *xhttp2.MetaHeadersFrame:
			if f.StreamID == id {
				o.status = f.PseudoValue("status")
				if o.ended = f.StreamEnded(); o.ended {
					return o
				}
			}
		case *xhttp2.DataFrame:
			if f.StreamID == id {
				o.body = append(o.body, f.Data()...)
				if o.ended = f.StreamEnded(); o.ended {
					return o
				}
			}
		}
	}
}

// gone reads until the connection is closed, closes it too, and says with what code it went
// away.
func (r *raw) gone() (code xhttp2.ErrCode, goAway bool) {
	r.tb.Helper()
	defer r.nc.Close()
	for {
		f, err := r.ReadFrame()
		if err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				r.tb.Fatal("the connection is still open")
			}
			return code, goAway
		}
		if f, ok := f.(*xhttp2.GoAwayFrame); ok {
			code, goAway = f.ErrCode, true
		}
	}
}

// burst is a client for benchmarks, which allocates nothing: it sends so many requests at
// once and waits for their answers.
type burst struct {
	nc      net.Conn
	block   []byte
	next    uint32
	out, in []byte
	n       int
	// taken is how much of the connection's window is to be given back.
	taken uint32
}

// newBurst makes one whose header blocks are all indexed after the first.
func (s *scene) newBurst(streams int) *burst {
	s.tb.Helper()
	r := s.greet(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1 << 30})
	_ = r.nc.SetDeadline(time.Time{})
	r.must(r.WriteWindowUpdate(0, 1<<30))
	fields := []string{"user-agent", "a client for benchmarks", "accept", "*/*", "accept-encoding", "gzip, br"}
	r.open(1, true, r.request("GET", "/some/path?with=query", fields...))
	if o := r.outcome(1); o.status != "200" {
		s.tb.Fatalf("%+v", o)
	}
	return &burst{
		nc: r.nc, block: r.request("GET", "/some/path?with=query", fields...), next: 3,
		in: make([]byte, 64<<10), n: streams,
	}
}

// run sends a round of requests and reads their answers.
func (b *burst) run() error {
	b.out = b.out[:0]
	if b.taken > 0 {
		b.out = append(b.out, 0, 0, 4, 8, 0, 0, 0, 0, 0)
		b.out = binary.BigEndian.AppendUint32(b.out, b.taken)
		b.taken = 0
	}
	for range b.n {
		n := len(b.block)
		b.out = append(b.out, byte(n>>16), byte(n>>8), byte(n), 1, 0x5)
		b.out = binary.BigEndian.AppendUint32(b.out, b.next)
		b.out = append(b.out, b.block...)
		b.next += 2
	}
	if _, err := b.nc.Write(b.out); err != nil {
		return err
	}
	have := 0
	for left := b.n; left > 0; {
		n, err := b.nc.Read(b.in[have:])
		if err != nil {
			return err
		}
		have += n
		at := 0
		for have-at >= 9 {
			length := int(b.in[at])<<16 | int(b.in[at+1])<<8 | int(b.in[at+2])
			if have-at < 9+length {
				break
			}
			kind := b.in[at+3]
			if kind <= 1 && b.in[at+4]&1 != 0 {
				left--
			}
			if kind == 0 {
				b.taken += uint32(length)
			}
			at += 9 + length
		}
		have = copy(b.in, b.in[at:have])
	}
	return nil
}

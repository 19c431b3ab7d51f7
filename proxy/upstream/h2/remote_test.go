package h2

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// owner notes what a session tells.
type owner struct {
	freed chan struct{}
	ended atomic.Int32
}

func (o *owner) Freed(*Session) {
	select {
	case o.freed <- struct{}{}:
	default:
	}
}

func (o *owner) Ended(*Session) { o.ended.Add(1) }

// remote is an endpoint made by hand, and the session to it.
type remote struct {
	*http2.Framer
	*Session
	tb    testing.TB
	nc    net.Conn
	owner *owner
	// time is the session's clock.
	time *atomic.Int64

	block bytes.Buffer
	enc   *hpack.Encoder
}

// dialRemote connects a session to an endpoint that has said nothing yet.
func dialRemote(tb testing.TB) *remote {
	tb.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	client, err := new(net.Dialer).DialContext(context.Background(), "tcp", ln.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	_ = server.SetDeadline(time.Now().Add(patience))
	p := &remote{
		tb: tb, nc: server, Framer: http2.NewFramer(server, server), time: &atomic.Int64{},
		owner: &owner{freed: make(chan struct{}, 1)},
	}
	p.AllowIllegalWrites = true
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.enc = hpack.NewEncoder(&p.block)
	p.time.Store(1)
	p.Session = Start(Options{Conn: client, Socket: client, Clock: p.time.Load, Owner: p.owner})
	tb.Cleanup(func() {
		_ = server.Close()
		select {
		case <-p.Done():
		case <-time.After(patience):
			tb.Error("the session does not end")
		}
		if n := p.owner.ended.Load(); n != 1 {
			tb.Errorf("its end was told %d times", n)
		}
	})
	return p
}

// newRemote is an endpoint that has said what it takes.
func newRemote(tb testing.TB, settings ...http2.Setting) *remote {
	tb.Helper()
	p := dialRemote(tb)
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(p.nc, preface); err != nil || string(preface) != http2.ClientPreface {
		tb.Fatalf("got %q, %v", preface, err)
	}
	want[*http2.SettingsFrame](p)
	want[*http2.WindowUpdateFrame](p)
	p.must(p.WriteSettings(settings...))
	want[*http2.SettingsFrame](p) // the acknowledgement
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p.must(p.Ready(ctx))
	return p
}

func (p *remote) must(err error) {
	p.tb.Helper()
	if err != nil {
		p.tb.Fatal(err)
	}
}

// want reads a frame of the type.
func want[F http2.Frame](p *remote) F {
	p.tb.Helper()
	f, err := p.ReadFrame()
	if err != nil {
		p.tb.Fatalf("want %T: %v", *new(F), err)
	}
	out, ok := f.(F)
	if !ok {
		p.tb.Fatalf("got %v, want %T", f, out)
	}
	return out
}

// wantReset wants a stream to be reset.
func (p *remote) wantReset(id uint32, code http2.ErrCode) {
	p.tb.Helper()
	if f := want[*http2.RSTStreamFrame](p); f.StreamID != id || f.ErrCode != code {
		p.tb.Fatalf("got %v, want %d: %v", f, id, code)
	}
}

// wantGone wants the session to be ended for a reason.
func (p *remote) wantGone(code http2.ErrCode) {
	p.tb.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.tb.Fatalf("no GOAWAY: %v", err)
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			if g.ErrCode != code {
				p.tb.Fatalf("got %v, want %v", g, code)
			}
			return
		}
	}
}

// fields encodes pairs of a name and a value.
func (p *remote) fields(pairs ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		p.must(p.enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}))
	}
	return p.block.Bytes()
}

// head sends a block of fields, end says that it ends the stream.
func (p *remote) head(id uint32, end bool, pairs ...string) {
	p.tb.Helper()
	p.must(p.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, EndHeaders: true, EndStream: end, BlockFragment: p.fields(pairs...),
	}))
}

// block1 sends fields of stream 1 as they are on the wire.
func (p *remote) block1(b ...byte) {
	p.tb.Helper()
	p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: b}))
}

// stream takes a stream, which must be there.
func (p *remote) stream() *Stream {
	p.tb.Helper()
	st := p.Reserve()
	if st == nil {
		p.tb.Fatal("no room for a stream")
	}
	return st
}

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// open begins a request, which the endpoint gets.
func (p *remote) open(text string) *Stream {
	p.tb.Helper()
	st := p.stream()
	p.must(st.Open([]byte(text), true))
	want[*http2.MetaHeadersFrame](p)
	return st
}

// readAll reads a response as text, until its end, or n bytes of it.
func readAll(st *Stream, n int) (string, error) {
	var out strings.Builder
	buf := make([]byte, 1000)
	for {
		m, err := st.Read(buf[:min(len(buf), n-out.Len())])
		out.Write(buf[:m])
		switch {
		case errors.Is(err, io.EOF):
			return out.String(), nil
		case err != nil || out.Len() == n:
			return out.String(), err
		}
	}
}

// all is more than any test reads.
const all = 1 << 30

// within fails the test unless f returns in time.
func within(tb testing.TB, what string, f func()) {
	tb.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		tb.Fatalf("%s does not end", what)
	}
}

// eventually waits until f is true.
func eventually(tb testing.TB, what string, f func() bool) {
	tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); !f(); <-tick.C {
		if time.Since(begin) > patience {
			tb.Fatalf("still not so: %s", what)
		}
	}
}

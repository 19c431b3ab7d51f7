package http2_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"usher/config"
	"usher/proxy/http2"
	"usher/proxy/wire"
)

// TestLateBody: what is under way of a body that nobody wants costs the client nothing,
// however many streams have been served since the answer.
func TestLateBody(t *testing.T) {
	t.Parallel()
	h := handlerFunc(func(s *http2.Stream) {
		_ = s.WriteHead([]byte("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"), true)
	})
	s := newScene(t, h, func(o *http2.Options) {
		o.HTTP2 = config.DefaultHTTP2()
		o.HTTP2.MaxResets = 1
	})
	r := s.greet()
	r.open(1, false, r.request("POST", "/upload"))
	r.outcome(1)
	for id := uint32(3); id < 103; id += 2 {
		r.open(id, true, r.request("GET", "/"))
		r.outcome(id)
	}
	for range 60 {
		r.must(r.WriteData(1, false, make([]byte, 1000)))
	}
	r.must(r.WriteData(1, true, nil))
	r.open(103, true, r.request("GET", "/"))
	if o := r.outcome(103); o.status != "413" {
		t.Errorf("%+v", o)
	}
	if n := s.refused[xhttp2.ErrCodeStreamClosed].Load(); n != 0 {
		t.Errorf("%d frames refused", n)
	}
}

// gated is a connection that is read from when its gate has opened.
type gated struct {
	net.Conn
	gate chan struct{}
}

func (c *gated) Read(p []byte) (int, error) {
	<-c.gate
	return c.Conn.Read(p)
}

// TestShutdownMeetsPing: what has come just before a shutdown, and is no request, does not
// keep the connection open.
func TestShutdownMeetsPing(t *testing.T) {
	t.Parallel()
	s := newScene(t, hello, func(o *http2.Options) { o.KeepaliveTimeout = 2 * patience })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r := (&scene{tb: t, ln: ln}).dial()
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	client, err := wire.NewClient(nc.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	r.send(io.WriteString(r.nc, http2.Preface))
	r.must(r.WriteSettings())
	r.must(r.WritePing(false, [8]byte{1}))
	s.until("it has come", func() bool { return !wire.Quiet(client.Raw) })
	other := s.greet()
	c := &gated{Conn: nc, gate: make(chan struct{})}
	s.server.Serve(c, client, nil)
	cut := make(chan int)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience/2)
		defer cancel()
		cut <- s.server.Shutdown(ctx)
	}()
	other.gone() // so that the other one was looked at as well
	close(c.gate)
	if code, told := r.gone(); code != xhttp2.ErrCodeNo || !told {
		t.Errorf("%v, told: %t", code, told)
	}
	if n := <-cut; n != 0 {
		t.Errorf("%d cut", n)
	}
}

// TestExpireMeetsRequest: a request that comes when the time of its connection is just over
// is answered, and the client told to go on by another one.
func TestExpireMeetsRequest(t *testing.T) {
	t.Parallel()
	h := handlerFunc(func(s *http2.Stream) {
		s.Conn().Expire() // as if the sweeper had found it idle a moment ago
		hello(s)
	})
	s := newScene(t, h, nil)
	r := s.greet()
	r.open(1, true, r.request("GET", "/"))
	if o := r.outcome(1); o.status != "200" || !o.goAway || o.code != xhttp2.ErrCodeNo {
		t.Errorf("%+v", o)
	}
	if code, told := r.gone(); code != xhttp2.ErrCodeNo || !told {
		t.Errorf("%v, told: %t", code, told)
	}
}

// TestHeadInManyFrames: a head that is taken may come in as many frames as it needs.
func TestHeadInManyFrames(t *testing.T) {
	t.Parallel()
	const size = 900 << 10
	s := newScene(t, hello, func(o *http2.Options) { o.HTTP2.MaxHeaderSize = 1 << 20 })
	r := s.greet()
	block := r.request("POST", "/", "x-large", strings.Repeat("\x80", size)) // nothing to compress
	first := true
	for len(block) > 0 {
		part := block[:min(len(block), 16<<10)]
		block = block[len(part):]
		if first {
			first = false
			r.must(r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, EndStream: true, BlockFragment: part}))
			continue
		}
		r.must(r.WriteContinuation(1, len(block) == 0, part))
	}
	if o := r.outcome(1); o.status != "200" {
		t.Errorf("%+v", o)
	}
}

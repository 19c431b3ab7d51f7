package http2_test

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"usher/proxy/http2"
	"usher/proxy/wire"
)

// tardy is a connection whose reader, once held, goes on only after its wait was ended by a
// deadline, whatever it has read: the scheduler is free to do that. Before that it calls
// meanwhile.
type tardy struct {
	net.Conn
	held      atomic.Bool
	ended     chan struct{}
	once      sync.Once
	meanwhile func()
}

func (c *tardy) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.held.Load() {
		select {
		case <-c.ended:
			if c.held.Swap(false) {
				c.meanwhile()
			}
		case <-time.After(patience):
		}
	}
	return n, err
}

func (c *tardy) SetReadDeadline(t time.Time) error {
	err := c.Conn.SetReadDeadline(t)
	if c.held.Load() && !t.IsZero() {
		c.once.Do(func() { close(c.ended) })
	}
	return err
}

// greetTardy is greet by a connection that is not held yet.
func (s *scene) greetTardy(meanwhile func()) (*raw, *tardy) {
	s.tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.tb.Fatal(err)
	}
	defer ln.Close()
	served := make(chan *tardy, 1)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		client, _ := wire.NewClient(nc.(*net.TCPConn))
		c := &tardy{Conn: nc, ended: make(chan struct{}), meanwhile: meanwhile}
		s.server.Serve(c, client, nil)
		served <- c
	}()
	r := (&scene{tb: s.tb, ln: ln}).greet()
	return r, <-served
}

// TestParkMeetsRequest: what comes just when a connection is about to be parked is served
// as if it had come at any other time.
func TestParkMeetsRequest(t *testing.T) {
	t.Parallel()
	s := newScene(t, echo, withPoller(t))
	ended := make(chan struct{})
	r, c := s.greetTardy(func() { close(ended) })
	c.held.Store(true)
	head := r.request("POST", "/")
	r.send(r.nc.Write(frames(func(f *xhttp2.Framer) {
		_ = f.WritePing(false, [8]byte{1})
		_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: head})
	})))
	<-ended
	for acked := false; !acked; { // and it is served meanwhile
		f, ok := r.read().(*xhttp2.PingFrame)
		acked = ok && f.IsAck()
	}
	r.must(r.WriteData(1, true, []byte("the body")))
	if o := r.outcome(1); !o.ended || !bytes.HasSuffix(o.body, []byte("the body")) {
		t.Errorf("%+v", o)
	}
	s.until("it is parked in the end", func() bool { return s.parked.Load() == 1 })
}

// TestParkMeetsDrain: a drain that begins just when a connection is about to be parked comes
// to its end, though the client does not answer.
func TestParkMeetsDrain(t *testing.T) {
	t.Parallel()
	poll := withPoller(t)
	s := newScene(t, hello, func(o *http2.Options) { poll(o); o.KeepaliveTimeout = 2 * patience })
	r, c := s.greetTardy(s.server.Drain)
	r.open(1, true, r.request("GET", "/"))
	r.outcome(1)
	c.held.Store(true)
	if code, told := r.gone(); code != xhttp2.ErrCodeNo || !told {
		t.Errorf("%v, told: %t", code, told)
	}
}

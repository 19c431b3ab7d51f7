package http2

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"usher/config"
	"usher/proxy/wire"
)

// Options are what a Server is made of.
type Options struct {
	// HTTP2 are the bounds of a connection; each must be above 0.
	HTTP2 config.HTTP2
	// HeaderTimeout bounds the time from the first byte of a frame or a header block to its
	// end, and that until a new client has said what it must. KeepaliveTimeout bounds that
	// without a stream, and that in which a client takes nothing of what is sent. 0: no
	// bound.
	HeaderTimeout, KeepaliveTimeout time.Duration
	Handler                         Handler
	Sweeper                         *wire.Sweeper
	// Poller waits for quiet connections; nil: they wait by themselves.
	Poller *wire.Poller
	Log    *slog.Logger

	// The rest may be nil.

	// Open is called before a connection is served, and has it closed by false; Closed is
	// called when one that was served has ended.
	Open   func(*Conn) bool
	Closed func(*Conn)
	// Refused is told of each stream and each connection that is ended for the client's
	// fault, without the Handler. It must not block, nor use the Conn but for what does not
	// change.
	Refused func(c *Conn, code Code, why string)
	// Cut ends what Handlers wait for elsewhere, beside what they Hold, when there is no
	// more time. It is called again until the last one has returned.
	Cut func()
	// Parked counts the connections handed to the Poller.
	Parked *atomic.Int64
}

// Server serves the connections of one listener. Its methods may be called from any
// goroutine.
type Server struct {
	Options

	greeting []byte
	workers  workers
	// draining has clients told to open no more streams; closing, which comes after it,
	// ends idle connections too.
	draining, closing atomic.Bool

	conns wire.Group[*Conn]
}

// NewServer returns a Server without connections.
func NewServer(o Options) *Server {
	s := &Server{
		Options: o, greeting: greeting(o.HTTP2),
		workers: workers{handler: o.Handler, log: o.Log, sweeper: o.Sweeper},
	}
	s.conns.Idle = s.idle
	return s
}

// Serve takes over a connection and serves it in goroutines of its own. nc is what is read
// from and written to, whole batches at once: client.TCP, or TLS on top of it. client.Early
// comes before what is read from nc. The attachment is the Conn's.
func (s *Server) Serve(nc net.Conn, client *wire.Client, attachment any) {
	c := newConn(s, nc, client, attachment)
	c.out = append(reserve(c.out, len(s.greeting)), s.greeting...) // before whatever a shutdown has to say
	if s.Open != nil && !s.Open(c) {
		_ = nc.Close()
		return
	}
	c.out = append(reserve(c.out, len(s.greeting)), s.greeting...) // before anybody else has a word
	if !s.add(c) {
		if s.Closed != nil {
			s.Closed(c)
		}
		_ = nc.Close()
		return
	}
	c.mu.Lock()
	c.wake()
	c.rearm()
	c.mu.Unlock()
	go c.serve()
}

func (s *Server) add(c *Conn) bool {
	return s.conns.Add(c, func() {
		s.workers.start()
		s.Sweeper.Add(&c.watch, c)
		s.Sweeper.Add(&c.taking, (*taker)(c))
	})
}

func (s *Server) remove(c *Conn) {
	s.Sweeper.Remove(&c.watch)
	s.Sweeper.Remove(&c.taking)
	if s.Closed != nil {
		s.Closed(c)
	}
	s.conns.Remove(c)
}

// idle ends the workers when no connection is left and none is expected.
func (s *Server) idle() {
	if s.draining.Load() {
		s.workers.stop()
	}
}

func (s *Server) refused(c *Conn, code Code, why string) {
	if s.Refused != nil {
		s.Refused(c, code, why)
	}
}

// Drain has each client told to open no more streams once it has been served; new
// connections are still taken.
func (s *Server) Drain() {
	s.draining.Store(true)
	s.conns.Each((*Conn).drain)
}

// Shutdown closes the idle connections, lets the others finish their streams, and waits for
// them. When ctx ends it cuts what is left and returns the number of connections.
func (s *Server) Shutdown(ctx context.Context) (cut int) {
	s.closing.Store(true)
	s.conns.Close()
	s.Drain()
	s.conns.Each((*Conn).closeIdle)
	done := s.conns.Gone()
	select {
	case <-done:
		return 0
	case <-ctx.Done():
	}
	cut = s.conns.Each((*Conn).kill)
	wire.CutUntil(done, func() {
		if s.Cut != nil {
			s.Cut()
		}
	})
	return cut
}

// Finish drains and waits until all connections have ended by themselves; parked ones are
// left alone until their next request. It ends early with ctx.
func (s *Server) Finish(ctx context.Context) {
	s.Drain()
	select {
	case <-s.conns.Gone():
	case <-ctx.Done():
	}
}

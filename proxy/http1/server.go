package http1

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"usher/metrics"
	"usher/proxy/core"
	"usher/proxy/forward"
	"usher/proxy/wire"
)

// Server serves the connections of one listener. Its methods may be called from
// any goroutine.
type Server struct {
	core     *core.Core
	listener *core.Listener
	log      *slog.Logger
	sweeper  *wire.Sweeper

	// draining makes each response the last of its connection; closing, which comes
	// after it, ends idle connections too; late, after that, fresh ones as well.
	draining, closing, late atomic.Bool
	shard                   atomic.Uint32
	tunnels                 *core.Tunnels
	forwarder               forward.Forwarder

	conns wire.Group[*conn]
}

// NewServer returns a Server without connections.
func NewServer(c *core.Core, l *core.Listener, log *slog.Logger) *Server {
	return &Server{
		core: c, listener: l, log: log, sweeper: c.Sweeper,
		tunnels:   core.NewTunnels(c, l),
		forwarder: forward.Forwarder{Core: c, Listener: l, Log: log},
	}
}

// Serve takes over a connection and serves it in a goroutine of its own.
func (s *Server) Serve(client *wire.Client) {
	if a := s.listener.Admit(client); a != nil {
		if c := s.take(a); c != nil {
			go c.serve()
		}
	}
}

// Take makes a connection that was admitted one of the server's, and returns what serves
// it until it ends or needs no goroutine; nil: it is closed, for no more are taken.
func (s *Server) Take(a *core.Arrival) (serve func()) {
	if c := s.take(a); c != nil {
		return c.serve
	}
	return nil
}

// take makes the connection one of the server's; nil: it is closed, for no more are taken.
func (s *Server) take(a *core.Arrival) *conn {
	c := &conn{
		server: s, nc: a.TCP, raw: a.Raw, secure: a.TLS, early: a.Early, listener: s.listener,
		shard: metrics.Shard(s.shard.Add(1)), arrival: a,
	}
	c.fresh.Store(a.TLS != nil)
	c.state.Store(busy) // until it has looked: what its client has said may have been read
	if !s.add(c) {
		a.Leave()
		_ = c.nc.Close()
		return nil
	}
	return c
}

func (s *Server) add(c *conn) bool {
	return s.conns.Add(c, func() {
		s.sweeper.Add(&c.watch, c)
		s.listener.Metrics.Connections.Add(c.shard, 1)
		s.listener.Metrics.Open.Inc(c.shard)
	})
}

func (s *Server) remove(c *conn) {
	s.sweeper.Remove(&c.watch)
	c.arrival.Leave()
	s.listener.Metrics.Open.Dec(c.shard)
	s.conns.Remove(c)
}

// Drain makes every response from now on say Connection: close.
func (s *Server) Drain() { s.draining.Store(true) }

// freshGrace is how long those whose handshake is just over when a shutdown begins have to
// send their request.
const freshGrace = time.Second

// closes says whether c, if it waits for a request, is to end.
func (s *Server) closes(c *conn) bool { return s.closing.Load() && (s.late.Load() || !c.fresh.Load()) }

// Shutdown closes the idle connections, lets the others finish their request, and
// waits for them. Tunnels go on unless they are silent for drainQuiet. When ctx ends it
// cuts what is left, with everything else under the same sweeper, and returns the number
// of connections. Tunnels then have a grace, unless ctx was cancelled.
func (s *Server) Shutdown(ctx context.Context) (cut int) {
	defer s.forwarder.Wait() // without connections none begins, and those that are left are cut
	s.Drain()
	s.closing.Store(true)
	s.conns.Close()
	s.conns.Each(func(c *conn) { c.closeIdle(false) })
	done := s.conns.Gone()
	grace := time.NewTimer(freshGrace)
	defer grace.Stop()
	select {
	case <-done:
		return 0
	case <-grace.C:
		s.late.Store(true)
		s.conns.Each(func(c *conn) { c.closeIdle(true) })
	case <-ctx.Done():
	}
	select {
	case <-done:
		return 0
	case <-ctx.Done():
	}
	atOnce := errors.Is(ctx.Err(), context.Canceled)
	cut = s.conns.Each(func(c *conn) {
		if t := c.tunnel.Load(); t != nil && atOnce {
			t.Cut()
		}
	})
	// A connection's goroutine may wait for its endpoint: end those waits too, and
	// those that begin just then.
	wire.CutUntil(done, s.core.Cut)
	return cut
}

// Finish makes each response the last of its connection and waits until all have
// ended by themselves; idle ones are left alone until their next request. It ends
// early with ctx.
func (s *Server) Finish(ctx context.Context) {
	s.Drain()
	select {
	case <-s.conns.Gone():
	case <-ctx.Done():
	}
}

// past is a deadline that is over.
var past = time.Unix(1, 0) //nolint:gochecknoglobals // a constant

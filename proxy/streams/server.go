package streams

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"

	"usher/metrics"
	"usher/proxy/core"
	"usher/proxy/forward"
	"usher/proxy/http2"
	"usher/proxy/wire"
)

// Server serves the HTTP/2 connections of one listener. Its methods may be called from any
// goroutine.
type Server struct {
	http2     *http2.Server
	forwarder forward.Forwarder
	shard     atomic.Uint32
}

// connection is what a Server knows of each of its connections.
type connection struct {
	arrival *core.Arrival
	shard   metrics.Shard
}

// NewServer returns a Server without connections.
func NewServer(c *core.Core, l *core.Listener, log *slog.Logger) *Server {
	s := &Server{forwarder: forward.Forwarder{Core: c, Listener: l, Log: log, HTTP2: true}}
	s.http2 = http2.NewServer(http2.Options{
		HTTP2: l.HTTP2, HeaderTimeout: l.HeaderTimeout, KeepaliveTimeout: l.KeepaliveTimeout,
		Handler: handler{s}, Sweeper: c.Sweeper, Poller: c.Poller, Log: log, Parked: &c.Parked,
		Open: s.open, Closed: s.closed, Refused: s.refused, Cut: c.Cut,
	})
	return s
}

// Serve takes over a connection whose client speaks HTTP/2 without TLS.
func (s *Server) Serve(c *wire.Client) {
	if a := s.forwarder.Listener.Admit(c); a != nil {
		s.Take(a)
	}
}

// Take takes over a connection that was admitted. It is served by goroutines of its own.
func (s *Server) Take(a *core.Arrival) (serve func()) {
	var nc net.Conn = a.TCP
	if a.TLS != nil {
		nc = a.TLS.Eager()
	}
	c := &connection{arrival: a, shard: metrics.Shard(s.shard.Add(1))}
	s.http2.Serve(nc, a.Client, c)
	return nil
}

func (s *Server) open(c *http2.Conn) bool {
	m, shard := s.forwarder.Listener.Metrics, connectionOf(c).shard
	m.Connections.Add(shard, 1)
	m.Open.Inc(shard)
	return true
}

func (s *Server) closed(c *http2.Conn) {
	own := connectionOf(c)
	s.forwarder.Listener.Metrics.Open.Dec(own.shard)
	own.arrival.Leave()
}

// refused tells of what was ended for the client's fault.
func (s *Server) refused(c *http2.Conn, code http2.Code, why string) {
	f := &s.forwarder
	f.Listener.Metrics.EndedHTTP2(code.String())
	f.Log.Debug("HTTP/2 ended for the client's fault", "listener", f.Listener.Name,
		"client", c.Client().Remote.String(), "code", code.String(), "why", why)
}

func connectionOf(c *http2.Conn) *connection {
	return c.Attachment.(*connection) //nolint:forcetypeassert // Take sets it
}

// Drain has clients open no more streams.
func (s *Server) Drain() { s.http2.Drain() }

// Shutdown closes the idle connections, lets the others finish their streams, and waits for
// them. When ctx ends it cuts those left and returns their number.
func (s *Server) Shutdown(ctx context.Context) (cut int) {
	defer s.forwarder.Wait()
	return s.http2.Shutdown(ctx)
}

// Finish drains and waits until all connections have ended by themselves, or ctx.
func (s *Server) Finish(ctx context.Context) { s.http2.Finish(ctx) }

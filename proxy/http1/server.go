package http1

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"usher/metrics"
	"usher/proxy/core"
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
	// after it, ends idle connections too.
	draining, closing atomic.Bool
	shard             atomic.Uint32
	running           sync.WaitGroup

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// NewServer returns a Server without connections.
func NewServer(c *core.Core, l *core.Listener, log *slog.Logger) *Server {
	return &Server{
		core: c, listener: l, log: log, sweeper: c.Sweeper,
		conns: map[*conn]struct{}{},
	}
}

// Serve takes over a connection and serves it in a goroutine of its own. A
// connection beyond the listener's limit is closed at once.
func (s *Server) Serve(nc *net.TCPConn) {
	c := &conn{
		server: s, nc: nc, listener: s.listener,
		shard: metrics.Shard(s.shard.Add(1)), peer: s.listener.NewPeer(nc.RemoteAddr()),
	}
	raw, err := nc.SyscallConn()
	c.raw = raw
	if err != nil || !s.add(c) {
		_ = nc.Close() // refused: there is nothing to say
		return
	}
	go func() {
		defer s.running.Done()
		c.serve()
	}()
}

func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if limit := s.listener.MaxConnections; s.closing.Load() || (limit > 0 && len(s.conns) >= limit) {
		return false
	}
	s.conns[c] = struct{}{}
	s.running.Add(1)
	s.sweeper.Add(&c.watch, c)
	s.listener.Metrics.Connections.Add(c.shard, 1)
	s.listener.Metrics.Open.Inc(c.shard)
	return true
}

func (s *Server) remove(c *conn) {
	s.sweeper.Remove(&c.watch)
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.listener.Metrics.Open.Dec(c.shard)
}

// Drain makes every response from now on say Connection: close.
func (s *Server) Drain() { s.draining.Store(true) }

// Undrain takes Drain back.
func (s *Server) Undrain() { s.draining.Store(false) }

// Shutdown closes the idle connections, lets the others finish their request, and
// waits for them. When ctx ends it cuts those that are left, with everything else
// under the same sweeper, and returns their number.
func (s *Server) Shutdown(ctx context.Context) (cut int) {
	s.Drain()
	s.closing.Store(true)
	s.each(func(c *conn) { c.closeIdle() })
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return 0
	case <-ctx.Done():
	}
	s.each(func(*conn) { cut++ })
	// A connection's goroutine may wait for its endpoint: end those waits too.
	s.core.Cut()
	<-done
	return cut
}

func (s *Server) each(f func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		f(c)
	}
}

// past is a deadline that is over.
var past = time.Unix(1, 0) //nolint:gochecknoglobals // a constant

package tcp

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"usher/config"
	"usher/metrics"
	"usher/proxy/core"
	"usher/proxy/preface"
	"usher/proxy/wire"
)

// Server carries the connections of one listener. Its methods may be called from any
// goroutine.
type Server struct {
	core     *core.Core
	listener *core.Listener
	log      *slog.Logger
	sweeper  *wire.Sweeper
	tunnels  *core.Tunnels
	// named says that connections are carried by the name that they ask for.
	named bool

	// closing says that a shutdown has begun.
	closing atomic.Bool
	shard   atomic.Uint32
	// cut ends what waits for neither of the two connections.
	cut    context.Context
	cutAll context.CancelFunc

	conns wire.Group[*conn]
}

// NewServer returns a Server without connections. Of an https listener it is handed those
// that it Claims.
func NewServer(c *core.Core, l *core.Listener, log *slog.Logger) *Server {
	s := &Server{
		core: c, listener: l, log: log, sweeper: c.Sweeper, tunnels: core.NewTunnels(c, l),
		named: l.Protocol != config.ProtocolTCP,
	}
	s.cut, s.cutAll = context.WithCancel(context.Background())
	return s
}

// Serve takes over a connection and carries it in goroutines of its own.
func (s *Server) Serve(client *wire.Client) {
	if s.named {
		// Before anybody may end the wait by another deadline.
		_ = client.TCP.SetReadDeadline(time.Now().Add(s.listener.HeaderTimeout))
	}
	a := s.listener.Admit(client)
	if a == nil {
		return
	}
	if serve := s.Take(a); serve != nil {
		go serve()
	}
}

// Take makes a connection that was admitted one of the server's, and returns what carries
// it until it ends; nil: it is closed, for no more are taken.
func (s *Server) Take(a *core.Arrival) (serve func()) {
	c := &conn{
		server: s, client: a.Client, arrival: a, shard: metrics.Shard(s.shard.Add(1)), start: s.sweeper.Now(),
	}
	c.peeks.Store(s.named)
	if !s.add(c) {
		a.Leave()
		_ = a.TCP.Close()
		return nil
	}
	return c.serve
}

// Claims reads the ClientHello that a connection begins with, and says whether a route
// claims the name that its client asks for: then it is to be Taken. All that was read is in
// its Early. It waits until the read deadline that the caller has set. An error is of a
// connection that does not begin so, or not in time.
func (s *Server) Claims(client *wire.Client) (yes bool, err error) {
	name, err := preface.PeekHello(client)
	return err == nil && s.core.Table().MatchName(s.listener.Name, s.listener.Port, name) != nil, err
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

// Drain does nothing: a connection that is carried has no next request to end at.
func (*Server) Drain() {}

// helloGrace is how long those that have begun to say whom they ask for when a shutdown
// begins have to say the rest.
const helloGrace = time.Second

// Shutdown closes the connections whose clients have said nothing and waits for the others,
// which go on unless they are silent for some seconds. When ctx ends it cuts what is left,
// with everything else under the same sweeper, and returns its number. Each connection has
// a grace then, unless ctx was cancelled.
func (s *Server) Shutdown(ctx context.Context) (cut int) {
	s.closing.Store(true)
	s.conns.Close()
	s.conns.Each(func(c *conn) { c.closePeeking(false) })
	done := s.conns.Gone()
	grace := time.NewTimer(helloGrace)
	defer grace.Stop()
	select {
	case <-done:
		return 0
	case <-grace.C:
		s.conns.Each(func(c *conn) { c.closePeeking(true) })
	case <-ctx.Done():
	}
	select {
	case <-done:
		return 0
	case <-ctx.Done():
	}
	s.cutAll()
	atOnce := errors.Is(ctx.Err(), context.Canceled)
	cut = s.conns.Each(func(c *conn) {
		if t := c.tunnel.Load(); t != nil && atOnce {
			t.Cut()
		}
	})
	wire.CutUntil(done, s.core.Cut)
	return cut
}

// Finish waits until all connections have ended by themselves, or until ctx ends.
func (s *Server) Finish(ctx context.Context) {
	select {
	case <-s.conns.Gone():
	case <-ctx.Done():
	}
}

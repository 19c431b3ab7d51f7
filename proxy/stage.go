package proxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"usher/proxy/core"
	"usher/proxy/preface"
	"usher/proxy/wire"
)

// stage stands in front of the server of a listener that believes PROXY headers: it reads
// the header of each connection of the peers that may send one, and hands the connection
// on as that of the client it is for. Others go past it.
//
// Each such connection has a goroutine until its header is there. It is counted among those
// of the listener from the beginning, and against its client's limit from then on.
type stage struct {
	server
	listener *core.Listener

	mu      sync.Mutex
	closing bool
	waiting map[*wire.Client]struct{}
	reading sync.WaitGroup
}

func newStage(l *core.Listener, next server) *stage {
	return &stage{server: next, listener: l, waiting: map[*wire.Client]struct{}{}}
}

// Serve implements server.
func (s *stage) Serve(c *wire.Client) {
	if !s.listener.Tells(c.Remote) {
		s.server.Serve(c)
		return
	}
	if s.listener.Take() != core.Admitted {
		_ = c.TCP.Close()
		return
	}
	c.Taken = true
	// Before anybody may end the wait by another deadline.
	_ = c.TCP.SetReadDeadline(time.Now().Add(s.listener.ProxyProtocol.Timeout))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		s.listener.Drop()
		_ = c.TCP.Close()
		return
	}
	s.waiting[c] = struct{}{}
	s.reading.Go(func() { s.read(c) })
}

// read waits for the header and hands the connection on.
func (s *stage) read(c *wire.Client) {
	err := preface.TakeProxy(c)
	s.mu.Lock()
	delete(s.waiting, c)
	closing := s.closing
	s.mu.Unlock()
	_ = c.TCP.SetReadDeadline(time.Time{})
	var ne net.Error
	switch {
	case closing && errors.As(err, &ne) && ne.Timeout():
	case err == nil || s.without(c, err):
		s.server.Serve(c)
		return
	default:
		s.listener.Refuse(core.RefusedByHeader)
	}
	s.listener.Drop()
	_ = c.TCP.Close()
}

// without says whether a connection goes on though there is no header: it began with
// something else, or its client waits for the server to speak first.
func (s *stage) without(c *wire.Client, err error) bool {
	if s.listener.ProxyProtocol.Required {
		return false
	}
	var ne net.Error
	return errors.Is(err, preface.ErrNoHeader) || len(c.Early) == 0 && errors.As(err, &ne) && ne.Timeout()
}

// Shutdown implements server: who has not said yet whom the connection is for has asked
// for nothing. What a header came with, though nobody has read it yet, is served.
func (s *stage) Shutdown(ctx context.Context) (cut int) {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.expire(func(c *wire.Client) bool { return wire.Quiet(c.Raw) })
	// Of the others nobody waits for a client, unless it sends its header in parts.
	grace, cancel := context.WithTimeout(ctx, arriveGrace)
	defer cancel()
	stop := context.AfterFunc(grace, func() { s.expire(func(*wire.Client) bool { return true }) })
	defer stop()
	s.reading.Wait()
	return s.server.Shutdown(ctx)
}

// expire ends the wait for the headers of some connections.
func (s *stage) expire(which func(*wire.Client) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.waiting {
		if which(c) {
			_ = c.TCP.SetReadDeadline(past)
		}
	}
}

// Finish implements server.
func (s *stage) Finish(ctx context.Context) {
	s.reading.Wait() // for the timeout at most
	s.server.Finish(ctx)
}

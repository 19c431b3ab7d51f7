package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"usher/config"
	"usher/proxy/core"
	"usher/proxy/http1"
	"usher/proxy/tcp"
	"usher/proxy/wire"
)

// server serves the connections of a listener with one set of settings: one for each
// protocol. Its methods may be called from any goroutine.
type server interface {
	// Serve takes over a connection; it does not wait.
	Serve(c *wire.Client)
	// Drain makes what comes next the last of each connection.
	Drain()
	// Shutdown ends idle connections, lets the others finish what runs, and waits for
	// them. When ctx ends it cuts those left and returns their number.
	Shutdown(ctx context.Context) (cut int)
	// Finish drains and waits until all connections have ended by themselves, or ctx.
	Finish(ctx context.Context)
}

// listener is one bound socket. Its server changes when its settings do.
type listener struct {
	config config.Listener
	tcp    *net.TCPListener
	log    *slog.Logger
	// gate counts the connections of the socket, over all its servers.
	gate *core.Gate
	// handing guards server. It is held for reading while a connection is handed over, so
	// that none reaches a server that was replaced.
	handing sync.RWMutex
	server  server
	// closing ends a pause of accept; done is closed when accept has ended.
	closing, done chan struct{}
}

// bind opens the socket of a listener; it accepts nothing yet.
func bind(ctx context.Context, c config.Listener, log *slog.Logger) (*listener, error) {
	// Keep-alive is set on the socket once and inherited by what it accepts: four
	// system calls less for each connection.
	lc := net.ListenConfig{KeepAlive: -1, Control: setKeepAlive}
	ln, err := lc.Listen(ctx, "tcp", c.Address)
	if err != nil {
		return nil, fmt.Errorf("listener %q: %w", c.Name, err)
	}
	socket, ok := ln.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("listener %q: %s is not a TCP address", c.Name, c.Address)
	}
	return &listener{config: c, tcp: socket, log: log, closing: make(chan struct{}), done: make(chan struct{})}, nil
}

// setKeepAlive finds peers that vanished: after 60 s of silence, three probes.
func setKeepAlive(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		for _, o := range []struct{ level, option, value int }{
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 60},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 10},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
		} {
			failed = errors.Join(failed, unix.SetsockoptInt(int(fd), o.level, o.option, o.value))
		}
	})
	return errors.Join(err, failed)
}

// newServer makes the server of a listener's settings.
func (p *Proxy) newServer(c config.Listener, l *listener) server {
	if l.gate == nil {
		l.gate = core.NewGate(p.limits)
	}
	own := core.NewListener(c, l.tcp.Addr(), p.metrics.Listener(c.Name), l.gate)
	var s server
	switch {
	case c.Stream():
		s = tcp.NewServer(p.core, own, p.log)
	case c.Protocol == config.ProtocolHTTPS || c.H2C:
		s = p.newEntry(own)
	default:
		s = http1.NewServer(p.core, own, p.log)
	}
	if len(c.ProxyProtocol.From) > 0 {
		s = newStage(own, s)
	}
	if p.draining {
		s.Drain()
	}
	return s
}

// deferAccept says whether the kernel keeps connections until their clients have said
// something. One that takes longer than a head may take is handed over nevertheless.
func (l *listener) deferAccept(c config.Listener) {
	seconds := 0
	if c.DeferAccept {
		seconds = max(1, int(c.HeaderTimeout/time.Second))
	}
	raw, err := l.tcp.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, seconds)
		})
	}
	if err != nil {
		l.log.Warn("cannot set defer_accept", "listener", c.Name, "err", err)
	}
}

// start begins to accept.
func (l *listener) start(s server) {
	l.deferAccept(l.config)
	l.handing.Lock()
	l.server = s
	l.handing.Unlock()
	go func() {
		defer close(l.done)
		l.accept()
	}()
}

// replace puts new settings in force for new connections and returns the server of
// the old ones.
func (l *listener) replace(c config.Listener, s server) (old server) {
	l.handing.Lock()
	defer l.handing.Unlock()
	l.deferAccept(c)
	l.config = c
	old, l.server = l.server, s
	return old
}

// current returns the server of new connections; nil: accept has not begun.
func (l *listener) current() server {
	l.handing.RLock()
	defer l.handing.RUnlock()
	return l.server
}

func (l *listener) hand(nc *net.TCPConn) {
	c, err := wire.NewClient(nc)
	if err != nil {
		_ = nc.Close()
		return
	}
	l.handing.RLock()
	defer l.handing.RUnlock()
	l.server.Serve(c)
}

// sameSettings says whether c asks for what is in force.
func (l *listener) sameSettings(c config.Listener) bool {
	have := l.config
	have.Pos, c.Pos = config.Pos{}, config.Pos{}
	return reflect.DeepEqual(have, c)
}

// close stops accepting and waits for the goroutine that did, if there is one.
func (l *listener) close() {
	close(l.closing)
	_ = l.tcp.Close()
	if l.current() != nil {
		<-l.done
	}
}

// accept takes connections until the socket closes. Running out of descriptors or
// memory is no reason to stop: it waits a little and goes on.
func (l *listener) accept() {
	const maxPause = time.Second
	pause := time.Duration(0)
	for {
		nc, err := l.tcp.AcceptTCP()
		switch {
		case err == nil:
			pause = 0
			l.hand(nc)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			pause = min(maxPause, max(5*time.Millisecond, 2*pause))
			l.log.Warn("cannot accept a connection", "listener", l.config.Name, "err", err, "pause", pause)
			select {
			case <-time.After(pause):
			case <-l.closing:
			}
		}
	}
}

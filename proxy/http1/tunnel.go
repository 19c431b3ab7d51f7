package http1

import (
	"bytes"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"usher/proxy/core"
	"usher/proxy/upstream"
	"usher/proxy/wire"
)

const (
	// tunnelGrace is how long both sides of a tunnel that usher ends have to end theirs.
	tunnelGrace = lingerTime
	// drainQuiet is for how long a tunnel carries nothing before a shutdown ends it early.
	drainQuiet = 5 * time.Second
)

// tunnel is what a connection is once its endpoint has agreed to another protocol: bytes
// both ways. What one side ends is ended towards the other; the tunnel is over when both
// have ended.
//
// The connection's own goroutine moves what the client sends, a second one what the
// endpoint sends; run waits for it. Neither sets a deadline: the sweeper looks at the
// tunnel each Tick and ends it when its time has come. An idle tunnel holds no buffer.
type tunnel struct {
	conn *conn
	up   *upstream.Conn
	core *core.Tunnel
	// last is when it carried a byte last, on the sweeper's clock.
	last atomic.Int64
	// over is by when it ends, on the same clock, once its end has begun; 0: it has not.
	over atomic.Int64
	// reason belongs to the goroutine that began the end.
	reason core.Reason

	client, endpoint side
	// sends is what the client sends, gets what it gets.
	sends, gets flow
	moving      sync.WaitGroup
}

// endWriter takes bytes until its CloseWrite.
type endWriter interface {
	io.Writer
	CloseWrite() error
}

// side is one of the two ends of a tunnel.
type side struct {
	reader io.Reader
	writer endWriter
	// tcp is the socket, raw the same for callbacks; nil over TLS.
	tcp *net.TCPConn
	raw syscall.RawConn
	// gone is the reason when the tunnel ends because this side broke off.
	gone core.Reason
}

// endWrite passes the end of what is sent on to this side.
func (s *side) endWrite() { _ = s.writer.CloseWrite() } // a side that is gone notices by itself

// forwardUpgrade serves a request that asks for another protocol, and says whether the
// connection goes on. What is not let through, or cannot be, is served without it.
func (c *conn) forwardUpgrade() bool {
	if c.Head.Minor == 1 && !c.Body.Streamed {
		c.Upgrade = c.server.core.Upgrade(&c.X, c.Upgrade[:0])
	}
	if len(c.Upgrade) == 0 {
		whole, _ := c.Forward() // nobody asked for another protocol
		return c.finish(whole)
	}
	if !c.server.tunnels.Reserve() {
		return c.fail(core.Overloaded, "this listener has no room for another "+string(c.Upgrade)+" connection")
	}
	defer func() {
		if c.tunnel.Load() == nil {
			c.server.tunnels.Cancel()
		}
	}()
	whole, switched := c.Forward()
	if switched == nil {
		return c.finish(whole)
	}
	c.openTunnel(switched)
	return false
}

// openTunnel passes the endpoint's 101 on and makes the connection a tunnel: it serves no
// more requests.
func (c *conn) openTunnel(a *core.Attempt) {
	c.keep = false
	up := c.Switch(a)
	if up == nil {
		return
	}
	c.tunnel.Store(c.newTunnel(up))
	c.watch.Wait(c.now())
}

// newTunnel takes over the connection to the endpoint, the exchange, and what the client
// has sent behind its request.
func (c *conn) newTunnel(up *upstream.Conn) *tunnel {
	_, _ = c.br.Discard(c.Body.Buffered)
	behind, _ := c.br.Peek(c.br.Buffered())
	t := &tunnel{
		conn: c, up: up, core: c.server.tunnels.Open(&c.X),
		client: side{reader: c.nc, writer: c.nc, tcp: c.nc, raw: c.raw, gone: core.ClientGone},
	}
	if c.secure != nil {
		t.client = secureSide(c.secure)
	}
	t.endpoint = endpointSide(up)
	t.sends = flow{tunnel: t, src: &t.client, dst: &t.endpoint, early: bytes.Clone(behind)}
	t.gets = flow{tunnel: t, src: &t.endpoint, dst: &t.client}
	t.alive()
	return t
}

// secureSide is the side of a client over TLS: what is written leaves at once.
func secureSide(s *wire.Secure) side {
	return side{reader: s, writer: eagerly{s}, gone: core.ClientGone}
}

// eagerly writes to a client over TLS at once.
type eagerly struct{ *wire.Secure }

func (e eagerly) Write(p []byte) (int, error) {
	if err := e.Send(p, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// endpointSide is the side of the connection to the endpoint. Its buffer is left to the
// collector: nothing reads through it any more.
func endpointSide(up *upstream.Conn) side {
	up.Reader = nil
	s := side{reader: up, writer: up, gone: core.UpstreamReset}
	if tcp, raw, ok := up.Plain(); ok {
		s.tcp, s.raw = tcp, raw
	}
	return s
}

// run moves bytes until the tunnel is over, and records it. The connection's goroutine
// calls it, and closes the connection to the client afterwards.
func (t *tunnel) run() {
	t.conn.release()
	t.moving.Go(t.gets.run)
	t.sends.run()
	t.moving.Wait()
	t.up.Close()
	t.core.End(fasthttp.StatusSwitchingProtocols, t.sends.moved, t.gets.moved, t.reason, t.conn.now())
}

// alive notes that the tunnel has carried something.
func (t *tunnel) alive() { t.last.Store(t.conn.now()) }

// look ends the tunnel when its time has come. The sweeper calls it.
func (t *tunnel) look(now int64) {
	switch over := t.over.Load(); {
	case over > 0 && now >= over:
		t.wake()
	case over == 0 && t.due(now):
		t.finish()
	}
}

// due says whether the end of the tunnel is to begin.
func (t *tunnel) due(now int64) bool {
	last := t.last.Load()
	return t.core.Over(last, now) || (t.conn.server.closing.Load() && now-last >= int64(drainQuiet))
}

// finish begins the end of the tunnel: each side is told that no more comes, and has the
// tunnelGrace to end its own. It returns false when that has begun already. Any goroutine
// may call it; it does not wait.
func (t *tunnel) finish() bool {
	if !t.endSoon() {
		return false
	}
	t.wake()
	return true
}

// endSoon begins the end of the tunnel without telling anybody: it goes on for the
// tunnelGrace.
func (t *tunnel) endSoon() bool {
	return t.over.CompareAndSwap(0, t.conn.now()+int64(tunnelGrace))
}

// cut ends the tunnel at once.
func (t *tunnel) cut() {
	t.over.Store(1)
	t.wake()
}

// wake ends whatever the two goroutines wait for.
func (t *tunnel) wake() {
	_ = t.conn.nc.SetDeadline(past)
	t.up.Expire()
}

// recovered keeps a fault in a tunnel from ending the process.
func (t *tunnel) recovered(v any) {
	t.conn.server.log.Error("panic in a tunnel", "panic", v, "stack", string(debug.Stack()))
	if t.finish() {
		t.reason = core.Internal
	}
}

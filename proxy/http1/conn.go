package http1

import (
	"bufio"
	"errors"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"

	"usher/metrics"
	"usher/proxy/core"
	"usher/proxy/forward"
	"usher/proxy/wire"
)

// readBuffer is the size of the buffer requests are read through; it bounds a
// request's head.
const readBuffer = 16 << 10

// The states of a connection. An idle one waits for a request and may be closed at any
// moment, a busy one finishes its request. For leaving, left and parked see park.go.
const (
	idle int32 = iota
	busy
	leaving
	left
	parked
	closed
)

// conn is one client connection. All but state, watch and hold belongs to its goroutine.
// The work is nil while the connection is idle.
type conn struct {
	server   *Server
	listener *core.Listener
	nc       *net.TCPConn
	raw      syscall.RawConn
	// secure is TLS over nc; nil: plain.
	secure *wire.Secure
	// early is what was read before the connection came here.
	early   []byte
	watch   wire.Watch
	state   atomic.Int32
	shard   metrics.Shard
	arrival *core.Arrival
	// hold is what may be done to its request while that waits for the endpoint.
	hold forward.Hold
	// bed is where it sleeps while it is parked; slept says that it has before.
	bed   bed
	slept bool

	// fresh says that it comes from a handshake and has asked for nothing yet.
	fresh atomic.Bool
	// broken says that the end of the connection is to be none in order.
	broken bool

	// tunnel is set for good once the connection has changed its protocol.
	tunnel atomic.Pointer[upgraded]

	turn turn
	*work
}

// work is what a connection needs while it is busy; it is used again by others.
type work struct {
	forward.Trip

	br *bufio.Reader
	// timed says that the deadline of the head being read is set.
	timed bool
	// chunks decodes the request's body.
	chunks wire.Chunked
	// keep says that the connection goes on after this request.
	keep bool
	// last says that the connection closes right after the next write.
	last bool
}

var works = sync.Pool{New: func() any {
	w := &work{br: bufio.NewReaderSize(nil, readBuffer)}
	w.Init()
	return w
}}

// Expire implements wire.Expirer and ends whatever the connection waits for.
func (c *conn) Expire() {
	if t := c.tunnel.Load(); t != nil {
		t.Finish()
		return
	}
	if !c.closeParked() {
		_ = c.nc.SetDeadline(past)
	}
}

// Probe implements wire.Prober: when the client has left while its endpoint is
// waited for, that wait ends; when nothing has come for a while, the connection is
// parked. While the endpoint is waited for that is told.
func (c *conn) Probe() {
	if t := c.tunnel.Load(); t != nil {
		t.Look(c.now())
		return
	}
	if c.state.Load() == idle {
		c.leave()
		return
	}
	c.hold.Probe(&c.server.forwarder, c, &c.watch)
}

// Left implements forward.Client.
func (c *conn) Left() bool {
	if c.secure != nil {
		return wire.HungUp(c.raw)
	}
	return wire.Ended(c.raw)
}

// closeIdle closes the connection if it waits for a request. One that has come
// already, though nobody has read it yet, is served; and so is the first one behind a
// handshake, unless late says that it has had its time.
func (c *conn) closeIdle(late bool) {
	if !late && c.fresh.Load() || !wire.Quiet(c.raw) || c.closeParked() {
		return
	}
	if c.state.CompareAndSwap(idle, closed) {
		c.Expire()
	}
}

// serve serves requests until the connection ends or is parked.
func (c *conn) serve() {
	if c.serveAll() {
		c.park() // the last that this goroutine does with it
		return
	}
	c.close()
}

// serveAll serves requests and says whether the connection is to be parked.
func (c *conn) serveAll() (parks bool) {
	defer c.recover()
	callback := c.onReadable
	for c.serveTurn(callback) {
	}
	if t := c.tunnel.Load(); t != nil {
		c.runTunnel(t)
	}
	c.release()
	return c.state.Load() == left && !c.turn.end
}

// acquire takes buffers for a connection that has become busy.
func (c *conn) acquire() {
	if c.work == nil {
		c.work = works.Get().(*work) //nolint:forcetypeassert // the list holds nothing else
		c.br.Reset(c)
		c.Head.Reset()
		c.Clock, c.Ended = 0, 0
	}
}

// release gives the buffers back: an idle connection holds none. After a panic they
// are left to the collector.
func (c *conn) release() {
	w := c.work
	if w == nil {
		return
	}
	c.work = nil
	w.br.Reset(nil)
	w.Forget()
	works.Put(w)
}

func (c *conn) close() {
	if c.secure != nil && !c.broken {
		c.secure.Goodbye()
	}
	_ = c.nc.Close() // nothing is left to lose
	c.server.remove(c)
}

// recover keeps a fault in one request from ending the process.
func (c *conn) recover() {
	v := recover()
	if v == nil {
		return
	}
	c.leaveTurn()
	if c.work == nil {
		c.server.log.Error("panic on an idle connection", "panic", v, "stack", string(debug.Stack()))
		return
	}
	c.keep = false
	c.Recover(c.server.log, v)
}

// handle serves the request whose head is scanned (err is nil) or refused, and
// says whether the connection goes on.
func (c *conn) handle(err error) bool {
	c.begin()
	if err != nil {
		return c.finish(c.Refuse(err))
	}
	c.listener.Metrics.InFlight.Inc(c.shard)
	defer c.listener.Metrics.InFlight.Dec(c.shard)
	if reason, why := c.takeHead(); reason != core.None {
		return c.fail(reason, why)
	}
	if c.Body.Asterisk {
		return c.finish(c.AnswerOptions())
	}
	if reason := c.server.core.Begin(&c.X); reason != core.None {
		return c.fail(reason, "")
	}
	if c.Malformed != nil {
		return c.fail(core.BadRequest, "malformed head")
	}
	if reason, why := c.takeBody(); reason != core.None {
		return c.fail(reason, why)
	}
	if c.Head.Has(wire.HasUpgrade) {
		return c.forwardUpgrade()
	}
	whole, _ := c.Forward() // nobody asked for another protocol
	return c.finish(whole)
}

// fail answers a request that is not forwarded, and says whether the connection goes on.
func (c *conn) fail(reason core.Reason, why string) bool { return c.finish(c.Fail(reason, why)) }

// begin makes the work ready for a request.
func (c *conn) begin() {
	c.timed, c.turn.blank = false, 0
	if c.fresh.Load() {
		c.fresh.Store(false)
	}
	c.Begin(&c.server.forwarder, c, &c.hold, &c.watch)
	c.X.Peer, c.X.Shard = &c.arrival.Peer, c.shard
	c.keep, c.last = false, false
}

// now is the time on the sweeper's clock.
func (c *conn) now() int64 { return c.server.sweeper.Now() }

var errAgain = wire.ErrAgain

func again(err error) bool { return errors.Is(err, errAgain) }

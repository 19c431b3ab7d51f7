package http1

import (
	"bufio"
	"errors"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"usher/metrics"
	"usher/proxy/core"
	"usher/proxy/upstream"
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

// conn is one client connection. All but state, watch, upstream, gone and asked belongs to its goroutine.
// The work is nil while the connection is idle.
type conn struct {
	server   *Server
	listener *core.Listener
	nc       *net.TCPConn
	raw      syscall.RawConn
	// early is what was read before the connection came here.
	early []byte
	watch wire.Watch
	state atomic.Int32
	shard metrics.Shard
	peer  core.Peer
	// upstream is the endpoint's connection while it may be aborted by Probe.
	upstream atomic.Pointer[upstream.Conn]
	gone     atomic.Bool
	// asked says that the whole request is sent and the head of the response is waited for.
	asked atomic.Bool
	// mover moves the request elsewhere when its endpoint is taken out, nil: it may not be;
	// moved says that it did.
	mover atomic.Pointer[core.Mover]
	moved atomic.Bool
	// bed is where it sleeps while it is parked; slept says that it has before.
	bed   bed
	slept bool

	// tunnel is set for good once the connection has changed its protocol.
	tunnel atomic.Pointer[tunnel]

	turn turn
	*work
}

// work is what a connection needs while it is busy; it is used again by others.
type work struct {
	br   *bufio.Reader
	out  []byte
	head wire.Head
	// timed says that the deadline of the head being read is set.
	timed bool
	// serving says that a request has begun that has not been recorded.
	serving bool
	// upHead is the head of the response.
	upHead wire.Head
	req    fasthttp.RequestHeader
	resp   fasthttp.ResponseHeader
	x      core.Exchange
	// wrote is the head as the client sent it, malformed what the codec says of it.
	wrote     []byte
	malformed error
	// verbatim says that the response's head goes on as it lies in the buffer, and is not
	// in resp.
	verbatim bool
	// upgrade is the protocol that the endpoint is asked for, as the client wrote it;
	// empty: none.
	upgrade []byte
	// chunks decodes the request's body, upChunks the response's.
	chunks, upChunks wire.Chunked

	body body
	up   *upstream.Conn
	// attempt is the try whose body is being relayed.
	attempt *core.Attempt
	pump    pump
	// moves says that the request may be moved during this try.
	moves bool
	// keep says that the connection goes on after this request; sent is the status
	// whose head has begun to leave, 0 for none.
	keep bool
	sent int
	// last says that the connection closes right after the next write.
	last bool
	// interim says that the try at hand has brought an interim response.
	interim bool
	// deadline bounds the whole request, 0 for no bound.
	deadline int64
	// clock is the time of the last read from the client while nothing was waited for
	// since, else 0. answered is when the response began, ended when the request was over.
	clock, answered, ended int64
}

var works = sync.Pool{New: func() any {
	w := &work{br: bufio.NewReaderSize(nil, readBuffer), out: make([]byte, 0, readBuffer)}
	w.req.DisableSpecialHeader()
	w.resp.SetNoDefaultContentType(true)
	w.x.Init()
	w.pump.done = make(chan error, 1)
	return w
}}

// Expire implements wire.Expirer and ends whatever the connection waits for.
func (c *conn) Expire() {
	if t := c.tunnel.Load(); t != nil {
		t.finish()
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
		t.look(c.now())
		return
	}
	if c.state.Load() == idle {
		c.leave()
		return
	}
	held := c.upstream.Load()
	if held == nil {
		return
	}
	if !wire.Ended(c.raw) {
		c.hangs(held)
		c.move(held)
		return
	}
	if up := c.upstream.Swap(nil); up != nil {
		c.gone.Store(true)
		up.Abort()
	}
}

// hangs tells that the head of the response has been waited for all the while, unless
// what is waited for is something else: the rest of either body.
func (c *conn) hangs(up *upstream.Conn) {
	now := c.now()
	waited := c.watch.Waited(now)
	if waited > 0 && c.asked.Load() {
		c.server.core.Hanging(up, now-waited, time.Duration(waited))
	}
}

// hold lets Probe abort the connection to the endpoint, drop ends that; it returns
// false when Probe has aborted it.
func (c *conn) hold(up *upstream.Conn, now int64) {
	c.asked.Store(!c.body.streamed)
	c.movable()
	c.upstream.Store(up)
	c.watch.Wait(now)
}

func (c *conn) drop() bool {
	c.watch.Wait(0)
	return c.upstream.Swap(nil) != nil
}

// closeIdle closes the connection if it waits for a request. One that has come
// already, though nobody has read it yet, is served.
func (c *conn) closeIdle() {
	if !wire.Quiet(c.raw) || c.closeParked() {
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
		t.run()
	}
	c.release()
	return c.state.Load() == left && !c.turn.end
}

// acquire takes buffers for a connection that has become busy.
func (c *conn) acquire() {
	if c.work == nil {
		c.work = works.Get().(*work) //nolint:forcetypeassert // the list holds nothing else
		c.br.Reset(c)
		c.head.Reset()
		c.clock, c.ended = 0, 0
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
	w.x.Head, w.x.Source, w.x.Listener, w.x.Peer = nil, nil, nil, nil
	works.Put(w)
}

func (c *conn) close() {
	_ = c.nc.Close() // nothing is left to lose
	c.server.remove(c)
}

// recover keeps a fault in one request from ending the process.
func (c *conn) recover() {
	v := recover()
	if v == nil {
		return
	}
	c.server.log.Error("panic while serving a request", "panic", v, "stack", string(debug.Stack()))
	c.turn.within = false
	if c.work == nil {
		return
	}
	_ = c.abandon() // the request fails already
	if !c.serving {
		return
	}
	c.keep = false
	if c.sent == 0 {
		c.answer(core.Internal, "")
	}
	c.end(core.Internal)
}

// end records the request.
func (c *conn) end(reason core.Reason) {
	c.serving = false
	c.ended = c.now()
	c.server.core.End(&c.x, c.sent, reason, c.ended)
}

// handle serves the request whose head is scanned (err is nil) or refused, and
// says whether the connection goes on.
func (c *conn) handle(err error) bool {
	c.begin()
	if err != nil {
		return c.refuse(err)
	}
	c.listener.Metrics.InFlight.Inc(c.shard)
	defer c.listener.Metrics.InFlight.Dec(c.shard)
	if reason, why := c.takeHead(); reason != core.None {
		return c.fail(reason, why)
	}
	if c.body.asterisk {
		return c.answerOptions()
	}
	if reason := c.server.core.Begin(&c.x); reason != core.None {
		if reason == core.Overloaded {
			c.takeAtHand()
		}
		return c.fail(reason, "")
	}
	if c.malformed != nil {
		return c.fail(core.BadRequest, "malformed head")
	}
	if reason, why := c.takeBody(); reason != core.None {
		return c.fail(reason, why)
	}
	if c.head.Has(wire.HasUpgrade) {
		return c.forwardUpgrade()
	}
	return c.forward()
}

// begin makes the work ready for a request.
func (c *conn) begin() {
	c.timed, c.serving, c.turn.blank = false, true, 0
	c.x.Reset()
	c.x.Listener, c.x.Peer, c.x.Shard, c.x.Source = c.listener, &c.peer, c.shard, c
	c.x.Method, c.x.Target, c.x.Host, c.x.Flags = nil, nil, nil, 0
	c.body, c.upgrade = body{}, c.upgrade[:0]
	c.up = nil
	c.keep, c.last, c.sent, c.deadline, c.malformed = false, false, 0, 0, nil
	c.gone.Store(false)
}

// now is the time on the sweeper's clock.
func (c *conn) now() int64 { return c.server.sweeper.Now() }

// lately is the time as of the last read, if nothing was waited for since. Looking at the
// clock is no system call, and yet the dearest of what a request does more than once.
func (c *conn) lately() int64 {
	now := c.clock
	c.clock = 0
	if now == 0 {
		now = c.now()
	}
	return now
}

// until is the deadline d from now, or the request's if that is sooner. A d of 0
// is no bound.
func (c *conn) until(now int64, d time.Duration) int64 {
	if d <= 0 {
		return c.deadline
	}
	at := now + int64(d)
	if c.deadline > 0 {
		at = min(at, c.deadline)
	}
	return at
}

var errAgain = wire.ErrAgain

func again(err error) bool { return errors.Is(err, errAgain) }

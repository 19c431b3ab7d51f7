package http2

import (
	"errors"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"

	"golang.org/x/net/http2/hpack"

	"usher/proxy/wire"
)

// Conn is a client's connection. What its exported methods return does not change.
type Conn struct {
	// Attachment is what the connection was served with.
	Attachment any

	server *Server
	nc     net.Conn
	client *wire.Client
	// watch is the deadline of what the client is to send, taking of what it is to take.
	watch, taking wire.Watch

	reader

	// mu guards all below, and of each stream what it says. Whoever holds it does not wait.
	mu sync.Mutex
	// streams are those open, in the order of their identifiers; free are those to be used
	// again; live counts those that a Handler has or will have.
	streams, free []*Stream
	live          int
	// last is the highest identifier that the client has used.
	last   uint32
	closed history
	// resets and noise bound what the client may ask in vain.
	resets, noise budget
	receiving
	sender
	life
	// over says that live or writing may have become none.
	over sync.Cond
}

// life is where a connection stands; Conn.mu guards it. Times are on the sweeper's clock,
// 0 for none.
type life struct {
	// greetBy is when the client's preface and settings must have come, ackBy the
	// acknowledgement of usher's, partBy the rest of a frame or a header block, idleBy the
	// next request.
	greetBy, ackBy, partBy, idleBy int64
	// draining says that the client was told to open no more streams, told that it was
	// told which was the last one. toldBy is when that is done at the latest.
	draining, told bool
	toldBy         int64
	// ending says that the last frame is queued: nothing that comes is served any more.
	// faulty says that it is the client's fault, severed that not even that is sent.
	ending, faulty, severed bool
	bed
}

// Client returns what the listener knew of the connection.
func (c *Conn) Client() *wire.Client { return c.client }

func newConn(s *Server, nc net.Conn, client *wire.Client, attachment any) *Conn {
	now := s.Sweeper.Now()
	c := &Conn{
		Attachment: attachment, server: s, nc: nc, client: client,
		resets: newBudget(s.HTTP2.MaxResets, now), noise: newBudget(s.HTTP2.MaxEmptyFrames, now),
		receiving: receiving{inWindow: connWindow},
		sender:    sender{outWindow: defaultWindow, initialWindow: defaultWindow},
	}
	c.over.L, c.output.L, c.space.L = &c.mu, &c.mu, &c.mu
	c.t.max = int(s.HTTP2.MaxHeaderSize)
	c.dec = hpack.NewDecoder(headerTable, c.t.field)
	c.early = client.Early
	c.greetBy = after(now, s.HeaderTimeout)
	c.ackBy = c.greetBy
	c.idleBy = after(now, s.KeepaliveTimeout)
	return c
}

// serve reads until the connection ends or is parked. It is a goroutine of its own.
func (c *Conn) serve() {
	for c.run() {
		if c.park() {
			return // another goroutine may have it by now
		}
	}
	c.finish()
}

// bulk is how much in one batch is more than what small requests come to.
const bulk = 8 << 10

// run reads until the connection ends or is to be parked.
func (c *Conn) run() (parks bool) {
	defer c.recover()
	c.buf = getReadBuffer()
	defer c.release()
	for {
		err := c.fill()
		if err == nil {
			n := c.w - c.r
			if !c.settle(c.frames()) {
				return false
			}
			if n >= bulk {
				runtime.Gosched() // there may be more at once: others have their turn between
			}
			continue
		}
		if !c.interrupted(err) {
			return false
		}
		if c.w == c.r {
			return true
		}
	}
}

func (c *Conn) recover() {
	if v := recover(); v != nil {
		c.server.Log.Error("panic while reading from a client", "panic", v, "stack", string(debug.Stack()))
	}
}

// settle ends a batch of frames: it starts the streams that have come, and sets the
// deadline of what comes next. It says whether to read on.
func (c *Conn) settle(err error) bool {
	c.mu.Lock()
	if err != nil {
		c.fail(err)
	}
	ready := c.ready
	n := 0
	for _, s := range ready {
		if s.err != nil || c.ending { // broken off as soon as it was begun
			c.abandon(s)
			continue
		}
		s.head = finishHead(s.head, s.declared, s.body.len(), s.inEnd)
		ready[n] = s
		n++
	}
	c.partial()
	c.resting = len(c.streams) == 0
	if c.server.closing.Load() && c.resting && c.block.stream == 0 && c.w == c.r && !c.draining {
		c.endIdle() // closeIdle has left it alone for what has come
	}
	c.deaf = c.ending
	if c.resting && c.toldBy == 0 {
		c.watch.Wait(c.now())
	}
	c.rearm()
	c.mu.Unlock()
	c.server.workers.run(ready[:n])
	clear(ready)
	c.ready = ready[:0]
	return c.discarded <= lingerBytes
}

// fail ends the connection for an error that the reader met. The caller holds c.mu.
func (c *Conn) fail(err error) {
	var f *fault
	if !errors.As(err, &f) {
		f = &fault{InternalError, err.Error()}
	}
	c.bye(f.code, f.why)
}

// bye says goodbye: the streams that are open end, but for a NoError, when there are none;
// what is queued is sent, and the connection closed. The caller holds c.mu.
func (c *Conn) bye(code Code, why string) {
	if c.ending {
		return
	}
	c.ending = true
	if code != NoError {
		c.faulty = true
		c.out = c.out[:0] // whole frames: the client will not miss them
		c.cutStreams()
		c.server.refused(c, code, why)
	}
	if !c.told || code != NoError {
		c.out = appendGoAway(c.out, c.last, code, why)
	}
	c.quit = true
	c.wake()
}

// cutStreams ends every stream: the client is not to have its answer. The caller holds
// c.mu.
func (c *Conn) cutStreams() {
	for _, s := range c.streams {
		s.open = false
		s.end(ErrGone)
	}
	clear(c.streams)
	c.streams = c.streams[:0]
}

// finish ends the connection, and waits for all that runs for it.
func (c *Conn) finish() {
	_ = c.nc.Close() // nothing is left to lose
	c.mu.Lock()
	c.ending, c.quit = true, true
	c.cutStreams()
	for _, s := range c.ready { // after a panic
		c.abandon(s)
	}
	c.output.Signal()
	for c.live > 0 || c.writing {
		c.over.Wait()
	}
	c.mu.Unlock()
	c.releaseStreams()
	c.server.remove(c)
}

// releaseStreams gives the streams back for other connections. None is open or has a
// Handler.
func (c *Conn) releaseStreams() {
	c.mu.Lock()
	free := c.free
	c.free, c.streams, c.line = nil, nil, nil
	if len(c.out) == 0 { // what is queued is the writer's: a drain may begin at any time
		putBuffer(c.out)
		c.out = nil
	}
	c.mu.Unlock()
	for _, s := range free {
		c.server.Sweeper.Remove(&s.watch) // not while c.mu is held: Expire takes it
		s.conn, s.cond.L = nil, nil
		streams.Put(s)
	}
}

// find returns an open stream, or nil. The caller holds c.mu.
func (c *Conn) find(id uint32) *Stream {
	if i, ok := c.search(id); ok {
		return c.streams[i]
	}
	return nil
}

func (c *Conn) search(id uint32) (int, bool) {
	return slices.BinarySearchFunc(c.streams, id, func(s *Stream, id uint32) int { return int(s.id) - int(id) })
}

// close takes a stream out of those open. The caller holds c.mu.
func (c *Conn) close(s *Stream, how closure) {
	if !s.open {
		return
	}
	s.open = false
	if i, ok := c.search(s.id); ok {
		c.streams = slices.Delete(c.streams, i, i+1)
	}
	c.closed.add(s.id, how)
	if how == byEnd {
		c.resets.earn(1)
	}
	if len(c.streams) == 0 && !c.ending {
		c.rest()
	}
}

// rest is called when there is no stream any more. The caller holds c.mu.
func (c *Conn) rest() {
	if c.told {
		c.bye(NoError, "")
		return
	}
	now := c.now()
	c.idleBy = after(now, c.server.KeepaliveTimeout)
	c.watch.Wait(now)
	c.rearm()
}

// now is the time on the sweeper's clock, to the last Tick.
func (c *Conn) now() int64 { return c.server.Sweeper.Recent() }

// closure is how a stream was closed.
type closure uint8

const (
	forgotten closure = iota
	byEnd
	byClient
	byUs // the client may not know yet
)

// history remembers the streams closed last, to tell a client's mistakes from frames that
// were under way when usher broke a stream off.
type history struct {
	// entries are identifiers, which are odd, without the lowest bit but with a closure.
	entries [32]uint32
	at      uint8
}

func (h *history) add(id uint32, how closure) {
	h.entries[h.at%uint8(len(h.entries))] = id>>1<<2 | uint32(how)
	h.at++
}

// of returns how the stream was closed.
func (h *history) of(id uint32) closure {
	for _, v := range h.entries {
		if how := closure(v & 3); how != forgotten && v>>2 == id>>1 {
			return how
		}
	}
	return forgotten
}

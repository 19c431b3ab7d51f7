package tunnel

import (
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"usher/proxy/core"
	"usher/proxy/wire"
)

const (
	// Grace is how long both sides of a tunnel that usher ends have to end theirs.
	Grace = time.Second
	// drainQuiet is for how long a tunnel carries nothing before a shutdown ends it early.
	drainQuiet = 5 * time.Second
)

// Options are what a Tunnel is made of.
type Options struct {
	Client, Endpoint Side
	// Early is what was read from the client before there was a tunnel.
	Early []byte
	// Inspect is asked for each piece of what the client sends first, until it wants no
	// more; false ends the tunnel before that piece is passed on. Nil: nobody asks.
	Inspect func(piece []byte) (more, ok bool)
	// Answered is called, once, when the endpoint has sent something. Nil: nobody is told.
	Answered func()
	// Resets says that a side that breaks off, or is cut while it carries something, is an
	// abrupt end for the other side too: in a protocol that knows no other end than that
	// of the connection, an orderly one would make a whole of a part.
	Resets bool
	// Over says whether a tunnel that carried its last byte at the given time has lived
	// long enough, and whether that is because it was idle.
	Over func(last, now int64) (over, idle bool)
	// Closing says that a shutdown has begun.
	Closing *atomic.Bool
	Sweeper *wire.Sweeper
	Log     *slog.Logger
}

// Tunnel is a pair of connections, and what moves bytes between them. Look, Finish and
// Cut may be called from any goroutine.
type Tunnel struct {
	o Options
	// carried says that it has carried something since that was asked last, and last is
	// when it was found to have, on the sweeper's clock: nobody reads the clock for a
	// message. See carriedLast.
	carried atomic.Bool
	last    atomic.Int64
	// over is by when it ends, on the same clock, once its end has begun; 0: it has not.
	over atomic.Int64
	// aborted says that the end is an abrupt one.
	aborted atomic.Bool
	// reason belongs to the goroutine that began the end.
	reason core.Reason

	// sends is what the client sends, gets what it gets.
	sends, gets flow
	moving      sync.WaitGroup
}

// Result is what became of a tunnel.
type Result struct {
	// Sent is how many bytes the client sent, Got how many it got.
	Sent, Got uint64
	// Reason is None for an end that nobody is to blame for.
	Reason core.Reason
}

// New returns a Tunnel; Run makes it one.
func New(o Options) *Tunnel {
	t := &Tunnel{o: o}
	t.sends = flow{tunnel: t, src: &t.o.Client, dst: &t.o.Endpoint, early: o.Early, inspect: o.Inspect}
	t.gets = flow{tunnel: t, src: &t.o.Endpoint, dst: &t.o.Client, begun: o.Answered}
	t.sends.back, t.gets.back = &t.gets, &t.sends
	t.o.Early = nil
	t.last.Store(t.now())
	return t
}

// Run moves bytes until the tunnel is over. The caller closes both connections after it.
func (t *Tunnel) Run() Result {
	t.moving.Go(t.gets.run)
	t.sends.run()
	t.moving.Wait()
	whole := t.sends.whole.Load() && t.gets.whole.Load() // then nothing is cut any more
	if t.aborted.Load() && !whole {
		t.abort()
	}
	return Result{Sent: t.sends.moved, Got: t.gets.moved, Reason: t.reason}
}

func (t *Tunnel) now() int64 { return t.o.Sweeper.Now() }

// alive notes that the tunnel has carried something.
func (t *Tunnel) alive() {
	if !t.carried.Load() { // most find it so, and a load costs nothing
		t.carried.Store(true)
	}
}

// carriedLast is when it carried something last, as far as is known now: up to a tick later
// than it was.
func (t *Tunnel) carriedLast(now int64) int64 {
	if t.carried.Swap(false) {
		t.last.Store(now)
	}
	return t.last.Load()
}

// Look ends the tunnel when its time has come. The sweeper's goroutine calls it, each
// tick.
func (t *Tunnel) Look(now int64) {
	switch over := t.over.Load(); {
	case over > 0 && now >= over:
		t.wake()
	case over == 0:
		if due, idle := t.due(now); due {
			t.finish(idle)
		}
	}
}

// due says whether the end of the tunnel is to begin, and whether because it is idle.
func (t *Tunnel) due(now int64) (due, idle bool) {
	last := t.carriedLast(now)
	due, idle = t.o.Over(last, now)
	if quiet := now-last >= int64(drainQuiet); quiet && (due || t.o.Closing.Load()) {
		return true, true
	}
	return due, idle
}

// Finish begins the end of the tunnel: each side is told that no more comes, and has the
// Grace to end its own. It returns false when that has begun already. It does not wait.
func (t *Tunnel) Finish() bool {
	now := t.now()
	return t.finish(now-t.carriedLast(now) >= int64(drainQuiet))
}

func (t *Tunnel) finish(idle bool) bool {
	if !t.endSoon() {
		return false
	}
	if t.o.Resets && !idle {
		t.aborted.Store(true)
	}
	t.wake()
	return true
}

// endSoon begins the end of the tunnel without telling anybody: it goes on for the Grace.
func (t *Tunnel) endSoon() bool { return t.over.CompareAndSwap(0, t.now()+int64(Grace)) }

// Cut ends the tunnel at once.
func (t *Tunnel) Cut() {
	t.over.Store(1)
	t.wake()
}

// wake ends whatever the two goroutines wait for.
func (t *Tunnel) wake() {
	t.o.Client.Expire()
	t.o.Endpoint.Expire()
}

// recovered keeps a fault in a tunnel from ending the process.
func (t *Tunnel) recovered(v any) {
	t.o.Log.Error("panic in a tunnel", "panic", v, "stack", string(debug.Stack()))
	if t.Finish() {
		t.reason = core.Internal
	}
}

// flushTick is how often a side that is about to be reset is asked whether it has got all.
const flushTick = 5 * time.Millisecond

// abort makes the end of both connections a reset, once what was on the way to them is
// there: a reset overtakes it.
func (t *Tunnel) abort() {
	tick := time.NewTicker(flushTick)
	defer tick.Stop()
	for t.now() < t.over.Load() && t.unsent() {
		<-tick.C
	}
	t.o.Client.resetOnClose()
	t.o.Endpoint.resetOnClose()
}

// unsent says whether a side that is still there has not got all.
func (t *Tunnel) unsent() bool {
	for _, s := range []*Side{&t.o.Client, &t.o.Endpoint} {
		if t.reason != s.Gone && s.unsent() > 0 {
			return true
		}
	}
	return false
}

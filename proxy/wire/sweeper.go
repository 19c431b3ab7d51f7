package wire

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Tick is how often deadlines are looked at: a deadline is enforced at most this
// much late.
const Tick = 50 * time.Millisecond

// Expirer is what a deadline stands for: Expire ends what the connection waits
// for, from the sweeper's goroutine, and must not block.
type Expirer interface{ Expire() }

// Prober is an Expirer that is asked each Tick, once it has waited for a while,
// whether what it waits for still makes sense. Probe must not block.
type Prober interface {
	Expirer
	Probe()
}

// probeAfter is how long a wait lasts before it is probed.
const probeAfter = 200 * time.Millisecond

// Sweeper enforces the deadlines of many connections. Setting a deadline on a
// connection is a system call's worth of work; here it is one atomic store, and
// one goroutine looks at all of them each Tick.
type Sweeper struct {
	epoch  time.Time
	recent atomic.Int64
	next   atomic.Uint32
	shards [16]sweepShard
}

type sweepShard struct {
	mu      sync.Mutex
	watches []*Watch
	_       [32]byte
}

// NewSweeper returns a Sweeper; Run must be running for deadlines to be enforced.
func NewSweeper() *Sweeper {
	s := &Sweeper{epoch: time.Now()}
	s.recent.Store(1)
	return s
}

// Now is the time on the sweeper's clock, in nanoseconds; always above 0.
func (s *Sweeper) Now() int64 { return int64(time.Since(s.epoch)) + 1 }

// Recent is what Now was at the last Tick: for who needs no better and asks often.
func (s *Sweeper) Recent() int64 { return s.recent.Load() }

// fired marks a deadline that was enforced.
const fired = -1

// Watch is the deadline of one connection. Arm and Disarm are called by the
// connection's owner, one goroutine at a time.
type Watch struct {
	deadline atomic.Int64
	// waiting is since when the target, a Prober, is to be probed; 0: it is not.
	waiting atomic.Int64
	target  Expirer
	shard   *sweepShard
	index   int
}

// Add puts w, unarmed, under the sweeper's eye until Remove. target is what
// expires.
func (s *Sweeper) Add(w *Watch, target Expirer) {
	w.target = target
	w.deadline.Store(0)
	w.shard = &s.shards[s.next.Add(1)%uint32(len(s.shards))]
	w.shard.mu.Lock()
	w.index = len(w.shard.watches)
	w.shard.watches = append(w.shard.watches, w)
	w.shard.mu.Unlock()
}

// Remove takes w out. Expire is not called after it returns.
func (s *Sweeper) Remove(w *Watch) {
	sh := w.shard
	sh.mu.Lock()
	last := len(sh.watches) - 1
	sh.watches[w.index] = sh.watches[last]
	sh.watches[w.index].index = w.index
	sh.watches[last] = nil
	sh.watches = sh.watches[:last]
	sh.mu.Unlock()
}

// Arm sets the deadline, on the sweeper's clock; 0 disarms. It is ignored once the
// deadline has fired.
func (w *Watch) Arm(at int64) {
	if w.deadline.Swap(at) == fired {
		w.deadline.Store(fired)
	}
}

// Extend puts the deadline off until at, if there is one. Anybody who knows the connection
// to be in use may call it.
func (w *Watch) Extend(at int64) {
	for {
		now := w.deadline.Load()
		if now <= 0 || now >= at || w.deadline.CompareAndSwap(now, at) {
			return
		}
	}
}

// Disarm takes the deadline away if it is still the given one.
func (w *Watch) Disarm(at int64) { w.deadline.CompareAndSwap(at, 0) }

// Wait has the target, a Prober, probed from some time after now on; 0 ends that.
func (w *Watch) Wait(now int64) { w.waiting.Store(now) }

// Waited is for how long the target has been waiting, in nanoseconds; 0 when it is not.
func (w *Watch) Waited(now int64) int64 {
	if since := w.waiting.Load(); since > 0 {
		return now - since
	}
	return 0
}

// Fired says whether the deadline was enforced: the connection is of no more use.
func (w *Watch) Fired() bool { return w.deadline.Load() == fired }

// Run enforces deadlines until ctx ends.
func (s *Sweeper) Run(ctx context.Context) {
	t := time.NewTicker(Tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.sweep(s.Now())
		}
	}
}

// ExpireAll enforces every deadline at once, whether set or not: for an end that
// waits no longer.
func (s *Sweeper) ExpireAll() {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for _, w := range sh.watches {
			if w.deadline.Swap(fired) != fired {
				w.target.Expire()
			}
		}
		sh.mu.Unlock()
	}
}

func probe(target Expirer) {
	if p, ok := target.(Prober); ok {
		p.Probe()
	}
}

func (s *Sweeper) sweep(now int64) {
	s.recent.Store(now)
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for _, w := range sh.watches {
			if at := w.deadline.Load(); at > 0 && at <= now && w.deadline.CompareAndSwap(at, fired) {
				w.target.Expire()
			}
			if since := w.waiting.Load(); since > 0 && now-since > int64(probeAfter) {
				probe(w.target)
			}
		}
		sh.mu.Unlock()
	}
}

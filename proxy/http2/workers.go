package http2

import (
	"log/slog"
	"runtime/debug"
	"sync"

	"usher/proxy/wire"
)

// workers are goroutines that run Handlers, used again and again: a new one would have to
// grow its stack for every stream. The one that was used last is used next, and those that
// were not needed for a second end.
type workers struct {
	handler Handler
	log     *slog.Logger
	sweeper *wire.Sweeper

	mu   sync.Mutex
	idle []chan *Stream
	// least is how few were idle since the last look, ticks counts the sweeper's.
	least, ticks int
	// on says that there may be streams: workers wait for them, and the sweeper looks after
	// the workers.
	on      bool
	watch   wire.Watch
	running sync.WaitGroup
}

// run has each stream served. It does not wait. start was called before.
func (w *workers) run(streams []*Stream) {
	if len(streams) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range streams {
		n := len(w.idle) - 1
		if n < 0 {
			work := make(chan *Stream, 1)
			work <- s
			w.running.Go(func() { w.work(work) })
			continue
		}
		w.idle[n] <- s // it has room: the worker has taken the last one
		w.idle = w.idle[:n]
	}
	w.least = min(w.least, len(w.idle))
}

// work serves streams until the channel is closed.
func (w *workers) work(work chan *Stream) {
	for s := range work {
		w.serve(s)
		if !w.rest(work) {
			return
		}
	}
}

// rest makes a worker one that waits, unless it is to end.
func (w *workers) rest(work chan *Stream) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.on {
		w.idle = append(w.idle, work)
	}
	return w.on
}

// serve serves one stream. A Handler that panics costs its stream alone.
func (w *workers) serve(s *Stream) {
	c := s.conn
	defer c.served(s)
	defer func() {
		if v := recover(); v != nil {
			w.log.Error("panic while serving a stream", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	w.handler.Serve(s)
}

// start makes the workers ready, if they are not.
func (w *workers) start() {
	w.mu.Lock()
	was := w.on
	w.on = true
	w.mu.Unlock()
	if !was {
		w.sweeper.Add(&w.watch, w)
		w.watch.Wait(1)
	}
}

// Expire implements wire.Expirer; there is no deadline.
func (w *workers) Expire() {}

// Probe implements wire.Prober, which the sweeper calls each Tick.
func (w *workers) Probe() {
	const ticksPerSecond = 20
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ticks++; w.ticks%ticksPerSecond == 0 {
		w.retire(w.least)
		w.least = len(w.idle)
	}
}

// retire ends the n workers that have been idle for longest. The caller holds w.mu.
func (w *workers) retire(n int) {
	for _, work := range w.idle[:n] {
		close(work)
	}
	w.idle = append(w.idle[:0], w.idle[n:]...)
}

// stop ends all workers, which have no streams any more, and waits for them.
func (w *workers) stop() {
	w.mu.Lock()
	was := w.on
	w.on = false
	w.retire(len(w.idle))
	w.least = 0
	w.mu.Unlock()
	if was {
		w.sweeper.Remove(&w.watch)
	}
	w.running.Wait()
}

package config

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// WatchOptions are how patient a Watcher is.
type WatchOptions struct {
	// Settle is how long the files must be quiet before a change is told, so that
	// one save of an editor is one change. Default 50ms.
	Settle time.Duration
	// Poll is how often the files are read without being told to: for network file
	// systems, and where there is no inotify. Default 5s.
	Poll time.Duration
}

// Watcher tells when the content of files changed. It watches the folders they
// are in, and those of the symbolic links on the way, so it sees renames over a
// file, editors' ways to save, and the ..data link that Kubernetes swaps; it
// compares contents, so a touch is no change. Files and folders may be missing
// and may come and go.
//
// All methods may be called from any goroutine.
type Watcher struct {
	opts   WatchOptions
	c      chan struct{}
	notify *fsnotify.Watcher // nil: polling alone
	err    error             // why notify is nil
	cancel context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex
	sums map[string]sum // by path or glob: what was last told of
}

// NewWatcher starts a watcher of no files. Its one goroutine runs until ctx ends
// or Close is called.
func NewWatcher(ctx context.Context, opts WatchOptions) *Watcher {
	w := newWatcher(opts)
	w.notify, w.err = fsnotify.NewWatcher()
	w.start(ctx)
	return w
}

// newWatcher returns a watcher that polls and is not started.
func newWatcher(opts WatchOptions) *Watcher {
	if opts.Settle <= 0 {
		opts.Settle = 50 * time.Millisecond
	}
	if opts.Poll <= 0 {
		opts.Poll = 5 * time.Second
	}
	return &Watcher{
		opts: opts,
		c:    make(chan struct{}, 1),
		done: make(chan struct{}),
		sums: map[string]sum{},
	}
}

func (w *Watcher) start(ctx context.Context) {
	ctx, w.cancel = context.WithCancel(ctx)
	go w.run(ctx)
}

// C returns the channel that receives a value after a change. Changes that
// nobody received yet are one. The channel is never closed.
func (w *Watcher) C() <-chan struct{} { return w.c }

// Err says why the system does not tell of changes, which leaves polling; nil
// when it does.
func (w *Watcher) Err() error { return w.err }

// Add watches one more path or glob. What it holds at this moment is the state
// that changes are compared to; a path that is watched already keeps its own.
// It reads the file, and blocks that long.
func (w *Watcher) Add(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add(path)
	w.follow()
}

// Set watches these paths and globs and no others; each as Add does.
func (w *Watcher) Set(paths []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	keep := map[string]bool{}
	for _, p := range paths {
		keep[p] = true
		w.add(p)
	}
	maps.DeleteFunc(w.sums, func(p string, _ sum) bool { return !keep[p] })
	w.follow()
}

// Close ends the watcher and waits for its goroutine. It may be called again.
func (w *Watcher) Close() {
	w.cancel()
	<-w.done
}

// add reads the file after its folder is watched: a change between the two is
// seen, one before is in the sum.
func (w *Watcher) add(path string) {
	if _, known := w.sums[path]; known {
		return
	}
	w.watchFolders(path)
	w.sums[path] = sumOf(path)
}

func (w *Watcher) run(ctx context.Context) {
	defer close(w.done)
	defer w.stop()
	poll := time.NewTicker(w.opts.Poll)
	defer poll.Stop()
	var s settling
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-w.events():
			if e.Op != fsnotify.Chmod {
				s.extend(w.opts.Settle)
			}
		case _, open := <-w.overflows():
			if open {
				s.extend(w.opts.Settle)
			}
		case <-poll.C:
			if s.timer == nil && w.differs() {
				s.extend(w.opts.Settle)
			}
		case <-s.timer:
			w.settled(&s)
		}
	}
}

func (w *Watcher) stop() {
	w.cancel()
	if w.notify != nil {
		_ = w.notify.Close() // nothing is left to do about it
	}
}

func (w *Watcher) events() <-chan fsnotify.Event {
	if w.notify == nil {
		return nil
	}
	return w.notify.Events
}

// overflows are the system's errors; the one that matters is that it lost
// events, which means: look.
func (w *Watcher) overflows() <-chan error {
	if w.notify == nil {
		return nil
	}
	return w.notify.Errors
}

// settling is the wait for quiet after the first event.
type settling struct {
	timer    <-chan time.Time // nil: nothing happened
	deadline time.Time        // of the wait, however busy the folder is
	patient  bool             // the longer wait for an emptied file is over
}

// longer is how many times Settle the wait may take in a folder that is never
// quiet, and how long an emptied file is given to be filled.
const longer = 10

func (s *settling) extend(settle time.Duration) {
	if s.timer == nil {
		s.deadline = time.Now().Add(longer * settle)
	}
	if left := time.Until(s.deadline); s.timer == nil || left > settle {
		s.timer = time.After(settle)
	}
}

// settled tells of a change, if there is one. A file that is empty now and was
// not before is probably being written, and an empty configuration would mean
// the defaults: it gets more time.
func (w *Watcher) settled(s *settling) {
	changed, emptied := w.look(s.patient)
	if emptied && !s.patient {
		*s = settling{timer: time.After(longer * w.opts.Settle), patient: true}
		return
	}
	*s = settling{}
	if !changed {
		return
	}
	select {
	case w.c <- struct{}{}:
	default: // one is waiting to be received: it stands for this change too
	}
}

// look compares the files with what was last told of. Unless a file was emptied,
// or that is accepted, what it finds is the new state.
func (w *Watcher) look(acceptEmpty bool) (changed, emptied bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.follow()
	now := make(map[string]sum, len(w.sums))
	for path, old := range w.sums {
		now[path] = sumOf(path)
		changed = changed || now[path] != old
		emptied = emptied || now[path] == emptySum() && old != emptySum()
	}
	if !emptied || acceptEmpty {
		w.sums = now
	}
	return changed, emptied
}

// differs is look without consequences. It renews the watches, too: a folder may
// have appeared where the system could not tell.
func (w *Watcher) differs() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.follow()
	for path, old := range w.sums {
		if sumOf(path) != old {
			return true
		}
	}
	return false
}

package accesslog

import (
	"context"
	"log/slog"
	"math/bits"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"usher/config"
	"usher/metrics"
)

const (
	// chunkSize is how much is written at once, and lineRoom what is left of a chunk when
	// it is taken for full: most entries fit.
	chunkSize = 128 << 10
	lineRoom  = 2 << 10
	maxShards = 16
)

// Options are what a Log is made of.
type Options struct {
	// Config is a validated section with an output.
	Config config.AccessLog
	// Clock is the clock of entries: nanoseconds since some moment. It never stands still.
	Clock func() int64
	// Stdout and Stderr are what the outputs of these names are.
	Stdout, Stderr *os.File
	// Dropped counts the entries that were not written.
	Dropped *metrics.Counter
	// Log is told when the output does not take what is written.
	Log *slog.Logger
}

// Log takes entries and writes them. Add, Takes and what else a request asks may be called
// from any goroutine and do not wait.
type Log struct {
	options  Options
	program  *program
	response bool
	// below is what a random number must be under for a request to be logged, out of 1<<32.
	below uint64
	slow  time.Duration

	shards []shard
	// chunks are how many of them there may be, made how many there are.
	chunks int64
	made   atomic.Int64
	// full are those to be written.
	full chan []byte
	free chunkList
	// offset makes wall time of the clock.
	offset atomic.Int64

	out     sink
	trouble trouble

	reopening       chan struct{}
	closing, giveUp chan struct{}
	done            chan struct{}
	closed          sync.Once
}

// shard is one of the buffers.
type shard struct {
	mu      sync.Mutex
	chunk   []byte
	closed  bool
	encoder encoder
	_       [64]byte
}

// Open opens the output and begins to write. An output that may come later, such as a
// receiver of syslog, or a FIFO, is no error. Close must be called.
func Open(o Options) (*Log, error) {
	out, err := newSink(&o)
	if err != nil {
		return nil, err
	}
	c := &o.Config
	shards := min(maxShards, 2<<bits.Len(uint(runtime.GOMAXPROCS(0)-1)))
	chunks := max(int64(c.BufferSize)/chunkSize, int64(shards)+2)
	l := &Log{
		options: o, program: newProgram(*c), response: len(c.ResponseHeaders) > 0,
		below: uint64(c.Sample * (1 << 32)), slow: c.Slow, shards: make([]shard, shards), chunks: chunks,
		full: make(chan []byte, chunks), out: out,
		reopening: make(chan struct{}, 1), closing: make(chan struct{}), giveUp: make(chan struct{}),
		done: make(chan struct{}),
	}
	for i := range l.shards {
		l.shards[i].encoder.program = l.program
	}
	l.setOffset()
	go l.run()
	return l, nil
}

// setOffset follows what becomes of the wall clock.
func (l *Log) setOffset() { l.offset.Store(time.Now().UnixNano() - l.options.Clock()) }

// Takes says whether a request is logged: one that failed, by its status or otherwise, or
// was slow, always is.
func (l *Log) Takes(status int, failed bool, took time.Duration) bool {
	if l.below >= 1<<32 || failed || status >= 500 || l.slow > 0 && took > l.slow {
		return true
	}
	return uint64(rand.Uint32()) < l.below
}

// WantsResponse says whether lines of the response's head are wanted.
func (l *Log) WantsResponse() bool { return l.response }

// KeepResponse appends those of a head's lines that are.
func (l *Log) KeepResponse(dst, head []byte) []byte { return l.program.response.keep(dst, head) }

// KeepRequest appends the lines of a request's head that are wanted.
func (l *Log) KeepRequest(dst, head []byte) []byte { return l.program.request.keep(dst, head) }

// Add writes an entry into a buffer, or drops it. ok is false for a log that was closed:
// the entry is for whatever has taken its place.
func (l *Log) Add(e *Entry) (ok bool) {
	s := l.lock(int(e.Shard))
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return false
	case cap(s.chunk)-len(s.chunk) < lineRoom && !l.next(s):
		l.options.Dropped.Add(e.Shard, 1)
	default:
		s.encoder.offset = l.offset.Load()
		s.chunk = s.encoder.line(s.chunk, e)
	}
	return true
}

// lock returns a shard that the caller has locked: its own, unless that is in use and
// another is not.
func (l *Log) lock(at int) *shard {
	mask := len(l.shards) - 1
	for i := range l.shards {
		if s := &l.shards[(at+i)&mask]; s.mu.TryLock() {
			return s
		}
	}
	s := &l.shards[at&mask]
	s.mu.Lock()
	return s
}

// next hands a full chunk over and takes an empty one, and says whether there was one. The
// caller holds the shard.
func (l *Log) next(s *shard) bool {
	fresh := l.take()
	if fresh == nil {
		return false
	}
	if len(s.chunk) > 0 {
		l.full <- s.chunk // there is room for all that there are
	}
	s.chunk = fresh
	return true
}

// take returns an empty chunk, nil when all are in use.
func (l *Log) take() []byte {
	if b := l.free.pop(); b != nil {
		return b[:0]
	}
	if l.made.Add(1) > l.chunks {
		l.made.Add(-1)
		return nil
	}
	return make([]byte, 0, chunkSize)
}

// give makes a chunk one that may be filled. One that a long entry has made larger is none.
func (l *Log) give(b []byte) {
	if cap(b) > chunkSize {
		l.made.Add(-1)
		return
	}
	l.free.push(b)
}

// chunkList holds the chunks that may be filled. The last one that was written is the next
// to be filled: it is in the processor's caches.
type chunkList struct {
	mu   sync.Mutex
	list [][]byte
}

func (c *chunkList) push(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, b)
}

// pop returns a chunk, nil when there is none.
func (c *chunkList) pop() (b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.list); n > 0 {
		b, c.list[n-1] = c.list[n-1], nil
		c.list = c.list[:n-1]
	}
	return b
}

// Reopen has the output opened anew: a file that was moved away is made again under its
// name. It does not wait.
func (l *Log) Reopen() {
	select {
	case l.reopening <- struct{}{}:
	default: // it is about to be
	}
}

// Close writes what is there and closes the output. It waits until ctx ends, and a little
// longer: what is not written by then is dropped.
func (l *Log) Close(ctx context.Context) {
	l.closed.Do(func() {
		for i := range l.shards {
			s := &l.shards[i]
			s.mu.Lock()
			s.closed = true
			s.mu.Unlock()
		}
		close(l.closing)
	})
	select {
	case <-l.done:
		return
	case <-ctx.Done():
	}
	close(l.giveUp)
	select {
	case <-l.done:
	case <-time.After(2 * patience):
		l.options.Log.Warn("the access log's output hangs; what waits for it is lost",
			"output", l.options.Config.Output)
	}
}

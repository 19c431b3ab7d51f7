package accesslog

import (
	"bytes"
	"time"
)

const (
	// patience is how long an output may take for a write before that is called off, to be
	// gone on with later.
	patience = 500 * time.Millisecond
	// retryAfter is how long an output that failed is left alone.
	retryAfter = 500 * time.Millisecond
	// tellEvery is how often the log is told of trouble at most.
	tellEvery = time.Minute
)

// sink is an output. It belongs to the goroutine that writes.
type sink interface {
	// write writes lines and says how many bytes of them are done with: whole lines, which
	// are not to come again. With an error it is to be called again with the rest, which
	// begins with a line that it may have written a part of. It waits for no longer than
	// about patience, but for what cannot be bounded, such as a disk.
	write(lines []byte) (done int, err error)
	// tend is called every now and then.
	tend() error
	// reopen opens the output anew, or goes on as before.
	reopen() error
	close()
}

// run writes until the log is closed.
func (l *Log) run() {
	defer close(l.done)
	defer l.out.close()
	tick := time.NewTicker(l.options.Config.FlushInterval)
	defer tick.Stop()
	for {
		select {
		case b := <-l.full:
			l.write(b)
		case <-tick.C:
			l.tick()
		case <-l.reopening:
			l.reopen()
		case <-l.closing:
			l.flush()
			return
		}
	}
}

func (l *Log) tick() {
	l.setOffset()
	if err := l.out.tend(); err != nil {
		l.complain(err)
	}
	l.flush()
	l.trouble.tellDropped(l)
}

// flush writes what there is.
func (l *Log) flush() {
	for range l.chunks { // not for ever, where more comes than is written
		select {
		case b := <-l.full:
			l.write(b)
			continue
		default:
		}
		break
	}
	for i := range l.shards {
		if b := l.collect(&l.shards[i]); len(b) > 0 {
			l.write(b)
		}
	}
}

// collect takes what is in a shard. An empty chunk is left in its place, if there is one.
func (l *Log) collect(s *shard) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.chunk) == 0 {
		return nil
	}
	b := s.chunk
	s.chunk = nil
	if !s.closed {
		s.chunk = l.take()
	}
	return b
}

// write writes a chunk, however long that takes, unless the log is closed meanwhile.
func (l *Log) write(b []byte) {
	rest := b
	for !l.givenUp() {
		n, err := l.out.write(rest)
		rest = rest[n:]
		if err == nil && len(rest) == 0 {
			break
		}
		if err != nil {
			l.complain(err)
			l.pause()
		}
	}
	if len(rest) == 0 {
		l.trouble.over(l)
	}
	l.options.Dropped.Add(0, uint64(bytes.Count(rest, []byte{'\n'})))
	l.give(b)
}

func (l *Log) givenUp() bool {
	select {
	case <-l.giveUp:
		return true
	default:
		return false
	}
}

// pause waits before a write is tried again.
func (l *Log) pause() {
	timer := time.NewTimer(retryAfter)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.reopening:
		l.reopen()
	case <-l.giveUp:
	}
}

func (l *Log) reopen() {
	if err := l.out.reopen(); err != nil {
		l.complain(err)
	}
}

// trouble is what is known of an output that does not take what is written. It belongs to
// the goroutine that writes.
type trouble struct {
	// since is when it began; zero: there is none. told is when one was told of last, heard
	// says that this one was.
	since, told time.Time
	heard       bool
	// dropped is how many had been dropped when that was said last, toldDrops when.
	dropped   uint64
	toldDrops time.Time
}

// complain tells the log that the output has failed, at most now and then.
func (l *Log) complain(err error) {
	t, now := &l.trouble, time.Now()
	if t.since.IsZero() {
		t.since = now
	}
	if !t.told.IsZero() && now.Sub(t.told) < tellEvery {
		return
	}
	t.told, t.heard = now, true
	l.options.Log.Warn("the access log cannot be written; what its buffer does not hold is dropped",
		"output", l.options.Config.Output, "err", err, "dropped", l.options.Dropped.Value())
}

// over tells the log that the output takes what is written again, if it was told of trouble.
func (t *trouble) over(l *Log) {
	if t.since.IsZero() {
		return
	}
	took, heard := time.Since(t.since), t.heard
	t.since, t.heard = time.Time{}, false
	if !heard {
		return
	}
	l.options.Log.Info("the access log is written again", "output", l.options.Config.Output,
		"after", took.Round(time.Millisecond), "dropped", l.options.Dropped.Value())
}

// tellDropped tells the log that entries were dropped, though the output has not failed:
// it is too slow.
func (t *trouble) tellDropped(l *Log) {
	n, now := l.options.Dropped.Value(), time.Now()
	if n == t.dropped || !t.since.IsZero() || now.Sub(t.toldDrops) < tellEvery {
		return
	}
	l.options.Log.Warn("entries of the access log were dropped: its output is too slow, or buffer_size too small",
		"output", l.options.Config.Output, "dropped", n-t.dropped)
	t.dropped, t.toldDrops = n, now
}

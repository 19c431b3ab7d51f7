// Package events remembers what happened of late and tells it on.
package events

import (
	"sync"
	"time"

	"usher/cmd/usher/internal/api"
)

// keep is how many events are remembered; behind is how many one who listens may be behind
// before it misses some.
const (
	keep   = 1000
	behind = 256
)

// Log remembers the last events. The zero value is empty; its methods may be called from
// any goroutine.
type Log struct {
	mu     sync.Mutex
	last   uint64
	events []api.Event
	subs   map[chan api.Event]struct{}
}

// Add takes in an event and gives it its number, and the time unless it has one. It never
// waits: a listener that is too far behind misses it, which the gap in the numbers tells.
func (l *Log) Add(e api.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	e.ID = l.last
	if e.At.IsZero() {
		e.At = time.Now()
	}
	e.At = e.At.UTC()
	if e.Level == "" {
		e.Level = "info"
	}
	if len(l.events) == keep {
		copy(l.events, l.events[1:])
		l.events = l.events[:keep-1]
	}
	l.events = append(l.events, e)
	for ch := range l.subs {
		select {
		case ch <- e:
		default:
		}
	}
}

// Since returns the events that are remembered after the one of that number, oldest first.
// A number that was not given yet is of a process before this one: then it is all of them.
func (l *Log) Since(id uint64) []api.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since(id)
}

func (l *Log) since(id uint64) []api.Event {
	if id > l.last {
		id = 0
	}
	out := []api.Event{}
	for _, e := range l.events {
		if e.ID > id {
			out = append(out, e)
		}
	}
	return out
}

// Subscribe returns the events after the one of that number and those to come, without a
// gap in between. The caller ends it by stop.
func (l *Log) Subscribe(id uint64) (past []api.Event, coming <-chan api.Event, stop func()) {
	ch := make(chan api.Event, behind)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.subs == nil {
		l.subs = map[chan api.Event]struct{}{}
	}
	l.subs[ch] = struct{}{}
	return l.since(id), ch, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.subs, ch)
	}
}

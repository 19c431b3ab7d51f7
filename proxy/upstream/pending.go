package upstream

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrFull is a pool whose connections are all in use, and that has no place to wait or
// kept who waited for too long.
var ErrFull = errors.New("all connections to the endpoint are in use")

func fullError() *Error { return &Error{Kind: Full, Err: ErrFull} }

// Pending is a place in the queue of a pool whose connections are all in use.
type Pending struct {
	pool *Pool
	// ready receives a connection, or nil for the right to make one.
	ready chan *Conn
	// left is closed when nobody waits any more.
	left  chan struct{}
	leave sync.Once
	// preface is what a connection is to begin with, nil: it may be any.
	preface []byte
}

// Queue takes a place in the queue. The error is of kind Full where there is none.
// Whoever has a Pending calls Wait once.
func (p *Pool) Queue() (*Pending, *Error) {
	w := &Pending{pool: p, ready: make(chan *Conn, 1), left: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	// What has become free since the pool was found full goes to those before.
	p.waiting = append(p.waiting, w)
	p.serveQueue()
	if len(p.waiting) > p.maxPending {
		p.waiting = slices.Delete(p.waiting, len(p.waiting)-1, len(p.waiting))
		return nil, fullError()
	}
	return w, nil
}

// Wait returns a connection that was put back, or a new one made within connect in the
// place of one that was closed. It waits for at most pending, and until Cancel. The
// error is of kind Full, or Connect.
func (w *Pending) Wait(pending, connect time.Duration) (*Conn, *Error) {
	t := time.NewTimer(pending)
	defer t.Stop()
	select {
	case c := <-w.ready:
		return w.use(c, connect)
	case <-w.left:
	case <-t.C:
	case <-w.pool.owner.dialing().Done():
	}
	if w.pool.dequeue(w) {
		return nil, fullError()
	}
	c := <-w.ready // it was given just now
	select {
	case <-w.left:
		w.giveBack(c)
		return nil, fullError()
	default:
		return w.use(c, connect)
	}
}

// Cancel ends Wait early. It may be called from any goroutine.
func (w *Pending) Cancel() { w.leave.Do(func() { close(w.left) }) }

func (w *Pending) use(c *Conn, connect time.Duration) (*Conn, *Error) {
	if c != nil && len(w.preface) > 0 {
		w.pool.instead(c)
		c = nil
	}
	if c == nil {
		return w.pool.dial(w.preface, connect)
	}
	c.begin()
	return c, nil
}

// instead closes a connection and keeps its place.
func (p *Pool) instead(c *Conn) {
	p.mu.Lock()
	p.places++
	p.mu.Unlock()
	c.Close()
}

func (w *Pending) giveBack(c *Conn) {
	if c == nil {
		w.pool.vacate()
	} else {
		w.pool.put(c)
	}
}

// dequeue takes w out of the queue and says whether it was still there.
func (p *Pool) dequeue(w *Pending) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.waiting, w)
	if i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	return i >= 0
}

// serveQueue gives what is free to those who have waited longest. The caller holds
// p.mu.
func (p *Pool) serveQueue() {
	for len(p.waiting) > 0 {
		var c *Conn
		switch {
		case len(p.idle) > 0:
			c = p.pop()
		case p.shared != nil && p.shared.reserve(&c, 0):
		case p.room():
			p.places++
		default:
			return
		}
		p.waiting[0].ready <- c
		p.waiting = slices.Delete(p.waiting, 0, 1)
	}
}

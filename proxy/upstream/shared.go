package upstream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"usher/proxy/upstream/h2"
)

// errNotHTTP2 is an endpoint that does not speak HTTP/2.
var errNotHTTP2 = errors.New("HTTP/2 does not begin")

// errNoStreams is an endpoint that takes no requests.
var errNoStreams = errors.New("the endpoint allows no stream")

// shared are the sessions to an endpoint that speaks HTTP/2, as part of its Pool: a place is
// a session, and what is handed out is a stream. Another session is made when those there
// are have no room. All is guarded by the pool's mutex.
type shared struct {
	pool *Pool
	// sessions are in the order they were made in; the first with room has the next request.
	sessions []member
	made     uint64
	// call is the connect that new requests wait for, nil: there is none.
	call *call
	// spare are Conns to use again: a Conn belongs to one pool for good.
	spare []*Conn
}

// member is a session and its number, from 1.
type member struct {
	*h2.Session
	nth uint64
}

// call is a connect under way that others wait for. err is set before done is closed.
type call struct {
	done    chan struct{}
	waiting int
	err     *Error
}

const (
	// callers is how many requests wait for one connect: as many streams, by RFC 9113, an
	// endpoint should allow. More of them make another one.
	callers = 100
	// maxSpare bounds the Conns that are kept.
	maxSpare = 128
)

// get is Pool.Get.
func (h *shared) get(fresh bool, timeout time.Duration) (*Conn, *Error) {
	p := h.pool
	p.mu.Lock()
	after := uint64(0)
	if fresh {
		after = h.made
	}
	var c *Conn
	if h.reserve(&c, after) {
		p.mu.Unlock()
		c.begin()
		return c, nil
	}
	deadline := time.Now().Add(timeout)
	for {
		// Whoever has p.mu here leaves without it.
		join, dials := h.join(&after)
		switch {
		case dials:
			p.mu.Unlock()
			return h.dialFor(join, time.Until(deadline))
		case join == nil && h.reserve(&c, after):
			p.mu.Unlock()
			c.begin()
			return c, nil
		case join == nil:
			p.mu.Unlock()
			p.series.Exhausted()
			return nil, fullError()
		}
		p.mu.Unlock()
		if err := h.wait(join, time.Until(deadline)); err != nil {
			return nil, err
		}
		p.mu.Lock()
		if h.reserve(&c, after) {
			p.mu.Unlock()
			c.begin()
			c.Reused = false // it has waited for the connect
			return c, nil
		}
	}
}

// join returns the connect to wait for, or a new one that the caller makes, for which there
// is a place; nil: neither. A fresh connection takes the place of an idle one if need be, or
// else may be one that is there.
func (h *shared) join(after *uint64) (c *call, dials bool) {
	p := h.pool
	switch {
	case h.call != nil && h.call.waiting < callers:
		h.call.waiting++
		return h.call, false
	case p.room():
	case *after > 0 && h.dropIdle():
		// Its place is vacated once it has ended: for a moment there is one more.
	default:
		*after = 0
		return nil, false
	}
	p.places++
	h.call = &call{done: make(chan struct{})}
	return h.call, true
}

// dropIdle ends an idle session, if there is one.
func (h *shared) dropIdle() bool {
	for _, m := range h.sessions {
		if idle, _ := m.Idle(); idle && m.Err() == nil {
			m.Leave()
			return true
		}
	}
	return false
}

// wait waits for a connect that another makes.
func (h *shared) wait(c *call, timeout time.Duration) *Error {
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-c.done:
		return c.err
	case <-t.C:
		return &Error{Kind: Connect, Err: os.ErrDeadlineExceeded}
	case <-h.pool.owner.dialing().Done():
		return &Error{Kind: Connect, Err: context.Canceled}
	}
}

// dialFor makes the connect that others wait for.
func (h *shared) dialFor(join *call, timeout time.Duration) (*Conn, *Error) {
	c, err := h.dial(timeout)
	join.err = err
	h.pool.mu.Lock()
	if h.call == join {
		h.call = nil
	}
	h.pool.mu.Unlock()
	close(join.done)
	return c, err
}

// dial is Pool.dial: the caller has a place.
func (h *shared) dial(timeout time.Duration) (*Conn, *Error) {
	p := h.pool
	begin := time.Now()
	s, err := h.connect(timeout)
	if err != nil {
		p.vacate()
		p.failed(err)
		return nil, &Error{Kind: Connect, Err: err}
	}
	p.series.Opened(time.Since(begin))
	p.open.Add(1)
	c := h.add(s)
	if s.Err() != nil {
		h.Ended(s) // that may have been told before it was there
	}
	if c == nil {
		return nil, &Error{Kind: Connect, Err: errNoStreams}
	}
	c.begin()
	c.Reused = false
	return c, nil
}

// add takes a session among the others, and a stream of it; nil: it has none.
func (h *shared) add(s *h2.Session) (c *Conn) {
	p := h.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	h.made++
	h.sessions = append(h.sessions, member{s, h.made})
	if st := s.Reserve(); st != nil {
		c = h.conn(st)
	}
	if p.retired || c == nil {
		s.Leave()
	}
	p.serveQueue()
	return c
}

// connect makes a session.
func (h *shared) connect(timeout time.Duration) (*h2.Session, error) {
	p := h.pool
	ctx, cancel := context.WithTimeout(p.owner.dialing(), timeout)
	defer cancel()
	c, err := p.connect(nil, timeout)
	if err != nil {
		return nil, err
	}
	o := h2.Options{Conn: c.tcp, Socket: c.tcp, Clock: p.owner.sweeper.Recent, Owner: h}
	if c.secure != nil {
		o.Conn, o.Secure = c.secure.Conn, true
		if !c.secure.speaksHTTP2() {
			_ = c.tcp.Close() // nothing was asked
			return nil, fmt.Errorf("%w: it is not offered over TLS (ALPN)", errNotHTTP2)
		}
	}
	s := h2.Start(o)
	if err := s.Ready(ctx); err != nil {
		<-s.Done()
		if o.Secure && c.secure.mesh != nil {
			err = c.secure.mesh.judge(0, err)
		}
		return nil, fmt.Errorf("%w: %w", errNotHTTP2, err)
	}
	return s, nil
}

// reserve takes a stream of the first session with room, of those made after so many, and
// says whether there is one.
func (h *shared) reserve(c **Conn, after uint64) bool {
	for _, m := range h.sessions {
		if m.nth <= after {
			continue
		}
		if st := m.Reserve(); st != nil {
			*c = h.conn(st)
			return true
		}
	}
	return false
}

// hasRoom says whether a request need not wait for others to end.
func (h *shared) hasRoom() bool {
	if h.call != nil && h.call.waiting < callers {
		return true
	}
	return slices.ContainsFunc(h.sessions, func(m member) bool { return m.Room() })
}

// conn returns a Conn for a stream.
func (h *shared) conn(st *h2.Stream) *Conn {
	n := len(h.spare)
	if n == 0 {
		return &Conn{pool: h.pool, stream: st, Reused: true}
	}
	c := h.spare[n-1]
	h.spare[n-1] = nil
	h.spare = h.spare[:n-1]
	c.stream, c.begun, c.request, c.Reused = st, false, nil, true
	return c
}

// put gives up a stream that is over.
func (h *shared) put(c *Conn) {
	st := c.stream
	c.stream = nil
	h.pool.mu.Lock()
	if len(h.spare) < maxSpare && !h.pool.retired {
		h.spare = append(h.spare, c)
	}
	h.pool.mu.Unlock()
	st.Release()
}

// Freed implements h2.Owner.
func (h *shared) Freed(*h2.Session) {
	h.pool.mu.Lock()
	defer h.pool.mu.Unlock()
	if len(h.pool.waiting) > 0 {
		h.pool.serveQueue()
	}
}

// Ended implements h2.Owner.
func (h *shared) Ended(s *h2.Session) {
	h.pool.mu.Lock()
	before := len(h.sessions)
	h.sessions = slices.DeleteFunc(h.sessions, func(m member) bool { return m.Session == s })
	known := len(h.sessions) < before
	h.pool.mu.Unlock()
	if known {
		h.pool.closed()
	}
}

// shrink has the sessions end that are above the pool's bound, once they are idle.
func (h *shared) shrink() {
	if most := h.pool.maxOpen; most > 0 && len(h.sessions) > most {
		for _, m := range h.sessions[most:] {
			m.Leave()
		}
	}
}

// leave has all sessions end once they are idle.
func (h *shared) leave() {
	h.spare = nil
	for _, m := range h.sessions {
		m.Leave()
	}
}

// idle is the number of sessions that carry no request.
func (h *shared) idle() (n int64) {
	for _, m := range h.sessions {
		if idle, _ := m.Idle(); idle {
			n++
		}
	}
	return n
}

// expire is Pool.expire. The pool's mutex is not held.
func (h *shared) expire(then int64) {
	h.pool.mu.Lock()
	sessions := slices.Clone(h.sessions)
	h.pool.mu.Unlock()
	now := h.pool.owner.sweeper.Now()
	for _, m := range sessions {
		m.Check(now)
		if idle, since := m.Idle(); idle && since < then {
			m.Leave()
		}
	}
}

// waitIdle waits for the idle sessions of a retired pool, which end.
func (p *Pool) waitIdle() {
	if p.shared == nil {
		return
	}
	p.mu.Lock()
	sessions := slices.Clone(p.shared.sessions)
	p.mu.Unlock()
	for _, m := range sessions {
		if idle, _ := m.Idle(); idle {
			<-m.Done()
		}
	}
}

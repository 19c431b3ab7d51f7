package metrics

import (
	"sync"
	"sync/atomic"
	"time"
)

// Method is a request method as the metrics label it.
type Method uint8

// methods are the labels, indexed by Method; the last is any other method.
var methods = [...]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "OTHER"}

// MethodOf returns the label of a request method.
func MethodOf(m []byte) Method {
	for i := range methods[:len(methods)-1] {
		if string(m) == methods[i] {
			return Method(i)
		}
	}
	return Method(len(methods) - 1)
}

// seriesKey names one route's series towards one service.
type seriesKey struct{ route, service string }

// Route holds the series of one route and service. Those that see no traffic cost
// nothing: each is made at its first use.
type Route struct {
	key     seriesKey
	reasons []string

	requests  atomic.Pointer[[]codeCounter]
	durations atomic.Pointer[Histogram]
	errors    atomic.Pointer[[]atomic.Uint64]
	received  atomic.Pointer[Counter]
	sent      atomic.Pointer[Counter]
	calls     atomic.Pointer[callCounters]
	grow      sync.Mutex

	// users counts those who hold the series; shown says that it was shown since
	// nobody did. Guarded by Downstream.mu.
	users int
	shown bool
}

// codeCounter is the counter of one listener, method and status.
type codeCounter struct {
	listener *Listener
	method   Method
	code     uint16
	n        *Counter
}

// Sample is one finished request.
type Sample struct {
	Listener *Listener
	Shard    Shard
	Method   Method
	// Code is the status sent, 499 when the client left before it.
	Code int
	// Reason is the index of the reason for an answer of usher's own, -1 for none.
	Reason   int
	Duration time.Duration
	// Received and Sent are the bytes of the bodies.
	Received, Sent uint64
	// Call is how a call of gRPC ended; the zero value: it is none.
	Call Call
	// Trace is the ID of the trace that was recorded of it, for an exemplar; zero: none was.
	Trace [16]byte
}

// Count counts one finished request. It may be called from any goroutine.
func (r *Route) Count(s *Sample) {
	r.counter(s.Listener, s.Method, uint16(s.Code)).Add(s.Shard, 1)
	durations := lazy(&r.durations, &r.grow, newDurations)
	durations.Observe(s.Shard, s.Duration)
	if s.Trace != [16]byte{} {
		durations.Exemplify(s.Trace, s.Duration, time.Now())
	}
	if s.Received > 0 {
		lazy(&r.received, &r.grow, NewCounter).Add(s.Shard, s.Received)
	}
	if s.Sent > 0 {
		lazy(&r.sent, &r.grow, NewCounter).Add(s.Shard, s.Sent)
	}
	if s.Reason >= 0 {
		r.countError(s.Reason)
	}
	if s.Call > 0 {
		r.countCall(s.Shard, s.Call)
	}
}

// total is the number of requests counted.
func (r *Route) total() (n uint64) {
	if list := r.requests.Load(); list != nil {
		for _, c := range *list {
			n += c.n.Value()
		}
	}
	return n
}

func (r *Route) countError(reason int) {
	cells := r.errors.Load()
	if cells == nil {
		fresh := make([]atomic.Uint64, len(r.reasons))
		r.errors.CompareAndSwap(nil, &fresh)
		cells = r.errors.Load()
	}
	(*cells)[reason].Add(1)
}

// counter finds the counter of a listener, method and status, in the few that a
// route ever has.
func (r *Route) counter(l *Listener, m Method, code uint16) *Counter {
	if list := r.requests.Load(); list != nil {
		for i := range *list {
			if c := &(*list)[i]; c.code == code && c.method == m && c.listener == l {
				return c.n
			}
		}
	}
	return r.addCounter(l, m, code)
}

// addCounter puts a new list in place of the old one, which readers may hold.
func (r *Route) addCounter(l *Listener, m Method, code uint16) *Counter {
	r.grow.Lock()
	defer r.grow.Unlock()
	var old []codeCounter
	if list := r.requests.Load(); list != nil {
		old = *list
	}
	for _, c := range old {
		if c.listener == l && c.method == m && c.code == code {
			return c.n
		}
	}
	c := codeCounter{l, m, code, NewCounter()}
	list := append(append(make([]codeCounter, 0, len(old)+1), old...), c)
	r.requests.Store(&list)
	return c.n
}

// lazy returns what p points to, making it once.
func lazy[T any](p *atomic.Pointer[T], mu *sync.Mutex, fresh func() *T) *T {
	if v := p.Load(); v != nil {
		return v
	}
	mu.Lock()
	defer mu.Unlock()
	if p.Load() == nil {
		p.Store(fresh())
	}
	return p.Load()
}

func newDurations() *Histogram { return NewHistogram(durationBounds) }

var durationBounds = []time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
	30 * time.Second,
}

package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"usher/metrics"
	"usher/proxy/wire"
	"usher/routetable"
)

// idleLimit is how long a connection may wait in a pool for its next request.
const idleLimit = 55 * time.Second

// Pool holds the idle connections to one endpoint. Its methods may be called from
// any goroutine.
type Pool struct {
	owner    *Pools
	endpoint *routetable.Endpoint
	dialer   *wire.Dialer
	series   *metrics.Connections
	// tls is how TLS is begun, nil: it is not; unusable is why it cannot be.
	tls      *tls.Config
	unusable error
	open     atomic.Int64
	// shared are the sessions of an endpoint that speaks HTTP/2. Nil: each connection
	// carries one request at a time.
	shared *shared

	mu   sync.Mutex
	idle []*Conn
	// places counts the connections, those being made included. maxOpen bounds it (0: it
	// does not), maxPending bounds waiting.
	places, maxOpen, maxPending int
	// waiting are those in the queue, first come first. While somebody is, no connection
	// is idle and no place is free.
	waiting []*Pending
	retired bool
	// told are the causes of refused certificates that were logged.
	told map[string]bool
	// users counts the clusters that hold the pool. Guarded by Pools.mu.
	users int
}

// Get returns a connection: an idle one, unless fresh, else a new one, made within
// timeout. The error is of kind Connect, or Full when all connections the endpoint may
// have are in use: then Queue. An idle one may be stale, which its first read tells
// (ErrStale), or Alive.
func (p *Pool) Get(fresh bool, timeout time.Duration) (*Conn, *Error) {
	return p.get(fresh, nil, timeout)
}

func (p *Pool) get(fresh bool, preface []byte, timeout time.Duration) (*Conn, *Error) {
	if p.shared != nil {
		return p.shared.get(fresh, timeout)
	}
	c, ok := p.claim(fresh)
	switch {
	case c != nil:
		c.begin()
		return c, nil
	case !ok:
		p.series.Exhausted()
		return nil, fullError()
	default:
		return p.dial(preface, timeout)
	}
}

// Full says whether all connections that the endpoint may have are in use.
func (p *Pool) Full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shared != nil && p.shared.hasRoom() {
		return false
	}
	return len(p.idle) == 0 && !p.room()
}

// claim takes the idle connection used last, or, with nil, the place for a new one; ok
// says whether there was either. A fresh one takes the place of the connection idle
// for longest if need be.
func (p *Pool) claim(fresh bool) (c *Conn, ok bool) {
	p.mu.Lock()
	if len(p.idle) > 0 && !fresh {
		c = p.pop()
		p.mu.Unlock()
		return c, true
	}
	var oldest *Conn
	switch {
	case p.room():
	case len(p.idle) > 0:
		oldest = p.idle[0]
		p.idle = append(p.idle[:0], p.idle[1:]...)
	default:
		p.mu.Unlock()
		return nil, false
	}
	p.places++
	p.mu.Unlock()
	if oldest != nil {
		oldest.Close()
	}
	return nil, true
}

// room says whether one more connection may be made. The caller holds p.mu.
func (p *Pool) room() bool { return p.maxOpen <= 0 || p.places < p.maxOpen }

// pop takes the idle connection used last. The caller holds p.mu.
func (p *Pool) pop() *Conn {
	n := len(p.idle)
	c := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return c
}

// bound sets how many connections there may be, and how many may wait for one. Those
// above the bound close after use.
func (p *Pool) bound(maxOpen, maxPending int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.maxOpen, p.maxPending = maxOpen, maxPending
	if p.shared != nil {
		p.shared.shrink()
	}
	p.serveQueue()
}

// dial makes a connection, for which the caller has a place. One that begins with a
// preface serves nobody after its first user.
func (p *Pool) dial(preface []byte, timeout time.Duration) (*Conn, *Error) {
	if p.shared != nil {
		return p.shared.dial(timeout)
	}
	begin := time.Now()
	c, err := p.connect(preface, timeout)
	if err != nil {
		p.vacate()
		p.failed(err)
		return nil, &Error{Kind: Connect, Err: err}
	}
	p.series.Opened(time.Since(begin))
	p.open.Add(1)
	p.owner.sweeper.Add(&c.Watch, c)
	c.begin()
	return c, nil
}

// connect connects, sends the preface and begins TLS, all within timeout.
func (p *Pool) connect(preface []byte, timeout time.Duration) (*Conn, error) {
	if p.unusable != nil {
		return nil, p.unusable
	}
	ctx, begin := p.owner.dialing(), time.Now()
	tcp, err := p.dialer.Dial(ctx, timeout)
	if err != nil {
		return nil, err
	}
	c, err := newConn(p, tcp)
	if err == nil && len(preface) > 0 {
		c.told = true
		_, err = tcp.Write(preface) // there is room for it in a new socket
	}
	if err == nil && p.tls != nil {
		ctx, cancel := context.WithDeadline(ctx, begin.Add(timeout))
		err = c.shakeHands(ctx, p.tls)
		cancel()
	}
	if err != nil {
		_ = tcp.Close()
		return nil, err
	}
	return c, nil
}

// failed counts a connection that could not be made. What is wrong with a certificate
// is logged, each cause once.
func (p *Pool) failed(err error) {
	if errors.Is(err, context.Canceled) {
		return // by usher, which stops
	}
	why := cause(err)
	var ne net.Error
	switch {
	case why != "":
		p.series.Failed(metrics.ConnectCertificate)
		p.tell(why, err)
	case errors.As(err, &ne) && ne.Timeout():
		p.series.Failed(metrics.ConnectTimeout)
	case errors.Is(err, errHandshake), errors.Is(err, errNotHTTP2):
		p.series.Failed(metrics.ConnectHandshake)
	case errors.Is(err, syscall.ECONNREFUSED):
		p.series.Failed(metrics.ConnectRefused)
	default:
		p.series.Failed(metrics.ConnectOther)
	}
}

// tell logs why a certificate is not accepted, unless it has.
func (p *Pool) tell(why string, err error) {
	p.mu.Lock()
	again := p.told[why]
	if p.told == nil {
		p.told = map[string]bool{}
	}
	p.told[why] = true
	p.mu.Unlock()
	if !again {
		p.owner.log.Warn("endpoint's certificate is not accepted", "service", p.endpoint.Service.Service,
			"instance", p.endpoint.ID, "address", p.endpoint.Address, "err", err)
	}
}

// put takes an idle connection back.
func (p *Pool) put(c *Conn) {
	if p.shared != nil {
		p.shared.put(c)
		return
	}
	c.idleSince = p.owner.sweeper.Recent()
	p.mu.Lock()
	surplus := p.retired || (p.maxOpen > 0 && p.places > p.maxOpen)
	if !surplus {
		p.idle = append(p.idle, c)
		if len(p.waiting) > 0 {
			p.serveQueue()
		}
	}
	p.mu.Unlock()
	if surplus {
		c.Close()
	}
}

// closed notes the end of a connection.
func (p *Pool) closed() {
	p.open.Add(-1)
	p.series.Closed()
	p.vacate()
}

// vacate gives up the place of a connection.
func (p *Pool) vacate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.places--
	p.serveQueue()
}

// retire closes the idle connections; those in use close when they are put back.
func (p *Pool) retire() {
	p.mu.Lock()
	p.retired = true
	idle := p.idle
	p.idle = nil
	if p.shared != nil {
		p.shared.leave()
	}
	p.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
}

// expire closes the connections idle since before then, and those whose peer has
// closed them.
func (p *Pool) expire(then int64) {
	if p.shared != nil {
		p.shared.expire(then)
		return
	}
	p.mu.Lock()
	var out []*Conn
	kept := p.idle[:0]
	for _, c := range p.idle {
		if c.idleSince < then || !c.Alive() {
			out = append(out, c)
		} else {
			kept = append(kept, c)
		}
	}
	clear(p.idle[len(kept):])
	p.idle = kept
	p.mu.Unlock()
	for _, c := range out {
		c.Close()
	}
}

package upstream

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"usher/proxy/wire"
	"usher/routetable"
)

// idleLimit is how long a connection may wait in a pool for its next request.
const idleLimit = 55 * time.Second

// Pool holds the idle connections to one endpoint. Its methods may be called from
// any goroutine.
type Pool struct {
	owner   *Pools
	address string
	open    atomic.Int64

	mu      sync.Mutex
	idle    []*Conn
	retired bool
	// users counts the clusters that hold the pool. Guarded by Pools.mu.
	users int
}

// Get returns a connection: an idle one, unless fresh, else a new one, made within
// timeout. The error is of kind Connect. An idle one may be stale, which its first
// read tells (ErrStale), or Alive.
func (p *Pool) Get(fresh bool, timeout time.Duration) (*Conn, *Error) {
	if !fresh {
		if c := p.take(); c != nil {
			c.begin()
			return c, nil
		}
	}
	return p.dial(timeout)
}

// take takes the idle connection used last, nil when there is none.
func (p *Pool) take() *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	c := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return c
}

func (p *Pool) dial(timeout time.Duration) (*Conn, *Error) {
	d := net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second}
	nc, err := d.DialContext(p.owner.dialing(), "tcp", p.address)
	if err != nil {
		return nil, &Error{Kind: Connect, Err: err}
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil, &Error{Kind: Connect, Err: errors.New("not a TCP connection")}
	}
	c, err := newConn(p, tcp)
	if err != nil {
		_ = tcp.Close()
		return nil, &Error{Kind: Connect, Err: err}
	}
	p.open.Add(1)
	c.begin()
	return c, nil
}

// put takes an idle connection back.
func (p *Pool) put(c *Conn) {
	c.idleSince = p.owner.sweeper.Now()
	p.mu.Lock()
	retired := p.retired
	if !retired {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if retired {
		c.Close()
	}
}

// retire closes the idle connections; those in use close when they are put back.
func (p *Pool) retire() {
	p.mu.Lock()
	p.retired = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
}

// expire closes the connections idle since before then, and those whose peer has
// closed them.
func (p *Pool) expire(then int64) {
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

// Pools holds the pool of each endpoint, by its State: an endpoint that stays
// from table to table keeps its connections.
type Pools struct {
	sweeper *wire.Sweeper
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{}

	mu    sync.Mutex
	pools map[*routetable.State]*Pool
	// dials is the context of the connects under way.
	dials       context.Context
	cancelDials context.CancelFunc
}

// NewPools returns empty Pools and starts their goroutine; Close ends it.
func NewPools(sweeper *wire.Sweeper) *Pools {
	ctx, cancel := context.WithCancel(context.Background())
	ps := &Pools{
		sweeper: sweeper, ctx: ctx, cancel: cancel, done: make(chan struct{}),
		pools: map[*routetable.State]*Pool{},
	}
	ps.dials, ps.cancelDials = context.WithCancel(ctx)
	go ps.run()
	return ps
}

func (ps *Pools) dialing() context.Context {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.dials
}

// CancelDials ends the connects under way.
func (ps *Pools) CancelDials() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.cancelDials()
	ps.dials, ps.cancelDials = context.WithCancel(ps.ctx)
}

// Acquire returns the pool of an endpoint for one more user, made at first.
func (ps *Pools) Acquire(e *routetable.Endpoint) *Pool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.pools[e.State]
	if p == nil {
		p = &Pool{owner: ps, address: e.Address}
		ps.pools[e.State] = p
	}
	p.users++
	return p
}

// Release takes a user's hold on the endpoint's pool away. Without the last one the
// pool is retired: its idle connections close at once, the others after use.
func (ps *Pools) Release(e *routetable.Endpoint) {
	ps.mu.Lock()
	p := ps.pools[e.State]
	p.users--
	last := p.users == 0
	if last {
		delete(ps.pools, e.State)
	}
	ps.mu.Unlock()
	if last {
		p.retire()
	}
}

// Open is the number of connections open, idle ones included.
func (ps *Pools) Open() (n int64) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.pools {
		n += p.open.Load()
	}
	return n
}

// run closes idle connections in time.
func (ps *Pools) run() {
	defer close(ps.done)
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ps.ctx.Done():
			return
		case <-t.C:
			ps.expire(ps.sweeper.Now() - int64(idleLimit))
		}
	}
}

func (ps *Pools) expire(then int64) {
	ps.mu.Lock()
	pools := make([]*Pool, 0, len(ps.pools))
	for _, p := range ps.pools {
		pools = append(pools, p)
	}
	ps.mu.Unlock()
	for _, p := range pools {
		p.expire(then)
	}
}

// Close closes all idle connections and ends the goroutine. Connections in use
// close when they are put back.
func (ps *Pools) Close() {
	ps.cancel()
	<-ps.done
	ps.mu.Lock()
	pools := ps.pools
	ps.pools = map[*routetable.State]*Pool{}
	ps.mu.Unlock()
	for _, p := range pools {
		p.retire()
	}
}

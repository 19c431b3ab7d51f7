package upstream

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"usher/config"
	"usher/metrics"
	"usher/proxy/wire"
	"usher/routetable"
)

// Pools holds the pool of each endpoint, by its State and how it is spoken to: an
// endpoint that stays from table to table keeps its connections.
type Pools struct {
	sweeper *wire.Sweeper
	log     *slog.Logger
	metrics *metrics.Upstream
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{}
	meshes  meshes

	mu    sync.Mutex
	pools map[poolKey]*Pool
	// files are the certificates that pools use.
	files map[config.PEM]*pemFiles
	// dials is the context of the connects under way.
	dials       context.Context
	cancelDials context.CancelFunc
}

// poolKey is an endpoint and how it is spoken to; without secure, tls is zero.
type poolKey struct {
	state         *routetable.State
	secure, http2 bool
	tls           routetable.TLS
}

func keyOf(e *routetable.Endpoint) poolKey {
	key := poolKey{state: e.State, http2: e.HTTP2}
	if e.TLS != nil {
		key.secure, key.tls = true, *e.TLS
	}
	return key
}

// NewPools returns empty Pools and starts their goroutine; Close ends it.
func NewPools(sweeper *wire.Sweeper) *Pools {
	ctx, cancel := context.WithCancel(context.Background())
	ps := &Pools{
		sweeper: sweeper, log: slog.New(slog.DiscardHandler), metrics: metrics.NewUpstream(),
		ctx: ctx, cancel: cancel, done: make(chan struct{}),
		pools: map[poolKey]*Pool{}, files: map[config.PEM]*pemFiles{},
	}
	ps.dials, ps.cancelDials = context.WithCancel(ctx)
	go ps.run()
	return ps
}

// Report makes the pools log to log and count in m; without it nothing is logged, and
// what is counted is shown nowhere. It comes before the first Acquire.
func (ps *Pools) Report(log *slog.Logger, m *metrics.Upstream) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.log, ps.metrics = log, m
	m.IdleFrom(ps.idle)
}

func (ps *Pools) dialing() context.Context {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.dials
}

// CancelDials ends the connects under way, and the waits for a connection.
func (ps *Pools) CancelDials() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.cancelDials()
	ps.dials, ps.cancelDials = context.WithCancel(ps.ctx)
}

// Acquire returns the pool of an endpoint for one more user, made at first. The bounds
// of the endpoint acquired last are in force.
func (ps *Pools) Acquire(e *routetable.Endpoint) *Pool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	key := keyOf(e)
	p := ps.pools[key]
	if p == nil {
		p = ps.newPool(e)
		ps.pools[key] = p
	}
	p.users++
	p.bound(e.MaxConnections, e.MaxPending)
	return p
}

// newPool makes the pool of an endpoint. The caller holds ps.mu.
func (ps *Pools) newPool(e *routetable.Endpoint) *Pool {
	p := &Pool{
		owner: ps, endpoint: e, dialer: wire.NewDialer(e.Address), series: ps.metrics.Acquire(e.Service.Service),
	}
	if e.HTTP2 {
		p.shared = &shared{pool: p}
	}
	if e.TLS == nil {
		return p
	}
	files := ps.files[e.TLS.PEM]
	if files == nil {
		if files, p.unusable = parsePEM(e.TLS.PEM); p.unusable != nil {
			return p
		}
		ps.files[e.TLS.PEM] = files
	}
	files.users++
	p.tls = clientConfig(e.TLS, files, e.HTTP2)
	return p
}

// Release takes a user's hold on the endpoint's pool away. Without the last one the
// pool is retired: its idle connections close at once, the others after use.
func (ps *Pools) Release(e *routetable.Endpoint) {
	ps.mu.Lock()
	p := ps.pools[keyOf(e)]
	p.users--
	last := p.users == 0
	if last {
		delete(ps.pools, keyOf(e))
		ps.forget(p)
	}
	ps.mu.Unlock()
	if last {
		p.retire()
	}
}

// forget gives up what a pool shares with others. The caller holds ps.mu.
func (ps *Pools) forget(p *Pool) {
	ps.metrics.Release(p.series)
	if p.tls == nil {
		return
	}
	pem := p.endpoint.TLS.PEM
	if ps.files[pem].users--; ps.files[pem].users == 0 {
		delete(ps.files, pem)
	}
}

// Open is the number of connections open, idle ones included.
func (ps *Pools) Open() (n int64) {
	for _, p := range ps.all() {
		n += p.open.Load()
	}
	return n
}

// idle is the number of idle connections of each service.
func (ps *Pools) idle() map[*metrics.Connections]int64 {
	out := map[*metrics.Connections]int64{}
	for _, p := range ps.all() {
		p.mu.Lock()
		out[p.series] += int64(len(p.idle))
		if p.shared != nil {
			out[p.series] += p.shared.idle()
		}
		p.mu.Unlock()
	}
	return out
}

func (ps *Pools) all() []*Pool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	pools := make([]*Pool, 0, len(ps.pools))
	for _, p := range ps.pools {
		pools = append(pools, p)
	}
	return pools
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
	for _, p := range ps.all() {
		p.expire(then)
	}
}

// Close closes all idle connections and ends the goroutine. Connections in use
// close when they are put back. It waits for what the idle ones have running.
func (ps *Pools) Close() {
	ps.cancel()
	<-ps.done
	pools := ps.all()
	ps.mu.Lock()
	ps.pools = map[poolKey]*Pool{}
	ps.mu.Unlock()
	for _, p := range pools {
		p.retire()
	}
	for _, p := range pools {
		p.waitIdle()
	}
}

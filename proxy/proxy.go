package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"

	"usher/config"
	"usher/healthcheck"
	"usher/metrics"
	"usher/proxy/core"
	"usher/proxy/upstream"
	"usher/proxy/wire"
	"usher/routetable"
)

// Proxy serves clients by the table last published. Its methods may be called from
// any goroutine, but for Publish.
type Proxy struct {
	core    *core.Core
	pools   *upstream.Pools
	metrics *metrics.Downstream
	limits  *core.Limits
	log     *slog.Logger
	// certificates are those of https listeners.
	certificates Certificates
	handshakes   *metrics.TLS

	cancel context.CancelFunc
	ctx    context.Context
	// tending counts the goroutines that look after all connections.
	tending sync.WaitGroup

	mu sync.Mutex
	// listeners are those bound, by socketOf.
	listeners map[string]*listener
	draining  bool
	// retired are the servers of listeners that were removed or changed, until their
	// connections have ended; retiring counts the goroutines that wait for them.
	retired  map[server]bool
	retiring sync.WaitGroup
}

// New returns a Proxy with an empty table and no listeners.
func New(log *slog.Logger, m *metrics.Downstream, health *healthcheck.Monitor) *Proxy {
	sweeper := wire.NewSweeper()
	pools := upstream.NewPools(sweeper)
	pools.Report(log, m.Upstream)
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{
		core: core.New(sweeper, pools, health, m), pools: pools, metrics: m, log: log,
		limits: core.NewLimits(maxConnections(config.Limits{})),
		ctx:    ctx, cancel: cancel,
		listeners: map[string]*listener{}, retired: map[server]bool{},
	}
	var err error
	if p.core.Poller, err = wire.NewPoller(); err != nil {
		log.Warn("idle connections cannot be parked: each costs more memory", "err", err)
	}
	p.tending.Go(func() { sweeper.Run(ctx) })
	p.tending.Go(func() { p.trim(ctx) })
	return p
}

// Certificates are how the clients of https listeners are met.
type Certificates interface {
	// Config returns the TLS of the listener of that name, as its settings are now. It is
	// called when they are put in force, and the result is the caller's; nil: there are none.
	Config(listener string) *tls.Config
}

// Secure has https listeners use c, and handshakes that fail counted in m. It comes before
// the first Listen.
func (p *Proxy) Secure(c Certificates, m *metrics.TLS) { p.certificates, p.handshakes = c, m }

// Publish puts t, built from the table in use, in force for the requests that begin
// from now on. healthcheck must have adopted it. One goroutine calls it.
func (p *Proxy) Publish(t *routetable.Table) { p.core.Publish(t) }

// Table returns the table in use.
func (p *Proxy) Table() *routetable.Table { return p.core.Table() }

// Remember has a sample of n recent requests remembered from now on; 0: none.
func (p *Proxy) Remember(n int) { p.core.Remember(n) }

// Requests returns the recent requests that are remembered, the oldest first.
func (p *Proxy) Requests() []*core.Sampled { return p.core.Requests() }

// Pools are the connections to the endpoints, for who tells them of service meshes.
func (p *Proxy) Pools() *upstream.Pools { return p.pools }

// Listen makes the listeners those given. A new address that cannot be bound is an
// error, and then nothing has changed. A listener whose settings changed keeps its
// socket: connections already open end after their next response. One that is no
// longer given stops accepting and finishes its requests.
func (p *Proxy) Listen(want []config.Listener) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh, err := p.bindMissing(want)
	if err != nil {
		return err
	}
	p.core.Reserve(config.IdentityHeaders(want))
	keep := map[string]bool{}
	for _, c := range want {
		socket := socketOf(c)
		keep[socket] = true
		if l := fresh[socket]; l != nil {
			p.listeners[socket] = l
			l.start(p.newServer(c, l))
			continue
		}
		if l := p.listeners[socket]; !l.sameSettings(c) {
			p.retire(l.replace(c, p.newServer(c, l)), server.Finish)
		}
	}
	for socket, l := range p.listeners {
		if !keep[socket] {
			delete(p.listeners, socket)
			l.close()
			p.retire(l.current(), func(s server, ctx context.Context) { s.Shutdown(ctx) })
		}
	}
	return nil
}

// socketOf is what tells one socket from another: the address, and where that stands for
// any free port the name of the listener too.
func socketOf(c config.Listener) string {
	if _, port, err := net.SplitHostPort(c.Address); err == nil && strings.Trim(port, "0") == "" {
		return c.Address + " " + c.Name
	}
	return c.Address
}

// bindMissing binds the addresses that are not bound yet, all or none.
func (p *Proxy) bindMissing(want []config.Listener) (map[string]*listener, error) {
	fresh := map[string]*listener{}
	var failed error
	for _, c := range want {
		socket := socketOf(c)
		if p.listeners[socket] != nil {
			continue
		}
		l, err := bind(p.ctx, c, p.log)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		fresh[socket] = l
	}
	if failed != nil {
		for _, l := range fresh {
			l.close()
		}
		return nil, failed
	}
	return fresh, nil
}

// Addresses returns the bound address of each listener by its name.
func (p *Proxy) Addresses() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[string]string, len(p.listeners))
	for _, l := range p.listeners {
		out[l.config.Name] = l.tcp.Addr().String()
	}
	return out
}

// Drain makes each response the last of its connection, while new connections are
// still taken.
func (p *Proxy) Drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draining = true
	for _, l := range p.listeners {
		l.current().Drain()
	}
}

// Undrain ends what Drain began: connections made from now on are kept as usual. Those that
// are open end after what comes next. It does nothing to a Proxy that is not draining.
func (p *Proxy) Undrain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.draining {
		return
	}
	p.draining = false
	for _, l := range p.listeners {
		p.retire(l.replace(l.config, p.newServer(l.config, l)), server.Finish)
	}
}

// Shutdown stops accepting, closes idle connections, lets running requests finish
// and waits for them. When ctx ends it cuts those left and returns their number.
func (p *Proxy) Shutdown(ctx context.Context) (cut int) {
	p.mu.Lock()
	servers := slices.Collect(maps.Keys(p.retired))
	for _, l := range p.listeners {
		l.close()
		servers = append(servers, l.current())
	}
	p.listeners = map[string]*listener{}
	p.mu.Unlock()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, s := range servers {
		wg.Go(func() {
			n := s.Shutdown(ctx)
			mu.Lock()
			cut += n
			mu.Unlock()
		})
	}
	wg.Wait()
	return cut
}

// Close ends everything at once and waits for it.
func (p *Proxy) Close() {
	p.cancel()
	p.Shutdown(p.ctx)
	p.retiring.Wait()
	p.pools.Close()
	p.tending.Wait()
	if p.core.Poller != nil {
		p.core.Poller.Close()
	}
}

// retire ends a server that takes no new connections, in the background. The caller
// holds p.mu.
func (p *Proxy) retire(s server, end func(server, context.Context)) {
	s.Drain()
	p.retired[s] = true
	p.retiring.Go(func() {
		end(s, p.ctx)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.retired, s)
	})
}

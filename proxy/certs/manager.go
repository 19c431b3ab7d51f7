package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"usher/config"
	"usher/metrics"
)

// Options are what a Manager needs. Log and Metrics must be given.
type Options struct {
	Log     *slog.Logger
	Metrics *metrics.TLS
	// Poll is how often files are looked at without being told to. Default 15s.
	Poll time.Duration
}

// Manager follows the sources of certificates and keeps each listener's index. Its methods
// may be called from any goroutine.
type Manager struct {
	log     *slog.Logger
	metrics *metrics.TLS
	poll    time.Duration

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	tickets *tickets
	stapler *stapler
	// extra finds certificates that none of the sources has; nil: nobody does.
	extra atomic.Pointer[Lookup]
	// made is the memory of self-signed certificates.
	made selfSigned
	// notify tells of changed files; nil: they are polled alone.
	notify *fsnotify.Watcher

	mu        sync.Mutex
	kv        KV
	listeners map[string]*listener
	sources   map[place]*source
	// spare are the sources that the last Apply dropped: when it is taken back, because
	// something else of its configuration could not be put in force, nothing is lost.
	spare map[place]*source
	// served are the certificates in use with their staples.
	served map[servedKey]*served
}

// servedKey tells apart what is stapled to one certificate.
type servedKey struct {
	pair *pair
	ocsp config.OCSP
}

var errNoStore = errors.New("there is no key-value store")

// New returns a Manager without listeners. Its goroutines run until Close.
func New(o Options) *Manager {
	m := &Manager{
		log: o.Log, metrics: o.Metrics, poll: cmp.Or(o.Poll, 15*time.Second), tickets: newTickets(),
		listeners: map[string]*listener{}, sources: map[place]*source{}, served: map[servedKey]*served{},
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.stapler = newStapler(m.log, m.metrics)
	var err error
	if m.notify, err = fsnotify.NewWatcher(); err != nil {
		m.notify = nil
		m.log.Warn("changes of certificate files are not told, only looked for", "every", m.poll, "err", err)
	}
	m.running.Go(func() { m.tickets.run(m.ctx) })
	m.running.Go(func() { m.stapler.run(m.ctx) })
	m.running.Go(func() { m.watchFiles(m.ctx) })
	return m
}

// Close ends the Manager's goroutines and waits for them. What it published stays; Apply
// must not be called any more.
func (m *Manager) Close() {
	m.cancel()
	m.running.Wait()
	if m.notify != nil {
		_ = m.notify.Close() // nothing is left to do about it
	}
}

// Apply makes the https listeners those given, by name, and follows what their settings
// name. It reads the files of new sources, and blocks that long; keys are read in the
// background, see Wait. Config then gives the settings in force. Handshakes under way, and
// configurations handed out before, see the new certificates too.
func (m *Manager) Apply(want []config.Listener, kv KV) {
	m.mu.Lock()
	defer m.mu.Unlock()
	restart := kv.ID != m.kv.ID
	m.kv = kv
	keep := map[string]bool{}
	used := map[place]bool{}
	for i := range want {
		c := &want[i]
		if c.Protocol != "https" {
			continue
		}
		keep[c.Name] = true
		for _, p := range m.listener(c).places {
			used[p] = true
		}
	}
	for name, l := range m.listeners {
		l.gone = !keep[name]
	}
	m.follow(used, restart)
	m.publish()
}

// listener takes over the settings of a listener. One that is gone is remembered: it may
// come back, and configurations of before must see what it has then.
func (m *Manager) listener(c *config.Listener) *listener {
	l := m.listeners[c.Name]
	if l == nil {
		l = &listener{manager: m, name: c.Name}
		l.index.Store(&index{})
		m.listeners[c.Name] = l
	}
	l.tls, l.places = c.TLS, places(&c.TLS)
	l.acme.Store(c.TLS.ACME)
	if c.TLS.SelfSigned {
		l.selfSigned.Store(&m.made)
	} else {
		l.selfSigned.Store(nil)
	}
	return l
}

// follow makes the sources those used. Those that go on are left alone, but that another
// key-value store is asked if restart says so.
func (m *Manager) follow(used map[place]bool, restart bool) {
	dropped := map[place]*source{}
	for p, s := range m.sources {
		if s.cancel != nil && (restart || !used[p]) {
			s.cancel()
			s.cancel = nil
		}
		if !used[p] {
			delete(m.sources, p)
			dropped[p] = s
		}
	}
	for p := range used {
		s := m.sources[p]
		if s == nil {
			s = m.begin(p)
		}
		if p.kind == keys && s.cancel == nil {
			m.watchKV(s)
		}
	}
	m.spare = dropped
}

// begin adds a source.
func (m *Manager) begin(p place) *source {
	s := m.spare[p]
	if s == nil {
		s = newSource(p, m.log)
	}
	m.sources[p] = s
	if p.kind != keys {
		m.watch(p.folders()) // before it is read, so that no change is missed
		s.read(time.Now())
	}
	return s
}

// publish puts what the sources have said in force. The caller holds m.mu.
func (m *Manager) publish() {
	old := m.served
	m.served = make(map[servedKey]*served, len(old))
	of := func(p *pair, ocsp config.OCSP) *served {
		if ocsp.Responder == "" {
			ocsp = config.OCSP{}
		}
		key := servedKey{p, ocsp}
		s := cmp.Or(m.served[key], old[key])
		if s == nil {
			s = newServed(p, ocsp)
		}
		m.served[key] = s
		return s
	}
	for _, l := range m.listeners {
		if !l.gone {
			l.publish(m.sources, of, m.log)
		}
	}
	m.stapler.follow(m.served)
	m.show()
}

// show tells the metrics.
func (m *Manager) show() {
	c := metrics.Certificates{NotAfter: map[string]time.Time{}}
	for _, s := range m.sources {
		c.Refused += s.refused()
		for _, p := range s.pairs() {
			c.NotAfter[p.label] = p.cert.Leaf.NotAfter
		}
	}
	m.metrics.Show("listeners", c)
}

// Wait waits until every key-value store has answered once, or ctx ends. Before that
// listeners may lack certificates.
func (m *Manager) Wait(ctx context.Context) {
	m.mu.Lock()
	var waits []chan struct{}
	for p, s := range m.sources {
		if p.kind == keys && s.cancel != nil {
			waits = append(waits, s.answered)
		}
	}
	m.mu.Unlock()
	for _, c := range waits {
		select {
		case <-c:
		case <-ctx.Done():
			return
		}
	}
}

// Use makes f find the certificates that the sources do not have, for listeners with
// tls.acme, before the self-signed ones and the default. Clients that speak nothing but acme-tls/1 are for f alone, and
// before anything else. Nil: nobody is asked.
func (m *Manager) Use(f Lookup) {
	if f == nil {
		m.extra.Store(nil)
	} else {
		m.extra.Store(&f)
	}
}

// Config returns how the clients of a listener are met by the settings last applied, nil
// for one that has none. NextProtos is the caller's to set; acme-tls/1 must be among them
// where Use's function answers it. It may be cloned. Certificates and ticket keys are
// those of the moment of each handshake; of a listener that is gone, those it had last.
func (m *Manager) Config(name string) *tls.Config {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.listeners[name]
	if l == nil || l.gone {
		return nil
	}
	c := newConfig(&l.tls)
	c.GetCertificate = l.certificate
	m.tickets.serve(c)
	if c.ClientAuth == tls.RequireAndVerifyClientCert && l.tls.ACME {
		c.GetConfigForClient = l.forProof(c.Clone())
	}
	return c
}

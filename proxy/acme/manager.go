package acme

import (
	"context"
	"crypto/tls"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"

	"usher/config"
	"usher/metrics"
)

const (
	// checkEvery is how often a certificate is looked after.
	checkEvery = 10 * time.Minute
	// retryFirst is the pause after a first failure of an authority; it doubles up to
	// retryMost. So a name fails five times in an hour, which is what Let's Encrypt takes.
	retryFirst, retryMost = 2 * time.Minute, time.Hour
	// retryStore is the pause where an authority was not even asked.
	retryStore = 10 * time.Second
	// atOnce is how many names are looked after at a time.
	atOnce = 4
	// loadAtOnce is how many certificates are read at a time before that.
	loadAtOnce = 16
)

// Options are what a Manager is made of.
type Options struct {
	// Config is the section of the configuration. Its Domains are not used: see Manage.
	Config config.ACME
	// Store is where certificates are kept; see Files and Shared.
	Store   Store
	Metrics *metrics.ACME
	// TLS shows when the certificates end.
	TLS *metrics.TLS
	Log *slog.Logger
	// Previous is the Manager that this one takes over from: its certificates are served
	// until there are new ones. Nil: none.
	Previous *Manager
	// CheckEvery and Retry are checkEvery and the pauses after failures, where they are
	// not 0.
	CheckEvery, Retry time.Duration
}

// Manager holds certificates for names. Its methods may be called from any goroutine.
type Manager struct {
	log                      *slog.Logger
	metrics                  *metrics.ACME
	tls                      *metrics.TLS
	every, retry, retryStore time.Duration

	cache      *certmagic.Cache
	magic      *certmagic.Config
	issuer     *issuer
	challenges *challenges

	// served are the certificates by their names; the map is replaced, never changed.
	served atomic.Pointer[map[string]*tls.Certificate]

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	// turns bounds what is done at a time.
	turns chan struct{}

	mu sync.Mutex
	// names are those looked after, with what ends that.
	names map[string]context.CancelFunc
}

// New returns a Manager that looks after no name yet. Close must be called. The error is
// one of Options.Config.CARoots.
func New(o Options) (*Manager, error) {
	client, err := newHTTPClient(o.Config.CARoots)
	if err != nil {
		return nil, err
	}
	m := &Manager{
		log: o.Log, metrics: o.Metrics, tls: o.TLS, every: checkEvery, retry: retryFirst, retryStore: retryStore,
		turns: make(chan struct{}, atOnce), names: map[string]context.CancelFunc{},
	}
	if o.CheckEvery > 0 {
		m.every = o.CheckEvery
	}
	if o.Retry > 0 {
		m.retry, m.retryStore = o.Retry, o.Retry
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.challenges = newChallenges(o.Store)
	m.issuer = &issuer{
		conf: o.Config, store: o.Store, http: client, challenges: m.challenges, stored: m.cached,
		log: slog.New(quiet{o.Log.Handler()}),
	}
	served := map[string]*tls.Certificate{}
	if o.Previous != nil {
		served = *o.Previous.served.Load()
	}
	m.served.Store(&served)
	m.useCertmagic(o.Store)
	return m, nil
}

// useCertmagic makes the parts of certmagic. Its cache is stopped at once: it would look
// after certificates in goroutines of its own.
func (m *Manager) useCertmagic(store Store) {
	logger := zapLogger(m.log)
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return m.magic, nil },
		RenewCheckInterval: m.every,
		Logger:             logger,
	})
	m.cache.Stop()
	m.magic = certmagic.New(m.cache, certmagic.Config{
		Issuers: []certmagic.Issuer{m.issuer}, Storage: store, OnEvent: m.onEvent, Logger: logger,
		// It asks the responder with a client that nobody closes.
		OCSP: certmagic.OCSPConfig{DisableStapling: true},
	})
}

// onEvent counts and logs what became of a certificate. certmagic calls it in the
// goroutine of the name.
func (m *Manager) onEvent(_ context.Context, event string, data map[string]any) error {
	renewal, _ := data["renewal"].(bool)
	switch event {
	case "cert_obtained":
		result := metrics.ACMEObtained
		if renewal {
			result = metrics.ACMERenewed
		}
		m.metrics.Asked(result)
		m.log.Info("certificate "+result.String(), "domain", data["identifier"], "issuer", data["issuer"])
	case "cert_failed":
		m.metrics.Asked(metrics.ACMEFailed)
	}
	return nil
}

// Load serves, of names in lower case, the certificates that the store has, and returns
// when all are read or ctx ends. It is for the time before Manage, and asks no authority.
func (m *Manager) Load(ctx context.Context, names []string) {
	var loading sync.WaitGroup
	turns := make(chan struct{}, loadAtOnce)
	var mu sync.Mutex
	served := maps.Clone(*m.served.Load())
	for _, name := range names {
		turns <- struct{}{}
		loading.Go(func() {
			defer func() { <-turns }()
			if ctx.Err() != nil {
				return
			}
			if c, err := m.magic.CacheManagedCertificate(ctx, name); err == nil {
				mu.Lock()
				defer mu.Unlock()
				served[name] = &c.Certificate
			}
		})
	}
	loading.Wait()
	m.serve(served)
	m.log.Info("certificates loaded", "count", len(served), "domains", len(names))
}

// Manage makes names, in lower case, those that are looked after. The certificates of
// others are no longer served. It does not wait for any certificate.
func (m *Manager) Manage(names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() != nil {
		return
	}
	wanted := make(map[string]bool, len(names))
	for _, name := range names {
		wanted[name] = true
		if m.names[name] == nil {
			ctx, cancel := context.WithCancel(m.ctx)
			m.names[name] = cancel
			m.running.Go(func() { m.keep(ctx, name) })
		}
	}
	for name, cancel := range m.names {
		if !wanted[name] {
			cancel()
			delete(m.names, name)
		}
	}
	served := map[string]*tls.Certificate{}
	for name, cert := range *m.served.Load() {
		if wanted[name] {
			served[name] = cert
		}
	}
	m.serve(served)
}

// Close ends what is under way and waits for it. Certificates are served on.
func (m *Manager) Close() {
	m.cancel()
	m.running.Wait()
	if t, ok := m.issuer.http.Transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

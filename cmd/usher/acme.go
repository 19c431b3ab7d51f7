package main

import (
	"context"
	"crypto/tls"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"usher/config"
	"usher/metrics"
	"usher/proxy/acme"
	"usher/watcher/consul"
)

// loadTime bounds how long the start, or a reload, waits for the certificates that the
// store has.
const loadTime = 5 * time.Second

// obtained are the certificates that usher gets by itself. GetCertificate is for any
// goroutine, the rest for the one that applies configurations.
type obtained struct {
	app *app
	now atomic.Pointer[obtainer]
}

// obtainer is a manager and what it was made of.
type obtainer struct {
	settings
	*acme.Manager
	closeStore func()
}

// settings are what a manager is made of, but for its names.
type settings struct {
	acme   config.ACME
	consul config.Consul
}

// GetCertificate answers a handshake; see acme.Manager. Nil without an error: usher has
// obtained none for it.
func (c *obtained) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if o := c.now.Load(); o != nil {
		return o.GetCertificate(hello)
	}
	return nil, nil //nolint:nilnil // the next source of certificates is asked
}

// prepare makes the obtainer of a configuration, which holds what the store has, or
// returns the one in use where that will do; nil: there is nothing to obtain. It changes
// nothing yet: use does, or drop.
func (c *obtained) prepare(ctx context.Context, cfg *config.Config) (*obtainer, error) {
	if !cfg.ACME.Enabled() {
		return nil, nil //nolint:nilnil // nothing to obtain is no error
	}
	s, now := settingsOf(cfg), c.now.Load()
	if now != nil && reflect.DeepEqual(s, now.settings) {
		return now, nil
	}
	o := &obtainer{settings: s, closeStore: func() {}}
	store := acme.Files(s.acme.Storage.Path)
	if s.acme.Storage.Type == config.ACMEConsul {
		kv, err := consul.NewKV(s.consul, s.acme.Storage.Prefix, c.app.log.Logger)
		if err != nil {
			return nil, err
		}
		store, o.closeStore = acme.Shared(kv), kv.Close
	}
	options := acme.Options{
		Config: s.acme, Store: store, Metrics: c.app.metrics.ACME, TLS: c.app.metrics.TLS, Log: c.app.log.Logger,
	}
	if now != nil {
		options.Previous = now.Manager
	}
	var err error
	if o.Manager, err = acme.New(options); err != nil {
		o.closeStore()
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, loadTime)
	defer cancel()
	o.Load(ctx, cfg.ACME.Domains)
	return o, nil
}

// use puts an obtainer in the place of the one in use.
func (c *obtained) use(o *obtainer) {
	if old := c.now.Swap(o); old != o {
		old.end()
	}
}

// drop ends an obtainer that prepare has returned, unless it is in use.
func (c *obtained) drop(o *obtainer) {
	if o != c.now.Load() {
		o.end()
	}
}

// obtain begins to look after the names of a configuration. The listeners that answer an
// authority must be bound.
func (c *obtained) obtain(cfg *config.Config) {
	o := c.now.Load()
	if o == nil {
		c.app.proxy.Answer(nil)
		c.app.metrics.TLS.Show(acme.MetricsSource, metrics.Certificates{})
		return
	}
	c.app.proxy.Answer(o.Challenge)
	o.Manage(cfg.ACME.Domains)
}

// close ends what is under way. Handshakes are answered as before.
func (c *obtained) close() { c.now.Load().end() }

func (o *obtainer) end() {
	if o != nil {
		o.Close()
		o.closeStore()
	}
}

// settingsOf returns what a manager is made of. A challenge that no listener answers is
// none to be asked.
func settingsOf(cfg *config.Config) settings {
	s := settings{acme: cfg.ACME}
	s.acme.Domains = nil
	s.acme.Challenges = slices.DeleteFunc(slices.Clone(cfg.ACME.Challenges), func(name string) bool {
		return !slices.ContainsFunc(cfg.Listeners, func(l config.Listener) bool { return answers(l, name) })
	})
	for _, r := range cfg.Registries {
		if r.Consul != nil && r.Name == cfg.ACME.Storage.Registry && cfg.ACME.Storage.Type == config.ACMEConsul {
			s.consul = *r.Consul
		}
	}
	return s
}

// answers says whether a listener can answer a challenge.
func answers(l config.Listener, challenge string) bool {
	if challenge == config.ChallengeTLSALPN01 {
		return l.TLS.ACME
	}
	return l.Protocol == "http"
}

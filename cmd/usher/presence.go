package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"usher/config"
	"usher/routetable"
	"usher/watcher/consul"
)

// presence is what usher has in one Consul: its own service, the canary, or both.
type presence struct {
	registry string
	// spec is what it was made from, service the ID of usher's own service.
	spec, service string
	registration  *consul.Registration
	canary        *consul.Canary
	// missed is what the canary's counter was counted up to; the build goroutine's.
	missed uint64

	cancel  context.CancelFunc
	running sync.WaitGroup
}

// leaveTimeout bounds each step of leaving a registry: it may be away itself.
const leaveTimeout = 2 * time.Second

// register makes what usher has in the registries what the configuration says. It
// waits for no registry.
func (a *app) register(cfg *config.Config) {
	a.presenceMu.Lock()
	defer a.presenceMu.Unlock()
	now := map[string]*presence{}
	for _, r := range cfg.Registries {
		if r.Consul == nil || (r.Consul.Register.Name == "" && !cfg.Discovery.Canary) {
			continue
		}
		old := a.present[r.Name]
		p, err := a.newPresence(cfg, r.Name, *r.Consul)
		switch {
		case err != nil:
			a.log.Error("cannot register usher", "registry", r.Name, "err", err)
			continue
		case old != nil && old.spec == p.spec:
			now[r.Name] = old
			continue
		}
		now[r.Name] = p
		p.start(old, a.log.Logger)
	}
	for name, old := range a.present {
		if now[name] == nil {
			a.running.Go(func() { old.leave(a.log.Logger) })
		}
	}
	a.present = now
	list := slices.Collect(maps.Values(now))
	a.presences.Store(&list)
}

// newPresence makes what usher has in one registry; nothing runs yet.
func (a *app) newPresence(cfg *config.Config, registry string, conf config.Consul) (p *presence, err error) {
	self := a.self(cfg, &conf)
	p = &presence{
		registry: registry, service: self.ID,
		spec: fmt.Sprintf("%+v %+v %s %d %s", conf, cfg.Discovery, self.ID, self.Port, self.CheckURL),
	}
	if conf.Register.Name != "" {
		if p.registration, err = consul.NewRegistration(conf, self, a.log.Logger); err != nil {
			return nil, err
		}
	}
	if cfg.Discovery.Canary {
		p.canary, err = consul.NewCanary(conf, self.ID, cfg.Discovery.CanaryInterval, a.log.Logger)
		a.metrics.Discovery.TrackCanary(registry)
	}
	return p, err
}

// start registers usher, and its canary, after what was there before has ended.
func (p *presence) start(before *presence, log *slog.Logger) {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.running.Go(func() {
		if before != nil {
			before.giveWay(p, log)
		}
		var both sync.WaitGroup
		defer both.Wait()
		if p.registration != nil {
			both.Go(func() { p.registration.Run(ctx) })
		}
		if p.canary != nil {
			both.Go(func() { p.canary.Run(ctx) })
		}
	})
}

// giveWay ends a presence for its successor. The same service is not taken out in
// between: the successor's registration replaces it.
func (p *presence) giveWay(to *presence, log *slog.Logger) {
	if to.registration != nil && to.service == p.service {
		p.cancel()
		p.running.Wait()
		return
	}
	p.leave(log)
}

// leave takes usher out of a registry.
func (p *presence) leave(log *slog.Logger) {
	if p.registration != nil {
		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		if err := p.registration.Deregister(ctx); err != nil {
			log.Warn("usher stays registered", "registry", p.registry, "err", err)
		}
		cancel()
	}
	p.cancel()
	p.running.Wait()
}

// self is how usher describes itself to a registry.
func (a *app) self(cfg *config.Config, conf *config.Consul) consul.Self {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	s := consul.Self{CheckURL: a.readyURL(), Ready: func() (bool, string) {
		ok, why := a.Ready()
		if ok {
			why = "ready"
		}
		return ok, why
	}}
	addresses := a.proxy.Addresses()
	for _, l := range cfg.Listeners {
		if _, port, err := net.SplitHostPort(addresses[l.Name]); err == nil {
			s.Port, _ = strconv.Atoi(port)
			break
		}
	}
	name := conf.Register.Name
	if name == "" {
		name = "usher"
	}
	s.ID = strings.ReplaceAll(fmt.Sprintf("%s-%s-%d", name, host, s.Port), "/", "-")
	return s
}

// readyURL is where the agent, which runs beside usher, asks for readiness.
func (a *app) readyURL() string {
	address := a.telemetry.Address()
	if address == nil {
		address = a.admin.Address()
	}
	if address == nil || address.Network() == "unix" { // the agent asks no sockets in files
		return ""
	}
	host, port, err := net.SplitHostPort(address.String())
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + "/readyz"
}

// announceDrain tells the registries that usher goes, so that others stop sending.
func (a *app) announceDrain() {
	a.eachPresence(func(p *presence) {
		if p.registration == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		defer cancel()
		if err := p.registration.Maintenance(ctx, "usher is draining"); err != nil {
			a.log.Warn("the registry does not know that usher drains", "registry", p.registry, "err", err)
		}
	})
}

// leaveRegistries takes usher out of all registries.
func (a *app) leaveRegistries() {
	a.eachPresence(func(p *presence) { p.leave(a.log.Logger) })
	a.presenceMu.Lock()
	defer a.presenceMu.Unlock()
	clear(a.present)
}

// eachPresence calls f for each, all at once, and waits.
func (a *app) eachPresence(f func(*presence)) {
	a.presenceMu.Lock()
	var all sync.WaitGroup
	for _, p := range a.present {
		all.Go(func() { f(p) })
	}
	a.presenceMu.Unlock()
	all.Wait()
}

// observeCanaries looks, after a table is published, for the canaries' changes in it.
// The build goroutine calls it.
func (a *app) observeCanaries(t *routetable.Table) {
	list := a.presences.Load()
	if list == nil {
		return
	}
	for _, p := range *list {
		if p.canary == nil {
			continue
		}
		if took, ok := p.canary.Observe(func(host string) bool { return routes(t, host) }); ok {
			a.metrics.Discovery.CanarySeen(p.registry, took)
		}
		if missed := p.canary.Missed(); missed > p.missed {
			a.metrics.Discovery.CanaryMissed(p.registry, missed-p.missed)
			p.missed = missed
		}
	}
}

// routes says whether a table has a route for the root of a host.
func routes(t *routetable.Table, host string) bool {
	return t.Match(&routetable.Request{
		Host: []byte(host), HostPort: []byte(host), Path: []byte("/"), Method: []byte("GET"),
		Header: func(string) []byte { return nil },
	}) != nil
}

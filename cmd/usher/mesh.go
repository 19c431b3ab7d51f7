package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"usher/config"
	"usher/metrics"
	"usher/proxy/upstream"
	"usher/routetable"
	"usher/watcher"
	"usher/watcher/consul"
)

// meshes are the service meshes that usher is part of, by the names of their registries.
// Its methods may be called from any goroutine, join and leave by one at a time.
type meshes struct {
	log   *slog.Logger
	pools *upstream.Pools
	tls   *metrics.TLS

	mu      sync.Mutex
	members map[string]*membership
}

// membership is usher in one mesh.
type membership struct {
	registry, spec string
	begun          time.Time
	// patience is how long a start waits for it, until known is closed.
	patience time.Duration
	known    chan struct{}
	verdicts *verdicts

	mu       sync.Mutex
	identity *consul.Identity

	cancel  context.CancelFunc
	running sync.WaitGroup
}

func newMeshes(log *slog.Logger, pools *upstream.Pools, tls *metrics.TLS) *meshes {
	m := &meshes{log: log, pools: pools, tls: tls, members: map[string]*membership{}}
	pools.AskMesh(m.denies)
	return m
}

// join makes usher part of the meshes that the configuration says, and of no others. It
// waits for no registry.
func (m *meshes) join(cfg *config.Config) {
	now := map[string]*membership{}
	for _, r := range cfg.Registries {
		if r.Consul == nil || !r.Consul.Connect.Enabled {
			continue
		}
		spec := fmt.Sprintf("%+v", *r.Consul)
		if old := m.members[r.Name]; old != nil && old.spec == spec {
			now[r.Name] = old
			continue
		}
		now[r.Name] = &membership{
			registry: r.Name, spec: spec, begun: time.Now(), patience: r.StartTimeout, known: make(chan struct{}),
			verdicts: newVerdicts(m.log.With("registry", r.Name, "source", r.Consul.Connect.Service)),
		}
		m.replace(now[r.Name], *r.Consul)
	}
	for name, old := range m.members {
		if now[name] == nil {
			old.end()
			m.pools.Identify(name, nil)
			m.tls.Show(certLabel(name), metrics.Certificates{})
		}
	}
	m.mu.Lock()
	m.members = now
	m.mu.Unlock()
}

// replace starts a membership in the place of one of the same registry, whose certificate
// serves until the new one is there.
func (m *meshes) replace(now *membership, conf config.Consul) {
	if old := m.members[now.registry]; old != nil {
		old.end()
	}
	ctx, cancel := context.WithCancel(context.Background())
	now.cancel = cancel
	now.running.Go(func() { m.run(ctx, now, conf) })
}

// run keeps usher a member until ctx ends. What it cannot be one without, such as a file
// of the registry's TLS, may appear.
func (m *meshes) run(ctx context.Context, now *membership, conf config.Consul) {
	log := m.log.With("registry", now.registry)
	for pause := watcher.FirstPause; ; pause = watcher.NextPause(pause) {
		p, err := consul.NewMembership(conf, log)
		if err == nil {
			now.running.Go(func() { now.verdicts.run(ctx, p.Allowed) })
			p.Run(ctx, func(id *consul.Identity) { m.identify(now, id) })
			return
		}
		if pause == watcher.FirstPause {
			log.Error("usher cannot be part of the service mesh; it is tried again", "err", err)
		}
		if !watcher.Sleep(ctx, pause) {
			return
		}
	}
}

// identify hands a new identity to the connections.
func (m *meshes) identify(p *membership, id *consul.Identity) {
	m.pools.Identify(p.registry, &upstream.Identity{
		Certificate: id.Certificate, Roots: id.Roots, TrustDomain: id.TrustDomain,
	})
	m.tls.Show(certLabel(p.registry), metrics.Certificates{
		NotAfter: map[string]time.Time{certLabel(p.registry): id.Certificate.Leaf.NotAfter},
	})
	p.mu.Lock()
	first := p.identity == nil
	p.identity = id
	p.mu.Unlock()
	m.log.Info("usher's certificate in the service mesh", "registry", p.registry, "id", id.ID,
		"until", id.Certificate.Leaf.NotAfter.UTC().Format(time.RFC3339))
	if first {
		close(p.known)
	}
}

// certLabel is what the metrics call usher's certificate in the mesh of a registry.
func certLabel(registry string) string { return "connect:" + registry }

// wait waits until usher has its certificates, for each no longer than a start waits for
// its registry.
func (m *meshes) wait(ctx context.Context) {
	for _, p := range m.list() {
		limit := time.NewTimer(p.patience - time.Since(p.begun))
		select {
		case <-p.known:
		case <-ctx.Done():
		case <-limit.C:
			m.log.Warn("no certificate of the service mesh in time; starting without it", "registry", p.registry)
		}
		limit.Stop()
	}
}

// list are the memberships, by their names.
func (m *meshes) list() []*membership {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.members), func(a, b *membership) int {
		return strings.Compare(a.registry, b.registry)
	})
}

// denies is asked about a service whose endpoint ended a connection unheard.
func (m *meshes) denies(service routetable.Mesh) bool {
	m.mu.Lock()
	p := m.members[service.Name]
	m.mu.Unlock()
	return p != nil && p.verdicts.denies(watcher.Mesh{
		Service: service.Service, Namespace: service.Namespace,
		Partition: service.Partition, Datacenter: service.Datacenter,
	})
}

// details say who usher is in each mesh, and what that denies it.
func (m *meshes) details() (lines []string) {
	for _, p := range m.list() {
		p.mu.Lock()
		id := p.identity
		p.mu.Unlock()
		line := "mesh " + p.registry + ": no certificate yet"
		if id != nil {
			line = fmt.Sprintf("mesh %s: usher is %s until %s", p.registry, id.ID,
				id.Certificate.Leaf.NotAfter.UTC().Format(time.RFC3339))
		}
		lines = append(lines, line)
		for _, service := range p.verdicts.denied() {
			lines = append(lines, "mesh "+p.registry+": the intentions deny usher the service "+service)
		}
	}
	return lines
}

// leave ends all memberships and waits for them.
func (m *meshes) leave() {
	for _, p := range m.list() {
		p.end()
	}
}

func (p *membership) end() {
	p.cancel()
	p.running.Wait()
}

// meshed says which services the configuration has reached over the mesh of one registry.
type meshed struct {
	registry string
	// all says that those are which say nothing else, named what they say.
	all   bool
	named map[string]bool
}

func meshedServices(cfg *config.Config, registry string) meshed {
	m := meshed{registry: registry, all: cfg.Defaults.Upstream.Connect, named: map[string]bool{}}
	for name, s := range cfg.Services {
		if s.Upstream.Connect != m.all {
			m.named[name] = s.Upstream.Connect
		}
	}
	return m
}

// has says whether a service is reached over the mesh: by either of the names that the
// configuration may call it.
func (m meshed) has(service string) bool {
	bare, said := m.named[service]
	return m.named[service+"@"+m.registry] || bare || !said && m.all
}

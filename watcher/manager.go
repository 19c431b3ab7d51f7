package watcher

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"usher/config"
	"usher/metrics"
)

// Source is one registry as the Manager runs it.
type Source struct {
	// Name is the registry's, unique.
	Name string
	// Spec identifies the configuration: while it compares equal the running
	// discoverer stays through a reload. It must be comparable.
	Spec any
	// Identity names the registry itself, whatever the other settings: a snapshot taken
	// of another one is not used.
	Identity string
	// Guard says when a loss is held; nil: the registry means what it says.
	Guard *config.Guard
	// StartTimeout bounds how long Started waits for this source.
	StartTimeout time.Duration
	// New makes the discoverer.
	New func() (Discoverer, error)
}

// Manager runs discoverers and merges what they send. Its methods may be called
// from any goroutine; Next from one at a time.
type Manager struct {
	log     *slog.Logger
	metrics *metrics.Discovery

	ctx    context.Context
	cancel context.CancelFunc
	// changed holds a token while there is something Next has not handed out.
	changed chan struct{}
	// onHold is told of holds; nil: nobody is.
	onHold func(HoldChange)

	// telling is held while the sources are told what is wanted.
	telling sync.Mutex

	mu      sync.Mutex
	sources map[string]*source
	// all are the services of all sources, by name.
	all *MapEdit[[]*Service]
	// wanted are the services that the configuration names, named those and the ones
	// that overrides name.
	wanted, named []string
	overrides     []*Overrides
	// restored is the snapshot to start from, nil when there is none.
	restored *Snapshot
	version  uint64
	// since is when, for each registry, the oldest change not handed out yet arrived,
	// causes is what changed.
	since  map[string]time.Time
	causes causes
	// kept are services that are wanted though neither the configuration nor overrides
	// name them: see Keep.
	kept []string
}

// NewManager returns a Manager without sources. It must be closed.
func NewManager(log *slog.Logger, m *metrics.Discovery) *Manager {
	ctx, cancel := context.WithCancel(context.Background())
	return &Manager{
		log: log, metrics: m, ctx: ctx, cancel: cancel,
		changed: make(chan struct{}, 1),
		sources: map[string]*source{}, all: Map[[]*Service]{}.Edit(), since: map[string]time.Time{},
	}
}

// Apply makes the running sources those given and tells them which services the
// configuration names. A source with an equal Spec goes on untouched. One with
// another Spec is replaced; what the old one knew stays until the new one is
// synced. Sources not given stop, and their services go.
func (m *Manager) Apply(sources []Source, wanted []string) {
	m.mu.Lock()
	m.wanted = slices.Clone(wanted)
	gone := m.removeMissing(sources)
	for _, s := range sources {
		if old := m.startOrKeep(s); old != nil {
			gone = append(gone, old)
		}
	}
	m.restored = nil // it is of the start alone
	m.collectOverrides()
	m.mu.Unlock()
	m.tellWanted()
	for _, s := range gone {
		s.stop()
	}
}

// removeMissing forgets the sources that are not among those given and returns
// them, still running.
func (m *Manager) removeMissing(keep []Source) (gone []*source) {
	for name, s := range m.sources {
		if slices.ContainsFunc(keep, func(k Source) bool { return k.Name == name }) {
			continue
		}
		delete(m.sources, name)
		for service := range s.services {
			m.set(Key{Registry: name, Service: service}, nil)
		}
		m.metrics.Forget(name)
		s.because(CauseRegistry, "", "registry %s is no longer configured: its %d services go", name, len(s.services))
		m.touch(name, time.Time{})
		gone = append(gone, s)
	}
	return gone
}

// startOrKeep starts a source unless it runs already, and returns the one it
// replaces.
func (m *Manager) startOrKeep(spec Source) (replaced *source) {
	old := m.sources[spec.Name]
	if old != nil && old.Spec == spec.Spec {
		return nil
	}
	s := newSource(m, spec)
	if old != nil {
		s.succeed(old)
	} else {
		m.restore(s)
	}
	m.sources[spec.Name] = s
	s.start()
	return old
}

// Started waits until each source has sent everything once, or its StartTimeout
// is over, and returns the names of those that have not. It ends early with ctx.
func (m *Manager) Started(ctx context.Context) (late []string) {
	m.mu.Lock()
	sources := make([]*source, 0, len(m.sources))
	for _, s := range m.sources {
		sources = append(sources, s)
	}
	m.mu.Unlock()
	begin := time.Now()
	for _, s := range sources {
		if !s.waitSynced(ctx, s.startLimit()-time.Since(begin)) {
			late = append(late, s.Name)
		}
	}
	slices.Sort(late)
	return late
}

// Change is a new catalog and what made it new.
type Change struct {
	Catalog *Catalog
	// Since is when the oldest change of each registry in it arrived; a registry
	// without a change, or whose change has no time, is not in it.
	Since map[string]time.Time
	// Causes are what changed, in the order in which it came, and More is how many more of
	// them there are; none: nothing did.
	Causes []Cause
	More   int
}

// Next waits for a change and returns the catalog that holds it. Changes that come
// while the caller is busy are handed out together, by the next call.
func (m *Manager) Next(ctx context.Context) (Change, error) {
	select {
	case <-m.changed:
	case <-ctx.Done():
		return Change{}, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	change := Change{m.catalogLocked(), m.since, m.causes.list, m.causes.more}
	m.since, m.causes = map[string]time.Time{}, causes{}
	return change, nil
}

func (m *Manager) catalogLocked() *Catalog {
	m.version++
	return &Catalog{Version: m.version, services: m.all.Map(), overrides: m.overrides}
}

// set puts a service into the next catalog, or takes it out when s is nil. The
// caller holds m.mu.
func (m *Manager) set(key Key, s *Service) {
	list := withService(m.all.Get(key.Service), key, s)
	if len(list) == 0 {
		m.all.Delete(key.Service)
		return
	}
	m.all.Set(key.Service, list)
}

// Touch makes Next return a catalog though nothing changed: for a change of the
// rules, and for the first table when a registry is late. The causes, if there are any,
// are handed out with it; one without a time has it now.
func (m *Manager) Touch(because ...Cause) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range because {
		if c.At.IsZero() {
			c.At = time.Now()
		}
		m.causes.add(c)
	}
	m.touch("", time.Time{})
}

// Keep makes these services wanted, whatever else is: though they announce nothing any
// more they are watched. They take the place of those given before.
func (m *Manager) Keep(services []string) {
	m.mu.Lock()
	m.kept = slices.Clone(services)
	m.collectOverrides()
	m.mu.Unlock()
	m.tellWanted()
}

// touch notes a change of a registry that arrived at since. The caller holds m.mu.
func (m *Manager) touch(registry string, since time.Time) {
	if first, had := m.since[registry]; !since.IsZero() && (!had || since.Before(first)) {
		m.since[registry] = since
	}
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// SourceStatus is what is known of one registry.
type SourceStatus struct {
	Name string
	// Synced says that everything it holds was received once.
	Synced bool
	// Restored is when the snapshot was taken that is served until then; zero: none.
	Restored time.Time
	// Held is the number of instances kept though it does not list them, Doubt why its
	// answers are suspect now, empty when they are not.
	Held  int
	Doubt string
	// Contact describes what was reached (Consul's leader), if anything.
	Contact string
	// Err is the last failure, nil since the last success.
	Err error
	// LastContact is when it last answered.
	LastContact time.Time
	// Seen is the number of services it holds, Watched how many of them usher
	// watches.
	Seen, Watched int
}

// String says it in one line.
func (s SourceStatus) String() string {
	line := fmt.Sprintf("%s: %d services, %d watched", s.Name, s.Seen, s.Watched)
	switch {
	case s.Err != nil:
		line = fmt.Sprintf("%s: stale: %v", s.Name, s.Err)
	case !s.Synced:
		line = s.Name + ": not synced yet"
	}
	if !s.Restored.IsZero() {
		line += ", serving the snapshot of " + s.Restored.UTC().Format(time.RFC3339)
	}
	if s.Held > 0 {
		line += fmt.Sprintf(", holding %d instances", s.Held)
	}
	if s.Doubt != "" {
		line += ", answers in doubt: " + s.Doubt
	}
	return line
}

// Statuses returns the state of each source, by name.
func (m *Manager) Statuses() []SourceStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]SourceStatus, 0, len(m.sources))
	for _, s := range m.sources {
		st := s.status
		st.Watched, st.Held, st.Doubt = len(s.services), s.guard.heldAll, s.guard.doubted(time.Now())
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b SourceStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Close stops every source and waits for their goroutines.
func (m *Manager) Close() {
	m.cancel()
	m.mu.Lock()
	sources := m.sources
	m.sources = map[string]*source{}
	m.mu.Unlock()
	for _, s := range sources {
		s.stop()
	}
}

package watcher

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// maxHeldLines is how many services a source's holds are logged for one by one.
const maxHeldLines = 10

// doubt notes that the registry's answers are suspect for a while, and holds what
// vanished implausibly just before. The caller holds m.mu.
func (s *source) doubt(why string, now time.Time) {
	s.guard.doubt(why, now)
	for service := range s.guard.departed {
		e := s.services[service]
		s.guard.forget(service, e.instances(), now)
		confirmed := e.confirmed
		for _, d := range s.guard.departed[service] {
			confirmed = later(confirmed, d.at)
		}
		listed := 0
		for _, in := range e.instances() {
			if in.Held == nil {
				listed++
			}
		}
		if s.guard.madeUp(service, listed) {
			continue
		}
		held := s.guard.unclaimed(s.guard.hold(service, listed, why, now), e.instances())
		if len(held) > 0 {
			s.store(service, append(held, e.instances()...), now, confirmed)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// releaseClaimed ends the holds of other services at addresses that the given,
// listed instances have taken. The caller holds m.mu.
func (s *source) releaseClaimed(service string, listed []Instance, now time.Time) {
	if s.guard.heldAll == 0 {
		return
	}
	for _, in := range listed {
		for _, other := range slices.Clone(s.guard.heldAt[in.Address]) {
			if other != service {
				s.release(other, now, func(held *Instance) bool {
					return held.Address == in.Address && s.guard.claimed(held)
				})
			}
		}
	}
}

// release ends the holds of a service's instances that which picks and returns
// their number. The caller holds m.mu.
func (s *source) release(service string, now time.Time, which func(*Instance) bool) int {
	e, had := s.services[service]
	if !had {
		return 0
	}
	left := slices.DeleteFunc(slices.Clone(e.service.Instances), func(in Instance) bool {
		return in.Held != nil && which(&in)
	})
	n := len(e.service.Instances) - len(left)
	if n > 0 {
		s.store(service, left, now, e.confirmed)
	}
	return n
}

// noteHeld counts and logs a change of a service's held instances. The caller holds
// m.mu.
func (s *source) noteHeld(service string, before, after []Instance) {
	had := s.guard.held[service]
	if had == 0 && !slices.ContainsFunc(after, isHeld) {
		return
	}
	s.guard.countHeld(service, before, after)
	now := s.guard.held[service]
	if now == had {
		return
	}
	s.m.metrics.Held(s.Name, s.guard.heldAll)
	s.m.tellHold(HoldChange{Key: Key{s.Name, service}, Before: had, Held: now}, after)
	if n := len(s.guard.held); n > maxHeldLines {
		if n == maxHeldLines+1 && had == 0 {
			s.m.log.Warn("more services hold instances: they are not logged one by one", "registry", s.Name)
		}
		return
	}
	if now > had {
		i := slices.IndexFunc(after, isHeld)
		s.m.log.Warn("instances vanished implausibly: they are held and probed", "service", service,
			"registry", s.Name, "held", now, "reason", after[i].Held.Reason)
		return
	}
	s.m.log.Info("held instances released", "service", service, "registry", s.Name,
		"released", had-now, "held", now)
}

// HoldChange is a service of which usher holds more instances than before, or fewer.
type HoldChange struct {
	Key
	// Before and Held are their numbers; Reason is why, while there are any.
	Before, Held int
	Reason       string
}

// OnHold has f told of each change from now on. f is called with the
// Manager's lock held, from any goroutine: it must neither block nor call the Manager.
func (m *Manager) OnHold(f func(HoldChange)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onHold = f
}

func (m *Manager) tellHold(c HoldChange, instances []Instance) {
	if m.onHold == nil {
		return
	}
	if i := slices.IndexFunc(instances, isHeld); i >= 0 {
		c.Reason = instances[i].Held.Reason
	}
	m.onHold(c)
}

func isHeld(in Instance) bool { return in.Held != nil }

// ReleaseInstance ends the hold of one instance: it does not answer. It does
// nothing for an instance that is not held.
func (m *Manager) ReleaseInstance(key Key, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.sources[key.Registry]; s != nil {
		s.release(key.Service, time.Now(), func(in *Instance) bool { return in.ID == id })
	}
}

// Release ends all holds of a service, given by its name or as name@registry: an
// operator's word. It returns the number of instances released.
func (m *Manager) Release(service string) (n int) {
	service, registry, one := strings.Cut(service, "@")
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, s := range m.sources {
		if !one || name == registry {
			n += s.release(service, time.Now(), func(*Instance) bool { return true })
		}
	}
	return n
}

// ServiceStatus is what is known of one service's freshness.
type ServiceStatus struct {
	Key
	// Confirmed is when the registry last said that this is how it is.
	Confirmed time.Time
	// Listed is the number of instances that the registry lists, Held of those that
	// are kept though it does not; Hold is why, nil when there are none.
	Listed, Held int
	Hold         *Hold
	// Instances are all of them. Don't change them.
	Instances []Instance
}

// Services returns the state of each service, in the order of Key.Compare.
func (m *Manager) Services() []ServiceStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []ServiceStatus
	for _, s := range m.sources {
		for _, e := range s.services {
			st := ServiceStatus{Key: e.service.Key, Confirmed: e.confirmed, Instances: e.service.Instances}
			for _, in := range st.Instances {
				if in.Held == nil {
					st.Listed++
					continue
				}
				st.Held++
				st.Hold = in.Held
			}
			out = append(out, st)
		}
	}
	slices.SortFunc(out, func(a, b ServiceStatus) int { return a.Compare(b.Key) })
	return out
}

// override takes in what a registry's key-value store overrides. The caller holds
// m.mu.
func (s *source) override(o *Overrides, since time.Time) {
	own := *o
	own.Registry = s.Name
	s.overrides = &own
	s.m.collectOverrides()
	s.because(CauseOverrides, "", "%d routes, %d services, %d refused entries", len(own.Routes), len(own.Services),
		len(own.Refused))
	s.m.touch(s.Name, since)
}

// collectOverrides gathers the overrides of all sources, and which services are named
// now. The caller holds m.mu, and has the sources told then.
func (m *Manager) collectOverrides() {
	m.overrides = nil
	var wanted []string
	has := map[string]bool{"": true}
	add := func(name string) {
		name, _, _ = strings.Cut(name, "@")
		if !has[name] {
			has[name] = true
			wanted = append(wanted, name)
		}
	}
	for _, name := range slices.Concat(m.wanted, m.kept) {
		add(name)
	}
	for _, s := range m.sources {
		if s.overrides == nil {
			continue
		}
		m.overrides = append(m.overrides, s.overrides)
		for _, r := range s.overrides.Routes {
			add(r.Service)
			for _, arm := range r.Split {
				add(arm.Service)
			}
		}
	}
	slices.SortFunc(m.overrides, func(a, b *Overrides) int { return cmp.Compare(a.Registry, b.Registry) })
	m.named = wanted
}

// tellWanted tells every source which services are named now.
func (m *Manager) tellWanted() {
	m.telling.Lock() // the last to read is the last to tell
	defer m.telling.Unlock()
	m.mu.Lock()
	named := m.named
	var wanters []Wanter
	for _, s := range m.sources {
		if s.wanter != nil {
			wanters = append(wanters, s.wanter)
		}
	}
	m.mu.Unlock()
	for _, w := range wanters {
		w.Want(named)
	}
}

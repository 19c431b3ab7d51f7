package watcher

import "time"

// inherit takes over what is known from elsewhere.
func (s *source) inherit(services map[string]entry, overrides *Overrides) {
	s.services, s.overrides = services, overrides
	for name, e := range services {
		s.guard.count(nil, e.service.Instances, time.Time{})
		s.guard.countHeld(name, nil, e.service.Instances)
	}
}

// succeed takes over what another configuration of the source knows.
func (s *source) succeed(old *source) {
	s.inherit(old.services, old.overrides)
	s.generation, s.inherited = old.generation+1, true
	if s.moved = old.moved || s.Identity != old.Identity; !s.moved {
		s.known, s.status.Restored = old.taken(), old.status.Restored
	}
	s.m.metrics.Watches(s.Name, -old.watches)
	old.watches = 0
}

// taken is when what is known was so.
func (s *source) taken() time.Time {
	if s.status.Synced {
		return s.status.LastContact
	}
	return s.known
}

// reconfigured believes what another configuration of the registry does not list, if
// nothing speaks against its answer. Another registry altogether knows nothing of what
// there was.
func (l *loss) reconfigured(moved bool, suspect string) {
	if moved {
		l.kept = nil
	}
	if moved || suspect == "" {
		l.gone = nil
	}
}

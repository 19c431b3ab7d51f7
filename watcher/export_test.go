package watcher

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// CheckGuards compares what the guards count with what the sources hold.
func (m *Manager) CheckGuards() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, s := range m.sources {
		if err := s.checkGuard(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// checkGuard counts again what the guard of a source counts.
func (s *source) checkGuard() error {
	g, fresh := s.guard, newGuard(s.Guard)
	for name, e := range s.services {
		fresh.count(nil, e.service.Instances, time.Time{})
		fresh.countHeld(name, nil, e.service.Instances)
		for _, in := range e.service.Instances {
			left := func(d departure) bool { return d.instance.ID == in.ID }
			if in.Held == nil && slices.ContainsFunc(g.departed[name], left) {
				return fmt.Errorf("%s of %s is listed and departed", in.ID, name)
			}
		}
	}
	for _, list := range g.departed {
		fresh.lost += len(list)
	}
	if g.listed != fresh.listed || g.heldAll != fresh.heldAll || g.lost != fresh.lost {
		return fmt.Errorf("%d listed, %d held, %d lost; counted again %d, %d, %d",
			g.listed, g.heldAll, g.lost, fresh.listed, fresh.heldAll, fresh.lost)
	}
	if !maps.Equal(g.held, fresh.held) {
		return fmt.Errorf("held %v, counted again %v", g.held, fresh.held)
	}
	sameNumber := func(a, b tenants) bool { return a.n == b.n }
	if !maps.EqualFunc(g.addresses, fresh.addresses, sameNumber) {
		return fmt.Errorf("addresses %v, counted again %v", g.addresses, fresh.addresses)
	}
	return sameHolders(g.heldAt, fresh.heldAt)
}

// sameHolders compares which services hold instances at which addresses.
func sameHolders(got, want map[string][]string) error {
	sameSet := func(a, b []string) bool {
		return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
	}
	if !maps.EqualFunc(got, want, sameSet) {
		return fmt.Errorf("held at %v, counted again %v", got, want)
	}
	return nil
}

// SealSnapshot puts before a body the line that says what it is.
func SealSnapshot(body []byte) []byte { return sealed(body) }

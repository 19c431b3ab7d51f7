package watcher

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Cause is one thing that made a catalog new.
type Cause struct {
	At time.Time
	// Kind is one of the kinds of causes.
	Kind string
	// Registry and Service say whose it is; empty: of none.
	Registry, Service string
	// Detail says what happened: "instance web-3 registered at 10.0.0.1:80".
	Detail string
}

// The kinds of causes.
const (
	CauseRegistry  = "registry"
	CauseCheck     = "check"
	CauseHold      = "hold"
	CauseOverrides = "overrides"
	CauseReload    = "reload"
	CauseStart     = "start"
	CausePin       = "pin"
	CauseUnpin     = "unpin"
)

// maxCauses is how many causes a change tells one by one. Beyond it they are counted
// alone, which costs next to nothing when all services change at once.
const maxCauses = 50

// causes are those not handed out yet.
type causes struct {
	list []Cause
	more int
}

// full says that the next cause is only counted; it counts it then.
func (c *causes) full() bool {
	if len(c.list) < maxCauses {
		return false
	}
	c.more++
	return true
}

func (c *causes) add(cause Cause) {
	if !c.full() {
		c.list = append(c.list, cause)
	}
}

// because notes what made the source's part of the catalog new. The caller holds m.mu.
func (s *source) because(kind, service, format string, args ...any) {
	if s.m.causes.full() {
		return
	}
	s.m.causes.add(Cause{time.Now(), kind, s.Name, service, fmt.Sprintf(format, args...)})
}

// noteCauses notes how the instances of a service changed, both in the order of their
// IDs. The caller holds m.mu.
func (s *source) noteCauses(service string, before, after []Instance) {
	if s.m.causes.full() {
		return
	}
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && before[0].ID < after[0].ID:
			s.noteGone(service, &before[0])
			before = before[1:]
		case len(before) == 0 || after[0].ID < before[0].ID:
			s.noteNew(service, &after[0])
			after = after[1:]
		default:
			s.noteChanged(service, &before[0], &after[0])
			before, after = before[1:], after[1:]
		}
	}
}

func (s *source) noteGone(service string, in *Instance) {
	if in.Held != nil {
		s.because(CauseHold, service, "instance %s released: it is gone", in.ID)
		return
	}
	s.because(CauseRegistry, service, "instance %s is gone", in.ID)
}

func (s *source) noteNew(service string, in *Instance) {
	switch {
	case in.Held != nil:
		s.because(CauseHold, service, "instance %s is held: %s", in.ID, in.Held.Reason)
	case in.Status != Passing:
		s.because(CauseRegistry, service, "instance %s registered at %s, %s", in.ID, in.Address, statusOf(in))
	default:
		s.because(CauseRegistry, service, "instance %s registered at %s", in.ID, in.Address)
	}
}

// noteChanged notes each thing that is different of an instance that stays.
func (s *source) noteChanged(service string, from, to *Instance) {
	if sameInstance(*from, *to) {
		return
	}
	told := true
	switch {
	case from.Held == nil && to.Held != nil:
		s.because(CauseHold, service, "instance %s is held: %s", to.ID, to.Held.Reason)
	case from.Held != nil && to.Held == nil:
		s.because(CauseHold, service, "instance %s is listed again", to.ID)
	default:
		told = false
	}
	if from.Status != to.Status || from.Cause != to.Cause {
		s.because(CauseCheck, service, "%s: %s (was %s)", to.ID, statusOf(to), statusOf(from))
		told = true
	}
	if what := changesOf(from, to); len(what) > 0 || !told {
		if len(what) == 0 {
			what = []string{"its settings changed"}
		}
		s.because(CauseRegistry, service, "instance %s: %s", to.ID, strings.Join(what, ", "))
	}
}

// statusOf is an instance's status with the check that it comes from.
func statusOf(in *Instance) string {
	if in.Cause == "" {
		return in.Status.String()
	}
	return in.Cause
}

// changesOf are the differences of an instance beside its status and its hold.
func changesOf(from, to *Instance) (what []string) {
	differ := func(name string, a, b any) {
		if a != b {
			what = append(what, fmt.Sprintf("%s %v, was %v", name, b, a))
		}
	}
	differ("address", from.Address, to.Address)
	differ("weight", from.Weight, to.Weight)
	differ("zone", from.Zone, to.Zone)
	differ("tier", from.Tier, to.Tier)
	if !slices.Equal(from.Announcements, to.Announcements) {
		what = append(what, "it announces other routes")
	} else if !slices.Equal(from.Tags, to.Tags) || !maps.Equal(from.Meta, to.Meta) {
		what = append(what, "other tags or meta")
	}
	return what
}

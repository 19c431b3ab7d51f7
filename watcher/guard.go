package watcher

import (
	"slices"
	"strings"
	"time"

	"usher/config"
)

// A registry that lost its state, its leader or the trust in its client's token
// answers with less than there is. What vanishes implausibly is therefore held:
// it stays in the catalog, marked, until there is better evidence. Held instances
// are probed, and are sent requests only while the confirmed ones are too few.
//
// A hold needs two things: the loss is large (more than a share of a service that
// is not small, or all of a service), and something speaks against the answer: the
// registry's index, its leader, its agent, its access rules, or that the whole
// catalog shrinks at once. A hold ends when the instance is listed again, when it
// does not answer probes, when another instance has taken its address, or by an
// operator's word; never by time alone.

// suspectFor is how long a registry's answers stay in doubt after a report said why.
const suspectFor = 15 * time.Second

// catalogLoss is the reason when nothing but the extent of a loss speaks against it.
const catalogLoss = "a large part of the whole catalog vanished at once"

// guard decides for one source which of the instances that vanish are held. The
// Manager's lock guards it.
type guard struct {
	conf config.Guard
	// suspect is why answers are in doubt until suspectUntil.
	suspect      string
	suspectUntil time.Time
	// departed are the instances that left within the window and were believed; lost
	// is their number.
	departed map[string][]departure
	lost     int
	// listed is the number of instances that are not held, most its peak of late,
	// addresses tells of theirs.
	listed    int
	most      peak
	addresses map[string]tenants
	// held is the number of held instances of each service, heldAt the services that
	// hold one at an address.
	held   map[string]int
	heldAt map[string][]string
	// heldAll is the number of held instances.
	heldAll int
}

// tenants are the listed instances of one address: n of them, of which the last came
// at that time; zero: before the guard was there, or back from a hold.
type tenants struct {
	n    int
	last time.Time
}

// departure is an instance that left a service which listed so many before.
type departure struct {
	instance Instance
	at       time.Time
	had      int
}

// peak is the largest of a number's values in the last window, or in up to two.
type peak struct {
	now, last int
	since     time.Time
}

// note takes in a value.
func (p *peak) note(n int, at time.Time, window time.Duration) {
	if age := at.Sub(p.since); age > window {
		p.last = p.now
		if age > 2*window {
			p.last = n
		}
		p.now, p.since = n, at
	}
	p.now = max(p.now, n)
}

func (p *peak) value() int { return max(p.now, p.last) }

func newGuard(conf *config.Guard) *guard {
	g := &guard{
		departed: map[string][]departure{}, addresses: map[string]tenants{},
		held: map[string]int{}, heldAt: map[string][]string{},
	}
	if conf != nil {
		g.conf = *conf
	}
	return g
}

// doubt notes that the next answers are suspect.
func (g *guard) doubt(why string, now time.Time) {
	g.suspect, g.suspectUntil = why, now.Add(suspectFor)
}

// doubted returns why answers are in doubt now, empty if they are not.
func (g *guard) doubted(now time.Time) string {
	if now.Before(g.suspectUntil) {
		return g.suspect
	}
	return ""
}

// count notes that the listed instances of a service changed at this time.
func (g *guard) count(before, after []Instance, at time.Time) {
	g.most.note(g.listed, at, g.conf.Window)
	defer func() { g.most.note(g.listed, at, g.conf.Window) }()
	for i := range after {
		if after[i].Held != nil {
			continue
		}
		g.listed++
		t := g.addresses[after[i].Address]
		t.n++
		if j, had := slices.BinarySearchFunc(before, after[i].ID, compareID); !had ||
			before[j].Address != after[i].Address {
			t.last = at
		}
		g.addresses[after[i].Address] = t
	}
	for i := range before {
		if before[i].Held != nil {
			continue
		}
		g.listed--
		t := g.addresses[before[i].Address]
		if t.n--; t.n == 0 {
			delete(g.addresses, before[i].Address)
			continue
		}
		g.addresses[before[i].Address] = t
	}
}

// countHeld notes that the held instances of a service changed.
func (g *guard) countHeld(service string, before, after []Instance) {
	for _, in := range before {
		if in.Held == nil {
			continue
		}
		at := slices.DeleteFunc(g.heldAt[in.Address], func(s string) bool { return s == service })
		if g.heldAt[in.Address] = at; len(at) == 0 {
			delete(g.heldAt, in.Address)
		}
	}
	g.heldAll -= g.held[service]
	delete(g.held, service)
	for _, in := range after {
		if in.Held != nil {
			g.heldAll++
			g.held[service]++
			g.heldAt[in.Address] = append(g.heldAt[in.Address], service)
		}
	}
}

// loss is what an update takes away from a service.
type loss struct {
	// gone are the listed instances that are missing, kept the held ones that still
	// are.
	gone, kept []Instance
	// survivors is the number of instances that were listed and still are.
	survivors int
}

// lossOf compares what was known of a service with what it is said to be now.
func lossOf(before, now []Instance, excused []string) (l loss) {
	for _, in := range before {
		_, listed := slices.BinarySearchFunc(now, in.ID, compareID)
		switch {
		case listed && in.Held == nil:
			l.survivors++
		case listed, isExcused(in.ID, excused):
		case in.Held != nil:
			l.kept = append(l.kept, in)
		default:
			l.gone = append(l.gone, in)
		}
	}
	return l
}

// isExcused says whether an instance is among those that take no part. One that was
// resolved from a name has the address behind a # in its ID.
func isExcused(id string, excused []string) bool {
	if slices.Contains(excused, id) {
		return true
	}
	i := strings.LastIndexByte(id, '#')
	return i > 0 && slices.Contains(excused, id[:i])
}

// judge returns the instances of a service that are to be held, given what an
// update takes away, and remembers those that are believed gone. suspect says what
// speaks against the answer. The new instances are counted already.
func (g *guard) judge(service string, l loss, now []Instance, suspect string, at time.Time) []Instance {
	if !g.conf.Enabled {
		return nil
	}
	g.forget(service, now, at)
	for _, in := range l.gone {
		g.departed[service] = append(g.departed[service], departure{in, at, l.survivors + len(l.gone)})
	}
	g.lost += len(l.gone)
	held := l.kept
	if suspect != "" && (len(l.gone) > 0 || !g.madeUp(service, len(now))) {
		held = append(held, g.hold(service, len(now), suspect, at)...)
	}
	return g.unclaimed(held, now)
}

// unclaimed drops the held instances of a service whose address a listed one has, of
// the same service, or of another one that has taken it.
func (g *guard) unclaimed(held, listed []Instance) []Instance {
	return slices.DeleteFunc(held, func(in Instance) bool {
		return g.claimed(&in) || slices.ContainsFunc(listed, func(other Instance) bool {
			return other.Held == nil && other.Address == in.Address
		})
	})
}

// claimed says whether a listed instance has taken the address of a held one:
// schedulers use ports again. One that was there long before the hold shares the
// address: a process may be several services, and they vanish one after the other.
func (g *guard) claimed(held *Instance) bool {
	t := g.addresses[held.Address]
	return t.n > 0 && t.last.After(held.Held.Since.Add(-2*g.conf.Window))
}

// hold returns what a service lost within the window, marked as held, if that is
// implausible. A service of any size that loses everything is: a probe costs less
// than an outage.
func (g *guard) hold(service string, listed int, why string, at time.Time) (held []Instance) {
	lost, had := g.departed[service], g.had(service)
	most := g.conf.ServiceShare * float64(had)
	large := had >= g.conf.MinEndpoints && float64(len(lost)) > most
	if len(lost) == 0 || (!large && listed > 0) {
		return nil
	}
	g.lost -= len(lost)
	delete(g.departed, service)
	mark := &Hold{Since: at, Reason: why, Quorum: max(1, had-int(most))}
	for _, d := range lost {
		d.instance.Held = mark
		held = append(held, d.instance)
	}
	return held
}

// had is how many instances a service listed at most before those that left.
func (g *guard) had(service string) (n int) {
	for _, d := range g.departed[service] {
		n = max(n, d.had)
	}
	return n
}

// madeUp says whether others have come for the instances that a service lost: then it
// is late to doubt that.
func (g *guard) madeUp(service string, listed int) bool {
	had := g.had(service)
	return listed > 0 && float64(had-listed) <= g.conf.ServiceShare*float64(had)
}

// forget drops the departures of a service that are over, or whose instance is
// listed again.
func (g *guard) forget(service string, now []Instance, at time.Time) {
	had := len(g.departed[service])
	if had == 0 {
		return
	}
	left := slices.DeleteFunc(g.departed[service], func(d departure) bool {
		_, back := slices.BinarySearchFunc(now, d.instance.ID, compareID)
		return back || at.Sub(d.at) > g.conf.Window
	})
	g.lost += len(left) - had
	if g.departed[service] = left; len(left) == 0 {
		delete(g.departed, service)
	}
}

// shrinks says whether the whole catalog has lost an implausible part within the
// window.
func (g *guard) shrinks(at time.Time) bool {
	if !g.implausible() {
		return false
	}
	for service := range g.departed {
		g.forget(service, nil, at)
	}
	return g.implausible()
}

// implausible says whether so much was lost, and not made up for by what came: a
// catalog whose instances are all replaced is as large as before.
func (g *guard) implausible() bool {
	had := g.most.value()
	most := g.conf.CatalogShare * float64(had)
	return g.conf.Enabled && had >= g.conf.MinCatalog && float64(g.lost) > most && float64(had-g.listed) > most
}

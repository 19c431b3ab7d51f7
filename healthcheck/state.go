package healthcheck

import (
	"fmt"
	"strings"
	"time"

	"usher/routetable"
)

// State is how an endpoint stands: the registry's word, the probes and what requests
// met, made one.
type State uint8

// The states, those that take requests first.
const (
	Healthy State = iota
	// Warning: the registry says so; its weight is what the registry gives it then.
	Warning
	// SlowStart: it is new, or back, and its weight grows.
	SlowStart
	// Probation: its ejection is over and it has not answered yet.
	Probation
	// Held: the registry no longer lists it, which is not believed yet.
	Held
	// Draining: it asks for no new requests.
	Draining
	// Ejected: by what requests met.
	Ejected
	// Unhealthy: by its probes.
	Unhealthy
	// Drained: its weight is 0.
	Drained
	// Critical and Maintenance: the registry says so.
	Critical
	Maintenance
)

// String is the state's word, in metrics and the API.
func (s State) String() string {
	return [...]string{
		"healthy", "warning", "slow_start", "probation", "held", "draining", "ejected", "unhealthy", "drained",
		"critical", "maintenance",
	}[s]
}

// isOut says that usher itself keeps requests away.
func (s State) isOut() bool { return s == Ejected || s == Unhealthy }

// stateOf makes one of all that is known. The registry's no goes before everything: no
// probe brings back what it takes out.
func stateOf(r *record) State {
	e := r.endpoint
	switch {
	case !e.Up() && e.Status.String() == "maintenance":
		return Maintenance
	case !e.Up():
		return Critical
	case e.Weight <= 0:
		return Drained
	case r.probedDown():
		return Unhealthy
	case r.ejection.phase == ejected:
		return Ejected
	case r.drainUntil > 0:
		return Draining
	case r.ejection.phase == probation:
		return Probation
	case r.rampFrom > 0:
		return SlowStart
	case e.Held != nil:
		return Held
	case e.Status.String() == "warning":
		return Warning
	default:
		return Healthy
	}
}

// restate works out anew how an endpoint stands and tells those who wait for it.
func (m *Monitor) restate(r *record, now int64) {
	if len(r.members) == 0 {
		return // it stands as it stood when it left
	}
	m.enter(r, stateOf(r), now)
	out := r.state.isOut()
	for _, mb := range r.members {
		out = out && !mb.picked
	}
	for _, s := range r.states {
		if s.Out() != out {
			s.SetOut(out)
		}
	}
}

// causeOf says in words why an endpoint stands as it does.
func (m *Monitor) causeOf(r *record, now int64) string {
	e := r.endpoint
	switch r.state {
	case Maintenance, Critical, Warning:
		return withDetail("the registry says "+e.Status.String(), e.Cause)
	case Drained:
		return "its weight is 0"
	case Unhealthy:
		return "probe: " + r.failingProbe()
	case Ejected:
		return r.ejection.text
	case Draining:
		return "it said in a response that it is draining"
	case Probation:
		return withDetail("back from an ejection, without an answer yet", r.ejection.text)
	case SlowStart:
		return fmt.Sprintf("its weight grows: %.0f%%", 100*m.rampOf(r, e, now))
	case Held:
		return withDetail("the registry no longer lists it", e.Held.Reason)
	default:
		return "the registry says " + e.Status.String()
	}
}

func withDetail(text, detail string) string {
	return strings.TrimSuffix(text+": "+detail, ": ")
}

// rampOf is the share of its weight that a growing endpoint has by now.
func (m *Monitor) rampOf(r *record, e *routetable.Endpoint, now int64) float64 {
	whole := m.healthOf(e).SlowStart
	if r.rampFrom == 0 || whole <= 0 {
		return 1
	}
	return min(1, leastShare+(1-leastShare)*float64(now-r.rampFrom)/float64(whole))
}

// leastShare is the share of its weight that an endpoint has which is to show itself.
const leastShare = 0.1

// Report is how an endpoint stands, for operators.
type Report struct {
	State State
	// Cause says in words why.
	Cause string
	Since time.Time
	// Registry is the registry's word.
	Registry string
	// EjectedUntil is when its ejection ends, zero when there is none; Ejections how many
	// count so far.
	EjectedUntil time.Time
	Ejections    int
	// Weight is what it counts among its peers now, 0 when it gets no requests by choice.
	Weight float64
	// Picked says that requests may be sent to it now: it is in the view of a cluster.
	Picked bool
	// Panic says that it is in a cluster that tries all of its endpoints.
	Panic bool
	// Probe is the last one; nil: there was none.
	Probe *ProbeReport
	// Disagrees says that the registry and the probes say different things.
	Disagrees bool
}

// ProbeReport is what the probes of an endpoint say.
type ProbeReport struct {
	// Up is what is believed by them.
	Up bool
	// OK and Error are the last one's result, At and Took its time.
	OK    bool
	Error string
	At    time.Time
	Took  time.Duration
}

// Of returns how an endpoint stands; ok is false for one that is in no table.
func (m *Monitor) Of(registry, service, id, address string) (rep Report, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.records[identity{registry, service, id, address}]
	if r == nil || r.left > 0 {
		return Report{}, false
	}
	now := m.now()
	rep = Report{
		State: r.state, Cause: m.causeOf(r, now), Since: m.at(r.since), Registry: r.endpoint.Status.String(),
		Ejections: r.ejection.decayed(now), Disagrees: r.disagrees(),
	}
	if r.ejection.phase == ejected {
		rep.EjectedUntil = m.at(r.ejection.until)
	}
	for _, mb := range r.members {
		rep.Panic = rep.Panic || mb.cluster.panic
		rep.Picked = rep.Picked || mb.picked
		if fit(mb) {
			rep.Weight = max(rep.Weight, mb.endpoint.Weight*m.shareOf(mb, now))
		}
	}
	rep.Probe = m.probeReport(r)
	return rep, true
}

// disagrees says whether the registry and the probes say different things.
func (r *record) disagrees() bool {
	for _, p := range r.probers {
		if p.users > 0 && p.known && p.up != r.endpoint.Up() {
			return true
		}
	}
	return false
}

func (m *Monitor) probeReport(r *record) *ProbeReport {
	var out *ProbeReport
	for _, p := range r.probers {
		if p.users == 0 || !p.known || out != nil && p.up {
			continue
		}
		out = &ProbeReport{
			Up: p.up, OK: p.last.problem == "", Error: p.last.problem, At: m.at(p.last.at), Took: p.last.took,
		}
	}
	return out
}

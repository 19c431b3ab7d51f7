package healthcheck

import (
	"fmt"
	"time"

	"usher/config"
)

// reason is why an endpoint was ejected, as the metric labels it.
type reason string

const (
	byConnects    reason = "connect_failures"
	byTimeouts    reason = "timeouts"
	byGateways    reason = "gateway_errors"
	byFives       reason = "5xx"
	byStall       reason = "stalled"
	bySuccessRate reason = "success_rate"
	byLatency     reason = "latency"
)

// silent says that the endpoint gave no answer, so that any answer speaks against the
// ejection.
func (r reason) silent() bool { return r == byConnects || r == byTimeouts || r == byStall }

// phase is where an endpoint stands with its ejections.
type phase uint8

const (
	inService phase = iota
	ejected
	// probation follows an ejection: the endpoint gets few requests, the first good
	// answer ends it, and the first failure ejects again.
	probation
)

// ejection is what is known of an endpoint's ejections. It is guarded by Monitor.mu.
type ejection struct {
	phase  phase
	reason reason
	text   string
	// begun is when the last one began, until when it ends.
	begun, until int64
	// times counts them; one is taken off for each decayTime in service since calm.
	times int
	calm  int64
	// passes are the probes passed since it began.
	passes int
}

// decayed is the number of ejections that still count.
func (j *ejection) decayed(now int64) int {
	if j.phase != inService || j.times == 0 {
		return j.times
	}
	return max(0, j.times-int((now-j.calm)/int64(decayTime)))
}

// drain looks at what requests have met since the last time. The caller holds m.mu.
func (m *Monitor) drain(now int64) {
	m.queueMu.Lock()
	list := m.queue
	m.queue = nil
	m.queueMu.Unlock()
	for _, r := range list {
		r.queued.Store(false)
		m.judge(r, r.events.Swap(0), now)
	}
}

// judge draws the conclusions from events.
func (m *Monitor) judge(r *record, events uint32, now int64) {
	rules := &m.healthOf(r.endpoint).Outlier
	if events&(sawFailure|sawSilence) != 0 {
		m.confirm(r, now)
	}
	if events&sawDrain != 0 {
		m.drains(r, now)
	}
	switch r.ejection.phase {
	case ejected:
		if events&sawAnswer != 0 && r.ejection.reason.silent() {
			m.restore(r, now)
			m.convict(r, events, rules, now) // it may have failed again since
		}
	case probation:
		if !m.convict(r, events, rules, now) && events&sawAnswer != 0 {
			m.restore(r, now)
		}
	case inService:
		m.convict(r, events, rules, now)
	}
}

// convict ejects an endpoint when events ask for it.
func (m *Monitor) convict(r *record, events uint32, rules *config.Outlier, now int64) (out bool) {
	switch {
	case events&sawConnects != 0 && (r.trouble.Load()/connects)&count > 0: // without an answer since
		return m.eject(r, byConnects, "cannot connect", rules, now)
	case events&sawTimeouts != 0:
		return m.eject(r, byTimeouts, fmt.Sprintf("%d timeouts in a row", max(1, rules.Timeouts)), rules, now)
	case events&sawStall != 0 && m.stalled(r, rules, now):
		return m.eject(r, byStall, "requests wait and it answers none, while its peers answer", rules, now)
	case events&sawGateways != 0:
		return m.eject(r, byGateways, "gateway errors or broken answers in a row", rules, now)
	case events&sawFives != 0:
		return m.eject(r, byFives, "answers of 5xx in a row", rules, now)
	}
	return false
}

// eject takes an endpoint out for a while, if so many may be out.
func (m *Monitor) eject(r *record, why reason, text string, rules *config.Outlier, now int64) bool {
	if why != byConnects && !r.group.mayLose(r, rules.MaxEjectedShare) {
		return false
	}
	j := &r.ejection
	j.times = min(j.decayed(now)+1, maxTimes)
	pause := min(rules.MaxTime, time.Duration(j.times)*rules.BaseTime)
	j.phase, j.reason, j.text, j.passes = ejected, why, text, 0
	j.begun, j.until = now, now+int64(pause)
	r.rampFrom = 0
	m.timed[r] = struct{}{}
	r.trouble.Store(0)
	if why.silent() {
		r.trouble.Or(wanted)
	}
	r.group.series.Ejected(string(why))
	m.log.Warn("endpoint ejected: "+text, "service", r.service, "instance", r.id,
		"address", r.address, "reason", string(why), "for", pause)
	m.confirm(r, now)
	m.changed(r)
	return true
}

// onProbation ends an ejection whose time is over.
func (m *Monitor) onProbation(r *record) {
	r.ejection.phase = probation
	r.trouble.Store(wanted | suspect)
	m.changed(r)
}

// restore takes an endpoint back that has answered.
func (m *Monitor) restore(r *record, now int64) {
	r.ejection.phase, r.ejection.calm = inService, now
	m.log.Info("endpoint back in service", "service", r.service, "instance", r.id, "address", r.address)
	m.ramp(r, now)
	m.changed(r)
}

// drains takes an endpoint's word that it wants no new requests.
func (m *Monitor) drains(r *record, now int64) {
	if r.drainUntil <= now {
		m.log.Info("endpoint says it is draining", "service", r.service, "instance", r.id, "address", r.address)
	}
	r.drainUntil = now + int64(drainHold)
	m.timed[r] = struct{}{}
	m.changed(r)
}

// mayLose says whether one more of the group may be out.
func (g *group) mayLose(candidate *record, share float64) bool {
	listed, out := 0, 0
	for _, r := range g.records {
		if r.left > 0 || !takesTraffic(r.endpoint) || r.endpoint.Held != nil {
			continue
		}
		listed++
		if r != candidate && r.state.isOut() {
			out++
		}
	}
	most := int(share * float64(listed))
	if listed >= 2 && share > 0 {
		most = max(1, most)
	}
	return out < most
}

// advance lets time pass for a record: ejections, drains and ramps end. It returns when
// to look again, 0 for never. The caller holds m.mu.
func (m *Monitor) advance(r *record, now int64) (next int64) {
	sooner := func(at int64) {
		if next == 0 || at < next {
			next = at
		}
	}
	if r.ejection.phase == ejected {
		if r.ejection.until <= now {
			m.onProbation(r)
		} else {
			sooner(r.ejection.until)
		}
	}
	if r.drainUntil > 0 {
		if r.drainUntil <= now {
			r.drainUntil = 0
			if r.ejection.phase == inService {
				m.onProbation(r) // its next answer says whether it still drains
			}
			m.changed(r)
		} else {
			sooner(r.drainUntil)
		}
	}
	if r.rampFrom > 0 {
		if m.rampOf(r, r.endpoint, now) >= 1 {
			r.rampFrom = 0
		} else {
			sooner(now + int64(rampStep))
		}
		m.changed(r)
	}
	return next
}

// ramp lets the weight of an endpoint grow from now on.
func (m *Monitor) ramp(r *record, now int64) {
	if m.healthOf(r.endpoint).SlowStart <= 0 {
		return
	}
	r.rampFrom = now
	m.timed[r] = struct{}{}
	m.changed(r)
}

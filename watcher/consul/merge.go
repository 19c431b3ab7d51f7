package consul

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"usher/watcher"
)

// merger makes one stream of what the coordinators of several datacenters send: a
// service's instances are those of all of them. Its send may be called from any
// goroutine.
type merger struct {
	ctx         context.Context
	log         *slog.Logger
	datacenters []string
	out         chan<- watcher.Update

	mu sync.Mutex
	// parts are what each datacenter said of a service, aligned with datacenters.
	parts map[string][]part
	// synced and answered are the datacenters that have told so, failing those whose
	// last report was a failure, seen the services each holds.
	synced, answered, failing []bool
	seen                      []int
}

// part is what one datacenter said of a service.
type part struct {
	// known says that it has answered, unknown that it has failed to.
	known, unknown bool
	instances      []watcher.Instance
}

func newMerger(ctx context.Context, datacenters []string, log *slog.Logger, out chan<- watcher.Update) *merger {
	n := len(datacenters)
	return &merger{
		ctx: ctx, log: log, datacenters: datacenters, out: out, parts: map[string][]part{},
		synced: make([]bool, n), answered: make([]bool, n), failing: make([]bool, n), seen: make([]int, n),
	}
}

// send passes on what the datacenter at a place says.
func (m *merger) send(place int, u watcher.Update) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.datacenters) > 1 {
		if u.Report != nil {
			rep := *u.Report
			u.Report = &rep
			m.report(place, u.Report)
		}
		if u.Service != "" {
			m.combine(place, &u)
		}
	}
	m.pass(u)
}

func (m *merger) pass(u watcher.Update) {
	select {
	case m.out <- u:
	case <-m.ctx.Done():
	}
}

// combine makes an update of a service in one datacenter one of the service in all.
func (m *merger) combine(place int, u *watcher.Update) {
	parts := m.parts[u.Service]
	if parts == nil {
		parts = make([]part, len(m.datacenters))
		m.parts[u.Service] = parts
	}
	if u.Unknown {
		parts[place].unknown = !parts[place].known
	} else {
		parts[place] = part{known: true, instances: u.Instances}
	}
	u.Unknown = false
	u.Instances, u.UnknownIn = m.whole(parts)
	if len(u.Instances) == 0 && len(u.UnknownIn) == 0 {
		delete(m.parts, u.Service)
	}
}

// whole returns the instances of a service in all datacenters, and the datacenters
// that have not told theirs. Each gets a list of its own.
func (m *merger) whole(parts []part) (instances []watcher.Instance, unknown []string) {
	for i, p := range parts {
		instances = append(instances, p.instances...)
		if p.unknown || (!p.known && !m.synced[i]) {
			unknown = append(unknown, m.datacenters[i])
		}
	}
	return instances, unknown
}

// report makes a report on one datacenter one on the registry: that is what the
// first one is. The others fail for themselves.
func (m *merger) report(place int, r *watcher.Report) {
	if r.Synced {
		m.synced[place] = true
		m.settle(place)
	}
	m.answered[place] = m.answered[place] || r.Answered || r.Synced
	r.Synced = r.Synced && !slices.Contains(m.synced, false)
	r.Answered = (r.Answered || r.Synced) && !slices.Contains(m.answered, false)
	if r.Seen != nil {
		m.seen[place] = *r.Seen
		all := 0
		for _, n := range m.seen {
			all += n
		}
		r.Seen = &all
	}
	if place == 0 {
		return
	}
	if failed := r.Err != nil && !r.Partial; failed || r.Alive {
		m.noteFailing(place, failed, r.Err)
	}
	r.Alive, r.Partial, r.Index, r.Contact = false, r.Err != nil, 0, ""
}

// noteFailing logs when a datacenter other than the first fails or answers again.
func (m *merger) noteFailing(place int, failing bool, err error) {
	if m.failing[place] == failing {
		return
	}
	m.failing[place] = failing
	if failing {
		m.log.Warn("datacenter failed; what it said last stays", "datacenter", m.datacenters[place], "err", err)
		return
	}
	m.log.Info("datacenter answers again", "datacenter", m.datacenters[place])
}

// settle sends the services again of which a datacenter, now synced, said nothing:
// it has none of them.
func (m *merger) settle(place int) {
	for service, parts := range m.parts {
		if !parts[place].known && !parts[place].unknown {
			instances, unknown := m.whole(parts)
			m.pass(watcher.Update{Service: service, Instances: instances, UnknownIn: unknown})
		}
	}
}

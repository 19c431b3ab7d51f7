package healthcheck

import (
	"slices"
	"sync"
	"sync/atomic"

	"usher/config"
	"usher/metrics"
	"usher/routetable"
)

// identity is what an endpoint is over tables, reloads and flaps of its registry. At
// another address it is another process.
type identity struct{ registry, service, id, address string }

func identityOf(e *routetable.Endpoint) identity {
	return identity{e.Service.Registry, e.Service.Service, e.ID, e.Address}
}

// record is what is known of the health of one endpoint. It lives as long as the
// endpoint is in a table, and a while longer.
type record struct {
	identity
	group *group

	// Requests write these.

	// trouble is 0 while nothing speaks against the endpoint: see evidence.go.
	trouble atomic.Uint64
	// events are what the Monitor has not looked at yet; queued says that it will.
	events atomic.Uint32
	queued atomic.Bool
	// requests and failures are of all answers, for the comparison with the peers. nanos is
	// how long those took whose time is known, timed how many these are.
	requests, failures, timed, nanos atomic.Uint64
	// slowest is the longest time to an answer in this window.
	slowest atomic.Int64
	// hanging are the requests that wait for an answer.
	hanging hanging
	// settings are those of the newest table; requests only read them.
	settings atomic.Pointer[config.Health]

	// The rest is guarded by Monitor.mu.

	// endpoint is as the newest table has it.
	endpoint *routetable.Endpoint
	members  []*member
	// states are those of the tables in use, and those before them that requests still
	// hold.
	states []*routetable.State
	// left is since when no table has the endpoint; 0: one does.
	left int64

	ejection ejection
	// drainUntil is how long it is left alone after it has said that it is draining; 0:
	// it has not.
	drainUntil int64
	// rampFrom is since when its weight grows; 0: it does not.
	rampFrom int64
	probers  []*prober

	// lastSlowest is the slowest of the window before; seen are the counts at its end.
	lastSlowest int64
	seen        counts

	// state is how it stood last, since when; stated says that it was found out once.
	state  State
	since  int64
	stated bool
}

// counts are the figures of a record at one moment.
type counts struct{ requests, failures, timed, nanos uint64 }

// member is an endpoint's place in a cluster.
type member struct {
	record   *record
	endpoint *routetable.Endpoint
	cluster  *cluster
	// prober tells whether it is well; nil: it is not probed.
	prober *prober
	// picked says that it is in the cluster's view.
	picked bool
}

// cluster is what is known of a cluster of the table in use.
type cluster struct {
	*routetable.Cluster
	members []*member
	// dirty says that the view may be out of date.
	dirty bool
	panic bool
}

// group are the endpoints of one service, which are each other's peers.
type group struct {
	registry, service string
	records           []*record
	series            *metrics.ServiceHealth
	// window is when the peers are compared next; windows counts that.
	window  int64
	windows int
}

// attached returns the record of an endpoint; nil when nobody watches it.
func attached(e *routetable.Endpoint) *record {
	r, _ := e.State.Health.(*record)
	return r
}

// join takes a cluster of a new table in. The caller holds m.mu.
func (m *Monitor) join(c *routetable.Cluster, now int64) {
	cl := &cluster{Cluster: c, members: make([]*member, 0, len(c.Endpoints)), dirty: true}
	m.clusters[c] = cl
	for _, e := range c.Endpoints {
		r := attached(e)
		if r == nil {
			r = m.recordOf(e, now)
			e.State.Health = r
			r.hold(e.State)
		}
		mb := &member{record: r, endpoint: e, cluster: cl, prober: m.proberFor(r, e, now)}
		r.members = append(r.members, mb)
		cl.members = append(cl.members, mb)
		m.welcome(r, e, now)
	}
}

// recordOf returns the record of an endpoint, made at first.
func (m *Monitor) recordOf(e *routetable.Endpoint, now int64) *record {
	id := identityOf(e)
	if r := m.records[id]; r != nil {
		return r
	}
	r := &record{identity: id, since: now}
	m.records[id] = r
	key := groupKey{id.registry, id.service}
	r.group = m.groups[key]
	if r.group == nil {
		r.group = &group{registry: id.registry, service: id.service, series: m.series.Acquire(id.service)}
		r.group.window = now + int64(m.healthOf(e).Outlier.SuccessRate.Interval)
		m.groups[key] = r.group
	}
	r.group.records = append(r.group.records, r)
	return r
}

// hold notes a state by which requests know the endpoint, and lets go of those that
// nobody has any more.
func (r *record) hold(s *routetable.State) {
	r.states = slices.DeleteFunc(r.states, func(old *routetable.State) bool {
		return old.InFlight.Load() == 0 && !slices.ContainsFunc(r.members, func(mb *member) bool {
			return mb.endpoint.State == old
		})
	})
	s.SetOut(r.state.isOut())
	r.states = append(r.states, s)
}

// welcome takes note of an endpoint as a table has it. One that is new, or back, begins
// slowly; not so at the process's start, and not after an absence so short that it was
// the registry's.
func (m *Monitor) welcome(r *record, e *routetable.Endpoint, now int64) {
	before := r.endpoint
	r.endpoint = e
	r.settings.Store(m.healthOf(e))
	switch {
	case before == nil:
		if !m.first && e.Up() {
			m.ramp(r, now)
		}
	case r.left > 0 && now-r.left > int64(flapGrace), !before.Up() && e.Up():
		m.ramp(r, now)
	}
	r.left = 0
}

// leave forgets a cluster that has left the table. The caller holds m.mu.
func (m *Monitor) leave(c *routetable.Cluster, now int64) {
	cl := m.clusters[c]
	if cl == nil {
		return
	}
	delete(m.clusters, c)
	if cl.panic {
		m.panicking--
	}
	for _, mb := range cl.members {
		r := mb.record
		r.members = slices.DeleteFunc(r.members, func(x *member) bool { return x == mb })
		m.dismiss(mb.prober)
		if len(r.members) == 0 {
			r.left = now
		} else {
			r.endpoint = r.members[len(r.members)-1].endpoint
		}
	}
}

// forget drops what left long ago. The caller holds m.mu.
func (m *Monitor) forget(now int64) {
	for id, r := range m.records {
		if r.left == 0 || now-r.left < int64(keepGone) {
			continue
		}
		delete(m.records, id)
		delete(m.timed, r)
		g := r.group
		g.records = slices.DeleteFunc(g.records, func(x *record) bool { return x == r })
		if len(g.records) == 0 {
			m.series.Release(g.series)
			delete(m.groups, groupKey{g.registry, g.service})
		}
	}
}

type groupKey struct{ registry, service string }

// hanging are requests that wait for an endpoint's answer. It has a lock of its own.
type hanging struct {
	mu sync.Mutex
	// begun is since when the endpoint has been silent, for all that is known.
	begun int64
	// requests are when up to stallRequests of them began to wait; n says how many.
	requests [stallRequests]int64
	n        int
	// told is when the Monitor was told last.
	told int64
}

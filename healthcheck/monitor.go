package healthcheck

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"usher/routetable"
)

// The time an endpoint stays out after it could not be connected to: the base,
// doubled with each failure after the last success, up to the cap.
const (
	ejectionBase = time.Second
	ejectionCap  = 30 * time.Second
)

// refreshPause bounds how often the views are gone over: an endpoint that flaps would
// ask for it at every request.
const refreshPause = 20 * time.Millisecond

// Monitor keeps the views of the table in use.
type Monitor struct {
	log   *slog.Logger
	start time.Time
	// wake holds a token while a view may be out of date.
	wake chan struct{}

	held *held
	// gone is told of held endpoints that do not answer.
	gone func(*routetable.Endpoint)

	mu    sync.Mutex
	table *routetable.Table
}

// New returns a Monitor without a table. It probes the endpoints that are held, and
// gone is told, from a goroutine of Run, of each that does not answer; nil: nobody
// is.
func New(log *slog.Logger, gone func(*routetable.Endpoint)) *Monitor {
	if gone == nil {
		gone = func(*routetable.Endpoint) {}
	}
	return &Monitor{log: log, start: time.Now(), wake: make(chan struct{}, 1), held: newHeld(), gone: gone}
}

// now is the time since the Monitor's start, which never goes backwards. Zero is
// kept for "not ejected".
func (m *Monitor) now() int64 { return max(1, int64(time.Since(m.start))) }

// Adopt makes t the table the Monitor looks after and writes the views of the
// clusters that are new in it. It is called before t is published, for each table
// that is, in order.
func (m *Monitor) Adopt(t *routetable.Table) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.table = t
	now := m.now()
	for _, c := range t.Delta().AddedClusters {
		c.SetView(viewOf(c, now))
	}
	m.held.adopt(t.Delta())
	m.poke()
}

// ConnectFailed tells that the endpoint could not be connected to. It goes out of
// the views shortly after; a failure while it is out already changes nothing.
func (m *Monitor) ConnectFailed(e *routetable.Endpoint) {
	now := m.now()
	until := e.State.EjectedUntil.Load()
	if until > now {
		return
	}
	n := e.State.Ejections.Load()
	pause := ejectionCap
	if n < 5 {
		pause = min(ejectionCap, ejectionBase<<n)
	}
	if !e.State.EjectedUntil.CompareAndSwap(until, now+int64(pause)) {
		return
	}
	e.State.Ejections.Add(1)
	m.log.Warn("endpoint ejected: cannot connect", "service", e.Service.Service, "instance", e.ID,
		"address", e.Address, "for", pause)
	m.poke()
}

// Succeeded tells that the endpoint answered. It is called after every answer, so
// it only reads unless there is something to forget.
func (m *Monitor) Succeeded(e *routetable.Endpoint) {
	if e.State.Ejections.Load() != 0 {
		e.State.Ejections.Store(0)
		e.State.EjectedUntil.Store(0)
		m.poke()
	}
}

func (m *Monitor) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Run rewrites the views when an ejection begins or ends, and probes the held
// endpoints, until ctx ends.
func (m *Monitor) Run(ctx context.Context) {
	var probing sync.WaitGroup
	defer probing.Wait()
	probing.Go(func() { m.held.run(ctx, m.gone) })
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		case <-timer.C:
		}
		if next := m.refresh(); next > 0 {
			timer.Reset(next)
		}
		select {
		case <-ctx.Done():
		case <-time.After(refreshPause):
		}
	}
}

// refresh rewrites the views that changed and returns the time until the next
// ejection ends, 0 when there is none.
func (m *Monitor) refresh() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.table == nil {
		return 0
	}
	now := m.now()
	var next int64
	for c := range m.table.AllClusters() {
		if end := ejectionEnd(c, now); end > 0 && (next == 0 || end < next) {
			next = end
		}
		if v := viewOf(c, now); !sameUsable(v, c.View()) {
			c.SetView(v)
		}
	}
	if next == 0 {
		return 0
	}
	return time.Duration(next - now)
}

// ejectionEnd returns when the next ejection among a cluster's endpoints ends, 0
// when none is ejected.
func ejectionEnd(c *routetable.Cluster, now int64) (next int64) {
	for _, e := range c.Endpoints {
		if until := e.State.EjectedUntil.Load(); until > now && (next == 0 || until < next) {
			next = until
		}
	}
	return next
}

func sameUsable(a, b *routetable.View) bool {
	if len(a.Usable) != len(b.Usable) {
		return false
	}
	for i := range a.Usable {
		if a.Usable[i] != b.Usable[i] {
			return false
		}
	}
	return true
}

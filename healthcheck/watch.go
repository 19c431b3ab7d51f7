package healthcheck

// Transition is an endpoint that stands otherwise than it did.
type Transition struct {
	Registry, Service, ID, Address string
	From, To                       State
	// Cause says in words why.
	Cause string
}

// Watcher is told what changes. Its functions are called with the Monitor's lock held, from
// any goroutine: they must neither block nor call the Monitor. Nil ones are not called.
type Watcher struct {
	// Transition is told of each change of a state, but for the first state of an endpoint
	// that is new.
	Transition func(Transition)
	// Changed is called when a state or a view is another one. It comes before the table
	// that a new view belongs to is published.
	Changed func()
}

// Watch makes w the one that is told. It comes before the first Adopt.
func (m *Monitor) Watch(w Watcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watcher = w
}

// States counts the endpoints, each once whatever the routes it is in, by their state.
func (m *Monitor) States() map[State]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[State]int{}
	for _, r := range m.records {
		if r.left == 0 {
			out[r.state]++
		}
	}
	return out
}

// enter notes the state of an endpoint and tells of it.
func (m *Monitor) enter(r *record, s State, now int64) {
	from, first := r.state, !r.stated
	r.stated = true
	if s == from {
		return
	}
	r.state, r.since = s, now
	if m.watcher.Transition != nil && !first {
		m.watcher.Transition(Transition{
			Registry: r.registry, Service: r.service, ID: r.id, Address: r.address,
			From: from, To: s, Cause: m.causeOf(r, now),
		})
	}
	m.watcher.changed()
}

func (w *Watcher) changed() {
	if w.Changed != nil {
		w.Changed()
	}
}

package routetable

import "usher/watcher"

// departed remembers the states of endpoints and clusters that have left: one that a
// registry loses and finds again goes on as if it had never been away. It is immutable.
//
// Tables have no clock, so that not time but number ends the memory: the last
// keepDeparted are remembered at least, twice as many at most.
type departed struct {
	// young and old hold a *State by instance, a *ClusterState by cluster. When young is
	// full it becomes old, and what was old is forgotten.
	young, old watcher.Map[any]
}

const keepDeparted = 4096

// departedEdit makes the next departed.
type departedEdit struct {
	from  *departed
	young *watcher.MapEdit[any]
}

func (d *departed) edit() *departedEdit { return &departedEdit{from: d} }

// edits are those of young, begun when the first thing leaves or returns: most tables
// see neither.
func (e *departedEdit) edits() *watcher.MapEdit[any] {
	if e.young == nil {
		e.young = e.from.young.Edit()
	}
	return e.young
}

// leave remembers what left.
func (e *departedEdit) leave(key string, state any) { e.edits().Set(key, state) }

// recall returns what is remembered of key, nil for nothing. Whoever returns is not
// forgotten by that: tables that nobody publishes recall, too.
func (e *departedEdit) recall(key string) any {
	state := e.from.young.Get(key)
	if e.young != nil {
		state = e.young.Get(key)
	}
	if state == nil {
		state = e.from.old.Get(key)
	}
	return state
}

// empty says that nothing is remembered.
func (e *departedEdit) empty() bool {
	return e.young == nil && e.from.young.Len()+e.from.old.Len() == 0
}

// done returns the edited form.
func (e *departedEdit) done() *departed {
	if e.young == nil {
		return e.from
	}
	d := &departed{young: e.young.Map(), old: e.from.old}
	if d.young.Len() >= keepDeparted {
		d.young, d.old = watcher.Map[any]{}, d.young
	}
	return d
}

// instanceKey names an instance; at another address it is another one, as in stateOf.
func instanceKey(s *watcher.Service, in *watcher.Instance) string {
	return "i" + s.String() + "\x00" + in.ID + "\x00" + in.Address
}

// exchange remembers the states of before's instances that now lacks, and gives those
// that are back theirs again. Either may be nil; now is not in use yet.
func (e *departedEdit) exchange(before, now *announcer) {
	if before != nil {
		for i := range before.service.Instances {
			in := &before.service.Instances[i]
			if before.states != nil && now.find(in) < 0 {
				e.leave(instanceKey(before.service, in), before.states[i])
			}
		}
	}
	if now == nil || e.empty() {
		return
	}
	for i := range now.service.Instances {
		in := &now.service.Instances[i]
		if before.find(in) >= 0 {
			continue
		}
		if state, ok := e.recall(instanceKey(now.service, in)).(*State); ok {
			now.states[i] = state
		}
	}
}

// clusterKey names a cluster; no instanceKey is the same.
func clusterKey(name string) string { return "c" + name }

// leaveCluster remembers the state of a cluster that left, but for what can be made
// again.
func (e *departedEdit) leaveCluster(c *Cluster) {
	c.state.Made.Store(nil)
	e.leave(clusterKey(c.Name), c.state)
}

// recallCluster returns the state of a cluster that comes back, or a new one.
func (e *departedEdit) recallCluster(name string) *ClusterState {
	if state, ok := e.recall(clusterKey(name)).(*ClusterState); ok {
		return state
	}
	return &ClusterState{}
}

package routetable

// Aside returns a copy of a cluster of the table, for who asks what would be done with it
// without doing it: the states of its endpoints and what its Picker goes by are copies, as
// they are now, so that nothing that is done to it is seen by anybody. Its view is the one in
// use; it has no Attachment. Any goroutine may call it.
func (t *Table) Aside(c *Cluster) *Cluster {
	a := &Cluster{
		Name: c.Name, Services: c.Services, Endpoints: make([]*Endpoint, len(c.Endpoints)),
		Policy: c.Policy, Picker: c.Picker, Restricted: c.Restricted, Answers: c.Answers,
	}
	for i, e := range c.Endpoints {
		own := *e
		own.State = e.State.aside()
		a.Endpoints[i] = &own
	}
	a.SetView(c.View())
	if c.state != nil { // one that stands for no service has none
		a.state = &ClusterState{}
		a.state.Turn.Store(c.state.Turn.Load())
		a.state.Made.Store(c.state.Made.Load())
		a.Picker = t.rules.Balancers[c.Policy.Balance](a, a.state)
	}
	return a
}

// aside is a copy that nobody else has.
func (s *State) aside() *State {
	a := &State{}
	a.InFlight.Store(s.InFlight.Load())
	a.BusyUntil.Store(s.BusyUntil.Load())
	a.Latency.word.Store(s.Latency.word.Load())
	a.out.Store(s.out.Load())
	return a
}

package upstream

// Expire closes what has been idle since before then, on the sweeper's clock, and what
// is no longer alive.
func (ps *Pools) Expire(then int64) { ps.expire(then) }

// Places is how many connections the pool counts, those being made included, and
// Waiting how many wait for one.
func (p *Pool) Places() (places, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.places, len(p.waiting)
}

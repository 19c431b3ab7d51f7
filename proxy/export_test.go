package proxy

// Arriving and Heard are the number of connections of an https listener that no server has
// yet, and of those of them that have said something.
func (p *Proxy) Arriving(name string) (n int) {
	return p.countArriving(name, func(*arrival) bool { return true })
}

// Heard is explained with Arriving.
func (p *Proxy) Heard(name string) int {
	return p.countArriving(name, func(a *arrival) bool { return a.begun() })
}

func (p *Proxy) countArriving(name string, what func(*arrival) bool) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.listeners {
		s := l.current()
		if behind, ok := s.(*stage); ok {
			s = behind.server
		}
		if e, ok := s.(*entry); ok && l.config.Name == name {
			e.arriving.Each(func(a *arrival) {
				if what(a) {
					n++
				}
			})
		}
	}
	return n
}

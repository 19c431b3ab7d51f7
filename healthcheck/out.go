package healthcheck

import "usher/routetable"

// Out says whether an endpoint is ejected: requests that wait for it had better go
// elsewhere. It may be called from any goroutine, and only reads.
func (m *Monitor) Out(s *routetable.State) bool {
	until := s.EjectedUntil.Load()
	return until > 0 && until > m.now()
}

package routetable

// Request is what of a request decides its route. Its slices are only read during
// the call.
type Request struct {
	// Listener is the name of the listener it came in by.
	Listener string
	// Host is the request's host, lower case; Port the digits behind the colon,
	// empty when there are none.
	Host, Port []byte
	// HostPort is both as they were sent, lower case.
	HostPort []byte
	// Path is the decoded path, without the query.
	Path   []byte
	Method []byte
	// Header returns the first value of a field, nil when it is not there.
	Header func(name string) []byte
}

// Match returns the route of a request, nil when there is none.
//
// Hosts are tried in this order: host:port, then host, by exact name; patterns,
// the one with the longest suffix first; any host. Under each the paths: exact,
// longest prefix, pattern. A host none of whose routes takes the request falls
// through to the next (Fabio's rule).
func (t *Table) Match(q *Request) *Route {
	if len(q.Port) > 0 {
		if r := t.hosts.exact[string(q.HostPort)].match(q); r != nil {
			return r
		}
	}
	if r := t.hosts.exact[string(q.Host)].match(q); r != nil {
		return r
	}
	if t.hosts.patterns() {
		if r := t.hosts.matchPatterns(q); r != nil {
			return r
		}
	}
	return t.hosts.anyHost.match(q)
}

// pathSet holds the routes of one host pattern.
type pathSet struct {
	// entries are the literal paths in ascending order.
	entries []pathEntry
	// patterns are the globs and regular expressions, best first.
	patterns []*Route
}

// pathEntry is one literal path and its routes, best first.
type pathEntry struct {
	path          string
	exact, prefix []*Route
	// parent is the index of the longest other entry that is a prefix of this one,
	// -1 when there is none.
	parent int32
}

// match finds the route for q's path; a nil set has none.
func (s *pathSet) match(q *Request) *Route {
	if s == nil {
		return nil
	}
	if r := s.matchLiteral(q); r != nil {
		return r
	}
	for _, r := range s.patterns {
		if r.pattern.Match(q.Path) && r.accepts(q) {
			return r
		}
	}
	return nil
}

// matchLiteral goes through the entries that are a prefix of the path, longest
// first. All of them are the last entry not above the path, or its ancestors: any
// prefix of the path sorts at or below it, and what lies between the two starts
// with that prefix as well.
func (s *pathSet) matchLiteral(q *Request) *Route {
	for i := s.floor(q.Path); i >= 0; i = s.entries[i].parent {
		e := &s.entries[i]
		if len(e.path) > len(q.Path) || string(q.Path[:len(e.path)]) != e.path {
			continue
		}
		if len(e.path) == len(q.Path) {
			if r := firstAccepting(e.exact, q); r != nil {
				return r
			}
		}
		if r := firstAccepting(e.prefix, q); r != nil {
			return r
		}
	}
	return nil
}

// floor returns the index of the last entry at or below path, -1 for none.
func (s *pathSet) floor(path []byte) int32 {
	lo, hi := 0, len(s.entries)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if s.entries[mid].path <= string(path) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return int32(lo - 1)
}

func firstAccepting(routes []*Route, q *Request) *Route {
	for _, r := range routes {
		if r.accepts(q) {
			return r
		}
	}
	return nil
}

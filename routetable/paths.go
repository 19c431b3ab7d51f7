package routetable

import (
	"cmp"
	"slices"
)

// pathSet holds the routes of one host pattern. It is immutable, and never empty:
// a nil one stands for that.
type pathSet struct {
	// host is the pattern.
	host string
	// literals is the tree of the literal paths, nil when there are none.
	literals *pathNode
	// patterns are those that have to be tried, best first.
	patterns []*Route
}

// pathEntry is the routes of one literal path, best first.
type pathEntry struct{ exact, prefix []*Route }

// match finds the route for q's path; a nil set has none.
func (s *pathSet) match(q *Request) *Route {
	if s == nil {
		return nil
	}
	if q.Trace != nil {
		q.Trace.host = s.host
	}
	if r := s.literals.match(q); r != nil {
		return r
	}
	for _, r := range s.patterns {
		if r.fits(q) && r.accepts(q) {
			return r
		}
	}
	return nil
}

func firstAccepting(routes []*Route, q *Request) *Route {
	for _, r := range routes {
		if r.accepts(q) {
			return r
		}
	}
	return nil
}

// with returns the set with routes swapped, nil if none is left. What it costs
// depends on the swaps, not on the size of the set, but for the patterns.
func (s *pathSet) with(swaps []swap) *pathSet {
	now := &pathSet{}
	if s != nil {
		*now = *s
	}
	var patterns []swap
	for _, w := range swaps {
		if w.old != nil && !w.old.literal() || w.now != nil && !w.now.literal() {
			patterns = append(patterns, w)
		}
		if w.old != nil && w.old.literal() {
			now.literals = now.literals.change(w.old.Path, func(e *pathEntry) *pathEntry { return e.without(w.old) })
		}
		if w.now != nil && w.now.literal() {
			now.literals = now.literals.change(w.now.Path, func(e *pathEntry) *pathEntry { return e.and(w.now) })
		}
	}
	now.patterns = withPatterns(now.patterns, patterns)
	if now.literals == nil && len(now.patterns) == 0 {
		return nil
	}
	return now
}

// of returns the set, which is not in use yet, as that of a host; s may be nil.
func (s *pathSet) of(host string) *pathSet {
	if s != nil {
		s.host = host
	}
	return s
}

// withPatterns returns the patterns with some of them swapped.
func withPatterns(routes []*Route, swaps []swap) []*Route {
	if len(swaps) == 0 {
		return routes
	}
	gone := map[*Route]bool{}
	for _, w := range swaps {
		gone[w.old] = true
	}
	routes = slices.DeleteFunc(slices.Clone(routes), func(r *Route) bool { return gone[r] })
	for _, w := range swaps {
		if w.now != nil && !w.now.literal() {
			routes = append(routes, w.now)
		}
	}
	slices.SortFunc(routes, comparePatterns)
	return routes
}

// and returns the entry with one more route; e may be nil.
func (e *pathEntry) and(r *Route) *pathEntry {
	now := &pathEntry{}
	if e != nil {
		*now = *e
	}
	list := now.list(r)
	at, _ := slices.BinarySearchFunc(*list, r, compareRoutes)
	*list = slices.Insert(slices.Clone(*list), at, r)
	return now
}

// without returns the entry without a route, nil if nothing is left.
func (e *pathEntry) without(r *Route) *pathEntry {
	if e == nil {
		return nil
	}
	now := *e
	list := now.list(r)
	*list = slices.DeleteFunc(slices.Clone(*list), func(o *Route) bool { return o == r })
	if len(now.exact)+len(now.prefix) == 0 {
		return nil
	}
	return &now
}

func (e *pathEntry) list(r *Route) *[]*Route {
	if r.PathType == Exact {
		return &e.exact
	}
	return &e.prefix
}

// compareRoutes orders routes that match the same host and path, best first.
func compareRoutes(a, b *Route) int {
	return cmp.Or(
		cmp.Compare(b.Priority, a.Priority),
		cmp.Compare(b.Source, a.Source),
		cmp.Compare(b.predicates(), a.predicates()),
		cmp.Compare(a.ID, b.ID),
	)
}

// comparePatterns orders what has to be tried: priority, then the longer.
func comparePatterns(a, b *Route) int {
	return cmp.Or(
		cmp.Compare(b.Priority, a.Priority),
		cmp.Compare(len(b.Path), len(a.Path)),
		compareRoutes(a, b),
	)
}

package routetable

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// pathSet holds the routes of one host pattern. It is immutable, and never empty:
// a nil one stands for that.
type pathSet struct {
	// index holds the literal paths, entries their routes, aligned. Sets whose paths
	// are the same share the index.
	index   *pathIndex
	entries []*pathEntry
	// patterns are the globs and regular expressions, best first.
	patterns []*Route
}

// pathIndex is the literal paths in ascending order.
type pathIndex struct {
	paths []string
	// parents are, for each path, the index of the longest other one that is a prefix
	// of it, -1 when there is none.
	parents []int32
}

// pathEntry is the routes of one literal path, best first.
type pathEntry struct{ exact, prefix []*Route }

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

// matchLiteral goes through the paths that are a prefix of the request's, longest
// first. All of them are the last path not above it, or that one's ancestors: any
// prefix of the path sorts at or below it, and what lies between the two starts
// with that prefix as well.
func (s *pathSet) matchLiteral(q *Request) *Route {
	for i := s.index.floor(q.Path); i >= 0; i = s.index.parents[i] {
		path := s.index.paths[i]
		if len(path) > len(q.Path) || string(q.Path[:len(path)]) != path {
			continue
		}
		e := s.entries[i]
		if len(path) == len(q.Path) {
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

// floor returns the index of the last path at or below the given one, -1 for none.
func (x *pathIndex) floor(path []byte) int32 {
	lo, hi := 0, len(x.paths)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if x.paths[mid] <= string(path) {
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

// with returns the set with routes swapped, nil if none is left.
func (s *pathSet) with(swaps []swap) *pathSet {
	if s != nil && !slices.ContainsFunc(swaps, swap.moves) {
		return s.replaced(swaps)
	}
	gone := map[*Route]bool{}
	for _, w := range swaps {
		gone[w.old] = true
	}
	routes := slices.DeleteFunc(s.routes(), func(r *Route) bool { return gone[r] })
	for _, w := range swaps {
		if w.now != nil {
			routes = append(routes, w.now)
		}
	}
	return newPathSet(routes)
}

// moves says whether a swap is more than another form of a route at the same
// literal path.
func (w swap) moves() bool {
	return w.old == nil || w.now == nil || w.old.pattern != nil || w.now.pattern != nil ||
		w.old.Path != w.now.Path || w.old.PathType != w.now.PathType
}

// replaced returns the set with routes in the place of others at the same paths.
func (s *pathSet) replaced(swaps []swap) *pathSet {
	now := &pathSet{index: s.index, entries: slices.Clone(s.entries), patterns: s.patterns}
	for _, w := range swaps {
		i, _ := slices.BinarySearch(s.index.paths, w.old.Path)
		e := *now.entries[i]
		e.exact, e.prefix = exchanged(e.exact, w), exchanged(e.prefix, w)
		now.entries[i] = &e
	}
	return now
}

// exchanged returns the list with one route in another's place, in order.
func exchanged(routes []*Route, w swap) []*Route {
	i := slices.Index(routes, w.old)
	if i < 0 {
		return routes
	}
	routes = slices.Clone(routes)
	routes[i] = w.now
	slices.SortFunc(routes, compareRoutes)
	return routes
}

// routes returns all routes of the set, which may be nil.
func (s *pathSet) routes() []*Route {
	if s == nil {
		return nil
	}
	out := slices.Clone(s.patterns)
	for _, e := range s.entries {
		out = append(append(out, e.exact...), e.prefix...)
	}
	return out
}

// newPathSet orders the routes of one host; nil if there are none.
func newPathSet(routes []*Route) *pathSet {
	if len(routes) == 0 {
		return nil
	}
	s := &pathSet{}
	byPath := map[string]*pathEntry{}
	for _, r := range routes {
		if r.pattern != nil {
			s.patterns = append(s.patterns, r)
			continue
		}
		e := byPath[r.Path]
		if e == nil {
			e = &pathEntry{}
			byPath[r.Path] = e
		}
		e.add(r)
	}
	slices.SortFunc(s.patterns, comparePatterns)
	s.index = newPathIndex(slices.Sorted(maps.Keys(byPath)))
	s.entries = make([]*pathEntry, 0, len(byPath))
	for _, path := range s.index.paths {
		e := byPath[path]
		slices.SortFunc(e.exact, compareRoutes)
		slices.SortFunc(e.prefix, compareRoutes)
		s.entries = append(s.entries, e)
	}
	return s
}

func (e *pathEntry) add(r *Route) {
	if r.PathType == Exact {
		e.exact = append(e.exact, r)
	} else {
		e.prefix = append(e.prefix, r)
	}
}

// newPathIndex finds the parents of paths in ascending order: going up the order,
// the open ancestors of a path are a stack.
func newPathIndex(paths []string) *pathIndex {
	x := &pathIndex{paths: paths, parents: make([]int32, len(paths))}
	for i, path := range paths {
		parent := int32(i) - 1
		for parent >= 0 && !strings.HasPrefix(path, paths[parent]) {
			parent = x.parents[parent]
		}
		x.parents[i] = parent
	}
	return x
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

// comparePatterns orders globs and regular expressions: priority, then the longer.
func comparePatterns(a, b *Route) int {
	return cmp.Or(
		cmp.Compare(b.Priority, a.Priority),
		cmp.Compare(len(b.Path), len(a.Path)),
		compareRoutes(a, b),
	)
}

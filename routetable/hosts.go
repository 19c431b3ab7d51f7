package routetable

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// hostTable finds the path sets of a host.
type hostTable struct {
	exact map[string]*pathSet
	// suffixes holds the patterns that are one star and a suffix, keyed by that
	// suffix: ".example.com" for *.example.com, "" for *.
	suffixes map[string]*pathSet
	// loose says that some suffix begins within a label: *foo.com.
	loose bool
	// globs are all other patterns, the one with the longest suffix first.
	globs []hostGlob
	// anyHost holds the rules without a host; nil when there are none.
	anyHost *pathSet
}

// hostGlob is a host pattern with a star elsewhere than in front, or with a port.
type hostGlob struct {
	pattern string
	// suffix is the length of the literal end, which decides the order.
	suffix int
	expr   *regexp.Regexp
	paths  *pathSet
}

func (h *hostTable) patterns() bool { return len(h.suffixes) > 0 || len(h.globs) > 0 }

// matchPatterns tries the patterns that fit the host, the most specific suffix
// first: *.a.foo.com before *.foo.com before *.
func (h *hostTable) matchPatterns(q *Request) *Route {
	next := 0
	for cut := 0; cut <= len(q.Host); cut++ {
		if !h.loose && cut < len(q.Host) && q.Host[cut] != '.' {
			continue
		}
		suffix := q.Host[cut:]
		for next < len(h.globs) && h.globs[next].suffix >= len(suffix) {
			if r := h.globs[next].match(q); r != nil {
				return r
			}
			next++
		}
		if r := h.suffixes[string(suffix)].match(q); r != nil {
			return r
		}
	}
	return nil
}

func (g *hostGlob) match(q *Request) *Route {
	if g.expr.Match(q.Host) || (len(q.Port) > 0 && g.expr.Match(q.HostPort)) {
		return g.paths.match(q)
	}
	return nil
}

// hostBuilder collects routes by host pattern.
type hostBuilder map[string][]*Route

// add puts r under each of its hosts.
func (b hostBuilder) add(r *Route) {
	for _, h := range r.Hosts {
		b[h] = append(b[h], r)
	}
}

// build makes the table of what was added.
func (b hostBuilder) build() hostTable {
	t := hostTable{exact: make(map[string]*pathSet, len(b)), suffixes: map[string]*pathSet{}}
	for host, routes := range b {
		set := newPathSet(routes)
		switch stars := strings.Count(host, "*"); {
		case host == "":
			t.anyHost = set
		case stars == 0:
			t.exact[host] = set
		case stars == 1 && host[0] == '*' && !strings.Contains(host, ":"):
			t.suffixes[host[1:]] = set
			t.loose = t.loose || (len(host) > 1 && host[1] != '.')
		default:
			t.globs = append(t.globs, newHostGlob(host, set))
		}
	}
	slices.SortFunc(t.globs, func(a, b hostGlob) int {
		return cmp.Or(cmp.Compare(b.suffix, a.suffix), cmp.Compare(len(b.pattern), len(a.pattern)),
			cmp.Compare(a.pattern, b.pattern))
	})
	return t
}

func newHostGlob(pattern string, set *pathSet) hostGlob {
	return hostGlob{
		pattern: pattern,
		suffix:  len(pattern) - strings.LastIndexByte(pattern, '*') - 1,
		expr:    regexp.MustCompile(globExpr(pattern)),
		paths:   set,
	}
}

// globExpr is the regular expression of a glob: * is any run of characters, ? is
// one.
func globExpr(glob string) string {
	var b strings.Builder
	b.WriteString("(?s)^")
	for _, r := range glob {
		switch r {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteByte('.')
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	b.WriteByte('$')
	return b.String()
}

// newPathSet orders the routes of one host.
func newPathSet(routes []*Route) *pathSet {
	s := &pathSet{}
	byPath := map[string]*pathEntry{}
	for _, r := range routes {
		if r.pattern != nil {
			s.patterns = append(s.patterns, r)
			continue
		}
		e := byPath[r.Path]
		if e == nil {
			e = &pathEntry{path: r.Path}
			byPath[r.Path] = e
		}
		if r.PathType == Exact {
			e.exact = append(e.exact, r)
		} else {
			e.prefix = append(e.prefix, r)
		}
	}
	for _, e := range byPath {
		slices.SortFunc(e.exact, compareRoutes)
		slices.SortFunc(e.prefix, compareRoutes)
		s.entries = append(s.entries, *e)
	}
	slices.SortFunc(s.entries, func(a, b pathEntry) int { return cmp.Compare(a.path, b.path) })
	slices.SortFunc(s.patterns, comparePatterns)
	s.link()
	return s
}

// link sets each entry's parent. Going up the order, the open ancestors of an
// entry are a stack.
func (s *pathSet) link() {
	for i := range s.entries {
		parent := int32(i) - 1
		for parent >= 0 && !strings.HasPrefix(s.entries[i].path, s.entries[parent].path) {
			parent = s.entries[parent].parent
		}
		s.entries[i].parent = parent
	}
}

// compareRoutes orders routes that match the same host and path, best first.
func compareRoutes(a, b *Route) int {
	return cmp.Or(
		cmp.Compare(b.Priority, a.Priority),
		cmp.Compare(b.predicates(), a.predicates()),
		cmp.Compare(b.Source, a.Source),
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

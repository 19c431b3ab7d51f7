package routetable

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"usher/watcher"
)

// hostTable finds the path sets of a host. It is immutable.
type hostTable struct {
	exact watcher.Map[*pathSet]
	// suffixes holds the patterns that are one star and a suffix, keyed by that
	// suffix: ".example.com" for *.example.com, "" for *.
	suffixes watcher.Map[*pathSet]
	// loose counts the suffixes that begin within a label: *foo.com.
	loose int
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
	// port says that the pattern has a port, which is matched then.
	port  bool
	expr  *regexp.Regexp
	paths *pathSet
}

func (h *hostTable) patterns() bool { return h.suffixes.Len() > 0 || len(h.globs) > 0 }

// matchPatterns tries the patterns that fit the host, the most specific suffix
// first: *.a.foo.com before *.foo.com before *.
func (h *hostTable) matchPatterns(q *Request) *Route {
	next := 0
	for cut := 0; cut <= len(q.Host); cut++ {
		if h.loose == 0 && cut < len(q.Host) && q.Host[cut] != '.' {
			continue
		}
		suffix := q.Host[cut:]
		for next < len(h.globs) && h.globs[next].suffix >= len(suffix) {
			if r := h.globs[next].match(q); r != nil {
				return r
			}
			next++
		}
		if r := h.suffixes.GetBytes(suffix).match(q); r != nil {
			return r
		}
	}
	return nil
}

func (g *hostGlob) match(q *Request) *Route {
	if !g.fits(q) {
		return nil
	}
	return g.paths.match(q)
}

// fits says whether the pattern takes the request's host.
func (g *hostGlob) fits(q *Request) bool {
	host := q.Host
	if g.port {
		host = q.HostPort
	}
	return g.expr.Match(host)
}

// with returns the table with routes swapped, by host.
func (h hostTable) with(hosts map[string][]swap) hostTable {
	if len(hosts) == 0 {
		return h
	}
	exact, suffixes := h.exact.Edit(), h.suffixes.Edit()
	for host, swaps := range hosts {
		switch kindOf(host) {
		case anyHost:
			h.anyHost = h.anyHost.with(swaps)
		case exactHost:
			put(exact, host, exact.Get(host).with(swaps).of(host))
		case suffixHost:
			before := suffixes.Get(host[1:])
			after := before.with(swaps).of(host)
			put(suffixes, host[1:], after)
			h.countLoose(host, before, after)
		case globHost:
			h.globs = withGlob(h.globs, host, swaps)
		}
	}
	h.exact, h.suffixes = exact.Map(), suffixes.Map()
	return h
}

func put(m *watcher.MapEdit[*pathSet], key string, set *pathSet) {
	if set == nil {
		m.Delete(key)
		return
	}
	m.Set(key, set)
}

func (h *hostTable) countLoose(host string, before, after *pathSet) {
	if len(host) == 1 || host[1] == '.' {
		return
	}
	if before != nil {
		h.loose--
	}
	if after != nil {
		h.loose++
	}
}

type hostKind uint8

const (
	anyHost hostKind = iota
	exactHost
	suffixHost
	globHost
)

// kindOf says which part of the table a pattern belongs to.
func kindOf(host string) hostKind {
	switch stars := strings.Count(host, "*"); {
	case host == "":
		return anyHost
	case stars == 0 && !strings.Contains(host, "?"):
		return exactHost
	case stars == 1 && host[0] == '*' && !strings.ContainsAny(host, ":?"):
		return suffixHost
	default:
		return globHost
	}
}

// withGlob returns the globs with one of them changed.
func withGlob(globs []hostGlob, host string, swaps []swap) []hostGlob {
	globs = slices.Clone(globs)
	i := slices.IndexFunc(globs, func(g hostGlob) bool { return g.pattern == host })
	if i < 0 {
		i = len(globs)
		globs = append(globs, newHostGlob(host))
	}
	if globs[i].paths = globs[i].paths.with(swaps).of(host); globs[i].paths == nil {
		return slices.Delete(globs, i, i+1)
	}
	slices.SortFunc(globs, func(a, b hostGlob) int {
		return cmp.Or(cmp.Compare(b.suffix, a.suffix), cmp.Compare(len(b.pattern), len(a.pattern)),
			cmp.Compare(a.pattern, b.pattern))
	})
	return globs
}

func newHostGlob(pattern string) hostGlob {
	return hostGlob{
		pattern: pattern,
		suffix:  len(pattern) - strings.LastIndexAny(pattern, "*?") - 1,
		port:    strings.Contains(pattern, ":"),
		expr:    regexp.MustCompile(globExpr(pattern)),
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

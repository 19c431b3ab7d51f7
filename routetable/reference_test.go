package routetable

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/watcher"
)

// draw returns a number in [0, n): the source of all choices of a random case.
type draw func(n int) int

func oneOf[T any](d draw, list ...T) T { return list[d(len(list))] }

// referenceMatch finds a route by looking at all of them: of those that take the
// request the best by host, then by path, then by the rest.
func referenceMatch(routes []*Route, q *Request) *Route {
	var best *Route
	var bestRank []int
	for _, r := range routes {
		if !r.accepts(q) || !referenceQuery(r, string(q.Target)) || !referencePath(r, string(q.Path)) {
			continue
		}
		for _, h := range r.Hosts {
			rank := append(hostRank(h, q), pathRank(r)...)
			if rank[0] == 0 {
				continue
			}
			if c := slices.Compare(rank, bestRank); best == nil || c > 0 || c == 0 && r.ID < best.ID {
				best, bestRank = r, rank
			}
		}
	}
	return best
}

// hostRank says how well a host pattern fits, starting with 0 when it does not.
func hostRank(pattern string, q *Request) []int {
	hasPort := len(q.Port) > 0
	ported := strings.Contains(pattern, ":")
	switch {
	case pattern == "":
		return []int{1, 0, 0, 0, 0}
	case !strings.Contains(pattern, "*"):
		if hasPort && pattern == string(q.HostPort) {
			return []int{4, 0, 0, 0, 0}
		}
		if pattern == string(q.Host) {
			return []int{3, 0, 0, 0, 0}
		}
	case globFits(pattern, string(q.Host)), hasPort && ported && globFits(pattern, string(q.HostPort)):
		literal := len(pattern) - strings.LastIndexByte(pattern, '*') - 1
		plain := ported || strings.LastIndexByte(pattern, '*') > 0
		rank := []int{2, literal, 0, len(pattern), 0}
		if plain {
			rank[2] = 1
		}
		// Of patterns that are equally long the first in the alphabet.
		for _, c := range pattern {
			rank[4] = rank[4]*128 + 127 - int(c)
		}
		return rank
	}
	return []int{0}
}

// globFits matches a glob by trying everything.
func globFits(glob, s string) bool {
	if glob == "" {
		return s == ""
	}
	if glob[0] == '*' {
		return globFits(glob[1:], s) || s != "" && globFits(glob, s[1:])
	}
	return s != "" && glob[0] == s[0] && globFits(glob[1:], s[1:])
}

func referencePath(r *Route, path string) bool {
	switch r.PathType {
	case Prefix:
		return strings.HasPrefix(path, r.Path)
	case Exact:
		return path == r.Path
	case Glob:
		return globFits(r.Path, path)
	case IPrefix:
		return len(path) >= len(r.Path) && strings.EqualFold(path[:len(r.Path)], r.Path)
	default:
		return regexp.MustCompile(`\A(?:` + r.Path + `)`).MatchString(path)
	}
}

// referenceQuery says whether the query has what the route asks for.
func referenceQuery(r *Route, target string) bool {
	_, query, _ := strings.Cut(target, "?")
	values, err := url.ParseQuery(query)
	for _, p := range r.Query {
		if err != nil || !values.Has(p.Name) || p.Value != "" && !slices.Contains(values[p.Name], p.Value) {
			return false
		}
	}
	return true
}

// pathRank orders the routes of a host that take a path.
func pathRank(r *Route) []int {
	rest := []int{r.Priority, int(r.Source), r.predicates()}
	switch r.PathType {
	case Prefix:
		return append([]int{1, len(r.Path), 0}, rest...)
	case Exact:
		return append([]int{1, len(r.Path), 1}, rest...)
	default:
		return append([]int{0, r.Priority, len(r.Path)}, rest...)
	}
}

// randomHost is a host name, maybe with a port.
func randomHost(d draw) string {
	labels := make([]string, 1+d(3))
	for i := range labels {
		labels[i] = oneOf(d, "a", "b", "ab", "ba")
	}
	return strings.Join(labels, ".") + oneOf(d, "", "", ":81", ":82")
}

// randomPattern is a host pattern.
func randomPattern(d draw) string {
	switch h := randomHost(d); d(8) {
	case 0:
		return ""
	case 1:
		return "*"
	case 2, 3:
		return "*." + h
	case 4:
		return "*" + h
	case 5:
		at := d(len(h) + 1)
		name, port, ported := strings.Cut(h, ":")
		if !ported {
			return h[:at] + "*" + h[at:]
		}
		at = min(at, len(name))
		return name[:at] + "*" + name[at:] + ":" + oneOf(d, port, "*")
	default:
		return h
	}
}

func randomPath(d draw) string {
	var b strings.Builder
	b.WriteByte('/')
	for range d(6) {
		b.WriteByte("aabA/"[d(5)])
	}
	return b.String()
}

func randomRoute(d draw, i int) config.Route {
	kind := oneOf(d, "prefix", "prefix", "prefix", "exact", "glob", "regex", "iprefix")
	m := config.Match{Path: randomPath(d), PathType: kind}
	for range d(3) {
		m.Hosts = append(m.Hosts, randomPattern(d))
	}
	if len(m.Hosts) == 0 || slices.Contains(m.Hosts, "") {
		m.Hosts = nil
	}
	if m.PathType == "glob" {
		m.Path = strings.Replace(m.Path, oneOf(d, "a", "/a", "b"), "*", 1+d(2))
	}
	if m.PathType == "regex" {
		m.Path = strings.Replace(m.Path, "a", oneOf(d, "[ab]", "a+", "(a|b/)", ".*"), 1)
	}
	if d(4) == 0 {
		m.Listeners = []string{oneOf(d, "web", "internal")}
	}
	if d(4) == 0 {
		m.Methods = []string{oneOf(d, "GET", "POST")}
	}
	if d(6) == 0 {
		m.Headers = map[string]string{"X-A": oneOf(d, "1", "2")}
	}
	if d(6) == 0 {
		m.HeadersRegex = map[string]string{"X-A": oneOf(d, "1", "[12]", "^$")}
	}
	if d(6) == 0 {
		m.Query = map[string]string{oneOf(d, "q", "r"): oneOf(d, "", "1", "2")}
	}
	r := config.Route{Name: fmt.Sprintf("r%d", i), Service: "s", Match: m, Priority: oneOf(d, 0, 0, 0, 1, -1)}
	switch d(12) {
	case 0:
		r.Service, r.Redirect = "", &config.Redirect{Code: 301, To: "https://$host$path"}
	case 1:
		r.Service, r.Respond = "", &config.Respond{Status: 200}
	case 2:
		r.Timeout = new(time.Duration(1 + d(2)))
	case 3:
		r.ResponseHeaders.Remove = []string{oneOf(d, "A", "B")}
	}
	return r
}

func randomTable(d draw) *Table {
	var routes []config.Route
	for i := range d(8) {
		routes = append(routes, randomRoute(d, i))
	}
	var services []*watcher.Service
	for i := range d(4) {
		var announcements []string
		for range d(5) {
			announcements = append(announcements, oneOf(d, "", "meta ")+randomPattern(d)+randomPath(d)+
				oneOf(d, "", "", "", " listener=web", " matcher=iprefix", " matcher=glob"))
		}
		services = append(services, service(fmt.Sprintf("s%d", i), instance(fmt.Sprintf("i%d", i), announcements...)))
	}
	return Build(catalogOf(services...), rulesOf(routes...), nil)
}

func randomRequest(d draw) *Request {
	q := hit(oneOf(d, "GET ", "POST ") + randomHost(d) + randomPath(d))
	q.Listener = oneOf(d, "web", "internal")
	if d(3) == 0 {
		q = withHeader(q, "X-A", oneOf(d, "1", "2"))
	}
	q.Target = append(slices.Clone(q.Path), oneOf(d, "", "?q=1", "?q=2&q=1", "?r", "?r=1&q=2")...)
	return q
}

// agrees checks a random table against the reference.
func agrees(t *testing.T, d draw) {
	t.Helper()
	table := randomTable(d)
	if len(table.Refused()) > 0 {
		t.Fatalf("refused: %v", table.Refused())
	}
	for range 8 {
		q := randomRequest(d)
		got, want := table.Match(q), referenceMatch(table.Routes(), q)
		if got != want {
			t.Fatalf("%s %s%s on %s: got %v, want %v, of\n%s",
				q.Method, q.HostPort, q.Path, q.Listener, idOf(got), idOf(want), dump(table))
		}
	}
}

func idOf(r *Route) string {
	if r == nil {
		return "none"
	}
	return r.ID
}

// Match finds what looking at all routes finds.
func TestMatchAgreesWithReference(t *testing.T) {
	n := 8_000
	if testing.Short() {
		n = 1_000
	}
	for seed := range uint64(n) {
		agrees(t, rand.New(rand.NewPCG(seed, 1)).IntN)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// FuzzMatch is the same, with the choices taken from the input.
func FuzzMatch(f *testing.F) {
	for seed := range uint64(8) {
		data := make([]byte, 256)
		r := rand.New(rand.NewPCG(seed, 2))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		agrees(t, func(n int) int {
			if len(data) == 0 {
				return 0
			}
			v := int(data[0]) % n
			data = data[1:]
			return v
		})
	})
}

// The tree tries the prefixes of a path that are there, all of them, longest first,
// through any sequence of additions and removals; the sets it came from stay.
func TestPathSetAgreesWithLongestPrefix(t *testing.T) {
	for seed := range uint64(1_000) {
		d := draw(rand.New(rand.NewPCG(seed, 3)).IntN)
		var set *pathSet
		var routes []*Route
		for step := range 60 {
			before, was := set, slices.Clone(routes)
			if len(routes) > 0 && d(3) == 0 {
				i := d(len(routes))
				set = set.with([]swap{{routes[i], nil}})
				routes = slices.Delete(routes, i, i+1)
			} else {
				r := &Route{ID: fmt.Sprint(step), Path: randomPath(d)}
				set = set.with([]swap{{nil, r}})
				routes = append(routes, r)
			}
			path := randomPath(d) + randomPath(d)
			checkPrefixes(t, set, routes, path)
			checkPrefixes(t, before, was, path)
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
		}
	}
}

// checkPrefixes takes the routes that are found for a path out of the set, one after the
// other.
func checkPrefixes(t *testing.T, set *pathSet, routes []*Route, path string) {
	t.Helper()
	checkTree(t, set)
	routes = slices.DeleteFunc(slices.Clone(routes), func(r *Route) bool { return !strings.HasPrefix(path, r.Path) })
	slices.SortFunc(routes, func(a, b *Route) int {
		return cmp.Or(cmp.Compare(len(b.Path), len(a.Path)), cmp.Compare(a.ID, b.ID))
	})
	for _, want := range append(routes, nil) {
		got := set.match(&Request{Path: []byte(path)})
		if got != want {
			t.Errorf("%s: got %v, want %v", path, idOf(got), idOf(want))
			return
		}
		if want != nil {
			set = set.with([]swap{{want, nil}})
		}
	}
}

// checkTree checks that the tree is no larger than it has to be, and that an empty one
// is nil.
func checkTree(t *testing.T, set *pathSet) {
	t.Helper()
	if set == nil {
		return
	}
	if set.literals == nil && len(set.patterns) == 0 {
		t.Error("an empty set is not nil")
	}
	var check func(n *pathNode)
	check = func(n *pathNode) {
		if n.entry == nil && len(n.children) < 2 || len(n.firsts) != len(n.children) {
			t.Errorf("%q: entry %v, %d children at %q", n.label, n.entry, len(n.children), n.firsts)
		}
		for i, c := range n.children {
			if c.label[0] != n.firsts[i] || i > 0 && n.firsts[i-1] >= n.firsts[i] {
				t.Errorf("%q: child %q at %q", n.label, c.label, n.firsts)
			}
			check(c)
		}
	}
	if set.literals != nil {
		check(set.literals)
	}
}

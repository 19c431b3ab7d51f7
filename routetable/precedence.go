package routetable

import (
	"fmt"
	"slices"
	"strings"
)

// mostUntried is how many rules that were not looked at are named one by one.
const mostUntried = 50

// Explain completes q.Trace, when Match has found the route, nil for none: why
// the winner goes before the others, the rules that fit the request and were not looked
// at because of it, and the claims of its match that it outranks.
func (t *Table) Explain(q *Request, winner *Route) {
	hosts := &t.hosts
	if winner != nil && winner.Kind == Names {
		hosts = &t.names
	}
	q.Trace.complete(hosts, q, winner)
	t.addOutranked(q.Trace, winner)
}

// complete adds what a look at one host table has left out.
func (t *Trace) complete(h *hostTable, q *Request, winner *Route) {
	won := slices.IndexFunc(t.Tried, func(e Tried) bool { return e.Won })
	if won < 0 || winner == nil {
		return
	}
	under := t.Tried[won].Host
	t.Tried[won].Why = wins(q, winner, under)
	more := 0
	for _, s := range h.sets(q) {
		for _, r := range s.fitting(q) {
			if t.find(r, s.host) >= 0 {
				continue
			}
			if more++; more > mostUntried {
				continue
			}
			e := triedOf(r, s.host)
			e.Why = lost(q, r, s.host, winner, under)
			t.Tried = append(t.Tried, e)
		}
	}
	if more > mostUntried {
		t.Tried = append(t.Tried, Tried{
			ID: "…", Why: fmt.Sprintf("%d more rules fit and were not looked at", more-mostUntried),
		})
	}
}

// sets are the path sets that a request is looked for in, in the order in which that is
// done.
func (h *hostTable) sets(q *Request) (out []*pathSet) {
	add := func(s *pathSet) {
		if s != nil {
			out = append(out, s)
		}
	}
	if len(q.Port) > 0 {
		add(h.exact.GetBytes(q.HostPort))
	}
	add(h.exact.GetBytes(q.Host))
	next := 0
	for cut := 0; cut <= len(q.Host); cut++ {
		for next < len(h.globs) && h.globs[next].suffix >= len(q.Host)-cut {
			if h.globs[next].fits(q) {
				add(h.globs[next].paths)
			}
			next++
		}
		add(h.suffixes.GetBytes(q.Host[cut:]))
	}
	add(h.anyHost)
	return out
}

// fitting are the routes of the set whose path fits the request's, in the order in which
// they are looked at.
func (s *pathSet) fitting(q *Request) (out []*Route) {
	var chain []*pathEntry
	path, whole := q.Path, false
	for at := s.literals; at != nil && at.begins(path); at = at.child(path[0]) {
		path = path[len(at.label):]
		if at.entry != nil {
			chain = append(chain, at.entry)
		}
		if len(path) == 0 {
			whole = at.entry != nil
			break
		}
	}
	for i := len(chain) - 1; i >= 0; i-- {
		if whole && i == len(chain)-1 {
			out = append(out, chain[i].exact...)
		}
		out = append(out, chain[i].prefix...)
	}
	for _, r := range s.patterns {
		if r.fitsPath(q.Path) {
			out = append(out, r)
		}
	}
	return out
}

// wins says why a route that was found under a host goes before the others.
func wins(q *Request, r *Route, host string) string {
	var b strings.Builder
	switch kindOf(host) {
	case anyHost:
		b.WriteString("no rule of this host takes it, and this is for any")
	case exactHost:
		b.WriteString("its host is named")
	default:
		b.WriteString("of the patterns for its host the one with the longest ending")
	}
	switch {
	case r.Kind != Requests:
	case r.PathType == Exact:
		b.WriteString("; its very path")
	case r.PathType == Prefix:
		b.WriteString("; the longest prefix of its path")
	default:
		fmt.Fprintf(&b, "; no literal path takes it, and of the patterns this %s comes first", r.PathType)
	}
	if len(q.Skip) > 0 {
		b.WriteString("; what goes before it redirects to where the client is")
	}
	return b.String()
}

// lost says why a route under a host was not looked at: the winner, found under another
// or the same one, goes before it. What would not have held either is said too.
func lost(q *Request, r *Route, host string, winner *Route, under string) string {
	why := goesBefore(r, host, winner, under)
	if m := r.misses(q); m.what != missNothing {
		why += "; and " + m.text(q, r)
	}
	return why
}

func goesBefore(r *Route, host string, winner *Route, under string) string {
	switch {
	case host != under:
		return fmt.Sprintf("the host %s goes before %s", hostWord(under), hostWord(host))
	case winner.literal() && !r.literal():
		return fmt.Sprintf("a literal path goes before a %s", r.PathType)
	case winner.literal() && winner.Path != r.Path:
		return fmt.Sprintf("a longer prefix goes before it: %s", winner.Path)
	case winner.literal() && winner.PathType != r.PathType:
		return "an exact path goes before a prefix"
	case !winner.literal() && winner.Priority == r.Priority && len(winner.Path) != len(r.Path):
		return fmt.Sprintf("a longer pattern goes before it: %s", winner.Path)
	default:
		return precedes(winner, r)
	}
}

// precedes says why a goes before b where both match the same host and path: what
// compareRoutes goes by.
func precedes(a, b *Route) string {
	switch {
	case a.Priority != b.Priority:
		return fmt.Sprintf("%s has the priority %d, this %d", a.ID, a.Priority, b.Priority)
	case a.Source != b.Source:
		return fmt.Sprintf("%s goes before %s: %s", a.Source, b.Source, a.ID)
	case a.predicates() != b.predicates():
		return fmt.Sprintf("%s has more conditions", a.ID)
	default:
		return fmt.Sprintf("%s is equally good, and first by name", a.ID)
	}
}

func hostWord(host string) string {
	if host == "" {
		return "any"
	}
	return host
}

// addOutranked adds the claims of the winner's match that it outranks.
func (t *Table) addOutranked(trace *Trace, winner *Route) {
	if winner == nil {
		return
	}
	for _, c := range t.Conflicts() {
		if c.Winner != winner.Owner {
			continue
		}
		for _, h := range winner.Hosts {
			match := matchOf(winner.Kind, h, winner.Path, winner.PathType)
			if c.Match != match && !strings.HasPrefix(c.Match, match+" listener=") {
				continue
			}
			trace.Tried = append(trace.Tried, Tried{
				ID: c.Match, Owner: c.Loser, Host: h, Path: winner.Path, PathType: winner.PathType,
				Why: "it claims the same match, which config has before kv, meta and tag, and the first before others",
			})
			break
		}
	}
}

package routetable

import (
	"cmp"
	"slices"
	"strings"
)

// Shadow is a route that no request can reach, and the one that has all it would take.
type Shadow struct{ Route, By *Route }

// Shadowed returns the routes of requests that another one hides wherever they are found,
// by the ID. What it tells is certain; a route that several others hide together is not
// told. It goes over the whole table.
func (t *Table) Shadowed() []Shadow {
	index := newShadowIndex(t.Routes())
	var out []Shadow
	for _, r := range index.all {
		if by := index.hiding(r); by != nil {
			out = append(out, Shadow{r, by})
		}
	}
	slices.SortFunc(out, func(a, b Shadow) int { return cmp.Compare(a.Route.ID, b.Route.ID) })
	return out
}

// shadowIndex finds the routes that may hide another one.
type shadowIndex struct {
	all []*Route
	// literals are the routes by host and literal path, patterns those with another path by
	// host.
	literals, patterns map[string][]*Route
}

func newShadowIndex(routes []*Route) *shadowIndex {
	x := &shadowIndex{literals: map[string][]*Route{}, patterns: map[string][]*Route{}}
	for _, r := range routes {
		if r.Kind != Requests {
			continue
		}
		x.all = append(x.all, r)
		for _, h := range r.Hosts {
			if r.literal() {
				x.literals[h+" "+r.Path] = append(x.literals[h+" "+r.Path], r)
			} else {
				x.patterns[h] = append(x.patterns[h], r)
			}
		}
	}
	return x
}

// hiding returns the route that hides another one, the one under its last host; nil: it
// can be reached.
func (x *shadowIndex) hiding(r *Route) (by *Route) {
	for _, h := range r.Hosts {
		if by = x.hidingAt(h, r); by == nil && h == "" {
			by = x.hidingAt("*", r) // which is any host, and goes before none
		}
		if by == nil {
			return nil
		}
	}
	return by
}

// hidingAt returns the route that hides r under a host.
func (x *shadowIndex) hidingAt(host string, r *Route) *Route {
	elsewhere := !slices.Contains(r.Hosts, host)
	if r.literal() {
		for _, o := range x.literals[host+" "+r.Path] {
			first := o != r && (elsewhere || o.PathType != r.PathType || compareRoutes(o, r) < 0)
			if first && (o.PathType == r.PathType || r.PathType == Exact && elsewhere) && o.hides(r) {
				return o
			}
		}
		return x.aboveElsewhere(host, r, elsewhere)
	}
	// Paths that are literal go before patterns.
	for _, path := range beginnings(r) {
		for _, o := range x.literals[host+" "+path] {
			if o.PathType == Prefix && o.hides(r) {
				return o
			}
		}
	}
	for _, o := range x.patterns[host] {
		if o != r && (elsewhere || comparePatterns(o, r) < 0) && o.fitsAllOf(r) && o.hides(r) {
			return o
		}
	}
	return nil
}

// aboveElsewhere returns the route of a host that goes before r's own and takes all below
// a path that r's begins with: what is more special there does not matter.
func (x *shadowIndex) aboveElsewhere(host string, r *Route, elsewhere bool) *Route {
	if !elsewhere {
		return nil
	}
	for end := range len(r.Path) + 1 {
		for _, o := range x.literals[host+" "+r.Path[:end]] {
			if o.PathType == Prefix && o.hides(r) {
				return o
			}
		}
	}
	return nil
}

// beginnings are the literal paths that all paths which a pattern takes begin with.
func beginnings(r *Route) []string {
	if r.PathType != Glob {
		return []string{"/"}
	}
	literal := r.Path
	if i := strings.IndexAny(literal, "*?"); i >= 0 {
		literal = literal[:i]
	}
	out := make([]string, 0, len(literal)+1)
	for end := range len(literal) + 1 {
		out = append(out, literal[:end])
	}
	return out
}

// fitsAllOf says whether a route that is no literal fits every path that another one does.
func (r *Route) fitsAllOf(o *Route) bool {
	if r.PathType == IPrefix && o.PathType == IPrefix {
		return len(o.Path) >= len(r.Path) && equalFold([]byte(o.Path[:len(r.Path)]), r.Path)
	}
	return r.PathType == o.PathType && r.Path == o.Path
}

// hides says whether the conditions of a route, beside host and path, hold wherever those
// of another one do, and it lets no request pass on: one that redirects leaves those to
// others that are where it leads.
func (r *Route) hides(o *Route) bool {
	answers := func(a Arm) bool { return a.Cluster.Answers }
	if r.Redirect != nil || r.Respond == nil && slices.ContainsFunc(r.Arms, answers) {
		return false
	}
	return narrower(o.Listeners, r.Listeners) && narrower(o.Methods, r.Methods) && (!r.GRPC || o.GRPC) &&
		containsAll(o.Headers, r.Headers) && containsAll(o.Query, r.Query) &&
		containsAll(patternTexts(o.Patterns), patternTexts(r.Patterns))
}

// narrower says whether a list, which stands for everything when it is empty, stands for no
// more than another one.
func narrower(list, than []string) bool {
	return len(than) == 0 || len(list) > 0 && containsAll(than, list)
}

func containsAll[T comparable](list, of []T) bool {
	return !slices.ContainsFunc(of, func(x T) bool { return !slices.Contains(list, x) })
}

func patternTexts(patterns []Pattern) []Header {
	out := make([]Header, len(patterns))
	for i, p := range patterns {
		out[i] = Header{p.Name, p.Expr.String()}
	}
	return out
}

package routetable

import (
	"cmp"
	"regexp"
	"slices"

	"usher/config"
)

// PathType is how a route's path is matched.
type PathType uint8

// The path types.
const (
	Prefix PathType = iota
	Exact
	Glob
	Regex
	// IPrefix is Prefix without regard to ASCII case; like the patterns it comes after
	// the paths that are literal.
	IPrefix
)

// String returns the configuration's word for t.
func (t PathType) String() string {
	return [...]string{"prefix", "exact", "glob", "regex", "iprefix"}[t]
}

// Kind is what a route takes.
type Kind uint8

// The kinds of routes.
const (
	// Requests are found by host and path.
	Requests Kind = iota
	// Connections are found by the port of the listener.
	Connections
	// Names are TLS connections, found by the name that the client asks for.
	Names
)

// String returns the configuration's word for the protocol of the routes.
func (k Kind) String() string {
	return [...]string{config.ProtocolHTTP, config.ProtocolTCP, config.ProtocolPassthrough}[k]
}

func kindOfRoute(protocol string) Kind {
	switch protocol {
	case config.ProtocolTCP:
		return Connections
	case config.ProtocolPassthrough:
		return Names
	default:
		return Requests
	}
}

// Source is where a route comes from, in rising order of precedence.
type Source uint8

// The sources of a route.
const (
	SourceDefault Source = iota
	SourceTag
	SourceMeta
	SourceKV
	SourceConfig
)

// String names the source as metrics do.
func (s Source) String() string {
	return [...]string{"default", "tag", "meta", "kv", "config"}[s]
}

// Route is one rule of the table and where its requests go. It is immutable.
type Route struct {
	// ID names the route: the configuration's name, or host and path of an announced
	// one. Unique in the table.
	ID     string
	Source Source
	// Owner is who made the rule: a position in a file, or service and tag.
	Owner string

	// Kind is what it takes.
	Kind Kind
	// Hosts are the patterns it is found under, lower case; "" is any host. One that takes
	// connections by their port has that, with a colon in front, or nothing.
	Hosts    []string
	Path     string
	PathType PathType
	// Listeners are the names of those it appears on; none: all.
	Listeners []string
	Methods   []string
	Headers   []Header
	Patterns  []Pattern
	Query     []Param
	// GRPC says that it takes calls of gRPC alone.
	GRPC     bool
	Priority int

	// Arms are where its requests go, at least one; Sums are the running sums of
	// their weights, nil when there is one arm.
	Arms []Arm
	Sums []float64
	// Redirect or Respond answers the requests, which then go nowhere; nil: they do not.
	Redirect *Redirect
	Respond  *Respond
	// RequestEdits and ResponseEdits change the heads on their way; nil: they do not.
	RequestEdits, ResponseEdits *Edits
	// Pages go before those of the table.
	Pages Pages
	// Rewrite is the rule's own; an endpoint's goes before it. Nil: none.
	Rewrite *Rewrite

	// Attachment is the data plane's, as that of Cluster.
	Attachment any

	// pattern is that of a glob or a regex.
	pattern *regexp.Regexp
}

// Header is a field that must be there with this very value.
type Header struct{ Name, Value string }

// Arm is one cluster of a split.
type Arm struct {
	Cluster *Cluster
	Weight  float64
	// Policy is that of the cluster with the route's own settings in their place; never
	// nil.
	Policy *config.Policy
}

// newArm makes an arm of a route whose own settings these are.
func newArm(c *Cluster, weight float64, own *config.Override) Arm {
	a := Arm{c, weight, &c.Policy}
	if *own != (config.Override{}) {
		merged := own.Over(c.Policy)
		a.Policy = &merged
	}
	return a
}

// Answers says whether the route answers by itself; its only arm is empty then.
func (r *Route) Answers() bool { return r.Redirect != nil || r.Respond != nil }

// Arm returns the index of the arm that r, in [0, 1), falls on.
func (r *Route) Arm(at float64) int {
	if len(r.Arms) == 1 {
		return 0
	}
	at *= r.Sums[len(r.Sums)-1]
	for i, sum := range r.Sums {
		if at < sum {
			return i
		}
	}
	return len(r.Sums) - 1
}

// literal says whether the path is looked up rather than tried.
func (r *Route) literal() bool { return r.PathType == Prefix || r.PathType == Exact }

// fits says whether a path that is not literal takes the request's.
func (r *Route) fits(q *Request) bool {
	yes := r.fitsPath(q.Path)
	if !yes && q.Trace != nil {
		q.Trace.look(q, r, miss{what: missPath})
	}
	return yes
}

func (r *Route) fitsPath(path []byte) bool {
	if r.PathType == IPrefix {
		return len(path) >= len(r.Path) && equalFold(path[:len(r.Path)], r.Path)
	}
	return r.pattern.Match(path)
}

// equalFold compares without regard to ASCII case; bytes.EqualFold would take the
// Kelvin sign for a k.
func equalFold(b []byte, s string) bool {
	for i := range len(b) {
		if lowerASCII(rune(b[i])) != lowerASCII(rune(s[i])) {
			return false
		}
	}
	return true
}

// accepts says whether the conditions beside host and path hold.
func (r *Route) accepts(q *Request) bool {
	m := r.misses(q)
	if q.Trace != nil {
		q.Trace.look(q, r, m)
	}
	return m.what == missNothing
}

// miss is the condition of a route that does not hold; at is its place among those of its
// kind.
type miss struct {
	what missed
	at   int
}

type missed uint8

const (
	missNothing missed = iota
	missPath
	missListener
	missMethod
	missGRPC
	missHeader
	missPattern
	missQuery
	missSkip
)

// misses returns the first condition beside host and path that does not hold.
func (r *Route) misses(q *Request) miss {
	if len(r.Listeners) > 0 && !slices.Contains(r.Listeners, q.Listener) {
		return miss{what: missListener}
	}
	if len(r.Methods) > 0 && !containsBytes(r.Methods, q.Method) {
		return miss{what: missMethod}
	}
	if r.GRPC && !q.GRPC {
		return miss{what: missGRPC}
	}
	for i := range r.Headers {
		value := q.Header(r.Headers[i].Name)
		if value == nil || string(value) != r.Headers[i].Value {
			return miss{missHeader, i}
		}
	}
	for i := range r.Patterns {
		value := q.Header(r.Patterns[i].Name)
		if value == nil || !r.Patterns[i].Expr.Match(value) {
			return miss{missPattern, i}
		}
	}
	for i := range r.Query {
		if !r.Query[i].holds(q.Target) {
			return miss{missQuery, i}
		}
	}
	if len(q.Skip) > 0 && slices.Contains(q.Skip, r) {
		return miss{what: missSkip}
	}
	return miss{}
}

func containsBytes(list []string, b []byte) bool {
	for _, s := range list {
		if s == string(b) {
			return true
		}
	}
	return false
}

// predicates counts the conditions beside host and path: of two routes that match
// equally well the one with more of them goes first.
func (r *Route) predicates() int {
	n := len(r.Headers) + len(r.Patterns) + len(r.Query)
	if len(r.Methods) > 0 {
		n++
	}
	if len(r.Listeners) > 0 {
		n++
	}
	if r.GRPC {
		n++
	}
	return n
}

func pathType(word string) PathType {
	for t := Prefix; t <= IPrefix; t++ {
		if t.String() == word {
			return t
		}
	}
	return Prefix
}

// compilePath prepares a glob or a regex; nil for the other types.
func compilePath(t PathType, path string) (*regexp.Regexp, error) {
	switch t {
	case Glob:
		return regexp.Compile(globExpr(path))
	case Regex:
		return regexp.Compile("^(?:" + path + ")")
	default:
		return nil, nil
	}
}

// headersOf returns the header conditions of a rule in a fixed order.
func headersOf(m config.Match) []Header {
	out := make([]Header, 0, len(m.Headers))
	for name, value := range m.Headers {
		out = append(out, Header{name, value})
	}
	slices.SortFunc(out, func(a, b Header) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

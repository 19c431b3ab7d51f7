package routetable

import (
	"fmt"
	"slices"
	"strings"

	"usher/config"
)

// Trace is what the table tells of how it finds a request's route: the rules it looks at,
// in that order. Match itself fills it, so that what it says is what is done. It belongs to
// one request, which may be matched more than once.
type Trace struct {
	Tried []Tried
	// host is the pattern whose rules are looked at.
	host string
}

// Tried is a rule that was looked at, or one that was not because another goes before it.
type Tried struct {
	// Route is nil where there is none: the claim of a match that is outranked, or the rest of
	// many.
	Route *Route
	// ID and Owner are the route's; of a claim, what it claims and who does.
	ID, Owner string
	// Host and Path are the pattern it was found under.
	Host, Path string
	PathType   PathType
	Won        bool
	// Why says what did not hold, or why it goes before the others, or they before it.
	Why string
}

// look notes that a route was looked at, and what of it did not hold. What is looked at
// again stays where it is.
func (t *Trace) look(q *Request, r *Route, m miss) {
	at := t.find(r, t.host)
	if at < 0 {
		at = len(t.Tried)
		t.Tried = append(t.Tried, triedOf(r, t.host))
	}
	t.Tried[at].Won, t.Tried[at].Why = m.what == missNothing, m.text(q, r)
}

// find returns the place of a route found under a host, -1 when it is not there.
func (t *Trace) find(r *Route, host string) int {
	return slices.IndexFunc(t.Tried, func(e Tried) bool { return e.Route == r && e.Host == host })
}

func triedOf(r *Route, host string) Tried {
	return Tried{Route: r, ID: r.ID, Owner: r.Owner, Host: host, Path: r.Path, PathType: r.PathType}
}

// text says what does not hold; empty for nothing.
func (m miss) text(q *Request, r *Route) string {
	switch m.what {
	case missPath:
		return fmt.Sprintf("the path %q does not fit the %s", q.Path, r.PathType)
	case missListener:
		return fmt.Sprintf("it is on listener %s, not on %s", listOf(r.Listeners), q.Listener)
	case missMethod:
		return fmt.Sprintf("it takes %s, not %s", listOf(r.Methods), q.Method)
	case missGRPC:
		return "it takes calls of gRPC alone, and this is none"
	case missHeader:
		h := r.Headers[m.at]
		return headerText(h.Name, q.Header(h.Name), fmt.Sprintf("%q", shown(h.Name, h.Value)))
	case missPattern:
		p := r.Patterns[m.at]
		return headerText(p.Name, q.Header(p.Name), "of the form "+shown(p.Name, p.Expr.String()))
	case missQuery:
		return r.Query[m.at].text()
	case missSkip:
		return "the client is where it redirects to already"
	default:
		return ""
	}
}

func headerText(name string, is []byte, want string) string {
	if is == nil {
		return fmt.Sprintf("header %s is not there; it must be %s", name, want)
	}
	return fmt.Sprintf("header %s is %q, not %s", name, shown(name, string(is)), want)
}

// shown is the value of a header or a parameter as it may be told: not if it may be secret.
func shown(name, value string) string {
	if config.Credential(name) {
		return config.Redacted
	}
	return value
}

func (p *Param) text() string {
	if p.Value == "" {
		return fmt.Sprintf("the query has no %s", p.Name)
	}
	return fmt.Sprintf("the query has no %s=%s", p.Name, shown(p.Name, p.Value))
}

func listOf(words []string) string { return strings.Join(words, " or ") }

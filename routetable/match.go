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
	// Target is path and query as they were sent: conditions on the query look at it.
	Target []byte
	// GRPC says that it is a call of gRPC.
	GRPC bool
	// Header returns the first value of a field, nil when it is not there.
	Header func(name string) []byte
	// Skip are routes that do not take the request; nil: none.
	Skip []*Route
	// Trace is told of each rule that is looked at; nil: nobody asks.
	Trace *Trace
}

// Match returns the route of a request, nil when there is none.
//
// Hosts are tried in this order: host:port, then host, by exact name; patterns,
// the one with the longest suffix first; any host. Under each the paths: exact,
// longest prefix, pattern. A host none of whose routes takes the request falls
// through to the next (Fabio's rule).
func (t *Table) Match(q *Request) *Route { return t.hosts.match(q) }

func (h *hostTable) match(q *Request) *Route {
	if len(q.Port) > 0 {
		if r := h.exact.GetBytes(q.HostPort).match(q); r != nil {
			return r
		}
	}
	if r := h.exact.GetBytes(q.Host).match(q); r != nil {
		return r
	}
	if h.patterns() {
		if r := h.matchPatterns(q); r != nil {
			return r
		}
	}
	return h.anyHost.match(q)
}

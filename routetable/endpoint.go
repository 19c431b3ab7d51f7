package routetable

import (
	"bytes"
	"regexp"
	"sync/atomic"

	"usher/config"
	"usher/watcher"
)

// Endpoint is one instance as one table knows it. It is immutable; what lives
// longer is in State.
type Endpoint struct {
	// ID is the instance's identity in its registry.
	ID string
	// Address is host:port.
	Address string
	Service watcher.Key
	// ServiceIndex is the place of the service's name in Cluster.Services.
	ServiceIndex int
	Status       watcher.Status
	// Cause says why Status is not passing.
	Cause string
	// Weight is the share among the cluster's endpoints; 0 takes nothing.
	Weight float64
	// Tier is how near it is: requests go to the lowest tier as long as it is fit for them,
	// and spill over to the next.
	Tier uint8
	// Held says that the registry no longer lists it; nil: it does.
	Held *watcher.Hold
	// Rewrite belongs to the instance that announced it; nil: the route's.
	Rewrite *Rewrite
	// Redirect answers the client in the endpoint's place; nil: it does not.
	Redirect *Redirect
	// Access says who may be served; nil: everybody.
	Access *Access
	// TLS is how it is spoken to; nil: plainly. It differs between the routes of an
	// instance that announces them so.
	TLS *TLS
	// CheckTLS is how probes speak to it where they do so otherwise; nil: they do not.
	CheckTLS *TLS
	// HTTP2 says that it is spoken to by HTTP/2: over TLS, or by prior knowledge. Otherwise
	// by HTTP/1.1.
	HTTP2 bool
	// ProxyProtocol is how it is told its clients: config.ProxyV1, config.ProxyV2, or not
	// at all, empty.
	ProxyProtocol string
	// MaxConnections bounds the connections to it, 0 for no bound; MaxPending the requests
	// that may wait for one when all are in use.
	MaxConnections, MaxPending int
	// Health is how it is judged: the settings of its service. Nil: by the registry's
	// word alone.
	Health *config.Health
	// State outlives the table.
	State *State

	// mesh is who must answer by the registry's word.
	mesh Mesh
}

// ProbeTLS is how probes speak to it; nil: plainly.
func (e *Endpoint) ProbeTLS() *TLS {
	if e.CheckTLS != nil {
		return e.CheckTLS
	}
	return e.TLS
}

// Up is the registry's verdict: passing and warning instances take traffic,
// critical ones and those in maintenance do not.
func (e *Endpoint) Up() bool { return e.Status.TakesTraffic() }

// State is what is known of an endpoint across tables. The proxy counts InFlight and sets
// BusyUntil; healthcheck alone writes the rest.
type State struct {
	// InFlight is the number of requests being served, the end of their bodies
	// included.
	InFlight atomic.Int64
	// Health is what healthcheck keeps of the endpoint. It sets it once, before it lets
	// the first table with the state be published; it is nil in tables that are never.
	Health any

	// Latency is how long responses take to begin. The proxy observes it where the
	// policy goes by it.
	Latency Latency

	// BusyUntil is until when, in nanoseconds of the sweeper's clock, the endpoint asked not
	// to be sent requests; 0 when it never has.
	BusyUntil atomic.Int64

	out atomic.Bool
}

// Out says that usher itself holds the endpoint for unfit, by its probes or by what
// requests met there, and sends none to it: what waits for it may go elsewhere. It is
// false for one that the registry took out, which finishes what it has begun, and for
// one that is tried for want of better ones. It is one load.
func (s *State) Out() bool { return s.out.Load() }

// SetOut sets what Out says. Only healthcheck calls it.
func (s *State) SetOut(yes bool) { s.out.Store(yes) }

// Identity names the instance across tables, addresses and processes.
func (e *Endpoint) Identity() string { return e.Service.String() + "/" + e.ID }

// Rewrite is what a rule changes in a request before it is forwarded.
type Rewrite struct {
	// Strip is taken from the front of the path where it is there, in whatever encoding,
	// Prepend put in front after that.
	Strip, Prepend string
	// Pattern is looked for in the path, and To takes the place of each match ($1 is what
	// a group found); instead of Strip and Prepend. Nil: nothing is.
	Pattern *regexp.Regexp
	To      string
	// Host replaces the Host field; empty: it stays. HostIsAddress takes the
	// endpoint's address for it.
	Host          string
	HostIsAddress bool
}

// Target appends the rewritten form of target (origin form: path and query) to
// dst and returns it. A path that is left empty becomes "/".
func (r *Rewrite) Target(dst, target []byte) []byte {
	if r.Pattern != nil {
		return r.replace(dst, target)
	}
	rest := target[r.Stripped(target):]
	dst = append(dst, r.Prepend...)
	if len(rest) == 0 || rest[0] != '/' {
		dst = appendSlash(dst)
	} else if n := len(dst); n > 0 && dst[n-1] == '/' {
		rest = rest[1:]
	}
	return append(dst, rest...)
}

// replace is Target for a Pattern. It allocates.
func (r *Rewrite) replace(dst, target []byte) []byte {
	path, query := target, []byte(nil)
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		path, query = target[:i], target[i:]
	}
	path = r.Pattern.ReplaceAll(path, []byte(r.To))
	if len(path) == 0 || path[0] != '/' {
		dst = append(dst, '/')
	}
	return append(append(dst, path...), query...)
}

// appendSlash appends a slash unless dst ends in one.
func appendSlash(dst []byte) []byte {
	if n := len(dst); n > 0 && dst[n-1] == '/' {
		return dst
	}
	return append(dst, '/')
}

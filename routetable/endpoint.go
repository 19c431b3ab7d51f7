package routetable

import (
	"bytes"
	"regexp"
	"sync/atomic"

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
	// Tier is how near it is: requests go to the lowest tier with a usable endpoint.
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
	// MaxConnections bounds the connections to it, 0 for no bound; MaxPending the requests
	// that may wait for one when all are in use.
	MaxConnections, MaxPending int
	// State outlives the table.
	State *State
}

// Up is the registry's verdict: passing and warning instances take traffic,
// critical ones and those in maintenance do not.
func (e *Endpoint) Up() bool { return e.Status.TakesTraffic() }

// State is what is known of an endpoint across tables. The proxy counts InFlight;
// healthcheck alone writes the rest.
type State struct {
	// InFlight is the number of requests being served, the end of their bodies
	// included.
	InFlight atomic.Int64
	// EjectedUntil is when, in nanoseconds of the process's clock, the endpoint may
	// be tried again; 0 when it is not ejected.
	EjectedUntil atomic.Int64
	// Ejections counts the ejections in a row without a success between them.
	Ejections atomic.Int32
}

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

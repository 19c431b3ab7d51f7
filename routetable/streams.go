package routetable

import "bytes"

// A stream is matched as the request for the root of a host would be: by the name its
// client asks for, or, in a table of its own, by the port of its listener.
var root = []byte("/")

// MatchPort returns the route of a connection to a listener, nil when there is none. port
// is the listener's, in decimal. A route of the configuration that names the listener goes
// before those of its port; one that names none takes what these leave. It may be called
// from any goroutine.
func (t *Table) MatchPort(listener, port string) *Route { return t.TracePort(listener, port, nil) }

// TracePort is MatchPort with a complete trace of how it went; nil: without.
func (t *Table) TracePort(listener, port string, trace *Trace) *Route {
	q := Request{Listener: listener, Path: root, Trace: trace}
	byPort, other := t.ports.exact.Get(":"+port).match(&q), t.ports.anyHost.match(&q)
	winner := byPort
	if byPort == nil || other != nil && len(other.Listeners) > 0 && other.Source > byPort.Source {
		winner = other
	}
	if trace != nil {
		trace.settle(winner)
		t.addOutranked(trace, winner)
	}
	return winner
}

// settle says which of the routes that take a connection has it.
func (t *Trace) settle(winner *Route) {
	for i := range t.Tried {
		switch e := &t.Tried[i]; {
		case !e.Won:
		case e.Route != winner:
			e.Won, e.Why = false, winner.ID+" goes before it"
		case e.Host == "":
			e.Why = "nothing more special takes it"
		default:
			e.Why = "it is for the port of the listener"
		}
	}
}

// MatchName returns the route of a TLS connection to a listener whose client asks for a
// name, in lower case; nil when there is none. Empty is a client that asks for none. It may
// be called from any goroutine.
func (t *Table) MatchName(listener, port string, name []byte) *Route {
	return t.TraceName(listener, port, name, nil)
}

// TraceName is MatchName with a complete trace of how it went; nil: without.
func (t *Table) TraceName(listener, port string, name []byte, trace *Trace) (r *Route) {
	name = bytes.TrimSuffix(name, []byte("."))
	q := Request{Listener: listener, Path: root, Host: name, Port: []byte(port), Trace: trace}
	if len(name) == 0 {
		r = t.names.anyHost.match(&q)
	} else {
		q.HostPort = append(append(append(q.HostPort, name...), ':'), port...)
		r = t.names.match(&q)
	}
	switch {
	case trace == nil:
	case len(name) == 0:
		trace.settle(r)
		t.addOutranked(trace, r)
	default:
		t.Explain(&q, r)
	}
	return r
}

// streamed checks a rule that takes connections: what belongs to requests makes no sense
// there.
func (r *rule) streamed() string {
	if r.port == 0 && r.proto != protoTCP {
		return ""
	}
	switch {
	case r.port > 0 && r.proto != "" && r.proto != protoTCP && r.proto != protoHTTPS:
		return "a port has proto=tcp, or proto=https where the instance speaks TLS"
	case r.redirect != nil:
		return "redirect= makes no sense where connections are passed on"
	case r.port == 0 && r.host == "":
		return "proto=tcp wants a port, or the name that TLS clients ask for"
	case r.port == 0 && r.path != "/":
		return "a connection that is passed on has no path"
	default:
		return ""
	}
}

// The protocols of rules that decide more than how an instance is spoken to.
const (
	protoTCP   = "tcp"
	protoHTTPS = "https"
)

// idle says which options of a rule that takes connections do nothing; empty: none.
func (r *rule) idle() string {
	w := r.rewrite
	if r.kind() == Requests || w == nil || w.Strip == "" && w.Prepend == "" && w.Host == "" {
		return ""
	}
	if w.Strip == "" && w.Prepend == "" && r.proto == protoHTTPS {
		return "" // host= is the name that the instance is asked for
	}
	return "strip=, prepend= and host= have no effect on connections that are passed on"
}

// kind is what the rule's route takes.
func (r *rule) kind() Kind {
	switch {
	case r.port > 0:
		return Connections
	case r.proto == protoTCP:
		return Names
	default:
		return Requests
	}
}

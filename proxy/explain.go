package proxy

import (
	"net"
	"net/netip"
	"strconv"

	"usher/config"
	"usher/proxy/core"
	"usher/proxy/forward"
	"usher/routetable"
)

// Question is a request, or a connection, of which is asked what would become of it.
type Question struct {
	// Table is what is asked; nil: the one in use.
	Table *routetable.Table
	// Listener is whom the client connects to, Bound where that is bound; nil: where its
	// settings say.
	Listener config.Listener
	Bound    net.Addr
	// Client is the client's address.
	Client netip.Addr
	// Head is the whole head of a request of HTTP/1.1; it is not looked at where the
	// connection is carried as a whole.
	Head []byte
	// Name is the name that a client of TLS asks for, in lower case; empty: none.
	Name string
}

// Explain says what would become of what is asked. It goes the way of the real ones, by the
// same code, but is not counted, and no endpoint is asked or told.
func (p *Proxy) Explain(q *Question) *core.Explained {
	t := q.Table
	if t == nil {
		t = p.Table()
	}
	l := core.NewListener(q.Listener, q.bound(), nil, nil)
	peer := l.NewPeer(&net.TCPAddr{IP: q.Client.AsSlice(), Port: clientPort}, q.bound())
	if stream, trace, r := q.stream(l, t); stream {
		x := &core.Exchange{Listener: l, Peer: &peer, Start: p.core.Sweeper.Now()}
		x.Reset()
		out := p.core.ExplainStream(x, t, r)
		out.Tried = trace.Tried
		return out
	}
	f := forward.Forwarder{Core: p.core, Listener: l, Log: p.log}
	return f.Explain(q.Head, &peer, t)
}

// clientPort stands for the port of a client that there is not.
const clientPort = 50000

// stream says whether what is asked of is a connection that is carried as a whole, and by
// which route.
func (q *Question) stream(
	l *core.Listener, t *routetable.Table,
) (yes bool, trace *routetable.Trace, r *routetable.Route) {
	trace = &routetable.Trace{}
	switch {
	case l.Protocol == config.ProtocolTCP:
		return true, trace, t.TracePort(l.Name, l.Port, trace)
	case l.Protocol == config.ProtocolPassthrough:
		return true, trace, t.TraceName(l.Name, l.Port, []byte(q.Name), trace)
	case l.Protocol == config.ProtocolHTTPS && l.Passthrough:
		r = t.TraceName(l.Name, l.Port, []byte(q.Name), trace)
		return r != nil, trace, r
	default:
		return false, nil, nil
	}
}

// bound is where the listener is bound, as far as it is known.
func (q *Question) bound() net.Addr {
	if q.Bound != nil {
		return q.Bound
	}
	host, port, _ := net.SplitHostPort(q.Listener.Address)
	n, _ := strconv.Atoi(port) // a name of a port is not looked up
	return &net.TCPAddr{IP: net.ParseIP(host), Port: n}
}

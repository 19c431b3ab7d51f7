package config

import "slices"

// The protocols of listeners, and of routes: those of http go for https too.
const (
	ProtocolHTTP  = "http"
	ProtocolHTTPS = "https"
	// ProtocolTCP carries the bytes of each connection, whatever they are.
	ProtocolTCP = "tcp"
	// ProtocolPassthrough carries TLS as it is, to where the name that the client asks for
	// leads.
	ProtocolPassthrough = "tls-passthrough"
)

// Stream says whether the listener carries connections as a whole.
func (l *Listener) Stream() bool {
	return l.Protocol == ProtocolTCP || l.Protocol == ProtocolPassthrough
}

// completeProtocol gives a route that says nothing of its protocol that of the listeners
// it names.
func completeProtocol(r *Route, listeners []Listener) {
	if r.Protocol != "" {
		return
	}
	for _, l := range listeners {
		if l.Stream() && slices.Contains(r.Match.Listeners, l.Name) {
			r.Protocol = l.Protocol
			return
		}
	}
}

// takes says whether a route of a protocol may appear on the listener.
func (l *Listener) takes(protocol string) bool {
	switch protocol {
	case ProtocolTCP:
		return l.Protocol == ProtocolTCP
	case ProtocolPassthrough:
		return l.Protocol == ProtocolPassthrough || l.Passthrough
	default:
		return !l.Stream()
	}
}

package core

import (
	"usher/proxy/wire"
	"usher/routetable"
)

// admit says whether the client may be served by an endpoint with these rules, nil for
// none; None is yes. On the first try it notes what the client said of whom it asks
// for, whatever the rules: those of the next endpoint may want to know.
func (x *Exchange) admit(rules *routetable.Access, first bool) Reason {
	if first {
		x.noteForwarded()
	}
	switch {
	case rules == nil:
		return None
	case !rules.Allows(x.Peer.Addr, x.said):
		return AccessDenied
	case rules.Challenge() != "":
		return Unauthorized
	default:
		return None
	}
}

// noteForwarded copies the X-Forwarded-For fields before the head is edited.
func (x *Exchange) noteForwarded() {
	x.said = x.said[:0]
	if x.Flags&wire.HasForwarded == 0 {
		return
	}
	b := x.scratch.said[:0]
	for _, v := range x.head().PeekAll("X-Forwarded-For") {
		from := len(b)
		b = append(b, v...)
		x.said = append(x.said, b[from:len(b):len(b)])
	}
	x.scratch.said = b
}

// Challenge is the value of the WWW-Authenticate field of an answer that says
// Unauthorized.
func (x *Exchange) Challenge() string { return x.cluster.Endpoints[x.endpoint].Access.Challenge() }

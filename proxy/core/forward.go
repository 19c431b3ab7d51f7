package core

import (
	"time"

	"github.com/valyala/fasthttp"

	"usher/proxy/wire"
	"usher/routetable"
)

// prepare edits the head once for all tries: what concerns one connection only is
// taken out (RFC 9110 §7.6.1), then usher's own fields are added.
func (c *Core) prepare(x *Exchange) {
	edits := x.route.RequestEdits
	if edits != nil || x.route.ResponseEdits != nil {
		x.noteClient()
	}
	if x.reserved != nil && x.Head == nil && x.forges() {
		x.head() // so that it goes on without
	}
	x.prepared = true
	if x.Head != nil {
		x.strip()
	}
	if x.recording != nil {
		x.disownTrace()
	}
	x.forwarded()
	if x.Peer.Identity.Name != "" {
		x.Fields = append(x.Fields, x.Peer.Identity)
	}
	x.announce()
	x.Fields = append(x.Fields, Field{Name: "CDN-Loop", Text: c.loopID})
	if edits != nil {
		x.editRequest(edits)
	}
	x.common = len(x.Fields)
}

// head returns the parsed head. Most requests are forwarded without: the scanner tells
// what usher must know of them.
func (x *Exchange) head() *fasthttp.RequestHeader {
	if x.Head == nil {
		x.Head = x.Source.ParseHead()
		if x.reserved != nil {
			x.disown()
		}
		if x.prepared {
			x.strip()
		}
	}
	return x.Head
}

// Parsed returns the head as it goes to the endpoint, but for the target, the Host and
// Fields. It is called after Next.
func (x *Exchange) Parsed() *fasthttp.RequestHeader { return x.head() }

// strip takes out what concerns one connection only.
func (x *Exchange) strip() {
	if x.Flags&wire.HasNominated != 0 {
		x.dropNominated()
	}
	if x.Flags&wire.HasDebug != 0 {
		x.Head.Del(debugName)
	}
	if x.Flags&(wire.HasConnection|wire.HasHopByHop|wire.HasExpect) != 0 {
		for _, name := range hopByHop {
			x.Head.Del(name)
		}
	}
}

// hopByHop are the fields that concern one connection. Transfer-Encoding is the
// adapter's: it frames the body.
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Upgrade", "Expect",
}

// dropNominated deletes the fields that Connection names. It may not name those
// that frame or route the request (GHSA-mj44-8qq5-6386).
func (x *Exchange) dropNominated() {
	var names [][]byte
	for _, v := range x.Head.PeekAll("Connection") {
		wire.Tokens(v, func(t []byte) { names = append(names, append([]byte(nil), t...)) })
	}
	for _, name := range names {
		switch {
		case wire.EqualFold(name, "content-length"), wire.EqualFold(name, "transfer-encoding"),
			wire.EqualFold(name, "host"), wire.EqualFold(name, "connection"):
		default:
			x.Head.DelBytes(name)
		}
	}
}

// HopByHop says whether a response field concerns the connection to the upstream
// alone. The name is in canonical form.
func HopByHop(name []byte) bool {
	switch len(name) {
	case 2:
		return string(name) == "Te"
	case 7:
		return string(name) == "Upgrade"
	case 10:
		return string(name) == "Connection" || string(name) == "Keep-Alive"
	case 16:
		return string(name) == "Proxy-Connection"
	default:
		return false
	}
}

// forwarded adds the X-Forwarded fields. What a client says of itself there is
// taken out unless it is a trusted proxy.
func (x *Exchange) forwarded() {
	value := x.Peer.IP
	said := x.Flags&wire.HasForwarded != 0
	if said && !x.Peer.Trusted {
		for _, name := range forwardedNames {
			x.head().Del(name)
		}
	}
	trust := said && x.Peer.Trusted
	if trust {
		value = x.chain()
	}
	x.Fields = append(x.Fields, Field{Name: "X-Forwarded-For", Value: value})
	x.addUnless(trust, "X-Real-Ip", x.Peer.IP)
	x.addUnless(trust, "X-Forwarded-Host", x.Host)
	x.addText(trust, "X-Forwarded-Proto", x.Listener.Scheme)
	x.addText(trust, "X-Forwarded-Port", x.Listener.Port)
}

var forwardedNames = []string{
	"X-Forwarded-For", "X-Real-Ip", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port",
	"X-Forwarded-Prefix", "X-Forwarded-Server", "Forwarded",
}

// chain is the X-Forwarded-For of a trusted proxy with that proxy behind it.
func (x *Exchange) chain() []byte {
	b := x.scratch.forwarded[:0]
	for _, v := range x.head().PeekAll("X-Forwarded-For") {
		b = append(append(b, v...), ", "...)
	}
	x.head().Del("X-Forwarded-For")
	b = append(b, x.Peer.IP...)
	x.scratch.forwarded = b
	return b
}

// addUnless adds a field, unless a trusted proxy has set it.
func (x *Exchange) addUnless(trust bool, name string, value []byte) {
	if trust && len(x.head().Peek(name)) > 0 {
		return
	}
	x.Fields = append(x.Fields, Field{Name: name, Value: value})
}

func (x *Exchange) addText(trust bool, name, value string) {
	if trust && len(x.head().Peek(name)) > 0 {
		return
	}
	x.Fields = append(x.Fields, Field{Name: name, Text: value})
}

// rewrite returns the target and the Host for an endpoint. Each try begins again from
// what the client sent.
func (x *Exchange) rewrite(e *routetable.Endpoint) (target, host []byte) {
	rw := e.Rewrite
	if rw == nil {
		rw = x.route.Rewrite
	}
	target, host = x.Target, x.Host
	x.Fields = x.Fields[:x.common]
	if rw != nil {
		x.prefixed(rw)
		x.scratch.target = rw.Target(x.scratch.target[:0], x.Target)
		target = x.scratch.target
		host = x.rewriteHost(rw, e)
	}
	if len(host) == 0 {
		// HTTP/1.0 without Host: 1.1 demands one (RFC 9112 §3.2).
		x.scratch.host = append(x.scratch.host[:0], e.Address...)
		host = x.scratch.host
	}
	return target, host
}

// prefixed tells the endpoint which prefix is stripped, as the client wrote it, unless a
// trusted proxy has told of one.
func (x *Exchange) prefixed(rw *routetable.Rewrite) {
	const name = "X-Forwarded-Prefix"
	if x.route.RequestEdits.Drops([]byte(name)) {
		return
	}
	if n := rw.Stripped(x.Target); n > 0 && (x.Flags&wire.HasForwarded == 0 || len(x.head().Peek(name)) == 0) {
		x.Fields = append(x.Fields, Field{Name: name, Value: x.Target[:n]})
	}
}

func (x *Exchange) rewriteHost(rw *routetable.Rewrite, e *routetable.Endpoint) []byte {
	switch {
	case rw.HostIsAddress:
		x.scratch.host = append(x.scratch.host[:0], e.Address...)
	case rw.Host != "":
		x.scratch.host = append(x.scratch.host[:0], rw.Host...)
	default:
		return x.Host
	}
	return x.scratch.host
}

func duration(ns int64) time.Duration { return time.Duration(max(ns, 0)) }

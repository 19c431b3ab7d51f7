package core

import (
	"bytes"
	"net/netip"

	"usher/config"
	"usher/proxy/wire"
	"usher/routetable"
)

// Answered is returned in the place of a Reason when the route has an answer that is no
// failure: Own is what to send. It has no word and no status.
const Answered = reasonCount

// Own is the answer of a route that sends no request anywhere. What it holds stays
// valid until End, which records it without a Reason.
type Own struct {
	Status int
	// Fields are lines of the head, each with its end. They do not frame the body.
	Fields, Body []byte
}

// What stands in X-Usher-Reason, and the access log, of answers that are no failures.
const (
	wordRedirect = "redirect"
	wordRespond  = "respond"
)

// Own returns the answer behind an Answered.
func (x *Exchange) Own() *Own { return &x.own }

// takes says whether a route that answers, or whose endpoints do, takes the request: a
// redirect to where the client is already leaves it to the next route. Where the route
// itself answers, Own is made.
func (x *Exchange) takes() (yes bool, reason Reason) {
	switch r := x.route; {
	case r.Respond != nil:
		x.respond(r.Respond)
		return true, Answered
	case r.Redirect != nil:
		if asked := x.asked(); r.Redirect.Stays(&asked) {
			return false, None
		}
		x.redirect(r.Redirect)
		return true, Answered
	default:
		all := x.cluster.View()
		return len(all.Usable) == 0 || len(x.moving(all).Usable) > 0, None
	}
}

// view returns the endpoints to choose from.
func (x *Exchange) view() *routetable.View {
	v := x.cluster.View()
	if x.cluster.Answers {
		v = x.moving(v)
	}
	return v
}

// moving returns a view without the endpoints that would send the client to where it is
// already.
func (x *Exchange) moving(v *routetable.View) *routetable.View {
	asked := x.asked()
	usable, weights := make([]int32, 0, len(v.Usable)), make([]float64, 0, len(v.Usable))
	for at, i := range v.Usable {
		if r := x.cluster.Endpoints[i].Redirect; r != nil && r.Stays(&asked) {
			continue
		}
		usable = append(usable, i)
		if v.Weights == nil {
			weights = append(weights, 1)
		} else {
			weights = append(weights, float64(v.Weights[at]))
		}
	}
	if len(usable) == len(v.Usable) {
		return v
	}
	return routetable.NewView(usable, weights)
}

// asked is what a redirect is made from.
func (x *Exchange) asked() routetable.Asked {
	return routetable.Asked{
		Scheme: x.scheme(), Host: x.query.Host, HostPort: x.query.HostPort, Target: x.Target,
	}
}

// scheme is what the client used, as far as it is known: a trusted proxy may say so.
func (x *Exchange) scheme() string {
	if x.Peer.Trusted && x.Flags&wire.HasForwarded != 0 {
		said, _ := x.Source.Field("x-forwarded-proto", 0)
		for _, s := range []string{"http", "https"} {
			if wire.EqualFold(said, s) {
				return s
			}
		}
	}
	return x.Listener.Scheme
}

// redirect makes Own.
func (x *Exchange) redirect(r *routetable.Redirect) {
	asked := x.asked()
	b := x.scratch.own[:0]
	b = append(b, "X-Usher-Reason: "+wordRedirect+"\r\nLocation: "...)
	b = append(r.AppendLocation(b, &asked), "\r\n"...)
	if e := x.route.ResponseEdits; e != nil {
		x.noteClient()
		b = x.AppendEdits(b, e)
	}
	x.scratch.own = b
	x.own, x.word = Own{Status: r.Code, Fields: b}, wordRedirect
}

// respond makes Own. An answer that is a success says nothing of usher.
func (x *Exchange) respond(r *routetable.Respond) {
	b := x.scratch.own[:0]
	if r.Status >= 300 {
		x.word = wordRespond
		b = append(b, "X-Usher-Reason: "+wordRespond+"\r\n"...)
	}
	b = append(b, r.Fields...)
	x.scratch.own = b
	x.own = Own{r.Status, b, r.Body}
}

// noteClient keeps what variables stand for, before the head is edited.
func (x *Exchange) noteClient() {
	x.scratch.client = append(x.scratch.client[:0], x.clientIP()...)
	x.usedScheme = x.scheme()
}

// clientIP is the address of the client, as far as it is known: behind trusted proxies
// the last one in X-Forwarded-For that is none of them.
func (x *Exchange) clientIP() []byte {
	best := x.Peer.IP
	if !x.Peer.Trusted || x.Flags&wire.HasForwarded == 0 {
		return best
	}
	first := true // of those that are known to be told by trusted proxies alone
	for nth := 0; ; nth++ {
		value, ok := x.Source.Field("x-forwarded-for", nth)
		if !ok {
			return best
		}
		for list, more := value, true; more; {
			var element []byte
			element, list, more = bytes.Cut(list, []byte(","))
			element = bytes.TrimSpace(element)
			ip, err := netip.ParseAddr(string(element))
			switch {
			case err != nil:
				best, first = x.Peer.IP, true
			case first || !x.Listener.trusts(ip.Unmap().WithZone("")):
				best, first = element, false
			}
		}
	}
}

// trusts says whether an address is a trusted proxy's.
func (l *Listener) trusts(ip netip.Addr) bool {
	for _, t := range l.trusted {
		if t.Contains(ip) {
			return true
		}
	}
	return false
}

// editRequest makes the route's changes of the head.
func (x *Exchange) editRequest(e *routetable.Edits) {
	for _, name := range e.Drop {
		x.head().Del(name)
	}
	kept := x.Fields[:0]
	for _, f := range x.Fields {
		if !e.Drops([]byte(f.Name)) {
			kept = append(kept, f)
		}
	}
	x.Fields = kept
	b := x.scratch.fields[:0]
	for i := range e.Fields {
		from := len(b)
		b = x.appendValue(b, e.Fields[i].Value)
		x.Fields = append(x.Fields, Field{Name: e.Fields[i].Name, Value: b[from:len(b):len(b)]})
	}
	x.scratch.fields = b
}

// ResponseEdits are the changes of the response's head that the route makes; nil: none.
func (x *Exchange) ResponseEdits() *routetable.Edits { return x.route.ResponseEdits }

// AppendEdits appends the fields that edits put in, as lines.
func (x *Exchange) AppendEdits(dst []byte, e *routetable.Edits) []byte {
	for i := range e.Fields {
		dst = append(append(dst, e.Fields[i].Name...), ": "...)
		dst = append(x.appendValue(dst, e.Fields[i].Value), "\r\n"...)
	}
	return dst
}

// appendValue appends a field's value.
func (x *Exchange) appendValue(dst []byte, t config.Template) []byte {
	for i := range t {
		switch t[i].Variable {
		case "client_ip":
			dst = append(dst, x.scratch.client...)
		case "host":
			dst = append(dst, x.query.Host...)
		case "scheme":
			dst = append(dst, x.usedScheme...)
		default:
			dst = append(dst, t[i].Text...)
		}
	}
	return dst
}

// Page returns the body of an answer that says why a request failed: the route's own,
// else the configuration's; nil for none.
func (c *Core) Page(x *Exchange, reason Reason) *routetable.Page {
	if x.route != nil {
		if p := x.route.Pages.Find(reason.String(), x.Status(reason)); p != nil {
			return p
		}
	}
	t := x.table
	if t == nil { // it failed before it began
		t = c.table.Load()
	}
	return t.ErrorPages().Find(reason.String(), x.Status(reason))
}

package plan

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"usher/cmd/usher/internal/api"
	"usher/proxy/core"
	"usher/proxy/wire"
	"usher/routetable"
)

// side is one of the two configurations that are compared, and its table.
type side struct {
	table     *routetable.Table
	listeners map[string]Listener
}

func newSide(t *routetable.Table, r *Running) *side {
	s := &side{table: t, listeners: map[string]Listener{}}
	for _, l := range r.Listeners {
		s.listeners[l.Name] = l
	}
	return s
}

// request is a recent request made ready.
type request struct {
	routetable.Request
	sampled *api.SampledRequest
}

func newRequest(r *api.SampledRequest) *request {
	q := &request{sampled: r, Request: routetable.Request{
		Listener: r.Listener, HostPort: []byte(strings.ToLower(r.Host)), Method: []byte(r.Method),
		Target: []byte(r.Target), GRPC: r.GRPC,
		Header: func(name string) []byte {
			if values := r.Headers[http.CanonicalHeaderKey(name)]; len(values) > 0 {
				return []byte(values[0])
			}
			return nil
		},
	}}
	q.Host, q.Port = wire.SplitHost(q.HostPort)
	q.Host = bytes.TrimSuffix(q.Host, []byte("."))
	if q.Path = wire.Path(q.Target); bytes.IndexByte(q.Path, '%') >= 0 {
		q.Path = wire.Unescape(nil, q.Path)
	}
	return q
}

// noListener is the reason of a request whose listener is gone.
const noListener = "no_listener"

// destination is where a request goes, and what tells one place from another.
type destination struct {
	api.Destination
	// places are the services, each with what it is asked for: sorted, each once.
	places []string
}

// elsewhere says whether two destinations are different ones. Another route, or other shares
// of a split, that lead to the same are not.
func (d *destination) elsewhere(o *destination) bool {
	return d.Reason != o.Reason || d.Answer != o.Answer || !slices.Equal(d.places, o.places)
}

// leads says where a request goes, as core.Begin and core.Next do. Of the parts of a split,
// and of instances that are asked for different things, it tells all.
func (s *side) leads(q *request) *destination {
	l, known := s.listeners[q.Listener]
	if !known {
		return &destination{Destination: api.Destination{Reason: noListener}}
	}
	if l.RedirectHTTPS {
		return &destination{Destination: api.Destination{Answer: "redirect to https"}}
	}
	asked := routetable.Asked{Scheme: "http", Host: q.Host, HostPort: q.HostPort, Target: q.Target}
	if l.Protocol == "https" {
		asked.Scheme = "https"
	}
	skip := q.Request
	for {
		r := s.table.Match(&skip)
		if r == nil {
			return &destination{Destination: api.Destination{Reason: core.NoRoute.String()}}
		}
		if d, takes := leadsBy(r, q, &asked); takes {
			return d
		}
		skip.Skip = append(skip.Skip, r)
	}
}

// leadsBy says where a route leads a request, unless it leaves it to the next: it redirects,
// and the client is there already.
func leadsBy(r *routetable.Route, q *request, asked *routetable.Asked) (d *destination, takes bool) {
	d = &destination{Destination: api.Destination{Route: r.ID, Owner: r.Owner}}
	switch {
	case r.Respond != nil:
		d.Answer = strconv.Itoa(r.Respond.Status)
		d.places = []string{string(r.Respond.Fields), string(r.Respond.Body)}
		return d, true
	case r.Redirect != nil:
		d.Answer = answerOf(r.Redirect, asked)
		return d, !r.Redirect.Stays(asked)
	}
	usable := 0
	for i := range r.Arms {
		n, takes := d.add(r, r.Arms[i].Cluster, q, asked)
		if !takes {
			return d, false
		}
		usable += n
	}
	if usable == 0 {
		d.Reason = core.NoHealthyEndpoint.String()
	}
	for _, list := range []*[]string{&d.Services, &d.As, &d.places} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return d, true
}

// add adds the endpoints of a cluster that may be asked and returns their number; takes is
// false when all of them would send the client to where it is.
func (d *destination) add(
	r *routetable.Route, c *routetable.Cluster, q *request, asked *routetable.Asked,
) (usable int, takes bool) {
	staying := 0
	for _, e := range c.Endpoints {
		switch {
		case !e.Up() || e.Weight == 0:
		case e.Redirect != nil && e.Redirect.Stays(asked):
			staying++
		default:
			usable++
			as := ""
			if e.Redirect != nil {
				as = "answers " + answerOf(e.Redirect, asked)
			} else {
				as = askedAs(r, e, q)
			}
			if as != "" {
				d.As = append(d.As, as)
			}
			d.Services = append(d.Services, e.Service.Service)
			d.places = append(d.places, e.Service.String()+" "+as)
		}
	}
	if usable == 0 {
		d.Services = append(d.Services, c.Services...)
		for _, name := range c.Services {
			d.places = append(d.places, name+" without an instance")
		}
	}
	return usable, usable > 0 || staying == 0
}

func answerOf(r *routetable.Redirect, asked *routetable.Asked) string {
	return strconv.Itoa(r.Code) + " " + string(r.AppendLocation(nil, asked))
}

// askedAs is what an endpoint is asked for, empty when it is what the client asked for.
func askedAs(r *routetable.Route, e *routetable.Endpoint, q *request) string {
	rw := e.Rewrite
	if rw == nil {
		rw = r.Rewrite
	}
	if rw == nil {
		return ""
	}
	as := ""
	if target := rw.Target(nil, q.Target); !bytes.Equal(target, q.Target) {
		as = string(target)
	}
	switch {
	case rw.HostIsAddress:
		as += " (host: its address)"
	case rw.Host != "":
		as += " (host " + rw.Host + ")"
	}
	return strings.TrimSpace(as)
}

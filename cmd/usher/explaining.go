package main

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"strings"

	"usher/cmd/usher/internal/api"
	"usher/config"
	"usher/healthcheck"
	"usher/proxy"
	"usher/proxy/core"
	"usher/routetable"
)

// explainer says where requests would go by one table and one configuration, in use or not.
// Its methods may be called from any goroutine.
type explainer struct {
	proxy *proxy.Proxy
	// health has the views of the table.
	health *healthcheck.Monitor
	table  *routetable.Table
	cfg    *config.Config
	// addresses are where the listeners are bound, as far as they are.
	addresses  map[string]string
	generation uint64
}

// Explain implements admin.Explainer.
func (a *app) Explain(q api.Question) (api.Explanation, error) {
	t := a.proxy.Table()
	e := &explainer{
		proxy: a.proxy, health: a.health, table: t, cfg: a.config.Load(), addresses: a.proxy.Addresses(),
		generation: t.Version,
	}
	return e.explain(q)
}

func (e *explainer) explain(q api.Question) (api.Explanation, error) {
	asked, err := readQuestion(&q)
	if err != nil {
		return api.Explanation{}, err
	}
	l, why, err := e.listener(asked, q.Listener)
	if err != nil {
		return api.Explanation{}, err
	}
	x := e.proxy.Explain(&proxy.Question{
		Table: e.table, Listener: *l, Bound: e.bound(l), Client: asked.client, Head: asked.head, Name: asked.name(),
	})
	q.Method, q.Headers = cmp.Or(q.Method, methodOf(x)), redacted(q.Headers)
	out := api.Explanation{
		Question: q, Generation: e.generation, Listener: l.Name, ListenerWhy: why,
		Outcome: outcomeOf(x.Reason), Status: x.Status(), Why: x.Why, Tried: triedViews(x.Tried),
	}
	if x.Reason != core.Answered {
		out.Reason = x.Reason.String()
	}
	out.Location = fieldOf(x.Own.Fields, "Location")
	if x.Route != nil {
		route := routeView(x.Route, conflictsOf(x.Route, outranked(e.table.Conflicts())))
		out.Route = &route
	}
	for i := range x.Arms {
		out.Arms = append(out.Arms, e.armView(x, i))
	}
	out.Forwarded = forwardedView(x)
	out.Filters = filtersOf(x, l)
	out.Policy = e.policyOf(x, l)
	return out, nil
}

// bound is where a listener is bound; nil: it is not.
func (e *explainer) bound(l *config.Listener) net.Addr {
	at, err := netip.ParseAddrPort(e.addresses[l.Name])
	if err != nil {
		return nil
	}
	return net.TCPAddrFromAddrPort(at)
}

// name is the name that a client of TLS asks for: addresses are not asked for by it.
func (a *asked) name() string {
	if _, err := netip.ParseAddr(a.host); err == nil {
		return ""
	}
	return a.host
}

// redacted are fields without the values that may be secret.
func redacted(fields map[string][]string) map[string][]string {
	out := map[string][]string{}
	for name, values := range fields {
		if config.Credential(name) {
			values = []string{config.Redacted}
		}
		out[name] = values
	}
	return out
}

func methodOf(x *core.Explained) string {
	if x.Stream {
		return ""
	}
	return "GET"
}

func outcomeOf(r core.Reason) string {
	switch r {
	case core.None:
		return "forwarded"
	case core.Answered:
		return "answered"
	default:
		return "refused"
	}
}

// fieldOf is the value of the first field of a name among the lines of a head.
func fieldOf(lines []byte, name string) string {
	for line := range strings.SplitSeq(string(lines), "\r\n") {
		if key, value, found := strings.Cut(line, ": "); found && strings.EqualFold(key, name) {
			return value
		}
	}
	return ""
}

func triedViews(tried []routetable.Tried) []api.Tried {
	out := []api.Tried{}
	for _, e := range tried {
		v := api.Tried{
			Route: e.ID, Owner: e.Owner, Host: e.Host, Path: e.Path, PathType: e.PathType.String(),
			Verdict: "lost", Why: e.Why,
		}
		if e.Won {
			v.Verdict = "won"
		}
		out = append(out, v)
	}
	return out
}

func (e *explainer) armView(x *core.Explained, i int) api.ExplainedArm {
	arm := &x.Arms[i]
	c := arm.Arm.Cluster
	v := api.ExplainedArm{
		Weight: arm.Arm.Weight, Cluster: c.Name, Services: c.Services, Balance: c.Policy.Balance, Panic: arm.Panic,
		Drawn: i == x.Drawn, Chosen: arm.Chosen, Certain: arm.Certain, Endpoints: []api.ExplainedEndpoint{},
		BalanceWhy: balanceWhy(arm),
	}
	for k, end := range c.Endpoints {
		how := &arm.Endpoints[k]
		v.Endpoints = append(v.Endpoints, api.ExplainedEndpoint{
			Service: end.Service.Service, ID: end.ID, Address: end.Address, Usable: how.Usable, Share: how.Share,
			Would: wouldOf(how), Tier: end.Tier, Status: end.Status.String(), Cause: end.Cause, Held: end.Held != nil,
			InFlight: end.State.InFlight.Load(),
			Health:   healthView(e.health, end.Service, end.ID, end.Address),
		})
	}
	return v
}

// wouldOf says what becomes of the request at an endpoint; empty: it is forwarded, or
// nothing of the kind is known.
func wouldOf(e *core.ExplainedEndpoint) string {
	switch {
	case e.Full:
		return "passed over: it has all the requests that it may have (max_endpoint_requests)"
	case e.Busy:
		return "passed over: it asked to be left alone for a while"
	case e.Would == core.Answered:
		return "its rule redirects to " + e.Location
	case e.Would != core.None:
		return fmt.Sprintf("its rule refuses the client: %s", e.Would)
	default:
		return ""
	}
}

// balanceWhy says what the policy of an arm goes by.
func balanceWhy(arm *core.ExplainedArm) string {
	p := &arm.Pick
	policy := arm.Arm.Cluster.Policy.Balance
	usable := 0
	for i := range arm.Endpoints {
		if arm.Endpoints[i].Usable {
			usable++
		}
	}
	switch {
	case usable == 0:
		return "there is nobody to choose from"
	case usable == 1:
		return "there is one to choose from"
	case p.Cookie != "" && p.Home >= 0 && p.Home == arm.Chosen:
		return fmt.Sprintf("the cookie %s brings the client back to it", p.Cookie)
	}
	return cookieWhy(p) + keyWhy(p, arm.Arm.Cluster.Policy.HashKey) + policyWhy(policy, p)
}

func cookieWhy(p *core.ExplainedPick) string {
	switch {
	case p.Cookie == "":
		return ""
	case p.Home >= 0:
		return fmt.Sprintf("the cookie %s names an endpoint that takes nothing now; ", p.Cookie)
	default:
		return fmt.Sprintf("the request has no cookie %s that names an endpoint; ", p.Cookie)
	}
}

// keyWhy tells the key that is hashed, made of what name says.
func keyWhy(p *core.ExplainedPick, name string) string {
	if !p.Hashed {
		return ""
	}
	value := p.Key
	if value == "" {
		return fmt.Sprintf("the request has no hash key (%s): ", name)
	}
	if config.Credential(name) {
		value = config.Redacted
	}
	return fmt.Sprintf("hash key %s %q: ", name, value)
}

func policyWhy(policy string, p *core.ExplainedPick) string {
	switch {
	case p.Key != "" && policy == "ring_hash":
		return "the same endpoint as long as it may be chosen and has not its fill (ring_hash.load_factor)"
	case p.Key != "":
		return "the same endpoint as long as it may be chosen"
	}
	switch policy {
	case "round_robin":
		return "in turn, by share: this is the next one, unless another request comes first"
	case "least_request":
		return "by chance: of two that are drawn by share, the one with fewer requests in flight"
	case "ewma":
		return "by chance: of two that are drawn by share, the one that is expected to answer sooner"
	default:
		return "by chance, by share"
	}
}

// forwardedView tells what the endpoint would be asked; nil: none would be.
func forwardedView(x *core.Explained) *api.Forwarded {
	end := x.Endpoint()
	if x.Reason != core.None || end == nil {
		return nil
	}
	v := &api.Forwarded{Endpoint: end.ID, Protocol: protocolOf(end, x.Stream), Headers: map[string][]string{}}
	if x.Stream {
		return v
	}
	v.Target, v.Host = x.Target, x.Host
	r := textproto.NewReader(bufio.NewReader(bytes.NewReader(x.Head)))
	line, _ := r.ReadLine() // it is usher's own
	v.Method, _, _ = strings.Cut(line, " ")
	for {
		line, err := r.ReadLine()
		name, value, found := strings.Cut(line, ":")
		if err != nil || !found {
			return v
		}
		if name == "Host" {
			continue
		}
		if config.Credential(name) {
			value = config.Redacted
		}
		v.Headers[name] = append(v.Headers[name], strings.TrimSpace(value))
	}
}

// protocolOf is how an endpoint is spoken to.
func protocolOf(e *routetable.Endpoint, stream bool) string {
	word := "HTTP/1.1"
	if e.HTTP2 {
		word = "HTTP/2"
	}
	if stream {
		word = "TCP"
	}
	if e.TLS != nil {
		word += " over TLS"
	}
	if e.ProxyProtocol != "" {
		word += ", with a PROXY header " + e.ProxyProtocol
	}
	return word
}

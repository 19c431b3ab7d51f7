package fabio

import (
	"fmt"
	"slices"
	"strings"

	"usher/config"
	"usher/routetable"
	"usher/routetable/balance"
)

// verify builds usher's table of the result and notes what it refuses, and the sources
// whose requests would go elsewhere than in Fabio.
func (c *conversion) verify() {
	rules := &routetable.Rules{
		Routes: c.routes, Defaults: config.Policy{Balance: "round_robin"}, Balancers: balance.All(),
	}
	built := routetable.Build(c.catalog(), rules, nil)
	c.refusals(Refused, "", built.Refused())
	c.refusals(Differs, "is served, but: ", built.Notices())
	for _, r := range c.table.routes {
		c.compare(built, r)
	}
}

// refusals notes what the table says of announcements, once for all instances.
func (c *conversion) refusals(kind Kind, prefix string, list []routetable.Refusal) {
	count := map[Note]int{}
	var order []Note
	for _, r := range list {
		n := Note{kind, r.Service.String() + " " + r.Where, prefix + r.Reason}
		if count[n]++; count[n] == 1 {
			order = append(order, n)
		}
	}
	for _, n := range order {
		if count[n] > 1 {
			n.Text += fmt.Sprintf(" (%d instances)", count[n])
		}
		c.notes.add(n.Kind, n.Where, "%s", n.Text)
	}
}

// compare sends a request for a route's own source through usher's table. A rule that
// was refused can leave its requests to a wider one, which is worth a warning: the rule
// may have been there to keep somebody out.
func (c *conversion) compare(built *routetable.Table, r *route) {
	q, ok := c.sample(r)
	if !ok {
		return
	}
	got := built.Match(q)
	if got == nil {
		return // what is missing was refused or left out, with a note
	}
	if !slices.Contains(got.Hosts, routetable.NormalizeHost(r.host)) || got.Path != r.path {
		c.notes.add(Todo, "route "+r.source(), "usher has no such route, and its requests go by the wider route %s: "+
			"if this one was there to keep somebody out, act before you switch", got.ID)
		return
	}
	var wanted []string
	for i, share := range r.shares() {
		if share > 0 {
			wanted = append(wanted, c.usherName(r.targets[i]))
		}
	}
	for _, name := range servicesOf(got) {
		if !slices.Contains(wanted, name) {
			c.notes.add(Todo, "route "+r.source(), "requests also reach the service %s in usher", clip(name))
		}
	}
}

// usherName is the name of a target's service in usher.
func (c *conversion) usherName(t *target) string {
	if t.instance != "" {
		return t.service
	}
	return c.homes[t]
}

// servicesOf are the services behind a route, sorted.
func servicesOf(r *routetable.Route) (out []string) {
	for _, a := range r.Arms {
		for _, e := range a.Cluster.Endpoints {
			if e.Weight > 0 && !slices.Contains(out, e.Service.Service) {
				out = append(out, e.Service.Service)
			}
		}
	}
	slices.Sort(out)
	return out
}

// sample is a request that a route should take; ok is false when none is easily made.
func (c *conversion) sample(r *route) (q *routetable.Request, ok bool) {
	if r.path == "" || strings.ContainsAny(r.host, "?[]{}!\\") || strings.Count(r.host, ":") > 1 {
		return nil, false
	}
	host, port, _ := strings.Cut(strings.ReplaceAll(r.host, "*", "any-name"), ":")
	if port == "80" || port == "443" || host == "" {
		port = ""
	}
	path := r.path
	if c.matcher == "glob" {
		path = strings.NewReplacer("*", "x", "?", "x").Replace(path)
	}
	q = &routetable.Request{
		Listener: "web", Host: []byte(host), Port: []byte(port), HostPort: []byte(host),
		Path: []byte(path), Method: []byte("GET"), Header: func(string) []byte { return nil },
	}
	if port != "" {
		q.HostPort = []byte(host + ":" + port)
	}
	return q, true
}

package routetable

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"usher/config"
	"usher/watcher"
)

// firstUsable is a Picker that takes the first usable endpoint not yet tried.
type firstUsable struct{}

func (firstUsable) Pick(v *View, p *PickInfo) (int, error) {
	for _, i := range v.Usable {
		if !p.Tried(i) {
			return int(i), nil
		}
	}
	return -1, ErrNoEndpoint
}

// rulesOf are rules whose only policy is firstUsable.
func rulesOf(routes ...config.Route) *Rules {
	return &Rules{
		Routes:   routes,
		Defaults: config.Policy{Balance: "first"},
		Balancers: map[string]Balancer{
			"first": func(*Cluster, *ClusterState) Picker { return firstUsable{} },
		},
	}
}

// catalogOf is a catalog in the order the Manager keeps.
func catalogOf(services ...*watcher.Service) *watcher.Catalog {
	sorted := slices.Clone(services)
	slices.SortFunc(sorted, func(a, b *watcher.Service) int { return a.Compare(b.Key) })
	return watcher.NewCatalog(1, sorted...)
}

// service is a service of the registry "consul", or of the one behind an @.
func service(name string, instances ...watcher.Instance) *watcher.Service {
	name, registry, _ := strings.Cut(name, "@")
	return &watcher.Service{
		Key: watcher.Key{Registry: cmp.Or(registry, "consul"), Service: name}, Instances: instances,
	}
}

// instance is a passing instance of weight 1 at address id:80 that makes the
// announcements; those that begin with "meta " are made by meta, others by tag.
func instance(id string, announcements ...string) watcher.Instance {
	in := watcher.Instance{ID: id, Address: id + ":80", Weight: 1}
	for _, text := range announcements {
		a := watcher.Announcement{Origin: watcher.FromTag, Where: "urlprefix-" + text, Text: text}
		if rest, ok := strings.CutPrefix(text, "meta "); ok {
			a = watcher.Announcement{Origin: watcher.FromMeta, Where: watcher.MetaRoute, Text: rest}
		}
		in.Announcements = append(in.Announcements, a)
	}
	return in
}

// announce is a service "s" of one instance that makes the announcements.
func announce(announcements ...string) *watcher.Catalog {
	return catalogOf(service("s", instance("i", announcements...)))
}

// hit makes the request for host/path, optionally with a method in front; the
// listener is "web".
func hit(text string) *Request {
	method, target, ok := strings.Cut(text, " ")
	if !ok {
		method, target = "GET", text
	}
	host, path, _ := strings.Cut(target, "/")
	q := &Request{
		Listener: "web", HostPort: []byte(host), Host: []byte(host), Path: []byte("/" + path),
		Method: []byte(method), Header: func(string) []byte { return nil },
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		q.Host, q.Port = q.HostPort[:i], q.HostPort[i+1:]
	}
	return q
}

// withHeader adds a header field to q.
func withHeader(q *Request, name, value string) *Request {
	before := q.Header
	q.Header = func(n string) []byte {
		if n == name {
			return []byte(value)
		}
		return before(n)
	}
	return q
}

// found is the ID of the route of q, "" for none.
func found(t *Table, q *Request) string {
	if r := t.Match(q); r != nil {
		return r.ID
	}
	return ""
}

// routeByID returns a route that must be there.
func routeByID(t *testing.T, table *Table, id string) *Route {
	t.Helper()
	for _, r := range table.Routes() {
		if r.ID == id {
			return r
		}
	}
	t.Fatalf("no route %q in\n%s", id, dump(table))
	return nil
}

// weightsOf are the weights of the endpoints of a route's only arm, by ID.
func weightsOf(t *testing.T, table *Table, id string) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for _, e := range routeByID(t, table, id).Arms[0].Cluster.Endpoints {
		out[e.ID] = e.Weight
	}
	return out
}

// dump writes everything of a table that decides what happens to a request, and
// what it reports.
func dump(t *Table) string {
	var b bytes.Buffer
	for _, r := range t.Routes() {
		fmt.Fprintf(&b, "route %s (%s, %s) hosts=%q %s=%s listeners=%q methods=%q"+
			" headers=%v priority=%d rewrite=%s\n",
			r.ID, r.Source, r.Owner, r.Hosts, r.PathType, r.Path,
			r.Listeners, r.Methods, r.Headers, r.Priority, dumpRewrite(r.Rewrite))
		for i, a := range r.Arms {
			own := ""
			if a.Policy != &a.Cluster.Policy {
				own = fmt.Sprintf(" policy=%v", *a.Policy)
			}
			fmt.Fprintf(&b, "  arm %d cluster=%s weight=%g%s\n", i, a.Cluster.Name, a.Weight, own)
		}
		dumpFilters(&b, r)
	}
	for _, c := range t.Clusters() {
		fmt.Fprintf(&b, "cluster %s services=%q balance=%s%s\n",
			c.Name, c.Services, c.Policy.Balance, strings.Repeat(" retry", c.Policy.Retry.Attempts))
		for _, e := range c.Endpoints {
			fmt.Fprintf(&b, "  %s %s %s#%d %s weight=%.4f rewrite=%s%s\n",
				e.ID, e.Address, e.Service, e.ServiceIndex, e.Status, e.Weight, dumpRewrite(e.Rewrite),
				dumpTLS(e.TLS)+dumpAccess(e.Access)+dumpRedirect(e.Redirect))
		}
	}
	for _, r := range t.Refused() {
		fmt.Fprintf(&b, "refused %s %s %q: %s\n", r.Service, r.Instance, r.Where, r.Reason)
	}
	for _, n := range t.Notices() {
		fmt.Fprintf(&b, "notice %s %s %q: %s\n", n.Service, n.Instance, n.Where, n.Reason)
	}
	for _, c := range t.Conflicts() {
		fmt.Fprintf(&b, "conflict %s: %s over %s\n", c.Match, c.Winner, c.Loser)
	}
	counts := t.Counts()
	counts.Refused = maps.Clone(counts.Refused)
	maps.DeleteFunc(counts.Refused, func(_ string, n int) bool { return n == 0 })
	fmt.Fprintf(&b, "counts %v\n", counts)
	for _, s := range t.Services() {
		fmt.Fprintf(&b, "service %s routed=%t %s\n", s.Key, s.Routed, s.Reason)
	}
	return b.String()
}

// dumpFilters writes what a route does beside forwarding, if it does anything.
func dumpFilters(b *bytes.Buffer, r *Route) {
	for _, p := range r.Patterns {
		fmt.Fprintf(b, "  header %s matches %s\n", p.Name, p.Expr)
	}
	for _, p := range r.Query {
		fmt.Fprintf(b, "  query %s=%s\n", p.Name, p.Value)
	}
	if r.Redirect != nil {
		fmt.Fprintf(b, "  redirect %s\n", dumpRedirect(r.Redirect))
	}
	if r.Respond != nil {
		fmt.Fprintf(b, "  respond %d %q %q\n", r.Respond.Status, r.Respond.Fields, r.Respond.Body)
	}
	for _, e := range []*Edits{r.RequestEdits, r.ResponseEdits} {
		if e != nil {
			fmt.Fprintf(b, "  edits drop=%q fields=%v\n", e.Drop, e.Fields)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.Pages)) {
		fmt.Fprintf(b, "  page %s %s %q\n", key, r.Pages[key].Type, r.Pages[key].Body)
	}
}

func dumpRedirect(r *Redirect) string {
	if r == nil {
		return ""
	}
	return fmt.Sprintf(" redirect=%d,%v,query=%t,%s", r.Code, r.to, r.query, dumpRewrite(r.rewrite))
}

func dumpTLS(t *TLS) string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf(" tls=%+v", *t)
}

func dumpAccess(a *Access) string {
	if a == nil {
		return ""
	}
	return " access=" + a.String()
}

func dumpRewrite(r *Rewrite) string {
	if r == nil {
		return "none"
	}
	v := url.Values{}
	v.Set("strip", r.Strip)
	v.Set("prepend", r.Prepend)
	v.Set("host", r.Host)
	if r.Pattern != nil {
		v.Set("pattern", r.Pattern.String()+" "+r.To)
	}
	if r.HostIsAddress {
		v.Set("host", "dst")
	}
	out, err := url.QueryUnescape(v.Encode())
	if err != nil {
		return err.Error()
	}
	return out
}

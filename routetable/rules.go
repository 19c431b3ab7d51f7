package routetable

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"usher/config"
	"usher/watcher"
)

// ruleSet is the rules of the configuration and of the registries' overrides made
// ready, once for all tables built with them. It is immutable.
type ruleSet struct {
	*Rules
	overrides []*watcher.Overrides
	// services are the settings of both.
	services map[string]config.Service
	// reserved are the claims.
	reserved claimList

	// configs are the routes of both, the configuration's first; routes, aligned, are
	// templates made of them: complete but for their clusters. One that is not served is
	// nil.
	configs   []*config.Route
	routes    []*Route
	refused   []Refusal
	conflicts []Conflict
	// pages are the configuration's error pages, nowhere is where the requests of routes
	// go that answer by themselves.
	pages   Pages
	nowhere *Cluster
	// ids are the IDs of the routes, and where the rule of each stands.
	ids map[string]string
	// holds are the plain matches of the routes; they hide the same ones announced.
	holds map[string][]hold
	// named are the indexes of the routes that go to a service, by the wholeName of its
	// cluster.
	named map[string][]int
	// headers are the names of the fields that routes match on, each once.
	headers []string
}

// noRoute is what the metrics call requests without a route; no route may be called
// that.
const noRoute = "none"

func compileRules(rules *Rules, overrides []*watcher.Overrides) *ruleSet {
	s := &ruleSet{
		Rules: rules, overrides: overrides, reserved: compileClaims(rules.Claims),
		services: map[string]config.Service{}, ids: map[string]string{noRoute: ""},
		holds: map[string][]hold{}, named: map[string][]int{}, pages: compilePages(rules.ErrorPages),
		nowhere: nowhere(rules.Defaults),
	}
	for i := range rules.Routes {
		c := &rules.Routes[i]
		s.compile(c, newTemplate(c, SourceConfig), watcher.Key{})
	}
	for _, o := range overrides {
		s.override(o)
	}
	maps.Copy(s.services, rules.Services)
	s.headers = headerNames(s.routes)
	return s
}

// headerNames are the names of the fields that routes match on, each once.
func headerNames(routes []*Route) (names []string) {
	for _, r := range routes {
		if r == nil {
			continue
		}
		for _, h := range r.Headers {
			names = append(names, h.Name)
		}
		for _, p := range r.Patterns {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// newTemplate makes the route of a rule, but for its ID, its pattern and its clusters.
func newTemplate(c *config.Route, source Source) *Route {
	return &Route{
		Source: source, Owner: c.Pos.String(), Kind: kindOfRoute(c.Protocol),
		Hosts: hostsOf(c.Match), Path: cmp.Or(c.Match.Path, "/"), PathType: pathType(c.Match.PathType),
		Listeners: c.Match.Listeners, Methods: c.Match.Methods, Headers: headersOf(c.Match),
		GRPC: c.Match.GRPC != nil, Priority: c.Priority,
	}
}

// override takes in what a registry overrides. The configuration goes before it, and
// a registry before those behind it: they have the names and the matches that are
// taken already.
func (s *ruleSet) override(o *watcher.Overrides) {
	by := watcher.Key{Registry: o.Registry}
	for _, r := range o.Refused {
		s.refused = append(s.refused, Refusal{Service: by, Where: r.Key, Reason: r.Reason})
	}
	for i := range o.Routes {
		c := &o.Routes[i]
		r := newTemplate(c, SourceKV)
		if holder, taken := s.ids[c.Name]; taken && c.Name != noRoute {
			s.conflicts = append(s.conflicts, Conflict{Match: "route " + c.Name, Winner: holder, Loser: r.Owner})
			continue
		}
		if plain(c) {
			s.yield(r)
		}
		if len(r.Hosts) > 0 {
			s.compile(c, r, by)
		}
	}
	for name, service := range o.Services {
		if _, taken := s.services[name]; !taken {
			s.services[name] = service
		}
	}
}

// yield takes from a plain route of an override the hosts under which another holds
// the same match.
func (s *ruleSet) yield(r *Route) {
	hosts := r.Hosts
	r.Hosts = nil
	for _, h := range hosts {
		match := matchOf(r.Kind, h, r.Path, r.PathType)
		if holder, held := s.holder(match, r.Listeners); held {
			s.conflicts = append(s.conflicts, Conflict{Match: match, Winner: holder, Loser: r.Owner})
		} else {
			r.Hosts = append(r.Hosts, h)
		}
	}
}

// compile completes a template; one that cannot be used is refused on account of by.
func (s *ruleSet) compile(c *config.Route, r *Route, by watcher.Key) {
	at := len(s.routes)
	s.configs, s.routes = append(s.configs, c), append(s.routes, nil)
	r.ID = s.uniqueID(c.Name, r.Owner)
	var err error
	if r.pattern, err = compilePath(r.PathType, r.Path); err == nil {
		err = r.compileFilters(c)
	}
	if err != nil {
		s.refused = append(s.refused, Refusal{Service: by, Where: r.Owner, Reason: err.Error()})
		return
	}
	if len(armsOf(c)) == 0 && !r.Answers() {
		s.refused = append(s.refused, Refusal{Service: by, Where: r.Owner, Reason: "no part of the split has a weight"})
		return
	}
	s.routes[at] = r
	for _, arm := range armsOf(c) {
		if name := wholeName(r.Kind, arm.Service); !slices.Contains(s.named[name], at) {
			s.named[name] = append(s.named[name], at)
		}
	}
	if plain(c) {
		for _, h := range r.Hosts {
			match := matchOf(r.Kind, h, r.Path, r.PathType)
			s.holds[match] = append(s.holds[match], hold{r.Owner, r.Listeners})
		}
	}
}

// uniqueID makes an ID unique among those of the rules.
func (s *ruleSet) uniqueID(id, owner string) string {
	unique := id
	for n := 2; ; n++ {
		if _, taken := s.ids[unique]; !taken {
			break
		}
		unique = id + "#" + strconv.Itoa(n)
	}
	s.ids[unique] = owner
	return unique
}

// plain says whether a route takes all requests of its source, as an announced one
// does. A redirect leaves some to others: those that are where it leads.
func plain(c *config.Route) bool {
	m, t := &c.Match, pathType(c.Match.PathType)
	return t != Exact && t != Regex && len(m.Methods)+len(m.Headers)+len(m.HeadersRegex)+len(m.Query) == 0 &&
		m.GRPC == nil && c.Redirect == nil
}

// hold is a plain match that a rule has on some listeners; none: all.
type hold struct {
	owner     string
	listeners []string
}

// holder returns whose rule holds all of a match on these listeners; none: all.
func (s *ruleSet) holder(match string, listeners []string) (owner string, held bool) {
	for _, h := range s.holds[match] {
		foreign := func(l string) bool { return !slices.Contains(h.listeners, l) }
		if len(h.listeners) == 0 || (len(listeners) > 0 && !slices.ContainsFunc(listeners, foreign)) {
			return h.owner, true
		}
	}
	return "", false
}

// ruleChange is how two sets of rules differ for what is announced: the matches held,
// the IDs taken and the services with settings that are not the same.
type ruleChange struct{ holds, ids, services map[string]bool }

func (s *ruleSet) changed(from *ruleSet) *ruleChange {
	return &ruleChange{
		holds: differing(s.holds, from.holds), ids: differing(s.ids, from.ids),
		services: differing(s.services, from.services),
	}
}

// differing are the keys that have not the same value in both maps.
func differing[V any](a, b map[string]V) map[string]bool {
	out := map[string]bool{}
	for _, either := range []map[string]V{a, b} {
		for key := range either {
			x, inA := a[key]
			y, inB := b[key]
			if inA != inB || !reflect.DeepEqual(x, y) {
				out[key] = true
			}
		}
	}
	return out
}

// affects says whether the change makes another thing of a source. The settings of a
// shared one are those of its first service, but for how each endpoint is spoken to.
func (c *ruleChange) affects(key string, s *source) bool {
	return c.ids[key] || c.holds[s.match] || s.cluster != nil && slices.ContainsFunc(s.cluster.Services, c.changes)
}

// changes says whether the settings of a service differ.
func (c *ruleChange) changes(service string) bool { return c.services[service] }

// policy is that of a service, or of one given as name@registry: its own or the
// default one. A way of balancing that is unknown is the default one, too.
func (s *ruleSet) policy(service string) config.Policy {
	bare, _, _ := strings.Cut(service, "@")
	for _, name := range []string{service, bare} {
		if own, ok := s.services[name]; ok {
			if s.Balancers[own.Balance] == nil {
				own.Balance = s.Defaults.Balance
			}
			return own.Policy
		}
	}
	return s.Defaults
}

// armsOf are the arms of a route that take requests.
func armsOf(c *config.Route) []config.Arm {
	if c.Service != "" {
		return []config.Arm{{Service: c.Service, Weight: 1}}
	}
	return slices.DeleteFunc(slices.Clone(c.Split), func(a config.Arm) bool { return a.Weight <= 0 })
}

func hostsOf(m config.Match) []string {
	if len(m.Hosts) == 0 {
		return []string{""}
	}
	hosts := make([]string, 0, len(m.Hosts))
	for _, h := range m.Hosts {
		if h = NormalizeHost(h); !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

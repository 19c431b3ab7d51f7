package routetable

import (
	"cmp"
	"slices"
	"strconv"

	"usher/config"
)

// ruleSet is the configuration's rules made ready, once for all tables built with
// them. It is immutable.
type ruleSet struct {
	*Rules
	// routes are templates: complete but for their clusters. One that was refused is
	// nil.
	routes  []*Route
	refused []Refusal
	// ids are the IDs of the routes.
	ids map[string]bool
	// claims are the plain matches of the configuration, by host and path; they hide
	// the same ones announced.
	claims map[string][]claim
	// named are the indexes of the routes that go to a service, by the name the
	// configuration calls it.
	named map[string][]int
}

// noRoute is what the metrics call requests without a route; no route may be called
// that.
const noRoute = "none"

func compileRules(rules *Rules) *ruleSet {
	s := &ruleSet{
		Rules: rules, routes: make([]*Route, len(rules.Routes)),
		ids: map[string]bool{noRoute: true}, claims: map[string][]claim{}, named: map[string][]int{},
	}
	for i := range rules.Routes {
		s.compile(i, &rules.Routes[i])
	}
	return s
}

func (s *ruleSet) compile(i int, c *config.Route) {
	r := &Route{
		ID: s.uniqueID(c.Name), Source: SourceConfig, Owner: c.Pos.String(),
		Hosts: hostsOf(c.Match), Path: cmp.Or(c.Match.Path, "/"), PathType: pathType(c.Match.PathType),
		Listeners: c.Match.Listeners, Methods: c.Match.Methods, Headers: headersOf(c.Match),
		Priority: c.Priority, Rewrite: rewriteOf(c),
	}
	var err error
	if r.pattern, err = compilePath(r.PathType, r.Path); err != nil {
		s.refused = append(s.refused, Refusal{Where: r.Owner, Reason: err.Error()})
		return
	}
	if len(armsOf(c)) == 0 {
		s.refused = append(s.refused, Refusal{Where: r.Owner, Reason: "no part of the split has a weight"})
		return
	}
	s.routes[i] = r
	for _, arm := range armsOf(c) {
		if !slices.Contains(s.named[arm.Service], i) {
			s.named[arm.Service] = append(s.named[arm.Service], i)
		}
	}
	s.claim(r)
}

// uniqueID makes an ID unique among the configuration's.
func (s *ruleSet) uniqueID(id string) string {
	unique := id
	for n := 2; s.ids[unique]; n++ {
		unique = id + "#" + strconv.Itoa(n)
	}
	s.ids[unique] = true
	return unique
}

// claim notes what a plain route matches, so that no announced rule serves the
// same.
func (s *ruleSet) claim(r *Route) {
	if r.PathType != Prefix || len(r.Methods) > 0 || len(r.Headers) > 0 {
		return
	}
	for _, h := range r.Hosts {
		s.claims[h+r.Path] = append(s.claims[h+r.Path], claim{r.Owner, r.Listeners})
	}
}

// claim is a plain match that the configuration holds on some listeners; none: all.
type claim struct {
	owner     string
	listeners []string
}

// holder returns who of the configuration holds all that an announced rule matches.
func (s *ruleSet) holder(r *rule) (owner string, held bool) {
	for _, c := range s.claims[r.host+r.path] {
		foreign := func(l string) bool { return !slices.Contains(c.listeners, l) }
		if len(c.listeners) == 0 || (len(r.listeners) > 0 && !slices.ContainsFunc(r.listeners, foreign)) {
			return c.owner, true
		}
	}
	return "", false
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

func rewriteOf(c *config.Route) *Rewrite {
	if c.StripPrefix == "" && c.PrependPrefix == "" && c.Host == "" {
		return nil
	}
	return &Rewrite{Strip: c.StripPrefix, Prepend: c.PrependPrefix, Host: c.Host}
}

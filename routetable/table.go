package routetable

import (
	"cmp"
	"iter"
	"slices"

	"usher/config"
	"usher/watcher"
)

// Table is one immutable routing table. See the package's invariant.
//
// A table shares with the one it was built from everything that did not change:
// its routes and clusters are the same pointers. Delta says what did.
type Table struct {
	// Version is the catalog's.
	Version uint64

	catalog *watcher.Catalog
	rules   *ruleSet
	// services are what each service announces, by Key.String; sources the routes
	// that come of it, by what they match; whole the clusters of all instances of a
	// service that the configuration names.
	services watcher.Map[*announcer]
	sources  watcher.Map[*source]
	whole    watcher.Map[*Cluster]
	// configured are the configuration's routes, nil where one was refused.
	configured []*Route
	hosts      hostTable
	// names finds connections by the name their clients ask for, ports by the listener's
	// port.
	names, ports hostTable
	counts       Counts
	delta        Delta
	// remembered is what the first table is to know, until it is built; nil: nothing.
	remembered *remembered
	departed   *departed
	// owners are those of the sources that have one, kept the rules that stand in for broken
	// ones, by service.
	owners watcher.Map[watcher.Key]
	kept   watcher.Map[[]KeptRule]
}

// Empty returns a table without routes.
func Empty() *Table {
	return &Table{catalog: &watcher.Catalog{}, rules: &ruleSet{}, departed: &departed{}}
}

// Delta is how a table differs from the one it was built from.
type Delta struct {
	AddedRoutes, RemovedRoutes     []*Route
	AddedClusters, RemovedClusters []*Cluster
	// Refused are the refusals of the services that changed.
	Refused []Refusal
}

// HeaderNames are the names of the header fields that routes match on, each once. Don't
// change the result.
func (t *Table) HeaderNames() []string { return t.rules.headers }

// Delta returns how the table differs from the one it was built from.
func (t *Table) Delta() *Delta { return &t.delta }

// Counts are figures of a table.
type Counts struct {
	// Routes are counted by Source.
	Routes [SourceConfig + 1]int
	// Refused are the rules and overrides that are not served, by registry; "" are the
	// configuration's.
	Refused   map[string]int
	Conflicts int
}

// Counts returns the table's figures. Don't change them.
func (t *Table) Counts() Counts { return t.counts }

// Routes returns the routes: the configuration's, those of overrides, then the others
// by ID.
func (t *Table) Routes() []*Route {
	routes := slices.DeleteFunc(slices.Clone(t.configured), func(r *Route) bool { return r == nil })
	own := len(routes)
	for _, s := range t.sources.All() {
		if s.route != nil {
			routes = append(routes, s.route)
		}
	}
	slices.SortFunc(routes[own:], func(a, b *Route) int { return cmp.Compare(a.ID, b.ID) })
	return routes
}

// Clusters returns the clusters by name.
func (t *Table) Clusters() []*Cluster {
	return slices.SortedFunc(t.AllClusters(), func(a, b *Cluster) int { return cmp.Compare(a.Name, b.Name) })
}

// AllClusters goes over the clusters, in no order.
func (t *Table) AllClusters() iter.Seq[*Cluster] {
	return func(yield func(*Cluster) bool) {
		for _, c := range t.whole.All() {
			if !yield(c) {
				return
			}
		}
		for _, s := range t.sources.All() {
			if s.cluster != nil && !yield(s.cluster) {
				return
			}
		}
	}
}

// Refused returns the rules left out, by service, the configuration's first.
func (t *Table) Refused() []Refusal {
	return t.collect(t.rules.refused, func(a *announcer) []Refusal { return a.refused })
}

// Notices returns what is served though not as it may be meant.
func (t *Table) Notices() []Refusal {
	return t.collect(nil, (*announcer).notices)
}

func (t *Table) collect(first []Refusal, of func(*announcer) []Refusal) []Refusal {
	out := slices.Clone(first)
	for _, a := range t.services.All() {
		out = append(out, of(a)...)
	}
	slices.SortStableFunc(out, func(a, b Refusal) int {
		return cmp.Or(a.Service.Compare(b.Service), cmp.Compare(a.Instance, b.Instance))
	})
	return out
}

// Conflicts returns the claims of a match that another claim outranks, by match.
func (t *Table) Conflicts() []Conflict {
	out := slices.Clone(t.rules.conflicts)
	for _, s := range t.sources.All() {
		out = append(out, s.conflicts...)
	}
	slices.SortStableFunc(out, func(a, b Conflict) int { return cmp.Compare(a.Match, b.Match) })
	return out
}

// Services tells of each service in the catalog whether it is routed.
func (t *Table) Services() []ServiceReport {
	out := make([]ServiceReport, 0, t.services.Len())
	for _, a := range t.services.All() {
		out = append(out, t.reportOf(a))
	}
	slices.SortFunc(out, func(a, b ServiceReport) int { return a.Compare(b.Key) })
	return out
}

// reportOf says whether a service is routed. One whose rule the configuration
// overrides is: that is what it asked for, by other means.
func (t *Table) reportOf(a *announcer) ServiceReport {
	key := a.service.Key
	switch {
	case t.rules.names(key) || slices.ContainsFunc(a.offers, t.serves):
		return ServiceReport{Key: key, Routed: true}
	case len(a.offers) > 0:
		return ServiceReport{Key: key, Reason: "another service holds what it announces"}
	case len(a.refused) > 0:
		return ServiceReport{Key: key, Reason: a.refused[0].Reason}
	default:
		return ServiceReport{Key: key, Reason: "announces no route"}
	}
}

// serves says whether an offer takes part in its route, or the configuration holds
// the match.
func (t *Table) serves(o offer) bool {
	s := t.sources.Get(o.key)
	return s.cluster == nil || slices.ContainsFunc(s.cluster.Endpoints, func(e *Endpoint) bool {
		return e.Service == o.by.service.Key
	})
}

// Refusal is a rule, or a part of one, that is not served, and why.
type Refusal struct {
	// Service is who announced it; of an override its registry alone is known, of the
	// configuration's rules nothing.
	Service  watcher.Key
	Instance string
	// Where is the tag or the meta key, or the position in a file.
	Where  string
	Reason string
	// NotServed says that nothing is wrong with the rule: usher cannot do yet what it
	// asks for.
	NotServed bool
}

// Conflict is a claim of a match that another claim outranks.
type Conflict struct {
	// Match is what both claim, Winner and Loser who claims it.
	Match, Winner, Loser string
}

// ServiceReport says whether a service is routed.
type ServiceReport struct {
	watcher.Key
	Routed bool
	// Reason says why it is not.
	Reason string
}

// Rules are what the configuration says of routing. Build only reads them, and
// takes the same pointer for the same rules.
type Rules struct {
	Routes   []config.Route
	Services map[string]config.Service
	Defaults config.Policy
	// Claims reserve hosts and paths for services.
	Claims []config.Claim
	// ErrorPages are the bodies of usher's own answers, where a route has none.
	ErrorPages map[string]config.Content
	// ExclusiveRoutes gives a source to one of the services that announce it; without it
	// they share it.
	ExclusiveRoutes bool
	// Balancers are the policies by name.
	Balancers map[string]Balancer
}

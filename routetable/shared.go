package routetable

import (
	"cmp"
	"slices"
	"strings"

	"usher/watcher"
)

// offer is one instance's parsed announcement.
type offer struct {
	service  *watcher.Service
	instance *watcher.Instance
	origin   watcher.Origin
	where    string
	rule     rule
}

// announced adds the routes that services announce. Those that announce the same
// source share one route, as in Fabio.
func (b *builder) announced() {
	bySource := map[string][]offer{}
	for _, s := range b.catalog.Services {
		for i := range s.Instances {
			b.collect(bySource, s, &s.Instances[i])
		}
	}
	sources := make([]string, 0, len(bySource))
	for key := range bySource {
		sources = append(sources, key)
	}
	slices.Sort(sources)
	for _, key := range sources {
		b.announcedRoute(key, bySource[key])
	}
}

// collect parses what an instance announces. A rule that cannot be parsed costs
// that rule.
func (b *builder) collect(bySource map[string][]offer, s *watcher.Service, in *watcher.Instance) {
	for _, a := range in.Announcements {
		r, err := parseRule(a.Text)
		if err != nil {
			b.table.Refused = append(b.table.Refused, Refusal{s.Key, in.ID, a.Where, err.Error()})
			continue
		}
		if len(r.unknown) > 0 {
			b.table.Notices = append(b.table.Notices, Refusal{
				s.Key, in.ID, a.Where,
				"unknown option " + strings.Join(r.unknown, ", "),
			})
		}
		key := r.matchKey()
		bySource[key] = append(bySource[key], offer{s, in, a.Origin, a.Where, r})
	}
}

// announcedRoute adds the route of one source.
func (b *builder) announcedRoute(key string, offers []offer) {
	if c := b.claims[key]; c != nil {
		b.outranked(key, c.owner, offers)
		return
	}
	offers, losers := winners(offers)
	first := offers[0]
	b.outranked(key, owner(first), losers)
	r := &Route{
		ID: b.uniqueID(key), Source: Source(first.origin), Owner: owner(first),
		Hosts: []string{first.rule.host}, Path: first.rule.path, PathType: Prefix,
		Listeners: first.rule.listeners,
		Arms:      []Arm{{b.sharedCluster(key, offers), 1}},
	}
	b.addRoute(r)
}

// owner says who made an offer.
func owner(o offer) string { return o.service.String() + " " + o.where }

// outranked reports the services whose claim of a match is not served. A service
// whose rule the configuration overrides counts as routed: that is what it asked
// for, by other means.
func (b *builder) outranked(key, winner string, losers []offer) {
	seen := map[watcher.Key]bool{}
	for _, o := range losers {
		if !seen[o.service.Key] {
			seen[o.service.Key] = true
			b.routed[o.service.Key] = true
			b.table.Conflicts = append(b.table.Conflicts, Conflict{Match: key, Winner: winner, Loser: owner(o)})
		}
	}
}

// winners keeps the offers of the services that make one by the origin of the
// highest precedence, and of each instance the best one. A service that moves
// from tags to meta keeps its instances of either kind all the while.
func winners(offers []offer) (won, lost []offer) {
	best := watcher.FromTag
	for _, o := range offers {
		best = max(best, o.origin)
	}
	entitled := map[watcher.Key]bool{}
	for _, o := range offers {
		if o.origin == best {
			entitled[o.service.Key] = true
		}
	}
	at := map[*watcher.Instance]int{}
	for _, o := range offers {
		i, had := at[o.instance]
		switch {
		case !entitled[o.service.Key]:
			lost = append(lost, o)
		case !had:
			at[o.instance] = len(won)
			won = append(won, o)
		case o.origin >= won[i].origin:
			won[i] = o
		}
	}
	slices.SortStableFunc(won, func(a, b offer) int { return cmp.Compare(b.origin, a.origin) })
	return won, lost
}

// sharedCluster is the cluster of the instances that announced one source.
func (b *builder) sharedCluster(key string, offers []offer) *Cluster {
	slices.SortStableFunc(offers, func(a, c offer) int {
		return cmp.Or(a.service.Compare(c.service.Key), cmp.Compare(a.instance.ID, c.instance.ID))
	})
	var services []string
	for _, o := range offers {
		if name := o.service.Service; !slices.Contains(services, name) {
			services = append(services, name)
		}
		b.routed[o.service.Key] = true
	}
	c := b.newCluster("route:"+key, services)
	weights := shares(offers)
	for i, o := range offers {
		at := slices.Index(services, o.service.Service)
		c.Endpoints = append(c.Endpoints, b.endpoint(o.service.Key, o.instance, weights[i], o.rule.rewrite, at))
	}
	b.finishCluster(c)
	return c
}

// shares are the weights of a route's instances, by Fabio's rule: a fixed weight
// is a share of the whole, what they leave is divided among the others (here by
// the instances' own weights), and fixed weights that exceed the whole, or have
// nobody to leave a rest to, are normalised. A weight of 0 takes nothing.
func shares(offers []offer) []float64 {
	var fixed, dynamic float64
	for _, o := range offers {
		if o.rule.weight >= 0 {
			fixed += o.rule.weight
		} else {
			dynamic += o.instance.Weight
		}
	}
	rest := max(0, 1-fixed)
	out := make([]float64, len(offers))
	for i, o := range offers {
		switch {
		case o.rule.weight >= 0 && o.instance.Weight > 0:
			out[i] = o.rule.weight
		case o.rule.weight < 0 && fixed == 0:
			out[i] = o.instance.Weight
		case o.rule.weight < 0 && dynamic > 0:
			out[i] = rest * o.instance.Weight / dynamic
		}
	}
	return out
}

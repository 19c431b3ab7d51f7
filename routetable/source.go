package routetable

import (
	"cmp"
	"slices"

	"usher/watcher"
)

// source is one match that services announce, and the route that comes of it.
type source struct {
	// claimants are the services that announce it, by Key.String, ascending.
	claimants []string
	// route and cluster are nil when the configuration holds the match.
	route     *Route
	cluster   *Cluster
	conflicts []Conflict
}

// sharedPrefix begins the names of clusters of shared sources.
const sharedPrefix = "route:"

// buildSource makes the route of one match from what its claimants offer. before
// is the same source in the last table, nil if it is new.
func (b *builder) buildSource(key string, claimants []string, before *source) *source {
	var offers []*offer
	for _, c := range claimants {
		a := b.services.Get(c)
		for i := range a.offers {
			if a.offers[i].key == key {
				offers = append(offers, &a.offers[i])
			}
		}
	}
	s := &source{claimants: claimants}
	if holder, held := b.table.rules.holder(&offers[0].rule); held {
		s.conflicts = outranked(key, holder, offers)
		return s
	}
	offers, losers := winners(offers)
	first := offers[0]
	s.conflicts = outranked(key, first.name(), losers)
	s.cluster = b.sharedCluster(key, offers, before)
	s.route = &Route{
		ID: b.announcedID(key), Source: Source(first.origin), Owner: first.name(),
		Hosts: []string{first.rule.host}, Path: first.rule.path, PathType: Prefix,
		Listeners: first.rule.listeners, Arms: []Arm{{s.cluster, 1}},
	}
	return s
}

// announcedID is the ID of an announced route: what it matches, unless the
// configuration has called a route that.
func (b *builder) announcedID(key string) string {
	if b.table.rules.ids[key] {
		return key + "#announced"
	}
	return key
}

// outranked reports the services whose claim of a match is not served.
func outranked(key, winner string, losers []*offer) (conflicts []Conflict) {
	var last *announcer
	for _, o := range losers {
		if o.by != last {
			last = o.by
			conflicts = append(conflicts, Conflict{Match: key, Winner: winner, Loser: o.name()})
		}
	}
	return conflicts
}

// winners keeps the offers of the services that make one by the origin of the
// highest precedence, and of each instance the best one. A service that moves
// from tags to meta keeps its instances of either kind all the while.
func winners(offers []*offer) (won, lost []*offer) {
	best := watcher.FromTag
	for _, o := range offers {
		best = max(best, o.origin)
	}
	entitled := map[*announcer]bool{}
	for _, o := range offers {
		if o.origin == best {
			entitled[o.by] = true
		}
	}
	at := map[*watcher.Instance]int{}
	for _, o := range offers {
		i, had := at[o.in()]
		switch {
		case !entitled[o.by]:
			lost = append(lost, o)
		case !had:
			at[o.in()] = len(won)
			won = append(won, o)
		case o.origin >= won[i].origin:
			won[i] = o
		}
	}
	slices.SortStableFunc(won, func(a, b *offer) int { return cmp.Compare(b.origin, a.origin) })
	return won, lost
}

// sharedCluster is the cluster of the instances that announced one source.
func (b *builder) sharedCluster(key string, offers []*offer, before *source) *Cluster {
	offers = slices.Clone(offers)
	slices.SortStableFunc(offers, func(x, y *offer) int {
		return cmp.Or(x.by.service.Compare(y.by.service.Key), cmp.Compare(x.instance, y.instance))
	})
	var services []string
	for _, o := range offers {
		if name := o.by.service.Service; !slices.Contains(services, name) {
			services = append(services, name)
		}
	}
	c := &Cluster{Name: sharedPrefix + key, Services: services, Endpoints: make([]*Endpoint, 0, len(offers))}
	weights := shares(offers)
	for i, o := range offers {
		at := slices.Index(services, o.by.service.Service)
		c.Endpoints = append(c.Endpoints, o.by.endpoint(o.instance, weights[i], o.rule.rewrite, at))
	}
	var old *Cluster
	if before != nil {
		old = before.cluster
	}
	b.finishCluster(c, old)
	return c
}

// shares are the weights of a route's instances, by Fabio's rule: a fixed weight
// is a share of the whole, what they leave is divided among the others (here by
// the instances' own weights), and fixed weights that exceed the whole, or have
// nobody to leave a rest to, are normalised. A weight of 0 takes nothing. Instances
// that take no traffic leave the whole to the others, as if they were not there.
func shares(offers []*offer) []float64 {
	var fixed, dynamic float64
	for _, o := range offers {
		switch in := o.in(); {
		case !in.Status.TakesTraffic() || in.Weight == 0:
		case o.rule.weight >= 0:
			fixed += o.rule.weight
		default:
			dynamic += in.Weight
		}
	}
	rest := max(0, 1-fixed)
	out := make([]float64, len(offers))
	for i, o := range offers {
		own := o.in().Weight
		switch {
		case o.rule.weight >= 0 && own > 0:
			out[i] = o.rule.weight
		case o.rule.weight < 0 && fixed == 0:
			out[i] = own
		case o.rule.weight < 0 && dynamic > 0:
			out[i] = rest * own / dynamic
		}
	}
	return out
}

package routetable

import (
	"cmp"
	"math"
	"slices"

	"usher/config"
	"usher/watcher"
)

// source is one match that services announce, and the route that comes of it.
type source struct {
	// claimants are the services that announce it, by Key.String, ascending.
	claimants []string
	// match is what it matches on whatever listeners.
	match string
	// owner is the service it belongs to where sources are not shared; zero: nobody.
	owner watcher.Key
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
	var all []*offer
	for _, c := range claimants {
		a := b.services.Get(c)
		for i := range a.offers {
			if a.offers[i].key == key {
				all = append(all, &a.offers[i])
			}
		}
	}
	r := &all[0].rule
	s := &source{claimants: claimants, match: r.match()}
	offers, losers := winners(all)
	if b.table.rules.ExclusiveRoutes {
		s.owner = b.ownerOf(key, offers, before)
		var others []*offer
		offers, others = ownedBy(s.owner, offers)
		losers = append(losers, others...)
	}
	if holder, held := b.table.rules.holder(s.match, r.listeners); held {
		s.conflicts = outranked(key, holder, all)
		return s
	}
	first := offers[0]
	s.conflicts = outranked(key, first.name(), losers)
	s.cluster = b.sharedCluster(key, offers, accessOf(all), before)
	s.route = &Route{
		ID: b.announcedID(key), Source: Source(first.origin), Owner: first.name(),
		Kind: first.rule.kind(), Hosts: []string{first.rule.host}, Path: first.rule.path, PathType: first.rule.pathType,
		Listeners: first.rule.listeners, Arms: []Arm{newArm(s.cluster, 1, &config.Override{})},
	}
	// The path of an announced glob is made of literals and stars: it compiles.
	s.route.pattern, _ = compilePath(s.route.PathType, s.route.Path)
	return s
}

// ownerOf is the service that owns a source that is not shared: who owned it so far,
// while it is among those that may, else the oldest, by its first instance.
func (b *builder) ownerOf(key string, offers []*offer, before *source) watcher.Key {
	incumbent := b.previous.remembered.owner(key)
	if before != nil {
		incumbent = before.owner
	}
	best := offers[0].by.service
	for _, o := range offers {
		s := o.by.service
		if s.Key == incumbent {
			return incumbent
		}
		if cmp.Or(cmp.Compare(age(s), age(best)), s.Compare(best.Key)) < 0 {
			best = s
		}
	}
	return best.Key
}

// age orders services by when their first instance was created: the lower the older.
// Those of which nothing is known come after all others.
func age(s *watcher.Service) uint64 {
	first := uint64(math.MaxUint64)
	for i := range s.Instances {
		if created := s.Instances[i].Created; created > 0 {
			first = min(first, created)
		}
	}
	return first
}

// ownedBy parts the offers of a service from those of others.
func ownedBy(owner watcher.Key, offers []*offer) (own, others []*offer) {
	for _, o := range offers {
		if o.by.service.Key == owner {
			own = append(own, o)
		} else {
			others = append(others, o)
		}
	}
	slices.SortStableFunc(others, func(a, b *offer) int { return a.by.service.Compare(b.by.service.Key) })
	return own, others
}

// accessOf is who may be served by the instances of each service that offers a source:
// those that pass all rules its instances announce there, the outranked ones included.
// So a change that rolls through the instances restricts all of them at its first step.
func accessOf(offers []*offer) map[*announcer]*Access {
	var out map[*announcer]*Access
	for _, o := range offers {
		if o.rule.access == nil {
			continue
		}
		if out == nil {
			out = map[*announcer]*Access{}
		}
		out[o.by] = out[o.by].and(o.rule.access)
	}
	return out
}

// announcedID is the ID of an announced route: what it matches, unless the
// configuration has called a route that.
func (b *builder) announcedID(key string) string {
	if _, taken := b.table.rules.ids[key]; taken {
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
	best := watcher.FromDefault
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
func (b *builder) sharedCluster(
	key string, offers []*offer, access map[*announcer]*Access, before *source,
) *Cluster {
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
	var settings *config.Policy
	for i, o := range offers {
		e := o.by.endpoint(o.instance, weights[i], slices.Index(services, o.by.service.Service))
		e.Rewrite, e.Access = o.rule.rewrite, access[o.by]
		if i == 0 || offers[i-1].by != o.by {
			settings = new(b.table.rules.policy(o.by.service.Service))
		}
		e.spokenTo(o.rule.kind(), settings, &o.rule)
		c.Restricted = c.Restricted || e.Access != nil
		if r := o.rule.redirect; r != nil {
			e.Redirect, c.Answers = announcedRedirect(r.code, r.url, e.Rewrite), true
		}
		c.Endpoints = append(c.Endpoints, e)
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

package routetable

import (
	"slices"

	"usher/watcher"
)

// Past is what a table was made of. It stands for the table when that is no longer in use,
// and holds neither its clusters nor the states of its endpoints: of thousands of services
// that did not change it shares all with the pasts of other tables. It is immutable.
type Past struct {
	// Version is the table's.
	Version uint64

	catalog *watcher.Catalog
	rules   *Rules
	owners  watcher.Map[watcher.Key]
	kept    watcher.Map[[]KeptRule]
}

// Past returns what the table was made of. It costs nothing.
func (t *Table) Past() *Past {
	return &Past{t.Version, t.catalog, t.rules.Rules, t.owners, t.kept}
}

// Table builds the table again: it has the same routes, and leads requests and reports as
// it did. It is not to be published: it picks no endpoint. The time it takes grows with
// the whole catalog.
func (p *Past) Table() *Table {
	if p.rules == nil {
		return Empty()
	}
	return Build(p.catalog, p.rules.WithoutPickers(), Remember(memoryOf(p.owners, p.kept)))
}

// WithoutPickers returns the same rules for tables that are looked at and never serve: what
// their clusters would have to make for their policy is not made.
func (r *Rules) WithoutPickers() *Rules {
	light := *r
	light.Balancers = make(map[string]Balancer, len(r.Balancers))
	for name := range r.Balancers {
		light.Balancers[name] = func(*Cluster, *ClusterState) Picker { return noPicker{} }
	}
	return &light
}

// own notes who owns a source, the zero Key for nobody.
func (b *builder) own(key string, owner watcher.Key) {
	if b.table.owners.Get(key) == owner {
		return
	}
	if b.owners == nil {
		b.owners = b.previous.owners.Edit()
	}
	if owner == (watcher.Key{}) {
		b.owners.Delete(key)
	} else {
		b.owners.Set(key, owner)
	}
}

// keep notes which rules of a service stand in for broken ones; nil: the service is gone.
func (b *builder) keep(key string, a *announcer) {
	kept := a.keptRules()
	if len(kept) == 0 && b.kept == nil && len(b.previous.kept.Get(key)) == 0 {
		return
	}
	if b.kept == nil {
		b.kept = b.previous.kept.Edit()
	}
	if len(kept) == 0 {
		b.kept.Delete(key)
	} else {
		b.kept.Set(key, kept)
	}
}

// keptRules are those that stand in for broken ones. The announcer may be nil.
func (a *announcer) keptRules() (out []KeptRule) {
	if a == nil {
		return nil
	}
	for i := range a.parsed {
		if o := &a.parsed[i]; o.kept {
			out = append(out, KeptRule{a.service.Key, o.in().ID, o.origin, o.where, o.text})
		}
	}
	return out
}

// memoryOf is the Memory of these, in its order.
func memoryOf(owners watcher.Map[watcher.Key], kept watcher.Map[[]KeptRule]) (m Memory) {
	for key, owner := range owners.All() {
		m.Owners = append(m.Owners, Owner{key, owner})
	}
	slices.SortFunc(m.Owners, compareOwners)
	for _, rules := range kept.All() {
		m.Rules = append(m.Rules, rules...)
	}
	// Those of one service stay in the order in which they were kept, which decides what
	// they stand in for.
	slices.SortStableFunc(m.Rules, func(a, b KeptRule) int { return a.Service.Compare(b.Service) })
	return m
}

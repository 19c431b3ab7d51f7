package routetable

import (
	"maps"
	"slices"
	"strings"

	"usher/config"
	"usher/watcher"
)

// Build makes the table of a catalog and the configuration's rules. What lives
// longer than a table is carried over from previous, which may be nil and is not
// changed. It never fails: what cannot be served is reported in the table.
//
// Only what changed since previous is built: the services that differ between the
// two catalogs, the sources those announce, and the hosts of these. Other overrides
// build the sources they hold or whose settings they change, and all the routes of
// configuration and overrides. Other rules build every route anew, though not what
// services announce, which other claims alone judge again.
func Build(catalog *watcher.Catalog, rules *Rules, previous *Table) *Table {
	if previous == nil {
		previous = Empty()
	}
	b := newBuilder(catalog, rules, previous)
	b.readServices()
	b.buildSources()
	b.buildConfigured()
	b.table.hosts = previous.hosts.with(b.hosts[Requests])
	b.table.ports = previous.ports.with(b.hosts[Connections])
	b.table.names = previous.names.with(b.hosts[Names])
	b.table.services, b.table.sources, b.table.whole = b.services.Map(), b.sources.Map(), b.whole.Map()
	b.table.departed = b.departed.done()
	if b.owners != nil {
		b.table.owners = b.owners.Map()
	}
	if b.kept != nil {
		b.table.kept = b.kept.Map()
	}
	return b.table
}

// builder is one run of Build.
type builder struct {
	table    *Table
	previous *Table
	// all says that the rules differ, so that every route is built; overridden that the
	// overrides do.
	all, overridden bool

	services *watcher.MapEdit[*announcer]
	sources  *watcher.MapEdit[*source]
	whole    *watcher.MapEdit[*Cluster]
	// marks says of each source that may change which of the changed services
	// announces it now.
	marks map[string]map[string]bool
	// names are the names of the changed services.
	names map[string]bool
	// hosts are the routes that change, by kind and host.
	hosts [3]map[string][]swap
	// departed takes in what leaves.
	departed *departedEdit
	// owners and kept change those of the table; nil: they do not.
	owners *watcher.MapEdit[watcher.Key]
	kept   *watcher.MapEdit[[]KeptRule]
}

// swap is a route that takes another's place; either may be nil.
type swap struct{ old, now *Route }

func newBuilder(catalog *watcher.Catalog, rules *Rules, previous *Table) *builder {
	b := &builder{
		table:    &Table{Version: catalog.Version, catalog: catalog, rules: previous.rules},
		previous: previous, all: previous.rules.Rules != rules,
		overridden: !slices.Equal(catalog.Overrides(), previous.rules.overrides),
		services:   previous.services.Edit(), sources: previous.sources.Edit(), whole: previous.whole.Edit(),
		marks: map[string]map[string]bool{}, names: map[string]bool{},
		hosts:    [3]map[string][]swap{{}, {}, {}},
		departed: previous.departed.edit(),
	}
	b.table.owners, b.table.kept = previous.owners, previous.kept
	b.table.counts = previous.counts
	b.table.counts.Refused = maps.Clone(previous.counts.Refused)
	if b.table.counts.Refused == nil {
		b.table.counts.Refused = map[string]int{}
	}
	if b.all || b.overridden {
		b.table.rules = compileRules(rules, catalog.Overrides())
		b.table.delta.Refused = slices.Clone(b.table.rules.refused)
		b.countRules(previous.rules, -1)
		b.countRules(b.table.rules, 1)
	}
	return b
}

// countRules counts what configuration and overrides report, n times.
func (b *builder) countRules(s *ruleSet, n int) {
	for _, r := range s.refused {
		b.table.counts.Refused[r.Service.Registry] += n
	}
	b.table.counts.Conflicts += n * len(s.conflicts)
}

// readServices takes in the services that differ from the last catalog, and those that
// other claims judge otherwise.
func (b *builder) readServices() {
	for name := range b.table.catalog.Changed(b.previous.catalog) {
		b.names[name] = true
		now := b.table.catalog.Find(name)
		for _, s := range b.previous.catalog.Find(name) {
			if !slices.ContainsFunc(now, func(n *watcher.Service) bool { return n.Key == s.Key }) {
				b.readService(s.String(), nil)
			}
		}
		for _, s := range now {
			b.readService(s.String(), s)
		}
	}
	if !b.all {
		return
	}
	for key, a := range b.previous.services.All() {
		if b.services.Get(key) == a {
			b.replaceAnnouncer(key, a, a.under(b.table.rules.reserved))
		}
	}
}

// readService takes in one service; nil is gone.
func (b *builder) readService(key string, s *watcher.Service) {
	before := b.services.Get(key)
	switch {
	case before != nil && before.service == s:
	case s == nil:
		b.replaceAnnouncer(key, before, nil)
	default:
		from := before
		if from == nil {
			from = b.previous.remembered.service(key)
		}
		b.replaceAnnouncer(key, before, newAnnouncer(s, from, b.table.rules.reserved))
	}
}

// replaceAnnouncer takes in what a service announces now in the place of what it did
// before; either may be nil.
func (b *builder) replaceAnnouncer(key string, before, now *announcer) {
	if before == now {
		return
	}
	b.departed.exchange(before, now)
	b.keep(key, now)
	if before != nil {
		b.table.counts.Refused[before.service.Registry] -= len(before.refused)
		for i := range before.offers {
			b.mark(before.offers[i].key, key, false)
		}
		b.services.Delete(key)
	}
	if now == nil {
		return
	}
	b.services.Set(key, now)
	b.table.counts.Refused[now.service.Registry] += len(now.refused)
	b.table.delta.Refused = append(b.table.delta.Refused, now.refused...)
	for i := range now.offers {
		b.mark(now.offers[i].key, key, true)
	}
}

// mark notes that a source changes with a service, which announces it or not.
func (b *builder) mark(source, service string, announces bool) {
	m := b.marks[source]
	if m == nil {
		m = map[string]bool{}
		b.marks[source] = m
	}
	m[service] = announces
}

// buildSources builds the sources that may have changed; with other rules, all.
func (b *builder) buildSources() {
	if b.all || b.overridden {
		change := b.table.rules.changed(b.previous.rules)
		for key, s := range b.previous.sources.All() {
			if b.marks[key] == nil && (b.all || change.affects(key, s)) {
				b.marks[key] = map[string]bool{}
			}
		}
	}
	for key, changed := range b.marks {
		before := b.sources.Get(key)
		claimants := claimantsOf(before, changed)
		if len(claimants) == 0 {
			b.sources.Delete(key)
			b.own(key, watcher.Key{})
			b.replaceSource(before, &source{})
			continue
		}
		s := b.buildSource(key, claimants, before)
		b.sources.Set(key, s)
		b.own(key, s.owner)
		b.replaceSource(before, s)
	}
}

// claimantsOf are the services that announce a source, after those that changed.
func claimantsOf(before *source, changed map[string]bool) []string {
	var out []string
	if before != nil {
		out = slices.Clone(before.claimants)
	}
	for service, announces := range changed {
		i, has := slices.BinarySearch(out, service)
		switch {
		case announces && !has:
			out = slices.Insert(out, i, service)
		case !announces && has:
			out = slices.Delete(out, i, i+1)
		}
	}
	return out
}

// replaceSource notes what takes whose place.
func (b *builder) replaceSource(before, now *source) {
	if before == nil {
		before = &source{}
	}
	b.table.counts.Conflicts += len(now.conflicts) - len(before.conflicts)
	b.replaceRoute(before.route, now.route)
	b.replaceCluster(before.cluster, now.cluster)
}

func (b *builder) replaceRoute(old, now *Route) {
	d := &b.table.delta
	if old != nil {
		d.RemovedRoutes = append(d.RemovedRoutes, old)
		b.table.counts.Routes[old.Source]--
		for _, h := range old.Hosts {
			b.swapAt(h, old, now)
		}
	}
	if now == nil {
		return
	}
	d.AddedRoutes = append(d.AddedRoutes, now)
	b.table.counts.Routes[now.Source]++
	for _, h := range now.Hosts {
		if old == nil || old.Kind != now.Kind || !slices.Contains(old.Hosts, h) {
			b.hosts[now.Kind][h] = append(b.hosts[now.Kind][h], swap{nil, now})
		}
	}
}

// swapAt notes that old leaves a host, for now if that is found there too.
func (b *builder) swapAt(host string, old, now *Route) {
	if now != nil && (now.Kind != old.Kind || !slices.Contains(now.Hosts, host)) {
		now = nil
	}
	b.hosts[old.Kind][host] = append(b.hosts[old.Kind][host], swap{old, now})
}

func (b *builder) replaceCluster(old, now *Cluster) {
	if old != nil {
		b.table.delta.RemovedClusters = append(b.table.delta.RemovedClusters, old)
		if now == nil {
			b.departed.leaveCluster(old)
		}
	}
	if now != nil {
		b.table.delta.AddedClusters = append(b.table.delta.AddedClusters, now)
	}
}

// buildConfigured builds the configuration's routes to services that changed; with
// other rules or overrides, all.
func (b *builder) buildConfigured() {
	if b.all || b.overridden {
		b.rebuildConfigured()
		return
	}
	b.table.configured = b.previous.configured
	affected := map[int]bool{}
	for name, routes := range b.table.rules.named {
		if bare, _, _ := strings.Cut(settingsOf(name), "@"); b.names[bare] {
			b.buildWhole(name)
			for _, i := range routes {
				affected[i] = true
			}
		}
	}
	if len(affected) == 0 {
		return
	}
	b.table.configured = slices.Clone(b.previous.configured)
	for i := range affected {
		r := b.fromTemplate(i)
		b.replaceRoute(b.table.configured[i], r)
		b.table.configured[i] = r
	}
}

// rebuildConfigured builds all of the configuration's routes.
func (b *builder) rebuildConfigured() {
	for name, c := range b.previous.whole.All() {
		if b.table.rules.named[name] == nil {
			b.whole.Delete(name)
			b.replaceCluster(c, nil)
		}
	}
	for name := range b.table.rules.named {
		b.buildWhole(name)
	}
	for _, old := range b.previous.configured {
		b.replaceRoute(old, nil)
	}
	b.table.configured = make([]*Route, len(b.table.rules.routes))
	for i := range b.table.rules.routes {
		r := b.fromTemplate(i)
		b.replaceRoute(nil, r)
		b.table.configured[i] = r
	}
}

// buildWhole builds the cluster of all instances of a service, by its wholeName. A service
// that no registry knows has an empty one: its route answers 503.
func (b *builder) buildWhole(name string) {
	kind, service := kindOfWhole(name)
	bare, _, _ := strings.Cut(service, "@")
	c := &Cluster{Name: name, Services: []string{bare}}
	settings := b.table.rules.policy(service)
	for _, s := range b.table.catalog.Find(service) {
		a := b.services.Get(s.String())
		rules := a.firstRules()
		for i := range s.Instances {
			e := a.endpoint(i, s.Instances[i].Weight, 0)
			e.spokenTo(kind, &settings, rules[i])
			c.Endpoints = append(c.Endpoints, e)
		}
	}
	old := b.whole.Get(name)
	b.finishCluster(c, old)
	b.whole.Set(name, c)
	b.replaceCluster(old, c)
}

// finishCluster gives a cluster, whose endpoints are complete, its policy and its
// picker; what the picker keeps comes from the cluster's last form.
func (b *builder) finishCluster(c, old *Cluster) {
	c.Policy = b.table.rules.policy(c.SettingsName())
	if old != nil {
		c.state = old.state
	} else {
		c.state = b.departed.recallCluster(c.Name)
	}
	c.Picker = b.table.rules.Balancers[c.Policy.Balance](c, c.state)
}

// fromTemplate makes a route of the configuration with its clusters; nil when it
// was refused.
func (b *builder) fromTemplate(i int) *Route {
	template := b.table.rules.routes[i]
	if template == nil {
		return nil
	}
	r := *template
	var sum float64
	c := b.table.rules.configs[i]
	if r.Answers() {
		r.Arms = []Arm{newArm(b.table.rules.nowhere, 1, &config.Override{})}
		return &r
	}
	for _, a := range armsOf(c) {
		sum += a.Weight
		r.Arms = append(r.Arms, newArm(b.whole.Get(wholeName(r.Kind, a.Service)), a.Weight, &c.Override))
		r.Sums = append(r.Sums, sum)
	}
	return &r
}

package routetable

import (
	"cmp"
	"slices"
	"strconv"

	"usher/config"
	"usher/watcher"
)

// Build makes the table of a catalog and the configuration's rules. What lives
// longer than a table is carried over from previous, which may be nil and is not
// changed. It never fails: what cannot be served is reported in the table.
func Build(catalog *watcher.Catalog, rules *Rules, previous *Table) *Table {
	b := &builder{
		catalog: catalog, rules: rules, previous: previous,
		table: &Table{
			Version: catalog.Version,
			states:  map[stateKey]*State{}, clusters: map[string]*ClusterState{},
		},
		hosts: hostBuilder{}, byService: map[string]*Cluster{},
		claims: map[string]*claim{}, ids: map[string]int{}, routed: map[watcher.Key]bool{},
	}
	b.configured()
	b.announced()
	b.table.hosts = b.hosts.build()
	b.report()
	return b.table
}

// builder is one run of Build.
type builder struct {
	catalog  *watcher.Catalog
	rules    *Rules
	previous *Table
	table    *Table

	hosts hostBuilder
	// byService are the clusters of whole services.
	byService map[string]*Cluster
	// claims are the configured matches, which hide announced ones.
	claims map[string]*claim
	ids    map[string]int
	routed map[watcher.Key]bool
}

// claim is who holds a match.
type claim struct{ owner string }

// configured adds the routes of the configuration.
func (b *builder) configured() {
	for i := range b.rules.Routes {
		b.configuredRoute(&b.rules.Routes[i])
	}
}

func (b *builder) configuredRoute(c *config.Route) {
	r := &Route{
		ID: b.uniqueID(c.Name), Source: SourceConfig, Owner: c.Pos.String(),
		Hosts: hostsOf(c.Match), Path: cmp.Or(c.Match.Path, "/"), PathType: pathType(c.Match.PathType),
		Listeners: c.Match.Listeners, Methods: c.Match.Methods, Headers: headersOf(c.Match),
		Priority: c.Priority, Rewrite: rewriteOf(c),
	}
	pattern, err := compilePath(r.PathType, r.Path)
	if err != nil {
		b.table.Refused = append(b.table.Refused, Refusal{Where: r.Owner, Reason: err.Error()})
		return
	}
	r.pattern = pattern
	b.addArms(r, c)
	b.addRoute(r)
	b.claim(r)
}

// claim notes what a plain route of the configuration matches, so that no
// announced rule serves the same.
func (b *builder) claim(r *Route) {
	if r.PathType != Prefix || len(r.Methods) > 0 || len(r.Headers) > 0 {
		return
	}
	for _, h := range r.Hosts {
		key := (&rule{host: h, path: r.Path, listeners: r.Listeners}).matchKey()
		b.claims[key] = &claim{owner: r.Owner}
	}
}

func hostsOf(m config.Match) []string {
	if len(m.Hosts) == 0 {
		return []string{""}
	}
	hosts := make([]string, len(m.Hosts))
	for i, h := range m.Hosts {
		hosts[i] = NormalizeHost(h)
	}
	return hosts
}

func rewriteOf(c *config.Route) *Rewrite {
	if c.StripPrefix == "" && c.PrependPrefix == "" && c.Host == "" {
		return nil
	}
	return &Rewrite{Strip: c.StripPrefix, Prepend: c.PrependPrefix, Host: c.Host}
}

// addArms sets where a configured route goes.
func (b *builder) addArms(r *Route, c *config.Route) {
	if c.Service != "" {
		r.Arms = []Arm{{b.serviceCluster(c.Service), 1}}
		return
	}
	var sum float64
	for _, a := range c.Split {
		if a.Weight <= 0 {
			continue
		}
		sum += a.Weight
		r.Arms = append(r.Arms, Arm{b.serviceCluster(a.Service), a.Weight})
		r.Sums = append(r.Sums, sum)
	}
}

// serviceCluster is the cluster of all instances of a service, made once. A
// service that no registry knows has an empty one: its route answers 503.
func (b *builder) serviceCluster(name string) *Cluster {
	if c := b.byService[name]; c != nil {
		return c
	}
	c := b.newCluster(name, []string{name})
	for _, s := range b.catalog.Find(name) {
		b.routed[s.Key] = true
		for i := range s.Instances {
			in := &s.Instances[i]
			c.Endpoints = append(c.Endpoints, b.endpoint(s.Key, in, in.Weight, nil, 0))
		}
	}
	b.finishCluster(c)
	b.byService[name] = c
	return c
}

func (b *builder) newCluster(name string, services []string) *Cluster {
	c := &Cluster{Name: name, Index: len(b.table.Clusters), Services: services, Policy: b.rules.policy(services[0])}
	b.table.Clusters = append(b.table.Clusters, c)
	return c
}

// finishCluster gives a cluster, whose endpoints are complete, its picker.
func (b *builder) finishCluster(c *Cluster) {
	state := b.table.clusters[c.Name]
	if state == nil && b.previous != nil {
		state = b.previous.clusters[c.Name]
	}
	if state == nil {
		state = &ClusterState{}
	}
	b.table.clusters[c.Name] = state
	c.Picker = b.rules.Balancers[c.Policy.Balance](c.Endpoints, state)
}

func (b *builder) endpoint(svc watcher.Key, in *watcher.Instance, weight float64, rw *Rewrite, service int) *Endpoint {
	return &Endpoint{
		ID: in.ID, Address: in.Address, Service: svc, ServiceIndex: service,
		Status: in.Status, Cause: in.Cause, Weight: weight, Rewrite: rw,
		State: b.state(stateKey{svc, in.ID, in.Address}),
	}
}

// state carries an endpoint's state over, or begins it.
func (b *builder) state(key stateKey) *State {
	s := b.table.states[key]
	if s == nil && b.previous != nil {
		s = b.previous.states[key]
	}
	if s == nil {
		s = &State{}
	}
	b.table.states[key] = s
	return s
}

func (b *builder) addRoute(r *Route) {
	r.Index = len(b.table.Routes)
	b.table.Routes = append(b.table.Routes, r)
	b.hosts.add(r)
}

// uniqueID makes an ID unique in the table.
func (b *builder) uniqueID(id string) string {
	b.ids[id]++
	if n := b.ids[id]; n > 1 {
		return b.uniqueID(id + "#" + strconv.Itoa(n))
	}
	return id
}

// report says of each service whether it is routed.
func (b *builder) report() {
	reasons := map[watcher.Key]string{}
	for _, r := range b.table.Refused {
		if _, had := reasons[r.Service]; !had {
			reasons[r.Service] = r.Reason
		}
	}
	for _, s := range b.catalog.Services {
		rep := ServiceReport{Key: s.Key, Routed: b.routed[s.Key]}
		if !rep.Routed {
			rep.Reason = cmp.Or(reasons[s.Key], "announces no route")
		}
		b.table.Services = append(b.table.Services, rep)
	}
	slices.SortStableFunc(b.table.Refused, func(a, c Refusal) int { return a.Service.Compare(c.Service) })
}

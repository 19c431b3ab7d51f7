package main

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"usher/cmd/usher/internal/api"
	"usher/config"
	"usher/metrics"
	"usher/proxy/certs"
	"usher/routetable"
)

// standing is what of usher's own state operators are told and nothing else keeps. Its
// methods may be called from any goroutine.
type standing struct {
	started time.Time

	mu      sync.Mutex
	swapped time.Time
	config  api.ConfigState
	// table is the one that routed and skipped were counted for.
	table   *routetable.Table
	routed  int
	skipped []api.Skipped
}

// tableSwapped notes that another table is in use.
func (s *standing) tableSwapped(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.swapped = at
}

// configTaken notes the configuration in force, configRefused one that is not.
func (s *standing) configTaken(cfg *config.Config, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = api.ConfigState{Hash: cfg.Hash, Taken: at.UTC()}
	if len(cfg.Files) > 0 {
		s.config.File = cfg.Files[0]
	}
}

func (s *standing) configRefused(problems config.Errors, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at = at.UTC()
	s.config.Refused, s.config.RefusedAt = texts(problems), &at
}

// texts are the problems as they are shown.
func texts(problems config.Errors) []string {
	out := make([]string, 0, len(problems))
	for _, p := range problems {
		out = append(out, p.String())
	}
	return out
}

func (s *standing) now() (swapped time.Time, config api.ConfigState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.swapped, s.config
}

// maxExamples is how many names are told of the services that are skipped for one reason.
const maxExamples = 3

// services says how many of the services of a table are routed, and why the others are not.
func (s *standing) services(t *routetable.Table) (routed int, skipped []api.Skipped) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.table != t {
		s.table, s.routed, s.skipped = t, 0, []api.Skipped{}
		for _, service := range t.Services() {
			if service.Routed {
				s.routed++
			} else {
				s.skipped = skip(s.skipped, service.Reason, service.String())
			}
		}
	}
	out := make([]api.Skipped, 0, len(s.skipped)+1)
	return s.routed, append(out, s.skipped...)
}

// skip adds a service to those of its reason.
func skip(list []api.Skipped, reason, service string) []api.Skipped {
	i := slices.IndexFunc(list, func(s api.Skipped) bool { return s.Reason == reason })
	if i < 0 {
		i = len(list)
		list = append(list, api.Skipped{Reason: reason, Examples: []string{}})
	}
	list[i].Count++
	if len(list[i].Examples) < maxExamples {
		list[i].Examples = append(list[i].Examples, service)
	}
	return list
}

// Overview implements admin.Observer.
func (a *app) Overview() api.Overview {
	t := a.proxy.Table()
	counts := t.Counts()
	swapped, state := a.standing.now()
	v := api.Overview{
		Version: version, Started: a.standing.started.UTC(), Now: time.Now().UTC(), Draining: a.drains(),
		Generation: t.Version, Swapped: swapped.UTC(), Config: state, Listeners: a.listeners(),
		Registries: a.Registries(), Services: a.serviceCounts(t), Instances: a.instanceCounts(),
		Conflicts: counts.Conflicts, Totals: totalsView(a.metrics.Downstream.Totals()),
		Pinned: a.pinned(),
	}
	v.Ready, v.NotReady = a.Ready()
	for _, n := range counts.Routes {
		v.Routes += n
	}
	for _, n := range counts.Refused {
		v.Refused += n
	}
	return v
}

// listeners are those that are bound, by name; the API's own are among them.
func (a *app) listeners() []api.Listener {
	out := []api.Listener{}
	bound := a.proxy.Addresses()
	for _, l := range a.config.Load().Listeners {
		if address, ok := bound[l.Name]; ok {
			out = append(out, api.Listener{Name: l.Name, Protocol: l.Protocol, Address: address})
		}
	}
	if at := a.admin.Address(); at != nil {
		out = append(out, api.Listener{Name: "admin", Protocol: "admin", Address: addressText(at)})
	}
	if at := a.telemetry.Address(); at != nil {
		out = append(out, api.Listener{Name: "telemetry", Protocol: "telemetry", Address: addressText(at)})
	}
	return out
}

// silentReason is why services are not routed that usher does not even watch.
const silentReason = "announces no route, and no route of the configuration names it"

func (a *app) serviceCounts(t *routetable.Table) api.ServiceCounts {
	c := api.ServiceCounts{}
	watched := 0
	for _, s := range a.manager.Statuses() {
		c.Seen += max(s.Seen, s.Watched)
		watched += s.Watched
	}
	c.Routed, c.Skipped = a.standing.services(t)
	if silent := c.Seen - watched; silent > 0 {
		c.Skipped = append(c.Skipped, api.Skipped{Reason: silentReason, Count: silent, Examples: []string{}})
	}
	slices.SortStableFunc(c.Skipped, func(a, b api.Skipped) int { return cmp.Compare(b.Count, a.Count) })
	return c
}

// unrouted is the state of instances that no table has.
const unrouted = "unrouted"

// instanceCounts counts the instances of the registries by their state.
func (a *app) instanceCounts() api.InstanceCounts {
	c := api.InstanceCounts{States: map[string]int{}}
	known := 0
	for state, n := range a.health.States() {
		c.States[state.String()] = n
		known += n
	}
	for _, s := range a.manager.Services() {
		c.Total += len(s.Instances)
	}
	c.Total = max(c.Total, known) // the table may be behind the registries
	if rest := c.Total - known; rest > 0 {
		c.States[unrouted] = rest
	}
	return c
}

func totalsView(t metrics.Totals) api.Totals {
	v := api.Totals{
		Requests: t.Requests, Codes: t.Codes, Errors: t.Errors, BytesReceived: t.Received, BytesSent: t.Sent,
		InFlight: t.InFlight, Connections: t.Connections, Durations: make([]api.Bucket, 0, len(t.Durations)),
	}
	for _, b := range t.Durations {
		v.Durations = append(v.Durations, api.Bucket{Seconds: b.Le.Seconds(), Count: b.Count})
	}
	return v
}

// Traffic implements admin.Observer.
func (a *app) Traffic() api.Traffic { return a.traffic.Recent() }

// Version implements admin.Observer.
func (a *app) Version() api.Version { return api.Version(buildVersion()) }

// Config implements admin.Observer.
func (a *app) Config() api.Config {
	_, state := a.standing.now()
	return api.Config{ConfigState: state, Settings: settingsView(a.config.Load())}
}

// acmeOrigin is where the certificates come from that usher obtains.
const acmeOrigin = "acme"

// Certificates implements admin.Observer.
func (a *app) Certificates() []api.Certificate {
	out := []api.Certificate{}
	for _, c := range a.certs.Certificates() {
		out = append(out, certificateView(c))
	}
	o := a.obtained.now.Load()
	if o == nil {
		return out
	}
	var showing []string
	for _, l := range a.config.Load().Listeners {
		if l.TLS.ACME {
			showing = append(showing, l.Name)
		}
	}
	for _, c := range o.Certificates() {
		out = append(out, certificateView(certs.Certificate{
			Names: []string{c.Name}, Listeners: showing, Leaf: c.TLS.Leaf, Origin: acmeOrigin,
		}))
	}
	return out
}

func certificateView(c certs.Certificate) api.Certificate {
	v := api.Certificate{Names: c.Names, Listeners: c.Listeners, Origin: c.Origin, Problem: c.Problem}
	if v.Names == nil {
		v.Names = []string{}
	}
	if leaf := c.Leaf; leaf != nil {
		v.Subject, v.Issuer = leaf.Subject.String(), leaf.Issuer.String()
		v.Serial = leaf.SerialNumber.Text(16)
		v.NotBefore, v.NotAfter = leaf.NotBefore.UTC(), leaf.NotAfter.UTC()
	}
	return v
}

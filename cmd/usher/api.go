package main

import (
	"slices"
	"sync"
	"time"

	"usher/cmd/usher/internal/api"
	"usher/healthcheck"
	"usher/routetable"
	"usher/watcher"
)

// Registries implements admin.API.
func (a *app) Registries() []api.Registry {
	out := []api.Registry{}
	for _, s := range a.manager.Statuses() {
		r := api.Registry{
			Name: s.Name, State: s.String(), Synced: s.Synced, Contact: s.Contact, Doubt: s.Doubt,
			LastContact: timeOrNil(s.LastContact), Snapshot: timeOrNil(s.Restored),
			Seen: s.Seen, Watched: s.Watched, Held: s.Held,
		}
		if s.Err != nil {
			r.Error = s.Err.Error()
		}
		out = append(out, r)
	}
	return out
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// Services implements admin.API.
func (a *app) Services() []api.Service {
	t := a.proxy.Table()
	routed := map[watcher.Key]routetable.ServiceReport{}
	for _, r := range t.Services() {
		routed[r.Key] = r
	}
	out := []api.Service{}
	for _, s := range a.manager.Services() {
		out = append(out, a.serviceView(&s, routed[s.Key]))
	}
	return out
}

// serviceView is a service as the API tells of it in a list.
func (a *app) serviceView(s *watcher.ServiceStatus, report routetable.ServiceReport) api.Service {
	v := api.Service{
		Name: s.Service, Registry: s.Registry, Routed: report.Routed, Reason: report.Reason,
		Confirmed: s.Confirmed.UTC(), Age: time.Since(s.Confirmed).Seconds(), Instances: []api.Instance{},
	}
	if s.Hold != nil {
		v.Hold = &api.Hold{
			Instances: s.Held, Since: s.Hold.Since.UTC(), Reason: s.Hold.Reason, Quorum: s.Hold.Quorum,
		}
	}
	for i := range s.Instances {
		in := instanceView(&s.Instances[i])
		in.Health = healthView(a.health, s.Key, s.Instances[i].ID, s.Instances[i].Address)
		v.Instances = append(v.Instances, in)
	}
	return v
}

func instanceView(in *watcher.Instance) api.Instance {
	return api.Instance{
		ID: in.ID, Address: in.Address, Status: in.Status.String(), Cause: in.Cause, Weight: in.Weight,
		Datacenter: in.Datacenter, Zone: in.Zone, Tier: in.Tier, Held: in.Held != nil,
	}
}

// healthView tells how an instance stands; nil: no table has it.
func healthView(m *healthcheck.Monitor, key watcher.Key, id, address string) *api.Health {
	rep, known := m.Of(key.Registry, key.Service, id, address)
	if !known {
		return nil
	}
	v := &api.Health{
		State: rep.State.String(), Cause: rep.Cause, Since: rep.Since.UTC(), EffectiveWeight: rep.Weight,
		EjectedUntil: timeOrNil(rep.EjectedUntil), Ejections: rep.Ejections, Panic: rep.Panic,
		Disagreement: rep.Disagrees,
	}
	if p := rep.Probe; p != nil {
		v.Probe = &api.Probe{Verdict: "down", Result: "fail", Error: p.Error, At: p.At.UTC(), Took: p.Took.Seconds()}
		if p.Up {
			v.Probe.Verdict = "up"
		}
		if p.OK {
			v.Probe.Result = "pass"
		}
	}
	return v
}

// Routes implements admin.API.
func (a *app) Routes() api.Routes {
	version, _ := a.catalogs.now() // before the table: what changes meanwhile is seen next time
	return a.routesMade.get(a.proxy.Table(), version, routesView)
}

// madeRoutes remembers the routes as they are told, for as long as neither the table nor the
// standing of an endpoint changes: there may be many, and dashboards ask often.
type madeRoutes struct {
	mu      sync.Mutex
	table   *routetable.Table
	version uint64
	routes  api.Routes
}

func (m *madeRoutes) get(t *routetable.Table, version uint64, made func(*routetable.Table) api.Routes) api.Routes {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.table != t || m.version != version {
		m.table, m.version, m.routes = t, version, made(t)
	}
	return m.routes
}

// routesView are the routes of a table as the API tells of them.
func routesView(t *routetable.Table) api.Routes {
	out := api.Routes{
		Version: t.Version, Routes: []api.Route{}, Conflicts: []api.Conflict{},
		Refused: refusals(t.Refused()), Notices: refusals(t.Notices()),
	}
	conflicts := t.Conflicts()
	by := outranked(conflicts)
	for _, r := range t.Routes() {
		out.Routes = append(out.Routes, routeView(r, conflictsOf(r, by)))
	}
	for _, c := range conflicts {
		out.Conflicts = append(out.Conflicts, api.Conflict{Match: c.Match, Winner: c.Winner, Loser: c.Loser})
	}
	return out
}

// servicesOf are the services that a route leads to, each once.
func servicesOf(r *routetable.Route) []string {
	out := []string{}
	for _, arm := range r.Arms {
		for _, service := range arm.Cluster.Services {
			if !slices.Contains(out, service) {
				out = append(out, service)
			}
		}
	}
	return out
}

func refusals(list []routetable.Refusal) []api.Refusal {
	out := []api.Refusal{}
	for _, r := range list {
		out = append(out, api.Refusal{
			Service: r.Service.Service, Registry: r.Service.Registry, Instance: r.Instance,
			Where: r.Where, Reason: r.Reason, NotServed: r.NotServed,
		})
	}
	return out
}

// Release implements admin.API.
func (a *app) Release(service string) (released int, known bool) {
	for _, s := range a.manager.Services() {
		known = known || s.Service == service || s.String() == service
	}
	return a.manager.Release(service), known
}

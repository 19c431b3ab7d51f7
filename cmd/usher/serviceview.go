package main

import (
	"slices"

	"usher/cmd/usher/internal/api"
	"usher/routetable"
	"usher/watcher"
)

// Service implements admin.Observer.
func (a *app) Service(name string) []api.Service {
	t := a.proxy.Table()
	out := []api.Service{}
	for _, s := range a.manager.Services() {
		if s.Service != name && s.String() != name {
			continue
		}
		v := a.serviceView(&s, reportOf(t, s.Key))
		totals := totalsView(a.metrics.Downstream.ServiceTotals(s.Service))
		v.Routes = routesTo(t, s.Key)
		busy := busyOf(t, s.Key)
		for i := range v.Instances {
			in := &v.Instances[i]
			b := busy[[2]string{in.ID, in.Address}]
			in.InFlight, in.Latency = b.inFlight, b.latency
			totals.InFlight += b.inFlight
		}
		v.Totals = &totals
		out = append(out, v)
	}
	return out
}

// reportOf says whether a service is routed.
func reportOf(t *routetable.Table, key watcher.Key) routetable.ServiceReport {
	all := t.Services()
	i, found := slices.BinarySearchFunc(all, key, func(r routetable.ServiceReport, k watcher.Key) int {
		return r.Compare(k)
	})
	if !found {
		return routetable.ServiceReport{Key: key}
	}
	return all[i]
}

// routesTo are the IDs of the routes that lead to a service.
func routesTo(t *routetable.Table, key watcher.Key) (ids []string) {
	leads := func(arm routetable.Arm) bool { return leadsTo(arm.Cluster, key) }
	for _, r := range t.Routes() {
		if !r.Answers() && slices.ContainsFunc(r.Arms, leads) {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// leadsTo says whether a cluster has instances of a service, or would have.
func leadsTo(c *routetable.Cluster, key watcher.Key) bool {
	if !slices.Contains(c.Services, key.Service) {
		return false
	}
	isOne := func(e *routetable.Endpoint) bool { return e.Service == key }
	return len(c.Endpoints) == 0 || slices.ContainsFunc(c.Endpoints, isOne)
}

// busy is what an instance is doing.
type busy struct {
	inFlight int64
	// latency is in seconds.
	latency float64
}

// busyOf is what the instances of a service are doing, by ID and address. An instance may
// have several states: one for each way it is spoken to.
func busyOf(t *routetable.Table, key watcher.Key) map[[2]string]busy {
	out := map[[2]string]busy{}
	seen := map[*routetable.State]bool{}
	for c := range t.AllClusters() {
		for _, e := range c.Endpoints {
			if e.Service != key || seen[e.State] {
				continue
			}
			seen[e.State] = true
			b := out[[2]string{e.ID, e.Address}]
			b.inFlight += e.State.InFlight.Load()
			if nanoseconds, known := e.State.Latency.Average(0); known {
				b.latency = max(b.latency, nanoseconds/1e9)
			}
			out[[2]string{e.ID, e.Address}] = b
		}
	}
	return out
}

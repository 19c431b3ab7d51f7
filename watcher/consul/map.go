package consul

import (
	"os"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/watcher"
)

// mapper translates what Consul says of a service into instances. It is immutable:
// any goroutine may use it.
type mapper struct {
	conf config.Consul
	// zone is usher's own; empty: not known.
	zone string
	// self is the name that usher itself is registered under; empty: it is not.
	self string
	// rank is the place of a datacenter in the order of preference, 0 for the first;
	// nil: all are alike.
	rank func(dc string) int
}

// instances translates the entries of one service. Those that do not take part
// because they announce nothing are there as well, without an announcement: the
// configuration may name the service.
func (m *mapper) instances(entries []*api.ServiceEntry) []watcher.Instance {
	out := make([]watcher.Instance, 0, len(entries))
	for _, e := range entries {
		if !unroutable(e) {
			out = append(out, m.instance(e))
		}
	}
	m.addDefault(entries, out)
	return out
}

// unroutable says whether an entry is no instance that requests may go to: proxies,
// gateways and Consul itself are none.
func unroutable(e *api.ServiceEntry) bool {
	s := e.Service
	return s.Kind != api.ServiceKindTypical || s.Service == consulName || watcher.OptedOut(s.Tags, s.Meta)
}

func (m *mapper) instance(e *api.ServiceEntry) watcher.Instance {
	s := e.Service
	status, cause := m.health(e.Checks)
	address, problem := m.address(e)
	in := watcher.Instance{
		ID:      identity(e),
		Address: address,
		Status:  status, Cause: cause, Problem: problem,
		Weight:  watcher.Weight(weight(s.Weights, status), s.Meta),
		Created: s.CreateIndex,
		Tags:    s.Tags, Meta: s.Meta,
		Announcements: watcher.Announcements(m.conf.TagPrefix, s.Tags, s.Meta),
		Datacenter:    e.Node.Datacenter, Zone: zone(e),
	}
	in.Tier = m.tier(in.Datacenter, in.Zone)
	if !m.conf.Connect.Enabled && asksForMesh(in) {
		in.Mesh = meshOf(e)
		outOfReach(&in, "it asks for the service mesh, of which usher is no part (connect)")
	}
	for i := range in.Announcements {
		in.Announcements[i].Text = expandDC(in.Announcements[i].Text, e.Node.Datacenter)
	}
	return in
}

// identity names an instance in the whole of Consul: a service ID is unique on its
// agent only.
func identity(e *api.ServiceEntry) string { return identityOf(e, e.Service.ID) }

// identityOf names the instance with this service ID on an entry's agent.
func identityOf(e *api.ServiceEntry, id string) string {
	parts := make([]string, 0, 5)
	for _, p := range []string{e.Node.Datacenter, e.Service.Partition, e.Service.Namespace} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(append(parts, e.Node.Node, id), "/")
}

// health is the status of an instance and the check it comes from.
func (m *mapper) health(checks api.HealthChecks) (watcher.Status, string) {
	if m.conf.ChecksRequired == requiredOne {
		return healthOfOne(checks)
	}
	return health(checks)
}

// requiredOne is the checks_required that asks for one passing check.
const requiredOne = "one"

// serfHealth is the check that gossip makes of every node.
const serfHealth = "serfHealth"

// health is the worst of an instance's checks and the check it comes from. An
// instance without checks is passing.
func health(checks api.HealthChecks) (watcher.Status, string) {
	worst, cause := watcher.Passing, ""
	for _, c := range checks {
		if s := checkStatus(c); s > worst {
			worst, cause = s, "check "+strconv.Quote(c.Name)+" is "+s.String()
		}
	}
	return worst, cause
}

// healthOfOne is the health as Fabio sees it: one passing check of the service is
// enough, none is not. Maintenance and a lost node count all the same; other checks
// of the node do not.
func healthOfOne(checks api.HealthChecks) (watcher.Status, string) {
	var decisive api.HealthChecks
	found, passes := false, false
	for _, c := range checks {
		switch {
		case isMaintenance(c) || c.CheckID == serfHealth && checkStatus(c) == watcher.Critical:
			decisive = append(decisive, c)
		case c.ServiceID != "":
			found = true
			passes = passes || checkStatus(c) == watcher.Passing
		}
	}
	switch {
	case len(decisive) > 0:
		return health(decisive)
	case passes:
		return watcher.Passing, ""
	case found:
		return watcher.Critical, "no check passes (checks_required: one)"
	default:
		return watcher.Critical, "no check (checks_required: one)"
	}
}

func isMaintenance(c *api.HealthCheck) bool {
	return c.CheckID == api.NodeMaint || strings.HasPrefix(c.CheckID, api.ServiceMaintPrefix)
}

func checkStatus(c *api.HealthCheck) watcher.Status {
	if isMaintenance(c) {
		return watcher.Maintenance
	}
	switch c.Status {
	case api.HealthPassing:
		return watcher.Passing
	case api.HealthWarning:
		return watcher.Warning
	default:
		return watcher.Critical
	}
}

// weight is Consul's weight for the status.
func weight(w api.AgentWeights, s watcher.Status) float64 {
	if s == watcher.Warning {
		return float64(w.Warning)
	}
	return float64(w.Passing)
}

// expandDC expands $DC and ${DC} in the source of a rule, as Fabio does; other
// variables become empty.
func expandDC(text, dc string) string {
	if !strings.Contains(text, "$") {
		return text
	}
	src, options, has := strings.Cut(text, " ")
	src = os.Expand(src, func(name string) string {
		if name == "DC" {
			return dc
		}
		return ""
	})
	if !has {
		return src
	}
	return src + " " + options
}

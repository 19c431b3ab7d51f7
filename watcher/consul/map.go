package consul

import (
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"

	"usher/watcher"
)

// instancesOf translates the entries of one service.
func instancesOf(entries []*api.ServiceEntry, prefix string) []watcher.Instance {
	out := make([]watcher.Instance, 0, len(entries))
	for _, e := range entries {
		if routable(e) {
			out = append(out, instanceOf(e, prefix))
		}
	}
	return out
}

// routable says whether an entry is an instance that requests may go to: proxies,
// gateways and Consul itself are not.
func routable(e *api.ServiceEntry) bool {
	return e.Service.Kind == api.ServiceKindTypical && e.Service.Service != "consul" && watcher.Enabled(e.Service.Meta)
}

func instanceOf(e *api.ServiceEntry, prefix string) watcher.Instance {
	s := e.Service
	host := s.Address
	if host == "" {
		host = e.Node.Address
	}
	status, cause := health(e.Checks)
	in := watcher.Instance{
		ID:      identity(e),
		Address: net.JoinHostPort(host, strconv.Itoa(s.Port)),
		Status:  status, Cause: cause,
		Weight:  watcher.Weight(weight(s.Weights, status), s.Meta),
		Created: s.CreateIndex,
		Tags:    s.Tags, Meta: s.Meta,
		Announcements: watcher.Announcements(prefix, s.Tags, s.Meta),
	}
	for i := range in.Announcements {
		in.Announcements[i].Text = expandDC(in.Announcements[i].Text, e.Node.Datacenter)
	}
	return in
}

// identity names an instance in the whole of Consul: a service ID is unique on its
// agent only.
func identity(e *api.ServiceEntry) string {
	parts := make([]string, 0, 5)
	for _, p := range []string{e.Node.Datacenter, e.Service.Partition, e.Service.Namespace} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(append(parts, e.Node.Node, e.Service.ID), "/")
}

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

func checkStatus(c *api.HealthCheck) watcher.Status {
	if c.CheckID == api.NodeMaint || strings.HasPrefix(c.CheckID, api.ServiceMaintPrefix) {
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

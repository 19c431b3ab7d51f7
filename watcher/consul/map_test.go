package consul

import (
	"reflect"
	"testing"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/watcher"
)

// entry is a whole entry that the tests change.
func entry(change func(*api.ServiceEntry)) *api.ServiceEntry {
	e := &api.ServiceEntry{
		Node: &api.Node{Node: "n1", Address: "10.0.0.1", Datacenter: "dc1"},
		Service: &api.AgentService{
			ID: "web-1", Service: "web", Port: 80, Address: "10.0.0.2",
			Weights: api.AgentWeights{Passing: 4, Warning: 2}, CreateIndex: 9,
		},
	}
	if change != nil {
		change(e)
	}
	return e
}

func TestInstance(t *testing.T) {
	plain := watcher.Instance{
		ID: "dc1/n1/web-1", Address: "10.0.0.2:80", Weight: 4, Created: 9, Datacenter: "dc1",
	}
	for name, test := range map[string]struct {
		change func(e *api.ServiceEntry)
		want   func(in *watcher.Instance)
	}{
		"plain": {},
		"the node's address": {
			func(e *api.ServiceEntry) { e.Service.Address = "" },
			func(in *watcher.Instance) { in.Address = "10.0.0.1:80" },
		},
		"an IPv6 address": {
			func(e *api.ServiceEntry) { e.Service.Address = "fd00::1" },
			func(in *watcher.Instance) { in.Address = "[fd00::1]:80" },
		},
		"namespace and partition": {
			func(e *api.ServiceEntry) { e.Service.Namespace, e.Service.Partition = "ns", "part" },
			func(in *watcher.Instance) { in.ID = "dc1/part/ns/n1/web-1" },
		},
		"its weight for warning": {
			func(e *api.ServiceEntry) {
				e.Checks = api.HealthChecks{{Name: "disk", Status: api.HealthWarning}}
			},
			func(in *watcher.Instance) {
				in.Weight, in.Status, in.Cause = 2, watcher.Warning, `check "disk" is warning`
			},
		},
		"its weight for passing, when critical": {
			func(e *api.ServiceEntry) {
				e.Checks = api.HealthChecks{{Name: "http", Status: api.HealthCritical}}
			},
			func(in *watcher.Instance) { in.Status, in.Cause = watcher.Critical, `check "http" is critical` },
		},
		"usher-weight": {
			func(e *api.ServiceEntry) { e.Service.Meta = map[string]string{"usher-weight": "0.5"} },
			func(in *watcher.Instance) { in.Weight, in.Meta = 2, map[string]string{"usher-weight": "0.5"} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := plain
			if test.want != nil {
				test.want(&want)
			}
			got := instancesOf([]*api.ServiceEntry{entry(test.change)}, "urlprefix-")
			if len(got) != 1 || !reflect.DeepEqual(withoutEmpty(got[0]), want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func withoutEmpty(in watcher.Instance) watcher.Instance {
	if len(in.Announcements) == 0 {
		in.Announcements = nil
	}
	return in
}

func TestNoInstance(t *testing.T) {
	for name, change := range map[string]func(e *api.ServiceEntry){
		"a sidecar":        func(e *api.ServiceEntry) { e.Service.Kind = api.ServiceKindConnectProxy },
		"a gateway":        func(e *api.ServiceEntry) { e.Service.Kind = api.ServiceKindIngressGateway },
		"Consul itself":    func(e *api.ServiceEntry) { e.Service.Service = "consul" },
		"it is turned off": func(e *api.ServiceEntry) { e.Service.Meta = map[string]string{"usher-enable": "false"} },
		"by a tag":         func(e *api.ServiceEntry) { e.Service.Tags = []string{"usher-enable=false"} },
		"on and off": func(e *api.ServiceEntry) {
			e.Service.Tags = []string{"usher-enable=true", "urlprefix-/"}
			e.Service.Meta = map[string]string{"usher-enable": "false"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := instancesOf([]*api.ServiceEntry{entry(change)}, "urlprefix-"); len(got) != 0 {
				t.Errorf("got %+v", got)
			}
			m := &mapper{conf: config.Consul{TagPrefix: "urlprefix-", Expose: "all", DefaultRoute: "/"}}
			if got := m.instances([]*api.ServiceEntry{entry(change)}); len(got) != 0 {
				t.Errorf("with everything exposed: %+v", got)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	check := func(id, status string) *api.HealthCheck {
		return &api.HealthCheck{CheckID: id, Name: id, Status: status}
	}
	for name, test := range map[string]struct {
		checks api.HealthChecks
		want   watcher.Status
		cause  string
	}{
		"no checks": {nil, watcher.Passing, ""},
		"all pass":  {api.HealthChecks{check("a", "passing"), check("b", "passing")}, watcher.Passing, ""},
		"the worst counts": {
			api.HealthChecks{check("a", "warning"), check("b", "critical"), check("c", "passing")},
			watcher.Critical, `check "b" is critical`,
		},
		"the first of the worst": {
			api.HealthChecks{check("a", "critical"), check("b", "critical")},
			watcher.Critical, `check "a" is critical`,
		},
		"an unknown word is critical": {api.HealthChecks{check("a", "odd")}, watcher.Critical, `check "a" is critical`},
		"node maintenance": {
			api.HealthChecks{check("a", "critical"), check("_node_maintenance", "critical")},
			watcher.Maintenance, `check "_node_maintenance" is maintenance`,
		},
		"service maintenance": {
			api.HealthChecks{check("_service_maintenance:web", "critical"), check("a", "critical")},
			watcher.Maintenance, `check "_service_maintenance:web" is maintenance`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got, cause := health(test.checks); got != test.want || cause != test.cause {
				t.Errorf("got %v, %q, want %v, %q", got, cause, test.want, test.cause)
			}
		})
	}
}

// TestHealthOfOne: the health as Fabio sees it.
func TestHealthOfOne(t *testing.T) {
	own := func(id, status string) *api.HealthCheck {
		return &api.HealthCheck{CheckID: id, Name: id, Status: status, ServiceID: "web-1"}
	}
	node := func(id, status string) *api.HealthCheck {
		return &api.HealthCheck{CheckID: id, Name: id, Status: status}
	}
	const none, without = "no check passes (checks_required: one)", "no check (checks_required: one)"
	m := &mapper{conf: config.Consul{ChecksRequired: "one"}}
	for name, test := range map[string]struct {
		checks api.HealthChecks
		want   watcher.Status
		cause  string
	}{
		"no checks":             {nil, watcher.Critical, without},
		"the node's alone":      {api.HealthChecks{node("serfHealth", "passing")}, watcher.Critical, without},
		"one of one":            {api.HealthChecks{own("a", "passing")}, watcher.Passing, ""},
		"one of two":            {api.HealthChecks{own("a", "critical"), own("b", "passing")}, watcher.Passing, ""},
		"none of two":           {api.HealthChecks{own("a", "critical"), own("b", "warning")}, watcher.Critical, none},
		"a disk is full beside": {api.HealthChecks{node("disk", "critical"), own("a", "passing")}, watcher.Passing, ""},
		"the node is lost": {
			api.HealthChecks{own("a", "passing"), node("serfHealth", "critical")},
			watcher.Critical, `check "serfHealth" is critical`,
		},
		"maintenance": {
			api.HealthChecks{own("a", "passing"), own("_service_maintenance:web-1", "critical")},
			watcher.Maintenance, `check "_service_maintenance:web-1" is maintenance`,
		},
		"maintenance of a lost node": {
			api.HealthChecks{node("serfHealth", "critical"), node("_node_maintenance", "critical")},
			watcher.Maintenance, `check "_node_maintenance" is maintenance`,
		},
		"maintenance of what never passed": {
			api.HealthChecks{own("a", "critical"), own("_service_maintenance:web-1", "critical")},
			watcher.Maintenance, `check "_service_maintenance:web-1" is maintenance`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got, cause := m.health(test.checks); got != test.want || cause != test.cause {
				t.Errorf("got %v, %q, want %v, %q", got, cause, test.want, test.cause)
			}
		})
	}
}

func TestExpandDC(t *testing.T) {
	for text, want := range map[string]string{
		"/a":                        "/a",
		"$DC.example.com/":          "dc1.example.com/",
		"x-${DC}.example.com/":      "x-dc1.example.com/",
		"$OTHER.example.com/":       ".example.com/",
		"$DC.example.com/ host=$DC": "dc1.example.com/ host=$DC",
		"/a strip=$DC":              "/a strip=$DC",
		"":                          "",
	} {
		if got := expandDC(text, "dc1"); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// instancesOf translates the entries of one service, with nothing but a tag prefix
// configured.
func instancesOf(entries []*api.ServiceEntry, prefix string) []watcher.Instance {
	m := &mapper{conf: config.Consul{TagPrefix: prefix}}
	return m.instances(entries)
}

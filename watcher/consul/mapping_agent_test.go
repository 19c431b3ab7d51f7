package consul

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/watcher"
	"usher/watcher/consul/consultest"
)

// TestMapping maps what a real agent says of what was registered with it.
func TestMapping(t *testing.T) {
	a := consultest.Start(t, consultest.Config(`node_meta { usher-zone = "east" }`))
	enabled := map[string]string{"usher-enable": "true"}
	http := api.ServicePorts{{Name: "http", Port: 8080, Default: true}, {Name: "admin", Port: 8081}}
	for name, test := range map[string]struct {
		conf   config.Consul
		mapper mapper
		api.AgentServiceRegistration
		want  watcher.Instance // its address, zone, tier and cause
		rules []string
	}{
		"tagged": {
			conf: config.Consul{TaggedAddress: "wan"},
			AgentServiceRegistration: api.AgentServiceRegistration{
				Address: "10.0.0.2", Port: 80,
				TaggedAddresses: map[string]api.ServiceAddress{"wan": {Address: "192.0.2.7", Port: 8443}},
			},
			want: watcher.Instance{Address: "192.0.2.7:8443", Zone: "east"},
		},
		"tagged by Consul itself": {
			conf:                     config.Consul{TaggedAddress: "lan_ipv4"},
			AgentServiceRegistration: api.AgentServiceRegistration{Address: "10.0.0.2", Port: 80},
			want:                     watcher.Instance{Address: "10.0.0.2:80", Zone: "east"},
		},
		"tagged node": {
			conf:                     config.Consul{TaggedAddress: "lan"},
			AgentServiceRegistration: api.AgentServiceRegistration{Port: 80},
			want:                     watcher.Instance{Address: "127.0.0.1:80", Zone: "east"},
		},
		"named ports": {
			AgentServiceRegistration: api.AgentServiceRegistration{Address: "10.0.0.2", Ports: http},
			want:                     watcher.Instance{Address: "10.0.0.2:8080", Zone: "east"},
		},
		"one of the named ports": {
			AgentServiceRegistration: api.AgentServiceRegistration{
				Address: "10.0.0.2", Ports: http, Meta: map[string]string{"usher-port": "admin"},
			},
			want: watcher.Instance{Address: "10.0.0.2:8081", Zone: "east"},
		},
		"none of the named ports": {
			AgentServiceRegistration: api.AgentServiceRegistration{
				Address: "10.0.0.2", Ports: http, Meta: map[string]string{"usher-port": "grpc"},
			},
			want: watcher.Instance{Address: "10.0.0.2:8080", Zone: "east", Problem: `usher-port "grpc" names no port`},
		},
		"a zone of its own, far away": {
			mapper: mapper{zone: "east", rank: func(string) int { return 1 }},
			AgentServiceRegistration: api.AgentServiceRegistration{
				Port: 80, Locality: &api.Locality{Region: "r", Zone: "ignored"},
				Meta: map[string]string{"usher-zone": "west"},
			},
			want: watcher.Instance{Address: "127.0.0.1:80", Zone: "west", Tier: 3},
		},
		"enabled by a tag": {
			conf:                     config.Consul{DefaultRoute: "{service}.apps/"},
			AgentServiceRegistration: api.AgentServiceRegistration{Port: 80, Tags: []string{"usher-enable=true"}},
			want:                     watcher.Instance{Address: "127.0.0.1:80", Zone: "east"},
			rules:                    []string{"enabled-by-a-tag.apps/"},
		},
		"enabled by meta": {
			conf:                     config.Consul{DefaultRoute: "{service}.apps/"},
			AgentServiceRegistration: api.AgentServiceRegistration{Port: 80, Meta: enabled},
			want:                     watcher.Instance{Address: "127.0.0.1:80", Zone: "east"},
			rules:                    []string{"enabled-by-meta.apps/"},
		},
		"Exposed like all": {
			conf:                     config.Consul{DefaultRoute: "{service}.apps/", Expose: "all"},
			AgentServiceRegistration: api.AgentServiceRegistration{Port: 80},
			want:                     watcher.Instance{Address: "127.0.0.1:80", Zone: "east"},
			rules:                    []string{"exposed-like-all.apps/"},
		},
		"not asked for": {
			conf:                     config.Consul{DefaultRoute: "{service}.apps/"},
			AgentServiceRegistration: api.AgentServiceRegistration{Port: 80},
			want:                     watcher.Instance{Address: "127.0.0.1:80", Zone: "east"},
		},
		"no check, of which one must pass": {
			conf:                     config.Consul{ChecksRequired: "one"},
			AgentServiceRegistration: api.AgentServiceRegistration{Port: 80},
			want: watcher.Instance{
				Address: "127.0.0.1:80", Zone: "east",
				Status: watcher.Critical, Cause: "no check (checks_required: one)",
			},
		},
		"two checks, of which one must pass": {
			conf: config.Consul{ChecksRequired: "one"},
			AgentServiceRegistration: api.AgentServiceRegistration{Port: 80, Checks: api.AgentServiceChecks{
				consultest.TTL(api.HealthPassing), consultest.TTL(api.HealthCritical),
			}},
			want: watcher.Instance{Address: "127.0.0.1:80", Zone: "east"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.Name = serviceName(name)
			register(t, a, test.AgentServiceRegistration)
			m := test.mapper
			m.conf = test.conf
			m.conf.TagPrefix = "urlprefix-"
			in := m.instances(entriesOf(t, a, test.Name))
			if len(in) != 1 {
				t.Fatalf("got %+v", in)
			}
			got := watcher.Instance{
				Address: in[0].Address, Zone: in[0].Zone, Tier: in[0].Tier, Status: in[0].Status, Cause: in[0].Cause,
				Problem: in[0].Problem,
			}
			if fmt.Sprint(got) != fmt.Sprint(test.want) || !slices.Equal(texts(in[0]), test.rules) {
				t.Errorf("got  %+v, rules %q\nwant %+v, rules %q", got, texts(in[0]), test.want, test.rules)
			}
		})
	}
}

// serviceName makes a service's name from that of a case.
func serviceName(s string) string {
	out := []byte(s)
	for i, c := range out {
		if c == ' ' || c == ',' {
			out[i] = '-'
		}
	}
	return string(out)
}

// entriesOf is what the agent says of a service, once it says anything.
func entriesOf(t *testing.T, a *consultest.Agent, name string) (entries []*api.ServiceEntry) {
	t.Helper()
	consultest.Eventually(t, name+" is registered", func() bool {
		var err error
		entries, _, err = a.Client().Health().Service(name, "", false, nil)
		return err == nil && len(entries) > 0
	})
	return entries
}

// TestExposed picks, from a real catalog, the services to watch.
func TestExposed(t *testing.T) {
	a := consultest.Start(t)
	type meta = map[string]string
	sidecar := api.AgentServiceRegistration{
		Kind: api.ServiceKindConnectProxy, Name: "proxy", Port: 80,
		Proxy: &api.AgentServiceConnectProxyConfig{DestinationServiceName: "plain"},
	}
	services := map[string]api.AgentServiceRegistration{
		"plain": {}, "usher": {},
		"tagged": {Tags: []string{"urlprefix-/"}}, "asks": {Tags: []string{"usher-enable=true"}},
		"asks-by-meta": {Meta: meta{"usher-enable": "true"}}, "refuses": {Meta: meta{"usher-enable": "false"}},
		"in-vain": {Meta: meta{"usher-router": "/", "route": "/", "usher-enable-2": "true"}},
		"route":   {Meta: meta{"usher-route": "/"}}, "beyond": {Meta: meta{"usher-route-10": "/"}},
	}
	byMeta := []string{"asks-by-meta", "route"}
	for i := 1; i <= lastRouteKey; i++ {
		name := fmt.Sprintf("route-%d", i)
		services[name] = api.AgentServiceRegistration{Meta: meta{"usher-" + name: "/"}}
		byMeta = append(byMeta, name)
	}
	for name, s := range services {
		s.Name = name
		a.Register(s)
	}
	a.Register(sidecar)

	ask := func(filter string) map[string][]string {
		t.Helper()
		found, _, err := a.Client().Catalog().Services(&api.QueryOptions{Filter: filter})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	// The catalog lags behind the agent.
	consultest.Eventually(t, "all are in the catalog", func() bool { return len(ask("")) == len(services)+2 })
	slices.Sort(byMeta)
	for _, expose := range []string{"announced", "all"} {
		conf := config.Consul{TagPrefix: "urlprefix-", Expose: expose}
		if got := slices.Sorted(maps.Keys(ask(metaFilterFor(conf)))); !slices.Equal(got, byMeta) {
			t.Errorf("expose %s: by meta the agent names %q, want %q", expose, got, byMeta)
		}
		m := &mapper{conf: conf, self: "usher"}
		byTags := ask("")
		maps.DeleteFunc(byTags, func(name string, tags []string) bool { return !m.wantsTags(name, tags) })
		want := []string{"asks", "tagged"}
		if expose == "all" {
			want = slices.Collect(maps.Keys(services))
			want = append(slices.DeleteFunc(want, func(name string) bool { return name == "usher" }), "proxy")
		}
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(byTags)); !slices.Equal(got, want) {
			t.Errorf("expose %s: by tags %q, want %q", expose, got, want)
		}
		if in := m.instances(entriesOf(t, a, "proxy")); len(in) != 0 {
			t.Errorf("expose %s: a sidecar is an instance: %+v", expose, in)
		}
	}
}

package routetable

import (
	"testing"

	"usher/config"
	"usher/watcher"
)

// https are settings of services that are spoken to by TLS.
func https(t config.UpstreamTLS) config.Policy {
	return config.Policy{Balance: "first", Upstream: config.Upstream{Protocol: "https", TLS: t}}
}

// How an endpoint is spoken to: by the settings of its service, then by its rule.
func TestSpokenTo(t *testing.T) {
	pem := config.PEM{CA: "ca", Cert: "cert", Key: "key"}
	byHand := https(config.UpstreamTLS{ServerName: "own.test", InsecureSkipVerify: true})
	trusting := https(config.UpstreamTLS{PEM: pem})
	plain := config.Policy{Balance: "first", Upstream: config.Upstream{Protocol: "http"}}
	byH2 := config.Policy{Upstream: config.Upstream{Protocol: "h2c"}}
	for name, c := range map[string]struct {
		rule     string
		settings config.Policy
		want     *TLS
		http2    bool
	}{
		"plain":               {"a.com/", config.Policy{}, nil, false},
		"proto=http":          {"a.com/ proto=http", config.Policy{}, nil, false},
		"tlsskipverify alone": {"a.com/ tlsskipverify=true", config.Policy{}, nil, false},
		"by the rule":         {"a.com/ proto=https", config.Policy{}, &TLS{ServerName: "i"}, false},
		"its host":            {"a.com/ proto=https host=b.com", config.Policy{}, &TLS{ServerName: "b.com"}, false},
		"its host with a port": {
			"a.com/ proto=https host=b.com:8443", config.Policy{}, &TLS{ServerName: "b.com"}, false,
		},
		"its host is the address": {"a.com/ proto=https host=dst", config.Policy{}, &TLS{ServerName: "i"}, false},
		"strip is no host":        {"a.com/ proto=https strip=/x", config.Policy{}, &TLS{ServerName: "i"}, false},
		"unverified": {
			"a.com/ proto=https tlsskipverify=true", config.Policy{}, &TLS{ServerName: "i", SkipVerify: true}, false,
		},
		"by the settings": {"a.com/", https(config.UpstreamTLS{}), &TLS{ServerName: "i"}, false},
		"the settings' word": {
			"a.com/ proto=https host=b.com", byHand, &TLS{ServerName: "own.test", SkipVerify: true}, false,
		},
		"files":                 {"a.com/ host=b.com", trusting, &TLS{ServerName: "b.com", PEM: pem}, false},
		"authorities are asked": {"a.com/ tlsskipverify=true", trusting, &TLS{ServerName: "i", PEM: pem}, false},
		"plain by the settings": {"a.com/ proto=https", plain, nil, false},
		"h2c":                   {"a.com/ proto=h2c", config.Policy{}, nil, true},
		"grpc":                  {"a.com/ proto=grpc", config.Policy{}, nil, true},
		"h2":                    {"a.com/ proto=h2", config.Policy{}, &TLS{ServerName: "i"}, true},
		"h2c by the settings":   {"a.com/ proto=https", byH2, nil, true},
		"http by the settings":  {"a.com/ proto=grpcs", plain, nil, false},
		"grpcs": {
			"a.com/ proto=grpcs host=b.com grpcservername=c.com", config.Policy{}, &TLS{ServerName: "c.com"}, true,
		},
		"unverified, https by settings": {
			"a.com/ tlsskipverify=true", https(config.UpstreamTLS{}), &TLS{ServerName: "i", SkipVerify: true}, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.settings.Balance, c.settings.MaxConnections, c.settings.MaxPending = "first", 7, 3
			rules := rulesOf(to("named", "s", "named.com/"))
			rules.Services = map[string]config.Service{"s": {Policy: c.settings}}
			table := Build(announce(c.rule), rules, nil)
			// A route of the configuration speaks to the instance as its own route does.
			for _, id := range []string{"a.com/", "named"} {
				e := routeByID(t, table, id).Arms[0].Cluster.Endpoints[0]
				if (e.TLS == nil) != (c.want == nil) || e.TLS != nil && *e.TLS != *c.want {
					t.Errorf("%s: got %+v, want %+v", id, e.TLS, c.want)
				}
				if e.HTTP2 != c.http2 {
					t.Errorf("%s: by HTTP/2: %t", id, e.HTTP2)
				}
				if e.MaxConnections != 7 || e.MaxPending != 3 {
					t.Errorf("%s: got the bounds %d, %d", id, e.MaxConnections, e.MaxPending)
				}
			}
		})
	}
}

// Instances that share a source are each spoken to in their own way.
func TestSpokenToInShared(t *testing.T) {
	rules := rulesOf()
	rules.Services = map[string]config.Service{
		"b": {Policy: https(config.UpstreamTLS{ServerName: "b.test"})},
		"c": {Policy: config.Policy{Balance: "first", MaxConnections: 5}},
	}
	table := Build(catalogOf(
		service("a", instance("a1", "a.com/"), instance("a2", "a.com/ proto=https")),
		service("b", instance("b1", "a.com/")), service("c", instance("c1", "a.com/")),
	), rules, nil)
	got := map[string]string{}
	bounds := map[string]int{}
	for _, e := range routeByID(t, table, "a.com/").Arms[0].Cluster.Endpoints {
		if e.TLS != nil {
			got[e.ID] = e.TLS.ServerName
		}
		bounds[e.ID] = e.MaxConnections
	}
	if len(got) != 2 || got["a2"] != "a2" || got["b1"] != "b.test" || bounds["c1"] != 5 || bounds["a1"] != 0 {
		t.Errorf("got %v and %v", got, bounds)
	}
}

// The settings of the key-value store take effect on every source the service shares,
// not only on those where it comes first.
func TestSpokenToByOverride(t *testing.T) {
	rules := rulesOf()
	services := []*watcher.Service{service("a", instance("a1", "a.com/")), service("b", instance("b1", "a.com/"))}
	before := Build(catalogOf(services...), rules, nil)
	kv := &watcher.Overrides{
		Registry: "consul", Services: map[string]config.Service{"b": {Policy: https(config.UpstreamTLS{})}},
	}
	after := Build(catalogOf(services...).WithOverrides(2, kv), rules, before)
	for _, e := range routeByID(t, after, "a.com/").Arms[0].Cluster.Endpoints {
		if (e.TLS != nil) != (e.ID == "b1") {
			t.Errorf("%s: TLS is %+v", e.ID, e.TLS)
		}
	}
}

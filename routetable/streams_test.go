package routetable

import (
	"testing"

	"usher/config"
	"usher/watcher"
)

// stream is a route of the configuration for connections.
func stream(name, protocol string, listeners []string, hosts ...string) config.Route {
	return config.Route{
		Name: name, Protocol: protocol, Service: "s", Match: config.Match{Listeners: listeners, Hosts: hosts},
	}
}

// The configuration's route for a listener goes before what is announced for its port,
// and one for all listeners behind it.
func TestMatchPort(t *testing.T) {
	db := []string{"db"}
	for _, tc := range []struct {
		name           string
		announced      []string
		routes         []config.Route
		listener, want string
	}{
		{"announced", []string{":1"}, nil, "db", ":1"},
		{"another port", []string{":2"}, nil, "db", ""},
		{"another listener", []string{":1 listener=x"}, nil, "db", ""},
		{"its listener", []string{":1 listener=db", ":1"}, nil, "db", ":1 listener=db"},
		{"configured for it", []string{":1"}, []config.Route{stream("r", "tcp", db)}, "db", "r"},
		{"configured for another", []string{":1"}, []config.Route{stream("r", "tcp", db)}, "x", ":1"},
		{"configured for all", []string{":1"}, []config.Route{stream("r", "tcp", nil)}, "db", ":1"},
		{"nothing else", []string{":2"}, []config.Route{stream("r", "tcp", nil)}, "db", "r"},
		{"requests", []string{"/"}, []config.Route{stream("r", "http", db)}, "db", ""},
		{"names", []string{"a.com proto=tcp"}, []config.Route{stream("r", "tls-passthrough", db)}, "db", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			table := Build(announce(tc.announced...), rulesOf(tc.routes...), nil)
			got := ""
			if r := table.MatchPort(tc.listener, "1"); r != nil {
				got = r.ID
			}
			if got != tc.want {
				t.Errorf("got %q, want %q in\n%s", got, tc.want, dump(table))
			}
		})
	}
}

// Names are found as hosts are: exact, then the most specific suffix, then any.
func TestMatchName(t *testing.T) {
	table := Build(
		announce("a.com proto=tcp", "*.a.com proto=tcp", "*.b.a.com proto=tcp", "a.com/", "p.com:1 proto=tcp"),
		rulesOf(stream("any", "tls-passthrough", []string{"pass"}), stream("one", "tls-passthrough", nil, "C.com")),
		nil)
	for _, tc := range []struct{ listener, name, want string }{
		{"x", "a.com", "a.com/ proto=tcp"},
		{"x", "a.com.", "a.com/ proto=tcp"},
		{"x", "z.a.com", "*.a.com/ proto=tcp"},
		{"x", "y.z.a.com", "*.a.com/ proto=tcp"},
		{"x", "z.b.a.com", "*.b.a.com/ proto=tcp"},
		{"x", "c.com", "one"},
		{"x", "p.com", "p.com:1/ proto=tcp"},
		{"x", "d.com", ""},
		{"x", "", ""},
		{"pass", "d.com", "any"},
		{"pass", "", "any"},
	} {
		got := ""
		if r := table.MatchName(tc.listener, "1", []byte(tc.name)); r != nil {
			got = r.ID
		}
		if got != tc.want {
			t.Errorf("%q on %s: got %q, want %q", tc.name, tc.listener, got, tc.want)
		}
	}
	if r := table.MatchName("x", "2", []byte("p.com")); r != nil {
		t.Errorf("p.com:1 is found on port 2: %s", r.ID)
	}
	if r := table.Match(hit("z.a.com/")); r != nil {
		t.Errorf("a request finds %s", r.ID)
	}
}

// A rule that changes what it takes leaves its old place.
func TestKindChanges(t *testing.T) {
	first := Build(announce("a.com/"), rulesOf(), nil)
	second := Build(announce("a.com/ proto=tcp"), rulesOf(), first)
	if second.Match(hit("a.com/")) != nil || second.MatchName("x", "1", []byte("a.com")) == nil {
		t.Errorf("got\n%s", dump(second))
	}
	third := Build(announce(":1"), rulesOf(), second)
	if third.MatchName("x", "1", []byte("a.com")) != nil || third.MatchPort("x", "1") == nil {
		t.Errorf("got\n%s", dump(third))
	}
}

// Each kind of route speaks to the instances of a service in its own way, under the
// service's settings.
func TestStreamEndpoints(t *testing.T) {
	rules := rulesOf(
		stream("http", "", nil, "h.com"), stream("tcp", "tcp", []string{"db"}),
		stream("sni", "tls-passthrough", nil, "n.com"))
	rules.Services = map[string]config.Service{
		"s": {Policy: config.Policy{Balance: "first", MaxConnections: 7}},
	}
	rules.Defaults.Upstream.ProxyProtocol = "v1"
	own := rules.Services["s"]
	own.Upstream.ProxyProtocol = "v2"
	rules.Services["s"] = own
	of := func(table *Table, r *Route) *Endpoint {
		c := r.Arms[0].Cluster
		if c.SettingsName() != "s" || c.Policy.MaxConnections != 7 {
			t.Errorf("%s: settings of %q, %+v", c.Name, c.SettingsName(), c.Policy)
		}
		return c.Endpoints[0]
	}
	check := func(name string, e *Endpoint, secure, bare bool) {
		t.Helper()
		if (e.TLS != nil) != secure || secure && e.TLS.Bare != bare || e.ProxyProtocol != "v2" {
			t.Errorf("%s: TLS %+v, PROXY %q", name, e.TLS, e.ProxyProtocol)
		}
	}
	table := Build(announce("/x proto=https"), rules, nil)
	check("http", of(table, table.Match(hit("h.com/"))), true, false)
	check("tcp", of(table, table.MatchPort("db", "1")), false, false)
	check("sni", of(table, table.MatchName("x", "1", []byte("n.com"))), false, false)
	table = Build(announce(":1 proto=https"), rules, table)
	check("tcp", of(table, table.MatchPort("db", "1")), true, true)
	check("announced", of(table, table.MatchPort("x", "1")), true, true)
	// The service that leaves takes its endpoints out of each.
	table = Build(watcher.NewCatalog(2), rules, table)
	if n := len(table.MatchPort("db", "1").Arms[0].Cluster.Endpoints); n != 0 {
		t.Errorf("%d endpoints are left", n)
	}
}

// A port is claimed like a host, and a star covers hosts alone.
func TestClaimedPort(t *testing.T) {
	for _, tc := range []struct {
		claim  config.Claim
		routed bool
	}{
		{config.Claim{Host: ":443", Services: []string{"other"}}, false},
		{config.Claim{Host: ":443", Services: []string{"s"}}, true},
		{config.Claim{Host: ":444", Services: []string{"other"}}, true},
		{config.Claim{Host: "*", Path: "/", Services: []string{"other"}}, true},
	} {
		rules := rulesOf()
		rules.Claims = []config.Claim{tc.claim}
		if got := Build(announce(":443"), rules, nil).MatchPort("x", "443") != nil; got != tc.routed {
			t.Errorf("%+v: routed %t", tc.claim, got)
		}
	}
}

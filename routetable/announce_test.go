package routetable

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The rows of Fabio's tag language (docs of its urlprefix- tags), each accepted or
// refused.
func TestParseRule(t *testing.T) {
	const none = dynamicWeight
	for name, c := range map[string]struct {
		text string
		want rule
	}{
		"host and path":          {"shop.com/orders", rule{host: "shop.com", path: "/orders", weight: none}},
		"path":                   {"/orders", rule{path: "/orders", weight: none}},
		"everything":             {"/", rule{path: "/", weight: none}},
		"bare host":              {"shop.com", rule{host: "shop.com", path: "/", weight: none}},
		"host's case":            {"Shop.COM/Orders", rule{host: "shop.com", path: "/Orders", weight: none}},
		"path's slashes stay":    {"shop.com//a//", rule{host: "shop.com", path: "//a//", weight: none}},
		"port":                   {"shop.com:8080/", rule{host: "shop.com:8080", path: "/", weight: none}},
		"plain port":             {"shop.com:80/", rule{host: "shop.com", path: "/", weight: none}},
		"TLS port":               {"shop.com:443/", rule{host: "shop.com", path: "/", weight: none}},
		"port that ends in 80":   {"shop.com:8080/", rule{host: "shop.com:8080", path: "/", weight: none}},
		"any host":               {"*/x", rule{host: "*", path: "/x", weight: none}},
		"any plain host":         {"*:80/", rule{host: "*", path: "/", weight: none}},
		"any port":               {"shop.com:*/", rule{host: "shop.com:*", path: "/", weight: none}},
		"suffix":                 {"*.shop.com/", rule{host: "*.shop.com", path: "/", weight: none}},
		"glob":                   {"a*.shop.com/", rule{host: "a*.shop.com", path: "/", weight: none}},
		"IPv6":                   {"[2001:DB8::80]/", rule{host: "[2001:db8::80]", path: "/", weight: none}},
		"IPv6 with a port":       {"[::1]:8080/", rule{host: "[::1]:8080", path: "/", weight: none}},
		"underscore":             {"my_shop/", rule{host: "my_shop", path: "/", weight: none}},
		"spaces around":          {"  shop.com/ \t", rule{host: "shop.com", path: "/", weight: none}},
		"proto":                  {"/ proto=http", rule{path: "/", weight: none}},
		"weight":                 {"/ weight=0.2", rule{path: "/", weight: 0.2}},
		"weight of nothing":      {"/ weight=0", rule{path: "/", weight: 0}},
		"weight above the whole": {"/ weight=3", rule{path: "/", weight: 3}},
		"strip":                  {"/a strip=/a", rule{path: "/a", weight: none, rewrite: &Rewrite{Strip: "/a"}}},
		"strip and prepend": {
			"/a strip=/a prepend=/b",
			rule{path: "/a", weight: none, rewrite: &Rewrite{Strip: "/a", Prepend: "/b"}},
		},
		"strip with an equals sign": {"/ strip=/a=b", rule{path: "/", weight: none, rewrite: &Rewrite{Strip: "/a=b"}}},
		"host":                      {"/ host=b.com", rule{path: "/", weight: none, rewrite: &Rewrite{Host: "b.com"}}},
		"host of the endpoint": {
			"/ host=dst",
			rule{path: "/", weight: none, rewrite: &Rewrite{Host: "dst", HostIsAddress: true}},
		},
		"listeners": {"/ listener=web,internal", rule{path: "/", weight: none, listeners: []string{"internal", "web"}}},
		"the last of a key wins": {
			"/ strip=/a host=dst strip=/b host=c.com",
			rule{path: "/", weight: none, rewrite: &Rewrite{Strip: "/b", Host: "c.com"}},
		},
		"the last weight wins, the first is not looked at": {"/ weight=x weight=0.5", rule{path: "/", weight: 0.5}},
		"white space of all kinds": {
			"/  weight=0.5\tfoo",
			rule{path: "/", weight: 0.5, unknown: []string{"foo"}},
		},
		"unknown options": {"/ foo=1 bar register=x foo=2", rule{
			path: "/", weight: none, unknown: []string{"foo", "bar", "register"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseRule(c.text)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%q: got %+v (rewrite %+v), %v, want %+v", c.text, got, got.rewrite, err, c.want)
			}
		})
	}
}

func TestParseRuleRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, reason string }{
		"nothing":                 {"", "empty rule"},
		"spaces":                  {" \t ", "empty rule"},
		"TCP port":                {":3306 proto=tcp", "TCP port"},
		"TCP port and a path":     {":80/", "TCP port"},
		"host with a scheme":      {"http://shop.com/", "not a host name"},
		"host with a user":        {"me@shop.com/", "not a host name"},
		"host of many bytes":      {"straße.de/", "not a host name"},
		"two ports":               {"shop.com:1:2/", "not a host name"},
		"port of letters":         {"shop.com:http/", "not a host name"},
		"IPv6 without brackets":   {"2001:db8::1/", "not a host name"},
		"Fabio's alternatives":    {"{a,b}.com/", "not a host name"},
		"Fabio's character class": {"[ab].com/", "not a host name"},
		"NUL in the path":         {"/a\x00b", "control character"},

		"https":            {"/ proto=https", "proto=https is not served yet"},
		"tcp":              {"/ proto=tcp", "proto=tcp is not served yet"},
		"grpc":             {"/ proto=grpc", "proto=grpc is not served yet"},
		"grpcs":            {"/ proto=grpcs", "proto=grpcs is not served yet"},
		"ws":               {"/ proto=ws", "proto=ws is not served yet"},
		"redirect":         {"/ redirect=301,https://x$path", "redirect= is not served yet"},
		"redirect, bad":    {"/ redirect=999,https://x", "redirect= is not served yet"},
		"tlsskipverify":    {"/ tlsskipverify=true", "tlsskipverify= is not served yet"},
		"pxyproto":         {"/ pxyproto=true", "pxyproto= is not served yet"},
		"grpcservername":   {"/ grpcservername=x", "grpcservername= is not served yet"},
		"weight of a word": {"/ weight=heavy", `weight "heavy"`},
		"no weight":        {"/ weight=", `weight ""`},
		"weight in %":      {"/ weight=20%", `weight "20%"`},
		"negative weight":  {"/ weight=-0.1", `weight "-0.1"`},
		"infinite weight":  {"/ weight=Inf", `weight "Inf"`},
		"no number":        {"/ weight=NaN", `weight "NaN"`},
		"too large weight": {"/ weight=1e400", `weight "1e400"`},
		"the last wins":    {"/ weight=0.5 weight=x", `weight "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseRule(c.text)
			if err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("%q: got %v, want %q", c.text, err, c.reason)
			}
		})
	}
}

// What restricts access costs the rule, in every spelling: a route that should
// have been closed must not be open.
func TestAccessOptionsAreRefused(t *testing.T) {
	for _, option := range []string{
		"allow=ip:10.0.0.0/8", "deny=ip:10.0.0.0/8", "allow=", "allow", "deny", "allow=nonsense",
		"allow=ip:10.0.0.0/8 deny=ip:10.1.0.0/16", "allow=ip:::1 allow=", "auth=basic", "auth=", "auth",
		"unknown=1 deny=ip:1.2.3.4", "\tallow=ip:10.0.0.0/8", "allow =ip:10.0.0.0/8",
	} {
		table := Build(announce("shop.com/ "+option, "other.com/"), rulesOf(), nil)
		if got := found(table, hit("shop.com/")); got != "" {
			t.Errorf("%s: served by %q", option, got)
		}
		if len(table.Refused()) != 1 || !strings.Contains(table.Refused()[0].Reason, "is not served yet") {
			t.Errorf("%s: refused %v", option, table.Refused())
		}
		if got := found(table, hit("other.com/")); got != "other.com/" {
			t.Errorf("%s: the other rule is gone", option)
		}
	}
}

func TestNormalizeHost(t *testing.T) {
	f := func(host, want string) {
		t.Helper()
		if got := NormalizeHost(host); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
	f("", "")
	f("A.Com", "a.com")
	f("a.com:80", "a.com")
	f("a.com:443", "a.com")
	f("a.com:8080", "a.com:8080")
	f("a.com:", "a.com:")
	f("*:80", "*")
	f("[::1]:80", "[::1]")
	f("[2001:db8::80]", "[2001:db8::80]")
	f("2001:db8::80", "2001:db8::80")
}

// A rule that parses builds a table that takes a request for the rule's source.
func FuzzParseRule(f *testing.F) {
	for _, seed := range []string{
		"", "shop.example.com/orders strip=/orders weight=0.2", "*:80/ host=dst", ":3306 proto=tcp", "[::1]:8080/x",
		"a*.b.*/ listener=a,b", "/ redirect=301,https://x$path", "foo.com:*", "/é allow=x", "*?/ prepend=/a", "a/@web",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRule(text)
		table := Build(announce(text), rulesOf(), nil)
		if err != nil {
			if len(table.Routes()) != 0 || len(table.Refused()) != 1 || table.Refused()[0].Reason != err.Error() {
				t.Fatalf("%q: %v, but\n%s", text, err, dump(table))
			}
			return
		}
		q := hit(r.host + "/")
		q.Path = []byte(r.path)
		if len(r.listeners) > 0 {
			q.Listener = r.listeners[0]
		}
		route := table.Match(q)
		if route == nil || route.Path != r.path || !slices.Equal(route.Hosts, []string{r.host}) {
			t.Fatalf("%q: its source %q %q finds %v in\n%s", text, r.host, r.path, route, dump(table))
		}
		if r.rewrite != nil {
			if out := r.rewrite.Target(nil, q.Path); len(out) == 0 {
				t.Fatalf("%q: rewrites to nothing", text)
			}
		}
	})
}

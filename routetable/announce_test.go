package routetable

import (
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"usher/watcher"
)

// The language of Fabio's urlprefix- tags.
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
		"unknown options": {"/ foo=1 bar foo=2", rule{path: "/", weight: none, unknown: []string{"foo", "bar"}}},
		"register":        {"/ register=x", rule{path: "/", weight: none, register: "x"}},

		"no proto":       {"/ proto=", rule{path: "/", weight: none}},
		"TCP port":       {":3306 proto=tcp", rule{host: ":3306", port: 3306, proto: "tcp", weight: none}},
		"TCP port alone": {":1", rule{host: ":1", port: 1, weight: none}},
		"SNI":            {"db.com proto=tcp", rule{host: "db.com", path: "/", proto: "tcp", weight: none}},
		"https": {"/ proto=https tlsskipverify=true host=b.com", rule{
			path: "/", proto: "https", skipVerify: true, weight: none, rewrite: &Rewrite{Host: "b.com"},
		}},
		"tlsskipverify of another word": {"/ tlsskipverify=1", rule{path: "/", weight: none}},
		"pxyproto":                      {"/ pxyproto=true", rule{path: "/", proxyProtocol: true, weight: none}},
		"pxyproto=false":                {"/ pxyproto=false", rule{path: "/", weight: none}},
		"grpcs": {"/ proto=grpcs grpcservername=b.com", rule{
			path: "/", proto: "grpcs", serverName: "b.com", weight: none,
		}},
		"redirect": {"/ redirect=301,https://x$path", rule{
			path: "/", redirect: &redirect{301, "https://x$path"}, weight: none,
		}},
		"redirect to a URL with a comma": {"/ redirect=302,/a,b", rule{
			path: "/", redirect: &redirect{302, "/a,b"}, weight: none,
		}},
		"matcher=prefix":  {"/a matcher=prefix", rule{path: "/a", weight: none}},
		"matcher=glob":    {"/a/*/b? matcher=glob", rule{path: "/a/*/b?", pathType: Glob, weight: none}},
		"matcher=iprefix": {"/A matcher=iprefix", rule{path: "/A", pathType: IPrefix, weight: none}},
		"allow": {"/ allow=ip:10.1.2.3/8,ip:192.0.2.7", rule{path: "/", weight: none, access: &Access{
			lists: []accessList{{nets: networks("10.0.0.0/8", "192.0.2.7/32")}},
		}}},
		"deny": {"/ deny=IP:fe80::/10,ip:::1", rule{path: "/", weight: none, access: &Access{
			lists: []accessList{{deny: true, nets: networks("::1/128", "fe80::/10")}},
		}}},
		"allow of IPv4 in IPv6": {"/ allow=ip:::ffff:10.0.0.0/104,ip:::ffff:192.0.2.7", rule{
			path: "/", weight: none, access: &Access{
				lists: []accessList{{nets: networks("10.0.0.0/8", "192.0.2.7/32")}},
			},
		}},
		"auth": {"/ auth=staff", rule{path: "/", weight: none, access: &Access{
			schemes: []string{"staff"}, challenge: `Basic realm="staff"`,
		}}},
		"auth with quotes": {`/ auth=a"b\c`, rule{path: "/", weight: none, access: &Access{
			schemes: []string{`a"b\c`}, challenge: `Basic realm="a\"b\\c"`,
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseRule(c.text)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%q: got %+v (rewrite %+v, access %v), %v, want %+v",
					c.text, got, got.rewrite, got.access, err, c.want)
			}
		})
	}
}

func networks(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestParseRuleRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, reason string }{
		"nothing":                 {"", "empty rule"},
		"spaces":                  {" \t ", "empty rule"},
		"TCP port and a path":     {":80/", "not a TCP port"},
		"TCP port 0":              {":0", "not a TCP port"},
		"TCP port too high":       {":65536", "not a TCP port"},
		"TCP port of nothing":     {":", "not a TCP port"},
		"host with a scheme":      {"http://shop.com/", "not a host name"},
		"host with a user":        {"me@shop.com/", "not a host name"},
		"host of many bytes":      {"straße.de/", "not a host name"},
		"two ports":               {"shop.com:1:2/", "not a host name"},
		"port of letters":         {"shop.com:http/", "not a host name"},
		"IPv6 without brackets":   {"2001:db8::1/", "not a host name"},
		"Fabio's alternatives":    {"{a,b}.com/", "not a host name"},
		"Fabio's character class": {"[ab].com/", "not a host name"},
		"a dot for any host":      {"./", "not a host name"},
		"a dot and a port":        {".:80/", "not a host name"},
		"NUL in the path":         {"/a\x00b", "control character"},
		"query in the path":       {"/a?b", "query"},

		"proto":                        {"/ proto=ws", "proto=ws is not one of"},
		"redirect, code too high":      {"/ redirect=400,https://x", "code from 300 to 399"},
		"redirect, code too low":       {"/ redirect=299,https://x", "code from 300 to 399"},
		"redirect, signed":             {"/ redirect=+301,https://x", "code from 300 to 399"},
		"redirect, no code":            {"/ redirect=https://x", "code from 300 to 399"},
		"redirect, no URL":             {"/ redirect=301", "names no URL"},
		"redirect, empty URL":          {"/ redirect=301,", "names no URL"},
		"redirect, bad URL":            {"/ redirect=301,http://[x", "names no URL"},
		"strip without a slash":        {"/ strip=a", `strip="a" is not a path`},
		"prepend of nothing":           {"/ prepend=", `prepend="" is not a path`},
		"host with a star":             {"/ host=*.com", "not a host name"},
		"host of nothing":              {"/ host", "not a host name"},
		"listener of nothing":          {"/ listener=", "names no listener"},
		"matcher":                      {"/ matcher=regex", "matcher=regex is not one of"},
		"matcher of nothing":           {"/ matcher", "matcher= is not one of"},
		"glob with a class":            {"/[ab] matcher=glob", "a glob knows * and ? alone"},
		"glob with alternatives":       {"/{a,b} matcher=glob", "a glob knows * and ? alone"},
		"weight of a word":             {"/ weight=heavy", `weight "heavy"`},
		"no weight":                    {"/ weight=", `weight ""`},
		"weight in %":                  {"/ weight=20%", `weight "20%"`},
		"negative weight":              {"/ weight=-0.1", `weight "-0.1"`},
		"infinite weight":              {"/ weight=Inf", `weight "Inf"`},
		"no number":                    {"/ weight=NaN", `weight "NaN"`},
		"too large weight":             {"/ weight=1e400", `weight "1e400"`},
		"the last wins":                {"/ weight=0.5 weight=x", `weight "x"`},
		"allow and deny":               {"/ allow=ip:10.0.0.0/8 deny=ip:10.1.0.0/16", "exclude each other"},
		"allow of nothing":             {"/ allow=", "is not ip:"},
		"allow without a value":        {"/ allow", "is not ip:"},
		"allow without a type":         {"/ allow=10.0.0.0/8", "is not ip:"},
		"allow of a second, untyped":   {"/ allow=ip:10.0.0.0/8,10.1.2.3", "is not ip:"},
		"allow, comma at the end":      {"/ allow=ip:10.0.0.0/8,", "is not ip:"},
		"allow of a type of Fabio's":   {"/ allow=geo:DE", "is not ip:"},
		"allow of half an address":     {"/ allow=ip:10.0.0", "neither an address nor a network"},
		"allow of no address":          {"/ allow=ip:", "neither an address nor a network"},
		"allow of a name":              {"/ allow=ip:shop.com", "neither an address nor a network"},
		"allow of a zone":              {"/ allow=ip:fe80::1%eth0", "neither an address nor a network"},
		"allow, too many bits":         {"/ allow=ip:10.0.0.0/33", "neither an address nor a network"},
		"allow, half of the IPv4s":     {"/ allow=ip:::ffff:0:0/90", "neither an address nor a network"},
		"deny of rubbish":              {"/ deny=nonsense", "is not ip:"},
		"the last allow wins":          {"/ allow=ip:::1 allow=", "is not ip:"},
		"allow, but for a space":       {"/ allow =ip:10.0.0.0/8", "is not ip:"},
		"allow in capitals":            {"/ Allow=ip:10.0.0.0/8", "lower case"},
		"auth of nothing":              {"/ auth=", "names no scheme"},
		"auth without a value":         {"/ auth", "names no scheme"},
		"auth of a control character":  {"/ auth=a\x01b", "names no scheme"},
		"a restriction among unknowns": {"/ unknown=1 deny=ip:x", "neither an address nor a network"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseRule(c.text)
			if err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("%q: got %v, want %q", c.text, err, c.reason)
			}
		})
	}
}

// What is well-formed and cannot be served yet is told apart from what is broken, and
// costs the rule alone. Nothing older stands in for it.
func TestNotServedYet(t *testing.T) {
	for option, reason := range map[string]string{
		"shop.com/ proto=grpc pxyproto=true": "pxyproto=true with proto=grpc",
		"shop.com/ proto=h2 pxyproto=true":   "pxyproto=true with proto=h2",
	} {
		rules := rulesOf()
		first := Build(announce("shop.com/", "other.com/"), rules, nil)
		table := Build(announce(option, "other.com/"), rules, first)
		want := Refusal{
			Service: watcher.Key{Registry: "consul", Service: "s"}, Instance: "i", Where: "urlprefix-" + option,
			Reason: "not served yet: " + reason, NotServed: true,
		}
		if !slices.Equal(table.Refused(), []Refusal{want}) || len(table.Memory().Rules) > 0 {
			t.Errorf("%s: refused %v, want %v; kept %v", option, table.Refused(), want, table.Memory().Rules)
		}
		if got := found(table, hit("shop.com/")); got != "" {
			t.Errorf("%s: served by %q", option, got)
		}
		if got := found(table, hit("other.com/")); got != "other.com/" {
			t.Errorf("%s: the other rule is gone", option)
		}
	}
}

// What has no effect on what is served is served.
func TestServedWithANotice(t *testing.T) {
	for option, notice := range map[string]string{
		"register=x":               "register=x: nothing is registered",
		"register=x foo=1 bar":     "register=x: nothing is registered; unknown option foo, bar",
		"tlsskipverify=true":       "",
		"pxyproto=false":           "",
		"grpcservername=x":         "",
		"proto=http":               "",
		"proto=h2":                 "",
		"proto=grpcs":              "",
		"auth=staff allow=ip:::/0": "",
	} {
		table := Build(announce("shop.com/ "+option), rulesOf(), nil)
		var got string
		for _, n := range table.Notices() {
			got += n.Reason
		}
		if got != notice || len(table.Refused()) > 0 || found(table, hit("shop.com/")) == "" {
			t.Errorf("%s: notice %q, want %q, in\n%s", option, got, notice, dump(table))
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

// A rule that parses builds a table that takes a request for the rule's source; one
// that is refused, broken or not served yet, serves nothing. What asks for a
// restriction of access is never open.
func FuzzParseRule(f *testing.F) {
	for _, seed := range []string{
		"", "shop.example.com/orders strip=/orders weight=0.2", "*:80/ host=dst", ":3306 proto=tcp", "[::1]:8080/x",
		":443 proto=https host=a.com", "*.db.com:3306 proto=tcp matcher=glob", "db.com proto=tcp strip=/x",
		"a*.b.*/ listener=a,b", "/ redirect=301,https://x$path", "foo.com:*", "/é allow=x", "*?/ prepend=/a", "a/@web",
		"/a*/?b matcher=glob", "x/A matcher=iprefix", "/ allow=ip:10.0.0.0/8,ip:::1", "/ deny=ip:::ffff:1.2.3.4",
		"/ auth=a\"b", "/ proto=grpcs grpcservername=x tlsskipverify=true", "/ Allow=", "./",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRule(text)
		table := Build(announce(text), rulesOf(), nil)
		reason := r.unserved()
		if err != nil {
			reason = err.Error()
		}
		if reason != "" {
			if len(table.Routes()) != 0 || len(table.Refused()) != 1 || table.Refused()[0].Reason != reason {
				t.Fatalf("%q: %s, but\n%s", text, reason, dump(table))
			}
			return
		}
		q := hit(r.host + "/")
		q.Path = []byte(r.path)
		if len(r.listeners) > 0 {
			q.Listener = r.listeners[0]
		}
		route := table.Match(q)
		switch r.kind() {
		case Connections:
			route = table.MatchPort(q.Listener, strconv.Itoa(int(r.port)))
		case Names:
			route = table.MatchName(q.Listener, string(q.Port), q.Host)
		}
		if route == nil || route.Path != r.path || !slices.Equal(route.Hosts, []string{r.host}) {
			t.Fatalf("%q: its source %q %q finds %v in\n%s", text, r.host, r.path, route, dump(table))
		}
		if r.rewrite != nil {
			if out := r.rewrite.Target(nil, q.Path); len(out) == 0 {
				t.Fatalf("%q: rewrites to nothing", text)
			}
		}
		access := route.Arms[0].Cluster.Endpoints[0].Access
		if restricts(text) && (access == nil || access.Allows(netip.Addr{}, nil) && access.Challenge() == "") {
			t.Fatalf("%q: is open", text)
		}
		if strings.ContainsFunc(access.Challenge(), unicode.IsControl) {
			t.Fatalf("%q: challenge %q", text, access.Challenge())
		}
	})
}

// What an instance says of itself that cannot be is noticed; it is served all the
// same.
func TestProblemIsNoticed(t *testing.T) {
	s := announce("a.com/").Services()[0]
	s.Instances[0].Problem = `usher-port "grpc" names no port`
	table := Build(watcher.NewCatalog(1, s), rulesOf(), nil)
	notices := table.Notices()
	if len(notices) != 1 || notices[0].Reason != s.Instances[0].Problem || notices[0].Instance != s.Instances[0].ID {
		t.Errorf("notices %v", notices)
	}
	if len(table.Routes()) != 1 {
		t.Errorf("routes %v", table.Routes())
	}
}

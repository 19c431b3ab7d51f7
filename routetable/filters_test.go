package routetable

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/watcher"
)

// asking is what a client asked for, from a URL.
func asking(text string) *Asked {
	scheme, rest, _ := strings.Cut(text, "://")
	hostPort, path, _ := strings.Cut(rest, "/")
	host, _, _ := strings.Cut(hostPort, ":")
	return &Asked{Scheme: scheme, Host: []byte(host), HostPort: []byte(hostPort), Target: []byte("/" + path)}
}

// FuzzRedirect: where a tag sends clients is one line, and a location that begins with
// the request's path names no host of the request's making. What is said to stay, stays.
func FuzzRedirect(f *testing.F) {
	for _, target := range []string{
		"https://$host$path", "$path", "/$path", "https://x/$path?a", "//b$path", "http://$host/$query", "/a#$path",
		"https://x", "x$y", "/é$path", "$path$path",
	} {
		for _, path := range []string{"/", "//evil.example/x?y", "/\\evil.example", "/a?b=c"} {
			f.Add(target, path)
		}
	}
	f.Fuzz(func(t *testing.T, target, path string) {
		r, err := parseRule("/ redirect=301," + target)
		if err != nil || strings.ContainsFunc(path, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '#' }) {
			return
		}
		a := asking("http://a.example:81/" + strings.TrimPrefix(path, "/"))
		redirect := announcedRedirect(301, r.redirect.url, nil)
		location := string(redirect.AppendLocation(nil, a))
		if location == "" || strings.ContainsFunc(location, func(c rune) bool { return c < ' ' || c >= 0x7f }) {
			t.Fatalf("%q for %s: %q", target, a.Target, location)
		}
		relative := strings.HasPrefix(r.redirect.url, "$path") || strings.HasPrefix(r.redirect.url, "/$path")
		if relative && len(location) > 1 && location[0] == '/' && strings.ContainsRune("/\\", rune(location[1])) {
			t.Fatalf("%q for %s: %q names a host", target, a.Target, location)
		}
		to, _, _ := strings.Cut(strings.ReplaceAll(location, "#", "?"), "?")
		asked, _, _ := strings.Cut(string(a.Target), "?")
		if redirect.Stays(a) && !strings.HasSuffix(to, asked) {
			t.Fatalf("%q for %s: %q does not stay", target, a.Target, location)
		}
	})
}

func TestRedirectStays(t *testing.T) {
	f := func(target, asked string, want bool) {
		t.Helper()
		if got := announcedRedirect(301, target, nil).Stays(asking(asked)); got != want {
			t.Errorf("%s for %s: got %t", target, asked, got)
		}
	}
	f("https://$host$path", "https://a/x?y", true)
	f("https://$host$path", "http://a/x?y", false)
	f("https://$host$path", "https://a:443/x", true)
	f("https://$host$path", "https://a:8443/x", false)
	f("https://$host:8443$path", "https://a:8443/x", true)
	f("http://$host:80$path", "http://a/x", true)
	f("HTTPS://A$path", "https://a/x", true)
	f("https://a/x?other", "https://a/x?y", true)
	f("https://a/x", "https://a/X", false)
	f("https://a", "https://a/", true)
	f("/x", "http://a/x", true)
	f("/x", "http://a/y", false)
	f("//b$path", "http://a/x", false)
	f("//a$path", "http://a/x", true)
	f("https://b$path", "https://a/x", false)
}

// FuzzParam: a parameter is found as the standard library finds it.
func FuzzParam(f *testing.F) {
	for _, query := range []string{
		"", "a", "a=", "a=b", "a=b&a=c", "b=a&a=b", "%61=%62", "a+b=c", "a=%", "a=%zz", "&&a", "=b", "a=b=c",
	} {
		f.Add(query, "a", "b")
		f.Add(query, "a", "")
	}
	f.Fuzz(func(t *testing.T, query, name, value string) {
		values, err := url.ParseQuery(query)
		if err != nil || name == "" || strings.Contains(query, "?") {
			return // what is no encoding is taken as it stands, which the library refuses
		}
		want := values.Has(name) && (value == "" || slices.Contains(values[name], value))
		p := Param{name, value}
		if got := p.holds([]byte("/x?" + query)); got != want {
			t.Errorf("%q: %q=%q: got %t", query, name, value, got)
		}
	})
}

// A rewriting never makes anything but a path, and leaves the query alone.
func FuzzRewritePattern(f *testing.F) {
	for _, target := range []string{"/", "/a/b?c", "/old/x?/old/y", "//", "/a?"} {
		f.Add("^/old/(.*)$", "/new/$1", target)
		f.Add("a*", "$0$0", target)
		f.Add("^/.*", "", target)
	}
	f.Fuzz(func(t *testing.T, expr, to, target string) {
		c := &config.Route{Rewrite: &config.PathRewrite{Path: expr, To: to}}
		r, err := rewriteOf(c)
		if err != nil || target == "" || target[0] != '/' || strings.Contains(to, "?") {
			return
		}
		got := string(r.Target(nil, []byte(target)))
		_, asked, _ := strings.Cut(target, "?")
		path, query, _ := strings.Cut(got, "?")
		if path == "" || path[0] != '/' || query != asked {
			t.Errorf("%q to %q: %q became %q", expr, to, target, got)
		}
	})
}

// A route's own settings are merged with those of each service, whose cluster keeps
// its own; a change of either is seen.
func TestArmPolicy(t *testing.T) {
	split := config.Route{
		Name: "r", Match: config.Match{Path: "/"},
		Split:    []config.Arm{{Service: "a", Weight: 1}, {Service: "b", Weight: 1}},
		Override: config.Override{Timeout: new(time.Second)},
	}
	plain := config.Route{Name: "plain", Match: config.Match{Path: "/plain"}, Service: "a"}
	rules := rulesOf(split, plain)
	rules.Services = map[string]config.Service{
		"a": {Policy: config.Policy{Timeout: time.Hour, IdleTimeout: time.Minute}},
		"b": {Policy: config.Policy{Timeout: time.Hour, IdleTimeout: time.Second}},
	}
	table := Build(catalogOf(service("a", instance("1")), service("b", instance("2"))), rules, nil)
	arms := routeByID(t, table, "r").Arms
	for i, idle := range []time.Duration{time.Minute, time.Second} {
		p, service := arms[i].Policy, arms[i].Cluster.Policy
		if p.Timeout != time.Second || p.IdleTimeout != idle || service.Timeout != time.Hour {
			t.Errorf("arm %d: %+v of %+v", i, p, service)
		}
	}
	if arm := routeByID(t, table, "plain").Arms[0]; arm.Policy != &arm.Cluster.Policy {
		t.Error("a route without settings has its own")
	}
	later := *rules
	later.Services = map[string]config.Service{"a": {Policy: config.Policy{IdleTimeout: time.Hour}}}
	table = Build(catalogOf(service("a", instance("1")), service("b", instance("2"))), &later, table)
	if p := routeByID(t, table, "r").Arms[0].Policy; p.IdleTimeout != time.Hour || p.Timeout != time.Second {
		t.Errorf("later: %+v", p)
	}
}

// A redirect holds no match: who is where it leads is served by what is announced
// there. An answer does, and so do conditions not.
func TestWhatHolds(t *testing.T) {
	match := config.Match{Hosts: []string{"a.com"}, Path: "/"}
	query := match
	query.Query = map[string]string{"q": ""}
	for name, c := range map[string]struct {
		route config.Route
		holds bool
	}{
		"redirect": {config.Route{Name: "r", Match: match, Redirect: &config.Redirect{Code: 301, To: "/x"}}, false},
		"respond":  {config.Route{Name: "r", Match: match, Respond: &config.Respond{Status: 200}}, true},
		"query":    {config.Route{Name: "r", Match: query, Service: "s"}, false},
	} {
		for _, kv := range []bool{false, true} {
			catalog, rules := announce("a.com/"), rulesOf(c.route)
			if kv {
				o := &watcher.Overrides{Registry: "x", Routes: rules.Routes}
				catalog, rules = catalog.WithOverrides(2, o), rulesOf()
			}
			table := Build(catalog, rules, nil)
			if got := len(table.Conflicts()) > 0; got != c.holds || len(table.Refused()) > 0 {
				t.Errorf("%s, kv %t: conflicts %v, refused %v", name, kv, table.Conflicts(), table.Refused())
			}
			if r := routeByID(t, table, "r"); len(r.Arms) != 1 || r.Answers() != r.Arms[0].Cluster.Answers {
				t.Errorf("%s, kv %t: arms %v", name, kv, r.Arms)
			}
		}
	}
}

// Routes that are passed over leave the request to the next.
func TestSkip(t *testing.T) {
	table := Build(announce("a.com/x", "a.com/", "*.com/", "/"), rulesOf(), nil)
	q := hit("a.com/xy")
	var got []string
	for r := table.Match(q); r != nil; r = table.Match(q) {
		got = append(got, r.ID)
		q.Skip = append(q.Skip, r)
	}
	if want := []string{"a.com/x", "a.com/", "*.com/", "/"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What is wrong with a rule that nobody checked costs that rule.
func TestBrokenFilters(t *testing.T) {
	for _, broken := range []config.Route{
		{Service: "s", Match: config.Match{HeadersRegex: map[string]string{"A": "("}}},
		{Service: "s", Rewrite: &config.PathRewrite{Path: "(", To: "/"}},
		{Redirect: &config.Redirect{Code: 301, To: "$nothing"}},
		{Service: "s", RequestHeaders: config.HeaderEdits{Set: map[string]string{"A": "$nothing"}}},
		{Service: "s", ResponseHeaders: config.HeaderEdits{Add: map[string]string{"A": "$"}}},
	} {
		broken.Name = "broken"
		table := Build(announce("a.com/"), rulesOf(broken, to("fine", "s", "b.com/")), nil)
		if len(table.Refused()) != 1 || found(table, hit("b.com/")) != "fine" || found(table, hit("c.com/")) != "" {
			t.Errorf("%+v:\n%s", broken, dump(table))
		}
	}
}

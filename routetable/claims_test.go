package routetable

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"usher/config"
	"usher/watcher"
)

// claims are rules with these claims: "host/path = service service".
func claims(list ...string) *Rules {
	rules := rulesOf()
	for _, text := range list {
		source, services, _ := strings.Cut(text, " = ")
		host, path, _ := strings.Cut(source, "/")
		rules.Claims = append(rules.Claims, config.Claim{
			Host: host, Path: cmp.Or("/"+path, "/"), Services: strings.Fields(services),
		})
	}
	return rules
}

// cutName takes "service@registry where" apart.
func cutName(name string) (service, registry, where string) {
	name, where, _ = strings.Cut(name, " ")
	service, registry, _ = strings.Cut(name, "@")
	return service, registry, where
}

func TestClaims(t *testing.T) {
	f := func(rule string, want string, list ...string) {
		t.Helper()
		table := Build(announce(rule), claims(list...), nil)
		var got string
		if refused := table.Refused(); len(refused) > 0 {
			got = refused[0].Reason
		}
		if got != want || len(table.Routes()) > 0 != (want == "") || len(table.Memory().Rules) > 0 {
			t.Errorf("%s under %q: got %q, want %q\n%s", rule, list, got, want, dump(table))
		}
	}
	const x, y = "claimed for x", "claimed for y"
	f("a.com/", "")
	f("a.com/", "", "b.com = x")

	// Without a host.
	f("/", x, "/ = x")
	f("/", "", "/ = s")
	f("/ listener=web", x, "/ = x")
	f("/orders", "", "/ = x")
	f("a.com/", "", "/ = x")
	f("/orders", x, "/orders = x")
	f("/orders/", x, "/orders = x")
	f("/orders/1", x, "/orders = x")
	f("/orders/1", x, "/orders/ = x")
	f("/orders", x, "/orders/ = x")
	f("/ordersx", "", "/orders = x")
	f("/", "", "/orders = x")
	f("a.com/orders", "", "/orders = x")
	f("/Orders", "", "/orders = x")
	f("/Orders matcher=iprefix", x, "/orders = x")
	f("/* matcher=glob", x, "/ = x")
	f("/orders/*/x matcher=glob", x, "/orders = x")

	// A host.
	f("a.com/", x, "a.com = x")
	f("A.com:80/", x, "a.com = x")
	f("a.com/", x, "A.COM:443 = x")
	f("a.com:8080/", x, "a.com = x")
	f("a.com:*/", x, "a.com = x")
	f("a.com/", "", "a.com:8080 = x")
	f("a.com:8080/", x, "a.com:8080 = x")
	f("a.com:8080/", x, "a.com = y", "a.com:8080 = x")
	f("[::1]:81/", x, "[::1] = x")
	f("b.a.com/", "", "a.com = x")
	f("xa.com/", "", "a.com = x")
	f("api.*.com/", x, "api.*.com = x")
	f("a.com/orders/1", x, "a.com/orders = x")
	f("a.com/ordersx", "", "a.com/orders = x")

	// A suffix, and everything.
	f("b.a.com/", x, "*.a.com = x")
	f("c.b.a.com:81/", x, "*.a.com = x")
	f("*.a.com/", x, "*.a.com = x")
	f("*.b.a.com/", x, "*.a.com = x")
	f("a.com/", "", "*.a.com = x")
	f("*/", "", "*.a.com = x")
	f("a.com/", x, "* = x")
	f("*/", x, "* = x")
	f("*/x", x, "*/x = x")
	f("/", "", "* = x")

	// The most specific one decides.
	f("b.a.com/", "", "*.a.com = x", "b.a.com = s")
	f("b.a.com/", x, "* = s", "*.a.com = s", "b.a.com = x")
	f("c.b.a.com/", x, "*.a.com = s", "*.b.a.com = x")
	f("c.com/", x, "* = x", "*.a.com = s")
	f("a.com/orders/1", "", "a.com = x", "a.com/orders = s")
	f("a.com/orders/1", x, "a.com = s", "a.com/orders/1 = x", "a.com/orders = y")
	f("b.a.com/orders", y, "*.a.com/orders/x/y/z = s", "*.a.com/orders = x", "b.a.com = y")
	f("/orders", "", "/ = x", "/orders = s")
	f("a.com/", x, "a.com = x", "a.com = s")

	// Names.
	f("a.com/", "", "a.com = x s")
	f("a.com/", "", "a.com = *")
	f("a.com/", "claimed for sx, xs", "a.com = sx xs")
	f("a.com/", "", "a.com = s*")
	f("a.com/", "claimed for s*s, *x, x*", "a.com = s*s *x x*")
	f("a.com/", "", "a.com = s@consul")
	f("a.com/", "", "a.com = *@c*l")
	f("a.com/", "claimed for s@file", "a.com = s@file")
	f("a.com/", "claimed for no service", "a.com = ")
}

func TestStarFits(t *testing.T) {
	for _, pattern := range []string{"", "*", "a", "a*", "*a", "a*a", "*a*", "a**b", "ab*ba", "*ab*ab*"} {
		for _, s := range []string{"", "a", "b", "aa", "ab", "ba", "aba", "abba", "abab", "aab", "cabcabc"} {
			if got, want := starFits(pattern, s), globFits(pattern, s); got != want {
				t.Errorf("%q, %q: %t, want %t", pattern, s, got, want)
			}
		}
	}
}

// A claim takes a rule away at once, whatever stood there before, and gives it back;
// what it does not concern is not built again for its sake. The configuration and the
// overrides are not subject to claims.
func TestClaimsChange(t *testing.T) {
	catalog := catalogOf(
		service("s", instance("i", "a.com/", "b.com/", "a.com/ listener=web foo=1")),
		service("t", instance("j", "a.com/")),
	).WithOverrides(1, overrides("kv", to("kv", "s", "kv.com/")))
	free := rulesOf(to("r", "s", "r.com/"))
	claimed := claims("a.com = t", "r.com = t", "kv.com = t")
	claimed.Routes = free.Routes
	table := Build(catalog, free, nil)
	for range 3 {
		taken := Build(catalog, claimed, table)
		if got := endpoints(t, taken, "a.com/"); !slices.Equal(got, []string{"t/j"}) {
			t.Errorf("a.com is served by %q", got)
		}
		for _, host := range []string{"b.com/", "r.com/", "kv.com/"} {
			if found(taken, hit(host)) == "" {
				t.Errorf("%s is gone", host)
			}
		}
		if n := taken.Counts().Refused["consul"]; n != 2 || len(taken.Refused()) != 2 || len(taken.Notices()) != 0 {
			t.Errorf("%d are counted: %v, noticed %v", n, taken.Refused(), taken.Notices())
		}
		if !slices.Contains(taken.Delta().Refused, taken.Refused()[0]) {
			t.Errorf("the delta tells %v", taken.Delta().Refused)
		}
		if stateOf(t, taken, "a.com/", "j") != stateOf(t, table, "a.com/", "j") {
			t.Error("a state is lost")
		}
		if taken.services.Get("t@consul") != table.services.Get("t@consul") {
			t.Error("a service that is not concerned was judged otherwise")
		}
		table = Build(catalog, free, taken)
		got := endpoints(t, table, "a.com/")
		if !slices.Equal(got, []string{"s/i", "t/j"}) || len(table.Refused()) > 0 {
			t.Errorf("then a.com is served by %q", got)
		}
	}
}

// A claim over the default_route of a registry is a claim like any other.
func TestClaimOverADefaultRoute(t *testing.T) {
	in := instance("i")
	in.Announcements = []watcher.Announcement{
		{Origin: watcher.FromDefault, Where: "default_route", Text: "s.apps.com/"},
	}
	table := Build(catalogOf(service("s", in)), claims("*.apps.com = ui-*"), nil)
	if len(table.Routes()) > 0 || table.Refused()[0].Reason != "claimed for ui-*" {
		t.Errorf("got\n%s", dump(table))
	}
}

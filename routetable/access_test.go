package routetable

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"usher/watcher"
)

// accessFor is the Access of the only endpoint of a rule with these options.
func accessFor(t testing.TB, options string) *Access {
	t.Helper()
	table := Build(announce("a.com/ "+options), rulesOf(), nil)
	if len(table.Clusters()) != 1 {
		t.Fatalf("%s: not served:\n%s", options, dump(table))
	}
	return table.Clusters()[0].Endpoints[0].Access
}

func TestAllows(t *testing.T) {
	const ten = "allow=ip:10.0.0.0/8"
	for name, c := range map[string]struct {
		options, peer string
		forwarded     []string
		want          bool
	}{
		"no rule":                           {"", "192.0.2.1", []string{"garbage"}, true},
		"allowed":                           {ten, "10.1.2.3", nil, true},
		"not allowed":                       {ten, "11.1.2.3", nil, false},
		"the second of two":                 {ten + ",ip:192.0.2.7", "192.0.2.7", nil, true},
		"beside a single address":           {ten + ",ip:192.0.2.7", "192.0.2.8", nil, false},
		"host bits count for nothing":       {"allow=ip:10.1.2.3/8", "10.9.9.9", nil, true},
		"denied":                            {"deny=ip:10.0.0.0/8", "10.1.2.3", nil, false},
		"not denied":                        {"deny=ip:10.0.0.0/8", "11.1.2.3", nil, true},
		"IPv6":                              {"allow=ip:2001:db8::/32", "2001:db8::1", nil, true},
		"IPv6, another":                     {"allow=ip:2001:db8::/32", "2001:db9::1", nil, false},
		"IPv6, an address":                  {"allow=ip:::1", "::1", nil, true},
		"IPv6, with a zone":                 {"allow=ip:fe80::/10", "fe80::1%eth0", nil, true},
		"IPv6, for an IPv4 rule":            {ten, "::10.1.2.3", nil, false},
		"mapped peer":                       {ten, "::ffff:10.1.2.3", nil, true},
		"mapped peer, denied":               {"deny=ip:10.0.0.0/8", "::ffff:10.1.2.3", nil, false},
		"mapped rule":                       {"deny=ip:::ffff:10.0.0.0/104", "10.1.2.3", nil, false},
		"no peer":                           {ten, "", nil, false},
		"no peer, nothing denied it":        {"deny=ip:10.0.0.0/8", "", nil, false},
		"all IPv6 is not IPv4":              {"allow=ip:::/0", "10.1.2.3", nil, false},
		"forwarded for one allowed":         {ten, "10.0.0.1", []string{"10.0.0.2"}, true},
		"forwarded for one not allowed":     {ten, "10.0.0.1", []string{"192.0.2.1"}, false},
		"the peer counts, whatever it says": {ten, "192.0.2.1", []string{"10.0.0.2"}, false},
		"a list": {
			ten,
			"10.0.0.1",
			[]string{"10.0.0.2, 10.0.0.3,10.0.0.4 ,\t10.0.0.5"},
			true,
		},
		"the first of a list":                    {ten, "10.0.0.1", []string{"1.1.1.1, 10.0.0.3"}, false},
		"the last of a list":                     {ten, "10.0.0.1", []string{"10.0.0.2, 1.1.1.1"}, false},
		"two fields":                             {ten, "10.0.0.1", []string{"10.0.0.2", "10.0.0.3"}, true},
		"the second field":                       {ten, "10.0.0.1", []string{"10.0.0.2", "1.1.1.1"}, false},
		"denied behind another":                  {"deny=ip:6.6.6.6", "1.1.1.1", []string{"2.2.2.2, 6.6.6.6"}, false},
		"denied, mapped":                         {"deny=ip:6.6.6.6", "1.1.1.1", []string{"::ffff:6.6.6.6"}, false},
		"denied, mapped, in hexadecimal":         {"deny=ip:6.6.6.6", "1.1.1.1", []string{"::ffff:606:606"}, false},
		"denied, written out":                    {"deny=ip:::1", "1.1.1.1", []string{"0:0:0:0:0:0:0:1"}, false},
		"not denied, IPv6":                       {"deny=ip:::1", "1.1.1.1", []string{"2001:DB8::1"}, true},
		"garbage":                                {"deny=ip:6.6.6.6", "1.1.1.1", []string{"garbage"}, false},
		"unknown (RFC 7239)":                     {"deny=ip:6.6.6.6", "1.1.1.1", []string{"unknown"}, false},
		"garbage behind a good one":              {ten, "10.0.0.1", []string{"10.0.0.2, x"}, false},
		"an empty element":                       {ten, "10.0.0.1", []string{"10.0.0.2,,10.0.0.3"}, false},
		"an empty field":                         {ten, "10.0.0.1", []string{""}, false},
		"an address with a port":                 {ten, "10.0.0.1", []string{"10.0.0.2:80"}, false},
		"an address in brackets":                 {"allow=ip:::/0", "::1", []string{"[::1]"}, false},
		"a zone":                                 {"allow=ip:::/0", "::1", []string{"fe80::1%eth0"}, false},
		"octal":                                  {"deny=ip:6.6.6.6", "1.1.1.1", []string{"06.6.6.6"}, false},
		"hexadecimal":                            {"deny=ip:6.6.6.6", "1.1.1.1", []string{"0x6.6.6.6"}, false},
		"a number":                               {"deny=ip:6.6.6.6", "1.1.1.1", []string{"101058054"}, false},
		"auth alone restricts no address":        {"auth=staff", "1.1.1.1", []string{"garbage"}, true},
		"more than a number of an address holds": {ten, "10.0.0.1", []string{"10.0.0.256"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var peer netip.Addr
			if c.peer != "" {
				peer = netip.MustParseAddr(c.peer)
			}
			var forwarded [][]byte
			for _, f := range c.forwarded {
				forwarded = append(forwarded, []byte(f))
			}
			if got := accessFor(t, c.options).Allows(peer, forwarded); got != c.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestAllowsAllocatesNothing(t *testing.T) {
	allow, deny := accessFor(t, "allow=ip:10.0.0.0/8,ip:2001:db8::/32"), accessFor(t, "deny=ip:::2")
	good := [][]byte{[]byte("10.0.0.1, ::ffff:10.0.0.2"), []byte("2001:db8::1")}
	bad := [][]byte{[]byte("some garbage of more than thirty-two bytes")}
	peer := netip.MustParseAddr("10.0.0.1")
	if n := testing.AllocsPerRun(100, func() {
		if !allow.Allows(peer, good) || allow.Allows(peer, bad) || !deny.Allows(peer, good) || deny.Allows(peer, bad) {
			t.Error("not as expected")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// An address is read as the standard library reads it, but for zones.
func FuzzParseAddr(f *testing.F) {
	for _, seed := range []string{
		"", "1.2.3.4", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "1..2.3", "::", "::1", "1::", "1::2",
		":1", "1:", ":::",
		"1:::2", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:9",
		"::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "::1.2.3.4:5", "1.2.3.4::", "12345::", "g::",
		"FE80::A", "fe80::1%eth0", "1::2::3", "::00001", "::1.2.3", "1.2.3.4 ",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, err := netip.ParseAddr(text)
		got, ok := parseAddr([]byte(text))
		if expected := err == nil && !strings.Contains(text, "%"); ok != expected || ok && got != want {
			t.Fatalf("%q: got %v %t, want %v %v", text, got, ok, want, err)
		}
	})
}

// Whatever the list, what it says of itself is read as the same list again, and a
// request passes an allow list or a deny list of the same networks, never both.
func FuzzParseAccess(f *testing.F) {
	for _, seed := range []string{
		"ip:10.0.0.0/8", "ip:::1,ip:10.1.2.3", "IP:::ffff:1.2.3.4/100", "ip:", "geo:DE",
		"ip:1.2.3.4/0,ip:::/0", ",", "ip:fe80::1%x",
	} {
		f.Add(seed, "10.0.0.1", "10.0.0.2, ::1")
	}
	f.Fuzz(func(t *testing.T, value, peer, forwarded string) {
		allow, err := parseAccess("allow", value)
		deny, other := parseAccess("deny", value)
		if (err == nil) != (other == nil) {
			t.Fatalf("%q: %v, but %v", value, err, other)
		}
		if err != nil {
			return
		}
		_, text, _ := strings.Cut(allow.String(), "=")
		again, err := parseAccess("allow", text)
		if err != nil || again.String() != allow.String() {
			t.Fatalf("%q says %q, which says %v, %v", value, allow, again, err)
		}
		ip, _ := parseAddr([]byte(peer))
		list := [][]byte{[]byte(forwarded)}
		if allow.Allows(ip, list) && deny.Allows(ip, list) {
			t.Fatalf("%q lets %s (%q) through either way", value, peer, forwarded)
		}
	})
}

// accessOfEndpoints are the rules of a route's endpoints, by service/ID.
func accessOfEndpoints(t *testing.T, table *Table, id string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, e := range routeByID(t, table, id).Arms[0].Cluster.Endpoints {
		out[e.Service.Service+"/"+e.ID] = e.Access.String()
	}
	return out
}

// While a restriction rolls out over a service's instances all of them have it, from
// the first one on; a service that shares the source is not concerned, nor is another
// source of the same service.
func TestAccessIsTheServices(t *testing.T) {
	const allow, deny = " allow=ip:10.0.0.0/8", " deny=ip:10.6.0.0/16"
	table := Build(catalogOf(
		service("s", instance("i1", "a.com/"+allow, "b.com/"), instance("i2", "a.com/", "b.com/"),
			instance("i3", "a.com/"+deny+" auth=staff"), instance("i4", "a.com/"+allow)),
		service("s@file", instance("f", "a.com/")),
		service("t", instance("j", "a.com/")),
	), rulesOf(), nil)
	want := "allow=ip:10.0.0.0/8 deny=ip:10.6.0.0/16 auth=staff"
	access := accessOfEndpoints(t, table, "a.com/")
	for _, id := range []string{"s/i1", "s/i2", "s/i3", "s/i4"} {
		if access[id] != want {
			t.Errorf("%s: %q, want %q", id, access[id], want)
		}
	}
	if access["s/f"] != "" || access["t/j"] != "" {
		t.Errorf("another service is restricted: %v", access)
	}
	for id, a := range accessOfEndpoints(t, table, "b.com/") {
		if a != "" {
			t.Errorf("another source is restricted: %s by %q", id, a)
		}
	}
	for _, c := range table.Clusters() {
		if c.Restricted != (c.Name == "route:a.com/") {
			t.Errorf("%s: restricted %t", c.Name, c.Restricted)
		}
	}
}

// A service on its way from tags to meta is as restricted as the one that is outranked.
func TestAccessOfAnOutrankedRule(t *testing.T) {
	table := Build(announce("a.com/ allow=ip:10.0.0.0/8", "meta a.com/"), rulesOf(), nil)
	if got := accessOfEndpoints(t, table, "a.com/")["s/i"]; got != "allow=ip:10.0.0.0/8" {
		t.Errorf("got %q", got)
	}
}

// A rule that was to be restricted and is broken is not replaced by an older one that is
// open; by one that is restricted it is, and every other broken one is replaced as ever.
func TestLastGoodRuleIsNoMoreOpen(t *testing.T) {
	const restricted = "a.com/ allow=ip:10.0.0.0/8"
	for name, c := range map[string]struct{ before, broken, access string }{
		"open, then a bad list":            {"a.com/", "a.com/ allow=nonsense", "gone"},
		"open, then two lists":             {"a.com/", restricted + " deny=ip:10.1.0.0/16", "gone"},
		"open, then a bad scheme":          {"a.com/", "a.com/ auth=", "gone"},
		"open, then a list in capitals":    {"a.com/", "a.com/ ALLOW=ip:10.0.0.0/8", "gone"},
		"open, then a list and a bad word": {"a.com/", restricted + " weight=x", "gone"},
		"open, then a bad word":            {"a.com/", "a.com/ weight=x", ""},
		"restricted, then a bad list":      {restricted, "a.com/ allow=nonsense", "allow=ip:10.0.0.0/8"},
		"restricted, then a bad word":      {restricted, "a.com/ weight=x", "allow=ip:10.0.0.0/8"},
		"by scheme, then a bad list":       {"a.com/ auth=staff", "a.com/ deny=", "auth=staff"},
	} {
		for kind, prefix := range map[string]string{"tag": "", "meta": "meta "} {
			t.Run(name+", "+kind, func(t *testing.T) {
				rules := rulesOf()
				table := Build(announce(prefix+c.before), rules, nil)
				for range 2 {
					table = Build(announce(prefix+c.broken), rules, table)
					if c.access == "gone" {
						if r := table.Match(hit("a.com/")); r != nil {
							t.Fatalf("is served:\n%s", dump(table))
						}
						continue
					}
					if got := accessOfEndpoints(t, table, "a.com/")["s/i"]; got != c.access {
						t.Errorf("got %q, want %q", got, c.access)
					}
				}
				if len(table.Refused()) != 1 || table.Refused()[0].NotServed {
					t.Errorf("refused %v", table.Refused())
				}
			})
		}
	}
}

// Of two rules of one meta key the one that broke is replaced, not the other.
func TestLastGoodRuleOfOneMetaKey(t *testing.T) {
	rules := rulesOf()
	table := Build(announce("meta a.com/", "meta b.com/ strip=/x"), rules, nil)
	for _, order := range [][]string{
		{"meta b.com/ strip=x", "meta a.com/"}, {"meta a.com/", "meta b.com/ weight=x"},
	} {
		after := Build(announce(order...), rules, table)
		for _, host := range []string{"a.com/", "b.com/"} {
			if got := found(after, hit(host)); got != host {
				t.Errorf("%q: %s is served by %q", order, host, got)
			}
		}
		if n := len(routeByID(t, after, "a.com/").Arms[0].Cluster.Endpoints); n != 1 {
			t.Errorf("%q: %d endpoints", order, n)
		}
		key := watcher.Key{Registry: "consul", Service: "s"}
		want := KeptRule{key, "i", watcher.FromMeta, "usher-route", "b.com/ strip=/x"}
		if got := after.Memory().Rules; !slices.Equal(got, []KeptRule{want}) {
			t.Errorf("%q: kept %v", order, got)
		}
	}
}

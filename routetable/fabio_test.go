package routetable

import (
	"fmt"
	"strings"
	"testing"

	"usher/watcher"
)

// The behaviour that a fleet tagged for Fabio relies on, row by row. X-Forwarded-Prefix
// and what is sent for auth= are the proxy's, $DC the registry's.
func TestFabio(t *testing.T) {
	one := func(tags ...string) []*watcher.Service {
		return []*watcher.Service{service("s", instance("i", tags...))}
	}
	// request is what is asked for. want is the source that serves it, and the share,
	// the rewritten request and the access of each endpoint; or why nothing is served.
	for row, cases := range map[string][]struct {
		services      []*watcher.Service
		request, want string
	}{
		"parsing: trimmed, spaces after the prefix": {
			{one("  a.com/x  "), "a.com/x", "a.com/x: s/i 1 /x"},
			{one("a.com/x   strip=/x\tweight=1"), "a.com/x", "a.com/x: s/i 1 /"},
		},
		"parsing: verbatim source": {
			{one(":3306 proto=tcp"), "a.com:3306/", "none"},
			{one(":3306 proto=tcp"), ":3306", ":3306: s/i 1 /"},
			{one(":3306"), ":3306", ":3306: s/i 1 /"},
			{one(":3306"), ":3307", "none"},
			{one("a.com"), "a.com/x", "a.com/: s/i 1 /x"},
		},
		"parsing: host lower-cased, path's case kept": {
			{one("A.Com/X"), "a.com/X", "a.com/X: s/i 1 /X"}, {one("A.Com/X"), "a.com/x", "none"},
		},
		"parsing: a duplicate key, the last wins": {{one("a.com/ strip=/a strip=/b"), "a.com/b/c", "a.com/: s/i 1 /c"}},
		"parsing: unknown keys are kept": {
			{one("a.com/ x=1"), "a.com/", "a.com/: s/i 1 / (unknown option x)"},
		},
		"parsing: unusable, refused alone": {
			{one("a.com/ weight=x", "b.com/"), "a.com/", `weight "x" is not a share between 0 and 1`},
			{one("a.com/ weight=x", "b.com/"), "b.com/", "b.com/: s/i 1 /"},
		},
		"proto": {
			{one("a.com/ proto=http"), "a.com/", "a.com/: s/i 1 /"},
			{one("a.com/ proto=https"), "a.com/", "a.com/: s/i 1 /"},
			{one("a.com/ proto=tcp"), "a.com/", "none"},
			{one("a.com/ proto=tcp"), "sni a.com", "a.com/ proto=tcp: s/i 1 /"},
			{one("a.com/x proto=tcp"), "sni a.com", "a connection that is passed on has no path"},
			{one("*.a.com proto=tcp"), "sni x.a.com", "*.a.com/ proto=tcp: s/i 1 /"},
			{one("*.a.com proto=tcp", "b.a.com proto=tcp"), "sni b.a.com", "b.a.com/ proto=tcp: s/i 1 /"},
			{one("a.com:8443 proto=tcp"), "sni a.com:8443", "a.com:8443/ proto=tcp: s/i 1 /"},
			{one("a.com:8443 proto=tcp"), "sni a.com:8444", "none"},
			{one(":1 proto=grpc"), ":1", "a port has proto=tcp, or proto=https where the instance speaks TLS"},
			{one("/ proto=tcp"), ":1", "proto=tcp wants a port, or the name that TLS clients ask for"},
			{
				one("a.com/ proto=tcp redirect=301,https://b.com"), "sni a.com",
				"redirect= makes no sense where connections are passed on",
			},
			{
				one(":1 strip=/a"), ":1",
				":1: s/i 1 / (strip=, prepend= and host= have no effect on connections that are passed on)",
			},
			{one("a.com/ proto=grpc"), "a.com/", "a.com/: s/i 1 /"},
			{one("a.com/ proto=grpcs"), "a.com/", "a.com/: s/i 1 /"},
			{one("a.com/ proto=gopher"), "a.com/", "proto=gopher is not one of http, https, h2, h2c, grpc, grpcs, tcp"},
		},
		"weight": {
			{
				[]*watcher.Service{
					service("s", instance("i", "a.com/ weight=0.2"), instance("j", "a.com/"), instance("k", "a.com/")),
				},
				"a.com/", "a.com/: s/i 0.2 /, s/j 0.4 /, s/k 0.4 /",
			},
			{
				[]*watcher.Service{
					service("s", instance("i", "a.com/ weight=0.1"), instance("j", "a.com/ weight=0.1")),
				},
				"a.com/", "a.com/: s/i 0.5 /, s/j 0.5 /",
			},
			{
				[]*watcher.Service{service("s", instance("i", "a.com/ weight=3"), instance("j", "a.com/ weight=1"))},
				"a.com/", "a.com/: s/i 0.75 /, s/j 0.25 /",
			},
			{
				[]*watcher.Service{service("s", instance("i", "a.com/ weight=0"), instance("j", "a.com/"))},
				"a.com/", "a.com/: s/i 0 /, s/j 1 /",
			},
		},
		"redirect": {
			{
				one("a.com/ redirect=301,https://b.com$path"),
				"a.com/x?y=z",
				"a.com/: s/i 1 /x?y=z 301 https://b.com/x?y=z",
			},
			{one("a.com/ redirect=301,https://b.com/$path"), "a.com/x", "a.com/: s/i 1 /x 301 https://b.com/x"},
			{one("a.com/ redirect=301,https://b.com"), "a.com/x?y=z", "a.com/: s/i 1 /x?y=z 301 https://b.com/"},
			{one("a.com/ redirect=302,https://b.com/?a=$path"), "a.com/x", "a.com/: s/i 1 /x 302 https://b.com/?a=/x"},
			{one("*/ redirect=307,https://$host$path"), "a.com:81/x", "*/: s/i 1 /x 307 https://a.com/x"},
			{
				one("a.com/a strip=/a prepend=/b redirect=308,https://b.com/c$path"),
				"a.com/a/x",
				"a.com/a: s/i 1 /b/x 308 https://b.com/c/b/x",
			},
			{one("a.com/ proto=https redirect=301,https://b.com/$x"), "a.com/", "a.com/: s/i 1 / 301 https://b.com/$x"},
			{
				one("a.com/ redirect=200,https://b.com"),
				"a.com/",
				`redirect="200,https://b.com" does not begin with a code from 300 to 399`,
			},
			{one("a.com/ redirect=301"), "a.com/", `redirect="301" names no URL`},
		},
		"strip and prepend": {
			{one("a.com/a strip=/a"), "a.com/a/x", "a.com/a: s/i 1 /x"},
			{one("a.com/a strip=/a"), "a.com/ab", "a.com/a: s/i 1 /b"},
			{one("a.com/ prepend=/b"), "a.com/x", "a.com/: s/i 1 /b/x"},
			{one("a.com/a prepend=/b strip=/a"), "a.com/a/x", "a.com/a: s/i 1 /b/x"},
		},
		"host": {
			{one("a.com/ host=b.com"), "a.com/", "a.com/: s/i 1 / host=b.com"},
			{one("a.com/ host=dst"), "a.com/", "a.com/: s/i 1 / host=dst"},
		},
		"tlsskipverify": {{one("a.com/ tlsskipverify=true"), "a.com/", "a.com/: s/i 1 /"}},
		"pxyproto": {
			{one("a.com/ pxyproto=true"), "a.com/", "a.com/: s/i 1 / proxy=v1"},
			{one("a.com/ pxyproto=false"), "a.com/", "a.com/: s/i 1 /"},
		},
		"register":       {{one("a.com/ register=x"), "a.com/", "a.com/: s/i 1 / (register=x: nothing is registered)"}},
		"grpcservername": {{one("a.com/ grpcservername=x"), "a.com/", "a.com/: s/i 1 /"}},
		"auth":           {{one("a.com/ auth=staff"), "a.com/", "a.com/: s/i 1 / auth=staff"}},
		"allow and deny": {
			{
				one("a.com/ allow=ip:10.0.0.0/8,ip:192.0.2.7"),
				"a.com/",
				"a.com/: s/i 1 / allow=ip:10.0.0.0/8,ip:192.0.2.7/32",
			},
			{one("a.com/ deny=ip:fe80::1"), "a.com/", "a.com/: s/i 1 / deny=ip:fe80::1/128"},
			{one("a.com/ allow=ip:::1 deny=ip:::2"), "a.com/", "allow= and deny= exclude each other"},
			{one("a.com/ deny=geo:DE"), "a.com/", `deny="geo:DE": "geo:DE" is not ip: and an address or a network`},
		},
		"listener (usher's own)": {
			{one("a.com/ listener=web"), "a.com/", "a.com/ listener=web: s/i 1 /"},
			{one("a.com/ listener=x"), "a.com/", "none"},
		},
		"services that announce the same source share it": {{
			[]*watcher.Service{
				service("s", instance("i", "a.com/ strip=/x")),
				service("t", instance("j", "a.com/ host=dst")),
			},
			"a.com/x", "a.com/: s/i 0.5 /, t/j 0.5 /x host=dst",
		}},
		"one rule per tag per instance": {
			{one("a.com/", "b.com/"), "a.com/", "a.com/: s/i 1 /"},
			{one("a.com/", "b.com/"), "b.com/", "b.com/: s/i 1 /"},
		},
		"host matching: default ports": {
			{one("a.com:80/"), "a.com/", "a.com/: s/i 1 /"},
			{one("a.com:443/"), "a.com/", "a.com/: s/i 1 /"},
			{one("a.com/"), "a.com:8080/", "a.com/: s/i 1 /"},
			{one("a.com:81/"), "a.com/", "none"},
			{one("a.com:81/", "a.com/"), "a.com:81/", "a.com:81/: s/i 1 /"},
			{one("*:80/"), "a.com/", "*/: s/i 1 /"},
		},
		"host matching: exact, then the most specific suffix": {
			{one("*/", "*.foo.com/", "*.a.foo.com/", "b.a.foo.com/"), "b.a.foo.com/", "b.a.foo.com/: s/i 1 /"},
			{one("*/", "*.foo.com/", "*.a.foo.com/"), "b.a.foo.com/", "*.a.foo.com/: s/i 1 /"},
			{one("*/", "*.foo.com/"), "b.a.foo.com/", "*.foo.com/: s/i 1 /"},
			{one("*/", "/"), "b.a.foo.com/", "*/: s/i 1 /"},
		},
		"host matching: fall-through": {
			{one("a.foo.com/x", "*.foo.com/y", "/"), "a.foo.com/y", "*.foo.com/y: s/i 1 /y"},
			{one("a.foo.com/x", "*.foo.com/y", "/"), "a.foo.com/z", "/: s/i 1 /z"},
		},
		"path matching: prefix, the longest wins": {
			{one("/foo"), "a.com/foobar", "/foo: s/i 1 /foobar"},
			{one("/foo", "/foo/bar"), "a.com/foo/bar", "/foo/bar: s/i 1 /foo/bar"},
			{one("/foo matcher=prefix"), "a.com/FOO", "none"},
		},
		"path matching: glob": {
			{one("/foo/*/x matcher=glob"), "a.com/foo/a/b/x", "/foo/*/x matcher=glob: s/i 1 /foo/a/b/x"},
			{one("/foo/*/x matcher=glob"), "a.com/foo/a/b", "none"},
			{one("/f?o matcher=glob"), "a.com/fao", "/f?o matcher=glob: s/i 1 /fao"},
			{one("/* matcher=glob", "/*/x matcher=glob"), "a.com/b/x", "/*/x matcher=glob: s/i 1 /b/x"},
		},
		"path matching: iprefix": {
			{one("/foo matcher=iprefix"), "a.com/FOObar", "/foo matcher=iprefix: s/i 1 /FOObar"},
			{one("/FOO matcher=iprefix", "/F matcher=iprefix"), "a.com/foo", "/FOO matcher=iprefix: s/i 1 /foo"},
			{one("/FOO matcher=iprefix", "/foo"), "a.com/foo", "/foo: s/i 1 /foo"},
			{one("/k matcher=iprefix"), "a.com/\u212a", "none"},
			{one("/foo matcher=iprefix"), "a.com/fo", "none"},
		},
		"path matching: unknown matcher": {
			{one("/foo matcher=regex"), "a.com/foo", "matcher=regex is not one of prefix, glob, iprefix"},
		},
	} {
		t.Run(row, func(t *testing.T) {
			for _, c := range cases {
				if got := outcome(Build(catalogOf(c.services...), rulesOf(), nil), c.request); got != c.want {
					t.Errorf("%s\ngot  %s\nwant %s", c.request, got, c.want)
				}
			}
		})
	}
}

// outcome says what becomes of a request, of a connection to a port (":3306"), or of one
// that asks for a name ("sni a.com"): see TestFabio.
func outcome(table *Table, request string) string {
	q := hit(request)
	r := table.Match(q)
	if port, ok := strings.CutPrefix(request, ":"); ok {
		r = table.MatchPort("web", port)
	} else if name, ok := strings.CutPrefix(request, "sni "); ok {
		name, port, _ := strings.Cut(name, ":")
		r = table.MatchName("web", port, []byte(name))
	}
	if r == nil {
		if refused := table.Refused(); len(refused) > 0 {
			return refused[0].Reason
		}
		return "none"
	}
	var parts []string
	var sum float64
	for _, e := range r.Arms[0].Cluster.Endpoints {
		sum += e.Weight
	}
	for _, e := range r.Arms[0].Cluster.Endpoints {
		rewrite := Rewrite{}
		if e.Rewrite != nil {
			rewrite = *e.Rewrite
		}
		part := fmt.Sprintf("%s/%s %.3g %s", e.Service.Service, e.ID, e.Weight/sum, rewrite.Target(nil, q.Path))
		if rewrite.Host != "" {
			part += " host=" + rewrite.Host
		}
		if e.Redirect != nil {
			asked := Asked{Scheme: "http", Host: q.Host, HostPort: q.HostPort, Target: q.Path}
			part += fmt.Sprintf(" %d %s", e.Redirect.Code, e.Redirect.AppendLocation(nil, &asked))
		}
		if e.ProxyProtocol != "" {
			part += " proxy=" + e.ProxyProtocol
		}
		part = strings.TrimSpace(part)
		parts = append(parts, strings.TrimSpace(part+" "+e.Access.String()))
	}
	out := r.ID + ": " + strings.Join(parts, ", ")
	for _, n := range table.Notices() {
		out += " (" + n.Reason + ")"
	}
	return out
}

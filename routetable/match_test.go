package routetable

import (
	"testing"

	"usher/config"
)

func TestHostPrecedence(t *testing.T) {
	all := []string{
		"shop.foo.com/", "shop.foo.com:8080/", "*.foo.com/", "*.a.foo.com/", "*bar.com/", "api.*.com/",
		"*.foo.com:9000/", "gate:*/", "*/", "/",
	}
	without := func(skip ...string) []string {
		var out []string
	next:
		for _, src := range all {
			for _, s := range skip {
				if s == src {
					continue next
				}
			}
			out = append(out, src)
		}
		return out
	}
	for name, c := range map[string]struct {
		rules         []string
		request, want string
	}{
		"exact":                                {all, "shop.foo.com/x", "shop.foo.com/"},
		"host:port before host":                {all, "shop.foo.com:8080/x", "shop.foo.com:8080/"},
		"host after host:port":                 {all, "shop.foo.com:8081/x", "shop.foo.com/"},
		"suffix":                               {all, "x.foo.com/", "*.foo.com/"},
		"suffix with a port":                   {all, "x.foo.com:1/", "*.foo.com/"},
		"star crosses dots":                    {all, "x.y.foo.com/", "*.foo.com/"},
		"longer suffix first":                  {all, "x.a.foo.com/", "*.a.foo.com/"},
		"longer suffix, dots crossed":          {all, "y.x.a.foo.com/", "*.a.foo.com/"},
		"the bare domain is no subdomain":      {all, "foo.com/", "*/"},
		"a.foo.com is under *.foo.com":         {all, "a.foo.com/", "*.foo.com/"},
		"suffix within a label":                {all, "xbar.com/", "*bar.com/"},
		"suffix within a label, itself":        {all, "bar.com/", "*bar.com/"},
		"suffix within a label, deeper":        {all, "x.ybar.com/", "*bar.com/"},
		"glob":                                 {all, "api.x.com/", "api.*.com/"},
		"longer suffix before glob":            {all, "api.foo.com/", "*.foo.com/"},
		"glob without the suffix":              {without("*.foo.com/"), "api.foo.com/", "api.*.com/"},
		"pattern with a port":                  {all, "x.foo.com:9000/", "*.foo.com:9000/"},
		"any port":                             {all, "gate:1234/", "gate:*/"},
		"any port needs a port":                {all, "gate/", "*/"},
		"star before host-less":                {all, "elsewhere.org/", "*/"},
		"host-less":                            {without("*/"), "elsewhere.org/", "/"},
		"no host":                              {without("*/"), "/x", "/"},
		"no host, star":                        {all, "/x", "*/"},
		"nothing fits":                         {[]string{"a.com/", "*.b.com/", "c.*.com/"}, "d.com/", ""},
		"case of a rule's host":                {[]string{"Shop.FOO.com/"}, "shop.foo.com/", "shop.foo.com/"},
		"default port of a rule":               {[]string{"a.com:80/"}, "a.com/", "a.com/"},
		"default TLS port of a rule":           {[]string{"a.com:443/"}, "a.com/", "a.com/"},
		"default port of a rule and request":   {[]string{"a.com:80/"}, "a.com:80/", "a.com/"},
		"any plain host":                       {[]string{"*:80/"}, "a.com/", "*/"},
		"IPv6":                                 {[]string{"[::1]/", "/"}, "[::1]/", "[::1]/"},
		"IPv6 with a port":                     {[]string{"[::1]:8080/", "[::1]/"}, "[::1]:8080/", "[::1]:8080/"},
		"IPv6, other port":                     {[]string{"[::1]:8080/", "[::1]/"}, "[::1]:8081/", "[::1]/"},
		"fall through: host:port to host":      {[]string{"a.com:81/x", "a.com/"}, "a.com:81/y", "a.com/"},
		"fall through: host to suffix":         {[]string{"a.com/x", "*.com/"}, "a.com/y", "*.com/"},
		"fall through: suffix to suffix":       {[]string{"*.a.com/x", "*.com/"}, "b.a.com/y", "*.com/"},
		"fall through: glob to suffix":         {[]string{"b*.a.com/x", "*.com/"}, "b.a.com/y", "*.com/"},
		"fall through: pattern to host-less":   {[]string{"*.a.com/x", "*/x", "/"}, "b.a.com/y", "/"},
		"fall through: nothing in the end":     {[]string{"a.com/x", "*.com/x", "/x"}, "a.com/y", ""},
		"a longer path elsewhere is no reason": {[]string{"a.com/", "*.com/long/path"}, "a.com/long/path", "a.com/"},
	} {
		t.Run(name, func(t *testing.T) {
			table := Build(announce(c.rules...), rulesOf(), nil)
			if len(table.Refused()) > 0 {
				t.Fatalf("refused: %v", table.Refused())
			}
			if got := found(table, hit(c.request)); got != c.want {
				t.Errorf("%s: got %q, want %q", c.request, got, c.want)
			}
		})
	}
}

// path is a configured route without a host, named after its path.
func path(pathType, path string) config.Route {
	return config.Route{Name: path, Service: "s", Match: config.Match{Path: path, PathType: pathType}}
}

func TestPathPrecedence(t *testing.T) {
	low, high := path("glob", "/g/*"), path("glob", "/g/*/")
	low.Name, low.Priority = "high", 1
	high.Name = "low"
	rules := rulesOf(
		path("prefix", "/foo"), path("prefix", "/foo/bar"), path("prefix", "/foo/bar/"), path("exact", "/foo/exact"),
		path("glob", "/*/edit"), path("glob", "/img/?.png"), path("regex", `/v[0-9]+/`), path("regex", `/(?i)case$`),
		path("glob", "/*/longer/edit"), low, high,
	)
	table := Build(catalogOf(), rules, nil)
	for name, c := range map[string]struct{ path, want string }{
		"prefix":                          {"/foo", "/foo"},
		"prefix is a plain string":        {"/foobar", "/foo"},
		"prefix ends within a segment":    {"/foo/barely", "/foo/bar"},
		"longest prefix":                  {"/foo/bar/baz", "/foo/bar/"},
		"exact before prefix":             {"/foo/exact", "/foo/exact"},
		"exact takes nothing longer":      {"/foo/exact/", "/foo"},
		"prefix before glob":              {"/foo/edit", "/foo"},
		"glob":                            {"/x/edit", "/*/edit"},
		"glob crosses slashes":            {"/x/y/edit", "/*/edit"},
		"glob is anchored":                {"/x/edit/y", ""},
		"the longer glob":                 {"/x/longer/edit", "/*/longer/edit"},
		"one character":                   {"/img/a.png", "/img/?.png"},
		"one character, two":              {"/img/ab.png", ""},
		"one character beyond ASCII":      {"/img/é.png", "/img/?.png"},
		"regex":                           {"/v12/x", "/v[0-9]+/"},
		"regex is anchored in front":      {"/x/v12/", ""},
		"regex with flags":                {"/CASE", "/(?i)case$"},
		"regex anchored behind by itself": {"/case/", ""},
		"priority before length":          {"/g/x/", "high"},
		"case counts":                     {"/FOO", ""},
		"nothing":                         {"/", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := found(table, hit(c.path)); got != c.want {
				t.Errorf("%s: got %q, want %q", c.path, got, c.want)
			}
		})
	}
}

func TestPredicates(t *testing.T) {
	route := func(name string, priority int, m config.Match) config.Route {
		m.Path = "/p"
		return config.Route{Name: name, Service: "s", Match: m, Priority: priority}
	}
	rules := rulesOf(
		route("any", 0, config.Match{}),
		route("internal", 0, config.Match{Listeners: []string{"internal"}}),
		route("post", 0, config.Match{Methods: []string{"POST", "PUT"}}),
		route("beta", 0, config.Match{Headers: map[string]string{"X-Beta": "1"}}),
		route("both", 0, config.Match{Headers: map[string]string{"X-Beta": "1", "X-Who": "me"}}),
		route("urgent", 5, config.Match{Headers: map[string]string{"X-Urgent": "yes"}}),
		config.Route{Name: "shorter", Service: "s", Match: config.Match{Path: "/"}, Priority: 100},
	)
	table := Build(catalogOf(), rules, nil)
	beta := func() *Request { return withHeader(hit("/p"), "X-Beta", "1") }
	internal := func(q *Request) *Request {
		q.Listener = "internal"
		return q
	}
	for name, c := range map[string]struct {
		q    *Request
		want string
	}{
		"none":                               {hit("/p"), "any"},
		"listener":                           {internal(hit("/p")), "internal"},
		"method":                             {hit("POST /p"), "post"},
		"second method":                      {hit("PUT /p"), "post"},
		"methods are case-sensitive":         {hit("post /p"), "any"},
		"header":                             {beta(), "beta"},
		"header of another value":            {withHeader(hit("/p"), "X-Beta", "12"), "any"},
		"more conditions first":              {withHeader(beta(), "X-Who", "me"), "both"},
		"priority before conditions":         {withHeader(beta(), "X-Urgent", "yes"), "urgent"},
		"longer path before higher priority": {hit("/pp"), "any"},
		"no longer path":                     {hit("/q"), "shorter"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := found(table, c.q); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// Of a path's routes those whose conditions fail leave the request to the next
// shorter prefix, then to the patterns, then to the next host.
func TestConditionsFallThrough(t *testing.T) {
	post := config.Match{Methods: []string{"POST"}}
	with := func(name string, hosts []string, path, pathType string) config.Route {
		m := post
		m.Hosts, m.Path, m.PathType = hosts, path, pathType
		if name == "shorter" || name == "pattern" || name == "elsewhere" {
			m.Methods = nil
		}
		return config.Route{Name: name, Service: "s", Match: m}
	}
	table := Build(catalogOf(), rulesOf(
		with("exact", []string{"a.com"}, "/x/y", "exact"), with("prefix", []string{"a.com"}, "/x/y", "prefix"),
		with("shorter", []string{"a.com"}, "/x/", "prefix"),
		with("literal", []string{"a.com"}, "/z", "prefix"), with("pattern", []string{"a.com"}, "/z*z", "glob"),
		with("last", []string{"a.com"}, "/last", "prefix"), with("elsewhere", nil, "/", "prefix"),
	), nil)
	for request, want := range map[string]string{
		"POST a.com/x/y":  "exact",
		"POST a.com/x/yy": "prefix",
		"GET a.com/x/y":   "shorter",
		"POST a.com/zz":   "literal",
		"GET a.com/zz":    "pattern",
		"POST a.com/last": "last",
		"GET a.com/last":  "elsewhere",
		"GET b.com/x/y":   "elsewhere",
	} {
		if got := found(table, hit(request)); got != want {
			t.Errorf("%s: got %q, want %q", request, got, want)
		}
	}
}

func TestEmptyTable(t *testing.T) {
	for name, table := range map[string]*Table{
		"zero":          {},
		"empty catalog": Build(catalogOf(), rulesOf(), nil),
	} {
		if got := table.Match(hit("a.com:80/x")); got != nil {
			t.Errorf("%s: got %q", name, got.ID)
		}
	}
}

// Match allocates nothing, whichever way a route is found.
func TestMatchAllocs(t *testing.T) {
	beta := config.Route{Name: "beta", Service: "s", Match: config.Match{
		Hosts: []string{"beta.com"}, Path: "/", Headers: map[string]string{"X-Beta": "1"},
		Methods: []string{"GET"}, Listeners: []string{"web"},
	}}
	glob := config.Route{Name: "glob", Service: "s", Match: config.Match{
		Hosts: []string{"glob.com"}, Path: "/a/*/z", PathType: "glob",
	}}
	table := Build(announce("a.com/", "a.com:81/", "a.com/long/path", "*.a.com/", "w*.b.com/", "c.com/x", "/"),
		rulesOf(beta, glob), nil)
	one := []byte("1")
	for _, request := range []string{
		"a.com/x", "a.com:81/x", "a.com/long/path/x", "x.a.com/", "www.b.com/", "www.b.com:81/", "c.com/y", "none.org/",
		"beta.com/", "glob.com/a/b/z",
	} {
		q := hit(request)
		q.Header = func(string) []byte { return one }
		n := testing.AllocsPerRun(200, func() { table.Match(q) })
		for range 3 { // the runtime, which cleans up behind other tests, is counted too
			n = min(n, testing.AllocsPerRun(200, func() { table.Match(q) }))
		}
		if n != 0 {
			t.Errorf("%s: %v allocations", request, n)
		}
	}
}

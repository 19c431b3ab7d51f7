package routetable

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"usher/config"
)

// traced matches with a complete trace.
func traced(table *Table, q *Request) (*Route, []Tried) {
	q.Trace = &Trace{}
	defer func() { q.Trace = nil }()
	r := table.Match(q)
	table.Explain(q, r)
	return r, q.Trace.Tried
}

// candidates are all routes whose host and path fit, under each host that does, in the
// order of the reference.
func candidates(routes []*Route, q *Request) []Tried {
	type ranked struct {
		Tried
		rank []int
	}
	var all []ranked
	for _, r := range routes {
		for _, h := range r.Hosts {
			if rank := hostRank(h, q); rank[0] > 0 && referencePath(r, string(q.Path)) {
				all = append(all, ranked{triedOf(r, h), append(rank, pathRank(r)...)})
			}
		}
	}
	slices.SortFunc(all, func(a, b ranked) int {
		return cmp.Or(slices.Compare(b.rank, a.rank), cmp.Compare(a.ID, b.ID))
	})
	out := make([]Tried, 0, len(all))
	for _, r := range all {
		out = append(out, r.Tried)
	}
	return out
}

func place(e *Tried) string { return fmt.Sprintf("%s under %q", e.ID, e.Host) }

// tracesWell checks that a trace holds every candidate in the order of the reference, that
// what was looked at before the winner lost for a reason, and that tracing changes nothing.
func tracesWell(t *testing.T, d draw) {
	t.Helper()
	table := randomTable(d)
	for range 8 {
		q := randomRequest(d)
		want := table.Match(q)
		got, tried := traced(table, q)
		if got != want {
			t.Fatalf("%v with a trace, %v without", idOf(got), idOf(want))
		}
		var order, fit []string
		won := 0
		for i := range tried {
			e := &tried[i]
			if e.Why == "" {
				t.Errorf("%s: no reason", place(e))
			}
			if e.Won {
				won++
				if e.Route != got {
					t.Errorf("%s won, and it is %s", place(e), idOf(got))
				}
			}
			if e.Route != nil && !strings.HasPrefix(e.Why, "the path ") {
				order = append(order, place(e))
			}
		}
		for _, e := range candidates(table.Routes(), q) {
			fit = append(fit, place(&e))
		}
		if !slices.Equal(order, fit) {
			t.Errorf("%s %s%s: the trace has\n  %s, and there are\n  %s", q.Method, q.HostPort, q.Path,
				strings.Join(order, ", "), strings.Join(fit, ", "))
		}
		if (won == 1) != (got != nil) {
			t.Errorf("%d won", won)
		}
	}
}

func TestTraceAgreesWithMatch(t *testing.T) {
	n := 4_000
	if testing.Short() {
		n = 500
	}
	for seed := range uint64(n) {
		tracesWell(t, rand.New(rand.NewPCG(seed, 3)).IntN)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// explained is a trace in a few words: marks, IDs and reasons.
func explained(table *Table, q *Request) string {
	_, tried := traced(table, q)
	var b strings.Builder
	for _, e := range tried {
		mark := "-"
		if e.Won {
			mark = "+"
		}
		fmt.Fprintf(&b, "%s %s: %s\n", mark, e.ID, strings.ReplaceAll(e.Why, "; ", ";\n    "))
	}
	return b.String()
}

func TestTraceSaysWhy(t *testing.T) {
	route := func(name string, m config.Match) config.Route {
		return config.Route{Name: name, Service: "s", Match: m}
	}
	for name, c := range map[string]struct {
		routes   []config.Route
		announce []string
		request  *Request
		want     string
	}{
		"nothing": {request: hit("a.com/"), want: ""},
		"the conditions": {
			routes: []config.Route{
				route("listener", config.Match{Listeners: []string{"in", "out"}}),
				route("method", config.Match{Methods: []string{"POST", "PUT"}}),
				route("grpc", config.Match{GRPC: &config.GRPCMatch{}}),
				route("header", config.Match{Headers: map[string]string{"X-B": "1"}}),
				route("value", config.Match{Headers: map[string]string{"X-A": "1"}}),
				route("regex", config.Match{HeadersRegex: map[string]string{"X-A": "^1"}}),
				route("query", config.Match{Query: map[string]string{"v": "2"}}),
			},
			request: withHeader(hit("a.com/"), "X-A", "2"),
			want: `- grpc: it takes calls of gRPC alone, and this is none
- header: header X-B is not there;
    it must be "1"
- listener: it is on listener in or out, not on web
- method: it takes POST or PUT, not GET
- query: the query has no v=2
- regex: header X-A is "2", not of the form ^1
- value: header X-A is "2", not "1"
`,
		},
		"precedence": {
			announce: []string{
				"a.com/x/y", "a.com/x", "a.com/", "*.com/x", "/", "a.com/*/y matcher=glob", "meta a.com/x listener=web",
			},
			routes: []config.Route{
				route("exact", config.Match{Hosts: []string{"a.com"}, Path: "/x", PathType: "exact"}),
			},
			request: hit("a.com/x/yy"),
			want: `+ a.com/x/y: its host is named;
    the longest prefix of its path
- a.com/x listener=web: a longer prefix goes before it: /x/y
- a.com/x: a longer prefix goes before it: /x/y
- a.com/: a longer prefix goes before it: /x/y
- *.com/x: the host a.com goes before *.com
- /: the host a.com goes before any
`,
		},
		"the same match": {
			routes: []config.Route{
				{Name: "low", Service: "s", Priority: -1},
				{Name: "more", Service: "s", Match: config.Match{Methods: []string{"GET"}}},
				{Name: "first", Service: "s"},
				{Name: "other", Service: "s"},
				{Name: "post", Service: "s", Match: config.Match{Methods: []string{"POST"}}},
			},
			announce: []string{"/"},
			request:  hit("a.com/"),
			want: `+ more: no rule of this host takes it, and this is for any;
    the longest prefix of its path
- post: more is equally good, and first by name;
    and it takes POST, not GET
- first: more has more conditions
- other: more has more conditions
- low: more has the priority 0, this -1
- /: it claims the same match, which config has before kv, meta and tag, and the first before others
`,
		},
		"patterns": {
			routes: []config.Route{
				route("long", config.Match{Path: "/long/[a-z]+", PathType: "regex"}),
				route("short", config.Match{Path: "/lo*", PathType: "glob"}),
				route("never", config.Match{Path: "/long/never/[a-z]+", PathType: "regex"}),
			},
			request: hit("a.com/long/x"),
			want: `- never: the path "/long/x" does not fit the regex
+ long: no rule of this host takes it, and this is for any;
    no literal path takes it, and of the patterns this regex comes first
- short: a longer pattern goes before it: /long/[a-z]+
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			table := Build(announce(c.announce...), rulesOf(c.routes...), nil)
			if got := explained(table, c.request); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

// The rules that fit may be many: those beyond a bound are counted.
func TestTraceIsBounded(t *testing.T) {
	var rules []string
	for i := range mostUntried + 7 {
		rules = append(rules, "a.com/"+strings.Repeat("a", i))
	}
	table := Build(announce(rules...), rulesOf(), nil)
	_, tried := traced(table, hit("a.com/"+strings.Repeat("a", mostUntried+6)))
	last := tried[len(tried)-1]
	if len(tried) != mostUntried+2 || last.Why != "6 more rules fit and were not looked at" {
		t.Errorf("%d tried, the last: %+v", len(tried), last)
	}
}

func TestTracePort(t *testing.T) {
	table := Build(announce(":3306 proto=tcp"), rulesOf(
		config.Route{Name: "db", Protocol: "tcp", Service: "s", Match: config.Match{Listeners: []string{"db"}}},
		config.Route{Name: "rest", Protocol: "tcp", Service: "s"},
	), nil)
	for listener, want := range map[string]string{"db": "db", "other": ":3306"} {
		trace := &Trace{}
		r := table.TracePort(listener, "3306", trace)
		won := slices.IndexFunc(trace.Tried, func(e Tried) bool { return e.Won })
		if idOf(r) != want || won < 0 || trace.Tried[won].Route != r || len(trace.Tried) < 2 {
			t.Errorf("%s: %s, %+v", listener, idOf(r), trace.Tried)
		}
		if table.MatchPort(listener, "3306") != r {
			t.Errorf("%s: another route without a trace", listener)
		}
	}
}

func TestTraceName(t *testing.T) {
	table := Build(announce("a.com/ proto=tcp", "*.com/ proto=tcp"), rulesOf(
		config.Route{Name: "any", Protocol: "tls-passthrough", Service: "s"},
	), nil)
	for name, want := range map[string]string{"a.com": "a.com/ proto=tcp", "b.com": "*.com/ proto=tcp", "": "any"} {
		trace := &Trace{}
		r := table.TraceName("web", "443", []byte(name), trace)
		first := trace.Tried[0]
		if idOf(r) != want || table.MatchName("web", "443", []byte(name)) != r || !first.Won || first.Why == "" {
			t.Errorf("%q: %s, %+v", name, idOf(r), trace.Tried)
		}
	}
}

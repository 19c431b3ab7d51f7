package routetable

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"usher/config"
)

// rule is a route of the configuration to the service s: "name host/path" and what edit
// makes of it.
func matching(name, source string, edit func(*config.Route)) config.Route {
	host, path, _ := strings.Cut(source, "/")
	r := config.Route{Name: name, Service: "s", Match: config.Match{Path: "/" + path}}
	if host != "" {
		r.Match.Hosts = []string{host}
	}
	if edit != nil {
		edit(&r)
	}
	return r
}

func TestShadowed(t *testing.T) {
	typed := func(word string) func(*config.Route) { return func(r *config.Route) { r.Match.PathType = word } }
	methods := func(words ...string) func(*config.Route) { return func(r *config.Route) { r.Match.Methods = words } }
	header := func(r *config.Route) { r.Match.Headers = map[string]string{"X": "1"} }
	urgent := func(r *config.Route) { r.Priority = 1 }
	urgentPost := func(r *config.Route) { r.Priority, r.Match.Methods = 1, []string{"POST", "GET"} }
	redirect := func(r *config.Route) {
		r.Service, r.Redirect, r.Priority = "", &config.Redirect{Code: 301, To: "https://$host$path"}, 1
	}
	for name, c := range map[string]struct {
		routes []config.Route
		want   []string
	}{
		"nothing": {[]config.Route{matching("a", "h/", nil), matching("b", "h/x", nil), matching("c", "g/", nil)}, nil},
		"the same match": {
			[]config.Route{matching("a", "h/", nil), matching("b", "h/", nil)},
			[]string{"b by a"},
		},
		"priority": {
			[]config.Route{matching("a", "h/", nil), matching("b", "h/", urgent)},
			[]string{"a by b"},
		},
		"a condition lets others through": {
			[]config.Route{matching("a", "h/", header), matching("b", "h/", nil)}, nil,
		},
		"the condition of the other": {
			[]config.Route{matching("a", "h/", header), matching("b", "h/", urgent)},
			[]string{"a by b"},
		},
		"fewer methods": {
			[]config.Route{matching("a", "h/", methods("GET")), matching("b", "h/", urgentPost)},
			[]string{"a by b"},
		},
		"more methods": {
			[]config.Route{matching("a", "h/", methods("GET", "PUT")), matching("b", "h/", urgentPost)}, nil,
		},
		"a redirect lets pass what is there": {
			[]config.Route{matching("a", "h/", redirect), matching("b", "h/", nil)}, nil,
		},
		"a pattern behind all paths": {
			[]config.Route{matching("a", "h/", nil), matching("b", "h/x.*", typed("regex"))},
			[]string{"b by a"},
		},
		"a glob below a prefix": {
			[]config.Route{
				matching("a", "h/api", nil), matching("b", "h/api/*/x", typed("glob")),
				matching("c", "h/a*/x", typed("glob")),
			},
			[]string{"b by a"},
		},
		"exact and prefix of one path": {
			[]config.Route{matching("a", "h/x", nil), matching("b", "h/x", typed("exact"))}, nil,
		},
		"any host behind a star": {
			[]config.Route{matching("a", "*/", nil), matching("b", "/x", nil), matching("c", "h/x", nil)},
			[]string{"b by a"},
		},
		"one of two hosts": {
			[]config.Route{
				matching("a", "h/", nil),
				matching("b", "h/", func(r *config.Route) { r.Match.Hosts = []string{"h", "g"} }),
			}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			table := Build(announce(), rulesOf(c.routes...), nil)
			var got []string
			for _, s := range table.Shadowed() {
				got = append(got, s.Route.ID+" by "+s.By.ID)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q of\n%s", got, c.want, dump(table))
			}
		})
	}
}

// No request reaches a route that is said to be hidden.
func TestShadowedIsNeverReached(t *testing.T) {
	hidden := 0
	for seed := range uint64(2_000) {
		d := draw(rand.New(rand.NewPCG(seed, 25)).IntN)
		table := randomTable(d)
		by := map[*Route]*Route{}
		for _, s := range table.Shadowed() {
			by[s.Route] = s.By
		}
		if hidden += len(by); len(by) == 0 {
			continue
		}
		for range 300 {
			q := randomRequest(d)
			if r := table.Match(q); by[r] != nil {
				t.Fatalf("seed %d: %s %s%s on %s reaches %s, hidden by %s, of\n%s", seed, q.Method, q.HostPort, q.Path,
					q.Listener, r.ID, by[r].ID, dump(table))
			}
		}
	}
	if hidden < 100 {
		t.Errorf("only %d routes were hidden", hidden)
	}
}

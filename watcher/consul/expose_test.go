package consul

import (
	"slices"
	"testing"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/watcher"
)

func TestWantsTags(t *testing.T) {
	type tags = []string
	for name, test := range map[string]struct {
		service        string
		tags           tags
		announced, all bool
	}{
		"nothing":            {"web", nil, false, true},
		"other tags":         {"web", tags{"v1", "xurlprefix-/"}, false, true},
		"a rule":             {"web", tags{"v1", "urlprefix-/"}, true, true},
		"asks":               {"web", tags{"usher-enable=true"}, true, true},
		"refuses":            {"web", tags{"usher-enable=false"}, false, true}, // some instance does
		"Consul":             {"consul", tags{"urlprefix-/"}, false, false},
		"usher":              {"usher", nil, false, false},
		"usher with a rule":  {"usher", tags{"urlprefix-/admin"}, true, true},
		"usher and it asks":  {"usher", tags{"usher-enable=true"}, true, true},
		"almost usher":       {"usher2", nil, false, true},
		"no name whatsoever": {"", nil, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			modes := map[string]bool{"announced": test.announced, "": test.announced, "all": test.all}
			for expose, want := range modes {
				m := &mapper{conf: config.Consul{TagPrefix: "urlprefix-", Expose: expose}, self: "usher"}
				if got := m.wantsTags(test.service, test.tags); got != want {
					t.Errorf("expose %q: got %v", expose, got)
				}
			}
		})
	}
}

// TestDefaultRoute tells, for each instance of a service, the rules it ends with.
func TestDefaultRoute(t *testing.T) {
	type service = []*api.ServiceEntry
	with := func(id string, tags ...string) *api.ServiceEntry {
		return entry(func(e *api.ServiceEntry) { e.Service.ID, e.Service.Service, e.Service.Tags = id, "Web", tags })
	}
	const on, off, rule, own = "usher-enable=true", "usher-enable=false", "web.apps/ host=web", "/own"
	const ownTag = "urlprefix-" + own
	byMeta := with("m")
	byMeta.Service.Meta = map[string]string{"usher-enable": "true"}
	for name, test := range map[string]struct {
		expose, self string
		entries      service
		want         []string
	}{
		"nobody asks":              {"announced", "", service{with("a"), with("b")}, []string{"", ""}},
		"all ask":                  {"announced", "", service{with("a", on), byMeta}, []string{rule, rule}},
		"one asks":                 {"announced", "", service{with("a"), with("b", on)}, []string{"", rule}},
		"one announces":            {"announced", "", service{with("a", ownTag), with("b", on)}, []string{own, ""}},
		"one asks and announces":   {"announced", "", service{with("a", on, ownTag)}, []string{own}},
		"all are exposed":          {"all", "", service{with("a"), with("b", on)}, []string{rule, rule}},
		"exposed, one announces":   {"all", "", service{with("a"), with("b", ownTag)}, []string{"", own}},
		"exposed, one refuses":     {"all", "", service{with("a"), with("b", off)}, []string{rule}},
		"usher itself":             {"all", "Web", service{with("a")}, []string{""}},
		"usher itself, asking":     {"all", "Web", service{with("a", on)}, []string{rule}},
		"a refused one's rule":     {"all", "", service{with("a", ownTag, off), with("b")}, []string{rule}},
		"nobody is there":          {"all", "", nil, nil},
		"an empty rule is a rule ": {"all", "", service{with("a", "urlprefix-")}, []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			m := &mapper{self: test.self, conf: config.Consul{
				TagPrefix: "urlprefix-", Expose: test.expose, DefaultRoute: "{service}.apps/ host={service}",
			}}
			var got []string
			for _, in := range m.instances(test.entries) {
				text := ""
				for _, a := range in.Announcements {
					text += a.Text
					if (a.Text == rule) != (a.Origin == watcher.FromDefault && a.Where == "default_route") {
						t.Errorf("%+v", a)
					}
				}
				got = append(got, text)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestNoDefaultRoute: without one, who takes part and announces nothing has no rule.
func TestNoDefaultRoute(t *testing.T) {
	m := &mapper{conf: config.Consul{TagPrefix: "urlprefix-", Expose: "all"}}
	got := m.instances([]*api.ServiceEntry{entry(nil)})
	if len(got) != 1 || len(got[0].Announcements) != 0 {
		t.Errorf("got %+v", got)
	}
}

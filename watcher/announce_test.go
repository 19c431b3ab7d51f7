package watcher_test

import (
	"math"
	"reflect"
	"testing"

	"usher/watcher"
)

func TestAnnouncements(t *testing.T) {
	tag := func(where, text string) watcher.Announcement {
		return watcher.Announcement{Origin: watcher.FromTag, Where: where, Text: text}
	}
	meta := func(where, text string) watcher.Announcement {
		return watcher.Announcement{Origin: watcher.FromMeta, Where: where, Text: text}
	}
	type tags = []string
	for name, test := range map[string]struct {
		tags tags
		meta map[string]string
		want []watcher.Announcement
	}{
		"nothing": {},
		"tags with the prefix, in their order": {
			tags: tags{"v1", "urlprefix-/b strip=/b", "urlprefix-/a", "xurlprefix-/c"},
			want: []watcher.Announcement{tag("urlprefix-/b strip=/b", "/b strip=/b"), tag("urlprefix-/a", "/a")},
		},
		"space around a tag's rule": {
			tags: tags{"urlprefix- /a "},
			want: []watcher.Announcement{tag("urlprefix- /a ", "/a")},
		},
		"a bare prefix is for the table to refuse": {
			tags: tags{"urlprefix-"},
			want: []watcher.Announcement{tag("urlprefix-", "")},
		},
		"meta keys after tags": {
			tags: tags{"urlprefix-/a"},
			meta: map[string]string{"usher-route": "/m", "usher-route-2": "/n", "usher-router": "/no", "route": "/no"},
			want: []watcher.Announcement{
				tag("urlprefix-/a", "/a"), meta("usher-route", "/m"), meta("usher-route-2", "/n"),
			},
		},
		"several in one meta value": {
			meta: map[string]string{"usher-route": " /a ; /b strip=/b;; ;"},
			want: []watcher.Announcement{meta("usher-route", "/a"), meta("usher-route", "/b strip=/b")},
		},
		"an empty meta value": {meta: map[string]string{"usher-route": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := watcher.Announcements("urlprefix-", test.tags, test.meta); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestWeight(t *testing.T) {
	for name, test := range map[string]struct {
		weight float64
		meta   string
		want   float64
	}{
		"none":          {weight: 3, want: 3},
		"a share":       {3, "0.5", 1.5},
		"drained":       {3, "0", 0},
		"drained twice": {0, "5", 0},
		"negative":      {3, "-1", 3},
		"no number":     {3, "heavy", 3},
		"not a number":  {3, "NaN", 3},
		"out of range":  {3, "1e999", 3},
	} {
		t.Run(name, func(t *testing.T) {
			if got := watcher.Weight(test.weight, map[string]string{"usher-weight": test.meta}); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// TestWeightIsFinite: one team's meta must not break the arithmetic of a cluster;
// and NaN, which 0 times infinity is, never equals itself, so that every answer
// of the registry would be a change.
func TestWeightIsFinite(t *testing.T) {
	for _, meta := range []string{"Inf", "+infinity", "1e308"} {
		for _, weight := range []float64{0, 1, 10} {
			got := watcher.Weight(weight, map[string]string{"usher-weight": meta})
			if math.IsInf(got, 0) || math.IsNaN(got) {
				t.Errorf("%v times %s is %v", weight, meta, got)
			}
		}
	}
}

func TestEnabled(t *testing.T) {
	for value, want := range map[string]bool{"": true, "true": true, "false": false} {
		if got := watcher.Enabled(map[string]string{"usher-enable": value}); got != want {
			t.Errorf("%q: got %v", value, got)
		}
	}
	if !watcher.Enabled(nil) {
		t.Error("without meta an instance is disabled")
	}
}

func TestOptedIn(t *testing.T) {
	type tags = []string
	meta := func(value string) map[string]string { return map[string]string{"usher-enable": value} }
	for name, test := range map[string]struct {
		tags    tags
		meta    map[string]string
		in, out bool
	}{
		"nothing":             {},
		"a tag":               {tags: tags{"v1", "usher-enable=true"}, in: true},
		"meta":                {meta: meta("true"), in: true},
		"off by a tag":        {tags: tags{"usher-enable=false"}, out: true},
		"off by meta":         {meta: meta("false"), out: true},
		"in two minds":        {tags: tags{"usher-enable=true"}, meta: meta("false"), in: true, out: true},
		"another word":        {tags: tags{"usher-enable=yes", "usher-enable"}, meta: meta("yes")},
		"a longer tag":        {tags: tags{"usher-enable=true1", "x-usher-enable=true"}},
		"a rule asks nothing": {tags: tags{"urlprefix-/"}},
	} {
		t.Run(name, func(t *testing.T) {
			in, out := watcher.OptedIn(test.tags, test.meta), watcher.OptedOut(test.tags, test.meta)
			if in != test.in || out != test.out {
				t.Errorf("in %v, out %v, want %v, %v", in, out, test.in, test.out)
			}
		})
	}
}

package watcher_test

import (
	"slices"
	"testing"

	"usher/watcher"
)

func TestFind(t *testing.T) {
	var services []*watcher.Service
	for _, k := range []watcher.Key{{"a", "api"}, {"a", "web"}, {"b", "web"}, {"c", "web"}, {"b", "zoo"}} {
		services = append(services, &watcher.Service{Key: k})
	}
	c := watcher.NewCatalog(1, services...)
	for name, want := range map[string][]string{
		"web":   {"web@a", "web@b", "web@c"},
		"web@b": {"web@b"},
		"web@x": nil,
		"api":   {"api@a"},
		"zoo":   {"zoo@b"},
		"we":    nil,
		"zzz":   nil,
		"":      nil,
	} {
		var got []string
		for _, s := range c.Find(name) {
			got = append(got, s.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestStatusWords(t *testing.T) {
	for s := watcher.Passing; s <= watcher.Maintenance; s++ {
		if got, ok := watcher.ParseStatus(s.String()); !ok || got != s {
			t.Errorf("%v: got %v, %v", s, got, ok)
		}
	}
	for _, word := range []string{"", "Passing", "unknown"} {
		if got, ok := watcher.ParseStatus(word); ok {
			t.Errorf("%q is %v", word, got)
		}
	}
}

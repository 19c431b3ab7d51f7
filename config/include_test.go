package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestInclude(t *testing.T) {
	route := func(name string) string {
		return "routes: [{name: " + name + ", service: s, match: {path: /" + name + "}}]\n"
	}
	for name, tt := range map[string]struct {
		files map[string]string
		want  []string // names of the routes, in order
	}{
		"one file": {map[string]string{
			"main.yaml": "include: a.yaml\n" + route("main"), "a.yaml": route("a"),
		}, []string{"main", "a"}},
		"the includer's elements come first wherever the key stands": {map[string]string{
			"main.yaml": route("main") + "include: [b.yaml, a.yaml]\n", "a.yaml": route("a"), "b.yaml": route("b"),
		}, []string{"main", "b", "a"}},
		"a glob is sorted": {map[string]string{
			"main.yaml": "include: conf/*.yaml\n", "conf/2.yaml": route("two"), "conf/1.yaml": route("one"),
		}, []string{"one", "two"}},
		"a glob may match nothing": {map[string]string{
			"main.yaml": "include: conf/*.yaml\n" + route("main"),
		}, []string{"main"}},
		"a glob skips its own file": {map[string]string{
			"main.yaml": "include: '*.yaml'\n" + route("main"), "a.yaml": route("a"),
		}, []string{"main", "a"}},
		"nested, relative to the includer": {map[string]string{
			"main.yaml":   "include: conf/a.yaml\n",
			"conf/a.yaml": "include: b.yaml\n" + route("a"),
			"conf/b.yaml": route("b"),
		}, []string{"a", "b"}},
		"a variable in the path": {map[string]string{
			"main.yaml": "include: ${WHAT}.yaml\n", "a.yaml": route("a"),
		}, []string{"a"}},
		"null": {map[string]string{"main.yaml": "include:\n" + route("main")}, []string{"main"}},
		"an empty file": {map[string]string{
			"main.yaml": "include: a.yaml\n" + route("main"), "a.yaml": "# none\n",
		}, []string{"main"}},
		"null is not given": {map[string]string{
			"main.yaml": "include: a.yaml\nroutes:\n", "a.yaml": route("a"),
		}, []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := Load(writeFiles(t, tt.files), Options{Env: envOf(map[string]string{"WHAT": "a"})})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range cfg.Routes {
				got = append(got, r.Name)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got routes %q, want %q", got, tt.want)
			}
		})
	}
}

func TestIncludeMergesMaps(t *testing.T) {
	cfg, err := Load(writeFiles(t, map[string]string{
		"main.yaml": "include: a.yaml\ndefaults: {timeout: 1s, retry: {}}\n" +
			"log: {level: warn}\nservices: {x: {timeout: 5s}}\n",
		"a.yaml": "defaults: {retry: {attempts: 7}}\nlog: {format: json}\n" +
			"services: {y: {}}\nlisteners: [{address: ':81'}]\n",
	}), Options{Env: envOf(nil)})
	if err != nil {
		t.Fatal(err)
	}
	y := cfg.Services["y"]
	if cfg.Log != (Log{"warn", "json"}) || y.Retry.Attempts != 7 || y.Timeout != time.Second {
		t.Errorf("got %+v", cfg)
	}
	if len(cfg.Listeners) != 1 || cfg.Listeners[0].Address != ":81" {
		t.Errorf("an included listener did not replace the default: %+v", cfg.Listeners)
	}
}

// TestIncludeBrokenReportsNoConsequences: what is missing because a file cannot
// be read is not a second problem.
func TestIncludeBrokenReportsNoConsequences(t *testing.T) {
	_, err := Load(writeFiles(t, map[string]string{
		"main.yaml": "include: a.yaml\nroutes: [{name: a, service: s, match: {listeners: [secure]}}]\n",
		"a.yaml":    "listeners: [\n",
	}), Options{Env: envOf(nil)})
	list, ok := errors.AsType[Errors](err)
	if !ok || len(list) != 1 || strings.Contains(err.Error(), "secure") {
		t.Errorf("got %v", err)
	}
}

package config

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestYAML(t *testing.T) {
	base := mustLoad(t, `
services:
  a: {timeout: 1s, retry: {attempts: 5}}
  b: {timeout: 2s, retry: {attempts: 5}}
`, Options{}).Hash
	for name, content := range map[string]string{
		"alias": "services:\n  a: {timeout: 1s, retry: &r {attempts: 5}}\n  b: {timeout: 2s, retry: *r}\n",
		"merge": "services:\n  a: &a {timeout: 1s, retry: {attempts: 5}}\n  b: {<<: *a, timeout: 2s}\n",
		"merge of a list, the first wins": "services:\n  a: &a {timeout: 1s, retry: {attempts: 5}}\n" +
			"  b:\n    timeout: 2s\n    <<: [*a, {timeout: 9s, retry: {attempts: 9}}]\n",
		"JSON": `{"services": {"a": {"timeout": "1s", "retry": {"attempts": 5}},
			"b": {"timeout": "2s", "retry": {"attempts": "5"}}}}`,
		"document mark": "---\nservices: {a: {timeout: 1s, retry: {attempts: 5}}," +
			" b: {timeout: 2s, retry: {attempts: 5}}}\n...\n",
		"variables": "services:\n  a: {timeout: \"${ONE}\", retry: {attempts: \"${N}\"}}\n" +
			"  b:\n    timeout: ${TWO:-2s}\n    retry:\n      attempts: ${N}\n",
		"null": "services: {a: {timeout: 1s, retry: {attempts: 5}, balance: ~}," +
			" b: {timeout: 2s, retry: {attempts: 5}}, c: }\nlog: ${EMPTY}\n",
	} {
		env := envOf(map[string]string{"ONE": "1s", "N": "5", "EMPTY": ""})
		if got := mustLoad(t, content, Options{Env: env}).Hash; got != base {
			t.Errorf("%s: differs", name)
		}
	}
}

func TestAliasesWithinTheBoundAreFine(t *testing.T) {
	content := "routes:\n  - {name: r, service: s, match: {hosts: &h [" + strings.Repeat("a.example,", 100) + "]}}\n"
	for i := range 50 {
		content += "  - {name: r" + strings.Repeat("x", i+1) + ", service: s, match: {hosts: *h}}\n"
	}
	if n := len(mustLoad(t, content, Options{}).Routes); n != 51 {
		t.Errorf("got %d routes", n)
	}
}

func TestPlanPanicsOnUnknownTag(t *testing.T) {
	type wrong struct {
		A string `yaml:"a,omitempty"`
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	planOf(reflect.TypeFor[wrong]())
}

func TestScalars(t *testing.T) {
	ok := func(to any, text string, want any) {
		t.Helper()
		v := reflect.ValueOf(to).Elem()
		if err := setScalar(v, text); err != nil || v.Interface() != want {
			t.Errorf("%s %q: got %v, %v, want %v", v.Type(), text, v.Interface(), err, want)
		}
	}
	bad := func(to any, text string) {
		t.Helper()
		v := reflect.ValueOf(to).Elem()
		if err := setScalar(v, text); err == nil {
			t.Errorf("%s %q: got %v, want an error", v.Type(), text, v.Interface())
		}
	}
	ok(new(time.Duration), "0", time.Duration(0))
	ok(new(time.Duration), "1m30s", 90*time.Second)
	bad(new(time.Duration), "5")
	bad(new(time.Duration), "")
	ok(new(Size), "10MiB", Size(10<<20))
	ok(new(Size), "10 kB", Size(10_000))
	ok(new(Size), "12", Size(12))
	ok(new(Size), "8B", Size(8))
	bad(new(Size), "MiB")
	bad(new(Size), "9223372036854775807KiB")
	ok(new(int), "-3", -3)
	bad(new(int), "0x10")
	ok(new(float64), "1e3", 1000.0)
	bad(new(float64), "inf")
	ok(new(bool), "true", true)
	bad(new(bool), "on")
	ok(new(string), "007", "007")
}

func TestSizeString(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "1024": "1KiB", "10MiB": "10MiB", "1GB": "1000000000", "3GiB": "3GiB",
	} {
		size, err := parseSize(text)
		if err != nil || size.String() != want {
			t.Errorf("%s: got %s, %v, want %s", text, size, err, want)
		}
		if again, err := parseSize(size.String()); again != size || err != nil {
			t.Errorf("%s: reads back as %s, %v", size, again, err)
		}
	}
}

func TestSuggest(t *testing.T) {
	known := []string{"address", "name", "max_connections", "timeout", "total_timeout", "ca_file"}
	for word, want := range map[string]string{
		"adress": "address", "addres": "address", "ADDRESS": "address", "addresss": "address", "asdress": "address",
		"max-connections": "max_connections", "maxConnections": "max_connections", "nmae": "name", "timout": "timeout",
		"time": "", "x": "", "": "", "flux": "", "port": "", "cafile": "ca_file",
	} {
		if got := closest(word, known); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}

func TestEdits(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3},
	} {
		if got := edits(tt.a, tt.b); got != tt.want {
			t.Errorf("%q, %q: got %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestErrors(t *testing.T) {
	var p problems
	p.add(Pos{"b", 1, 1}, "third")
	p.add(Pos{"a", 2, 1}, "second")
	p.add(Pos{"a", 1, 9}, "first")
	p.add(Pos{"a", 2, 1}, "second")
	p.add(Pos{}, "nowhere")
	p.add(Pos{"a", 0, 0}, "the file")
	p.add(Pos{"c", 3, 0}, "a line")
	want := "nowhere\na: the file\na:1:9: first\na:2:1: second\nb:1:1: third\nc:3: a line"
	if got := p.err().Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := (&problems{}).err(); err != nil {
		t.Errorf("no problems: got %v", err)
	}
}

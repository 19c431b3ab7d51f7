package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"usher/proxy/upstream/upstreamtest"
)

// TestDocs: the annotated example of the documentation loads, and it has every key.
func TestDocs(t *testing.T) {
	data, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "```yaml\n")
	example, _, ok := strings.Cut(rest, "```\n")
	if !ok {
		t.Fatal("no example")
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "clients.pem")
	if err := os.WriteFile(ca, []byte(upstreamtest.NewAuthority(t).PEM), 0o600); err != nil {
		t.Fatal(err)
	}
	files := strings.NewReplacer("/run/secrets/consul-token", token, "/etc/usher/pages/down.html", token,
		"/etc/usher/clients.pem", ca)
	mustLoad(t, files.Replace(example), Options{})
	for _, key := range keysOf(planOf(reflect.TypeFor[Config]()), reflect.TypeFor[Config]()) {
		if !regexp.MustCompile(`[\s{#]`+regexp.QuoteMeta(key)+`:`).MatchString(example) && key != "token" {
			t.Errorf("the example lacks the key %q", key)
		}
	}
}

// keysOf returns the keys of a struct, of its branches, and of all structs in it.
func keysOf(p *plan, t reflect.Type) (keys []string) {
	for _, f := range p.fields {
		keys = append(keys, f.key)
		if f.index == nil {
			continue
		}
		inner := t.FieldByIndex(f.index).Type
		for slices.Contains([]reflect.Kind{reflect.Slice, reflect.Map, reflect.Pointer}, inner.Kind()) {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[Content]() {
			keys = append(keys, keysOf(planOf(inner), inner)...)
		}
	}
	for _, b := range p.branches {
		keys = append(keys, keysOf(b.plan, t.FieldByIndex(b.index).Type.Elem())...)
	}
	return keys
}

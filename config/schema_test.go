package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// validator compiles a schema with a validator that is not ours.
func validator(t *testing.T, schema []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json") // checks it against the meta-schema, too
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON is a YAML document as an editor's validator sees it.
func asJSON(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return jsonValue(v)
}

func jsonValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = jsonValue(v[k])
		}
		return v
	case map[any]any:
		out := map[string]any{}
		for k, x := range v {
			out[fmt.Sprint(k)] = jsonValue(x)
		}
		return out
	case []any:
		for i := range v {
			v[i] = jsonValue(v[i])
		}
		return v
	case nil, string, bool, int, float64:
		return v
	default:
		return fmt.Sprint(v)
	}
}

func TestSchemaTakesGoodFiles(t *testing.T) {
	s, catalog := validator(t, Schema()), validator(t, CatalogSchema())
	files, err := filepath.Glob("testdata/good/*.yaml")
	parts, err2 := filepath.Glob("testdata/good/conf.d/*.yaml")
	if err := errors.Join(err, err2); err != nil || len(files)+len(parts) < 5 {
		t.Fatalf("found %q and %q: %v", files, parts, err)
	}
	for _, file := range append(files, parts...) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		with := s
		if filepath.Base(file) == "catalog.yaml" {
			with = catalog
		}
		if err := with.Validate(asJSON(t, data)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	data, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, part := range strings.Split(string(data), "```yaml\n")[1:] {
		example, _, _ := strings.Cut(part, "```")
		with := s
		if strings.HasPrefix(example, "services:\n  - ") {
			with = catalog
		}
		if err := with.Validate(asJSON(t, []byte(example))); err != nil {
			t.Errorf("the example %d of configuration.md: %v", i, err)
		}
	}
}

// notStructural are the files of testdata/bad whose fault is not one of keys, kinds and
// words: it depends on other values, on other files, on the form of a text, or is one of
// YAML itself.
func notStructural() []string {
	return []string{
		"access-log-fields", "access-log-mixed", "access-log-template", "acme-folder", "acme-storage", "admin",
		"admin-address", "admin-token", "connect-alone", "consul", "consul-datacenters", "consul-default-route",
		"custom-tag", "env-empty-element", "env-malformed", "env-unset", "history", "include-bad-file",
		"include-bad-glob", "include-conflict", "include-cycle", "include-is-folder", "include-self",
		"include-twice", "listener-unique", "listeners-empty", "registry-unique", "route-header-edits",
		"route-headers", "route-hosts", "route-listeners", "route-methods", "route-prefixes", "route-target",
		"secret-both", "secret-missing", "two-documents",
	}
}

func TestSchemaRefusesBadFiles(t *testing.T) {
	s, catalog := validator(t, Schema()), validator(t, CatalogSchema())
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 40 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	refused := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		with := s
		if strings.HasPrefix(name, "catalog-") {
			with = catalog
		}
		var v any
		if yaml.Unmarshal(data, &v) != nil {
			continue // no YAML: nothing a schema sees
		}
		err = with.Validate(jsonValue(v))
		excepted := slices.Contains(notStructural(), name)
		switch {
		case err == nil && !excepted:
			t.Errorf("%s is taken", name)
		case err != nil && excepted:
			t.Errorf("%s is refused, and need not be excepted: %v", name, err)
		case err != nil:
			refused++
		}
	}
	if refused < 30 {
		t.Errorf("only %d are refused", refused)
	}
}

// TestSchemaForms: what quotes, variables and nulls may do in a file, they may do for the
// schema.
func TestSchemaForms(t *testing.T) {
	s := validator(t, Schema())
	for content, want := range map[string]bool{
		"":                               true,
		"log:":                           true,
		"log: {level: }":                 true,
		"log: {level: '${LEVEL:-info}'}": true,
		"log: {level: loud}":             false,
		"defaults: {timeout: 0}":         true,
		"defaults: {timeout: '0'}":       true,
		"defaults: {timeout: 1m30s}":     true,
		"defaults: {timeout: 30}":        false,
		"defaults: {timeout: -1s}":       false,
		"defaults: {timeout: '${T}'}":    true,
		"defaults: {max_requests: '5'}":  true,
		"defaults: {max_requests: five}": false,
		"listeners: [{address: ':1', max_body_size: 10 MiB}]": true,
		"listeners: [{address: ':1', max_body_size: -1}]":     false,
		"listeners: [{}]":   false,
		"listeners: [null]": false,
		"listeners: [{address: ':1', protocol: https, tls: {min_version: 1.2}}]": true,
		"services: {a: }":                                           true,
		"services: {a: {timeuot: 1s}}":                              false,
		"registries: [{type: file, path: x}]":                       true,
		"registries: [{type: file}]":                                false,
		"registries: [{type: file, path: x, token: y}]":             false,
		"registries: [{type: consul, token: y, tls: {ca_file: z}}]": true,
		"registries: [{type: consul, path: y}]":                     false,
		"registries: [{address: y}]":                                false,
		"include: a":                                                true,
		"include: [a, b]":                                           true,
		"include: {a: b}":                                           false,
		"routes: [{name: a, service: b, match: {headers: {X: 1}}}]": true,
		"routes: [{name: a, service: b, match: {headers: {X: }}}]":  false,
		"error_pages: {5xx: a, '503': b}":                           true,
	} {
		if err := s.Validate(asJSON(t, []byte(content))); (err == nil) != want {
			t.Errorf("%s: got %v", content, err)
		}
	}
}

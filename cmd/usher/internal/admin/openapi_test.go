package admin

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"usher/cmd/usher/internal/events"
)

// document is the description as it is served.
func document(t testing.TB) map[string]any {
	t.Helper()
	s := newHouse().start(t, "127.0.0.1:0", &events.Log{})
	resp, body := ask(t, s, http.MethodGet, "/api/v1/openapi.json")
	var doc map[string]any
	if err := json.Unmarshal([]byte(body), &doc); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	return doc
}

// at follows keys into a document; nil: there is nothing.
func at(v any, keys ...string) any {
	for _, key := range keys {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

// The document is one of OpenAPI 3.1, and each schema in it one of JSON Schema.
func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/openapi-3.1.json")
	if err != nil {
		t.Fatal(err)
	}
	meta, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	doc := document(t)
	c := jsonschema.NewCompiler()
	for url, resource := range map[string]any{"https://meta": meta, "https://doc": doc} {
		if err := c.AddResource(url, resource); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := c.Compile("https://meta")
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(doc); err != nil {
		t.Errorf("%v", err)
	}
	if err := schema.Validate(map[string]any{"openapi": "3.1.0"}); err == nil {
		t.Error("the schema takes anything")
	}
	schemas, _ := at(doc, "components", "schemas").(map[string]any)
	if len(schemas) < 20 {
		t.Errorf("%d schemas", len(schemas))
	}
	for name := range schemas {
		if _, err := c.Compile("https://doc#/components/schemas/" + name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Everything that is served is described: each endpoint by a summary, a path's parameters,
// and what it answers; each type in words.
func TestEverythingIsDescribed(t *testing.T) {
	t.Parallel()
	doc := document(t)
	ids := map[any]bool{}
	for _, e := range allEndpoints(newHouse(), &events.Log{}) {
		what := e.method + " " + e.path
		o := at(doc, "paths", e.fullPath(), strings.ToLower(e.method))
		if o == nil {
			t.Errorf("%s is not described", what)
			continue
		}
		answers := at(o, "responses")
		if at(o, "summary") == "" || at(answers, "200", "content") == nil || at(answers, "default") == nil {
			t.Errorf("%s: %v", what, o)
		}
		if id := at(o, "operationId"); id == nil || ids[id] {
			t.Errorf("%s is called %v, as another", what, id)
		} else {
			ids[id] = true
		}
		var described []string
		params, _ := at(o, "parameters").([]any)
		for _, p := range params {
			if at(p, "description") == "" {
				t.Errorf("%s: %v", what, p)
			}
			if at(p, "in") == "path" {
				described = append(described, at(p, "name").(string))
			}
		}
		for _, name := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(e.path, -1) {
			if !slices.Contains(described, name[1]) {
				t.Errorf("%s: %s is not described", what, name[1])
			}
		}
	}
	schemas, _ := at(doc, "components", "schemas").(map[string]any)
	for name, schema := range schemas {
		if text, _ := at(schema, "description").(string); len(text) < 10 {
			t.Errorf("%s is described by %q", name, text)
		}
	}
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		if at(doc, "paths", path, "get", "summary") == nil {
			t.Errorf("%s is not described", path)
		}
	}
}

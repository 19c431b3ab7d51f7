package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const (
	referenceFile     = "../docs/reference/configuration.md"
	schemaFile        = "../docs/reference/usher.schema.json"
	catalogSchemaFile = "../docs/reference/services.schema.json"
)

// TestReferenceSchema: the schemas that are kept are what the code says.
func TestReferenceSchema(t *testing.T) {
	compareGenerated(t, schemaFile, Schema())
	compareGenerated(t, catalogSchemaFile, CatalogSchema())
}

// TestReferenceConfiguration: so is the reference.
func TestReferenceConfiguration(t *testing.T) {
	r := &referenceWriter{}
	r.printf(`# Reference: the configuration

Every key of usher.yaml, generated from the code (make reference).
[configuration.md](../configuration.md) explains them and has an annotated example;
[usher.schema.json](usher.schema.json) is the same for editors: usher schema prints it, and

    # yaml-language-server: $schema=./usher.schema.json

as the first line of a file makes them use it. A key that is left out, or null, has its
default. In texts ${NAME} and ${NAME:-default} are replaced from the environment. Durations
are like 1m30s, sizes like 10MiB; an element of a list is written [], one of a map, which
has a name of your choice, *.
`)
	plain := &shape{kind: kindObject}
	for _, k := range configShape().keys {
		if k.shape.kind != kindObject && (k.shape.elem == nil || k.shape.elem.kind != kindObject) {
			plain.keys = append(plain.keys, k)
		}
	}
	r.printf("\n## Keys by themselves\n")
	r.table(plain, "", "")
	for _, k := range configShape().keys {
		r.section(k, plain)
	}
	r.printf("\n## The catalog of a file registry\n\n")
	r.printf("A file of its own, which a registry of type file names. Its schema is\n" +
		"[services.schema.json](services.schema.json), printed by usher schema --catalog.\n")
	r.table(catalogShape(), "", "")
	compareGenerated(t, referenceFile, []byte(r.b.String()))
}

type referenceWriter struct{ b strings.Builder }

func (r *referenceWriter) printf(format string, args ...any) { fmt.Fprintf(&r.b, format, args...) }

// section writes what one key of the file holds.
func (r *referenceWriter) section(k shapeKey, plain *shape) {
	for _, p := range plain.keys {
		if p.name == k.name {
			return
		}
	}
	r.printf("\n## %s\n\n%s\n", k.name, k.doc)
	s, prefix := k.shape, k.name
	switch s.kind {
	case kindList:
		s, prefix = s.elem, k.name+"[]"
	case kindMap:
		s, prefix = s.elem, k.name+".*"
	}
	if k.name == "services" {
		r.printf("\nThe keys are those of `defaults`, but for `drain_delay` and `drain_timeout`.\n")
		return
	}
	r.table(s, prefix, "")
	for _, word := range wordsOfBranches(s) {
		r.printf("\nWith `type: %s`:\n", word)
		r.table(s, prefix, word)
	}
}

func wordsOfBranches(s *shape) (words []string) {
	for _, k := range s.keys {
		if k.when != "" && (len(words) == 0 || words[len(words)-1] != k.when) {
			words = append(words, k.when)
		}
	}
	return words
}

// table writes the keys of a section and of all below it, those of one branch.
func (r *referenceWriter) table(s *shape, prefix, when string) {
	r.printf("\n| key | kind | default | |\n|---|---|---|---|\n")
	r.rows(s, prefix, when)
}

func (r *referenceWriter) rows(s *shape, prefix, when string) {
	for _, k := range s.keys {
		if k.when != when {
			continue
		}
		path := child(prefix, k.name)
		r.printf("| `%s` | %s | %s | %s |\n", path, kindText(k.shape), presetText(k), describe(k))
		inner := k.shape
		for inner.elem != nil {
			path += map[valueKind]string{kindList: "[]", kindMap: ".*"}[inner.kind]
			inner = inner.elem
		}
		r.rows(inner, path, "")
	}
}

func kindText(s *shape) string {
	switch s.kind {
	case kindList:
		return "list of " + plural(s.elem)
	case kindMap:
		return "map of " + plural(s.elem)
	}
	return string(s.kind)
}

func plural(s *shape) string { return kindText(s) + "s" }

func presetText(k shapeKey) string {
	switch {
	case k.required:
		return "required"
	case k.shape.preset == nil:
		return ""
	}
	data, _ := json.Marshal(k.shape.preset) // scalars and lists of them
	return "`" + strings.Trim(string(data), `"`) + "`"
}

func describe(k shapeKey) string {
	text := k.doc
	words := k.shape.words
	if k.shape.elem != nil {
		words = k.shape.elem.words
	}
	if len(words) > 0 {
		var list []string
		for _, w := range words {
			if w != "" {
				list = append(list, "`"+w+"`")
			}
		}
		text += " One of " + strings.Join(list, ", ") + "."
	}
	return strings.ReplaceAll(text, "|", `\|`)
}

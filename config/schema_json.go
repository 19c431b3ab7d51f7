package config

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// Schema returns the JSON Schema (draft-07, which editors know) of a configuration file.
// It knows keys, kinds and words; what depends on other values, only Load checks.
func Schema() []byte {
	return schemaOf(configShape(), "usher.yaml", "The configuration of usher, see docs/reference/configuration.md")
}

// CatalogSchema returns the JSON Schema of the file of a file registry.
func CatalogSchema() []byte {
	return schemaOf(catalogShape(), "services.yaml", "The services of a file registry of usher")
}

func schemaOf(root *shape, title, description string) []byte {
	doc := object{
		{"$schema", "http://json-schema.org/draft-07/schema#"},
		{"title", title},
		{"description", description},
	}
	doc = append(doc, root.schema(true)...)
	doc = append(doc, member{"definitions", definitions()})
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		panic(err) // there is nothing in it that cannot be encoded
	}
	return out.Bytes()
}

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	name  string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b) // json.Marshal would escape the angle brackets of texts
	enc.SetEscapeHTML(false)
	separator := byte('{')
	for _, m := range o {
		b.WriteByte(separator)
		if err := enc.Encode(m.name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := enc.Encode(m.value); err != nil {
			return nil, err
		}
		separator = ','
	}
	if len(o) == 0 {
		b.WriteByte('{')
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// schema returns the members that describe s. Nullable: a null is as if the key had been
// left out.
func (s *shape) schema(nullable bool) object {
	switch s.kind {
	case kindObject:
		return s.section(nullable)
	case kindMap:
		// A section among a map's values may be null; a text may not.
		elem := s.elem.schema(s.elem.kind == kindObject)
		return object{{"type", orNull("object", nullable)}, {"additionalProperties", elem}}
	case kindList:
		return object{{"type", orNull("array", nullable)}, {"items", s.elem.schema(false)}}
	}
	form := s.form()
	if nullable {
		form = object{{"anyOf", []object{form, {{"type", "null"}}}}}
	}
	return form
}

func orNull(kind string, nullable bool) any {
	if nullable {
		return []string{kind, "null"}
	}
	return kind
}

// form is how a scalar may be written: a reference to one of the definitions, or words.
func (s *shape) form() object {
	if len(s.words) > 0 {
		return object{{"anyOf", []object{{{"enum", enum(s.words)}}, {{"$ref", "#/definitions/variable"}}}}}
	}
	name := string(s.kind)
	switch s.kind {
	case kindPath:
		name = string(kindString)
	case kindPaths:
		name = "paths"
	}
	return object{{"$ref", "#/definitions/" + name}}
}

// definitions are the kinds of scalars. Quotes make no difference to usher, so that a number
// is a text where a text is wanted, and the other way round; and a variable may be anything.
func definitions() object {
	variable := object{{"$ref", "#/definitions/variable"}}
	text := func(pattern string) object { return object{{"type", "string"}, {"pattern", pattern}} }
	either := func(forms ...object) object { return object{{"anyOf", append(forms, variable)}} }
	return object{
		{"variable", text(`\$\{[A-Za-z_]`)},
		{"string", object{{"type", []string{"string", "number", "boolean"}}}},
		{"boolean", either(object{{"type", "boolean"}}, object{{"enum", []string{"true", "false"}}})},
		{"integer", either(object{{"type", "integer"}}, text(`^[-+]?[0-9]+$`))},
		{"number", either(object{{"type", "number"}},
			text(`^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$`))},
		{"duration", either(object{{"enum", []any{0}}},
			text(`^\+?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`))},
		{"size", either(object{{"type", "integer"}, {"minimum", 0}},
			text(`^\+?[0-9]+ *(KiB|MiB|GiB|kB|KB|MB|GB|B)?$`))},
		{"paths", object{{"anyOf", []object{
			{{"type", "string"}}, {{"type", "array"}, {"items", object{{"type", []string{"string", "null"}}}}},
		}}}},
	}
}

// enum are words; one that looks like a number may be written as one.
func enum(words []string) []any {
	var out []any
	for _, w := range words {
		out = append(out, w)
		var number json.Number
		if json.Unmarshal([]byte(w), &number) == nil && !strings.HasPrefix(w, `"`) {
			out = append(out, number)
		}
	}
	return out
}

func (s *shape) section(nullable bool) object {
	properties, required := object{}, []string{}
	for _, k := range s.keys {
		if slices.ContainsFunc(properties, func(m member) bool { return m.name == k.name }) {
			continue // of another branch: each says what it is there
		}
		properties = append(properties, member{k.name, k.schema()})
		if k.required && k.when == "" {
			required = append(required, k.name)
		}
	}
	out := object{
		{"type", orNull("object", nullable)}, {"properties", properties}, {"additionalProperties", false},
	}
	if len(required) > 0 {
		out = append(out, member{"required", required})
	}
	if branches := s.branches(); len(branches) > 0 {
		out = append(out, member{"allOf", branches})
	}
	return out
}

func (k *shapeKey) schema() object {
	out := k.shape.schema(true)
	if k.doc != "" {
		out = append(object{{"description", strings.ReplaceAll(k.doc, "`", "")}}, out...)
	}
	if k.shape.preset != nil {
		out = append(out, member{"default", k.shape.preset})
	}
	return out
}

// branches say for each word of a type which keys may not be there, and which must.
func (s *shape) branches() (out []object) {
	var words []string
	for _, k := range s.keys {
		if k.when != "" && !slices.Contains(words, k.when) {
			words = append(words, k.when)
		}
	}
	for _, word := range words {
		on, own, foreign, required := "", []string{}, object{}, []string{}
		for _, k := range s.keys {
			if k.when == word {
				on, own = k.on, append(own, k.name)
				if k.required {
					required = append(required, k.name)
				}
			}
		}
		for _, k := range s.keys {
			if k.when != "" && !slices.Contains(own, k.name) {
				foreign = append(foreign, member{k.name, false})
			}
		}
		then := object{{"properties", foreign}}
		if len(required) > 0 {
			then = append(then, member{"required", required})
		}
		is := object{{"properties", object{{on, object{{"const", word}}}}}, {"required", []string{on}}}
		out = append(out, object{{"if", is}, {"then", then}})
	}
	return out
}

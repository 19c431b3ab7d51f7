package openapi

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// schemas describes types. Structs are described once, among the components.
type schemas struct {
	comments comments
	done     object
	err      error
}

// of returns the schema of a type.
func (s *schemas) of(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t.Kind() == reflect.Struct:
		return s.reference(t)
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Interface:
		return object{}
	default:
		s.err = fmt.Errorf("openapi: no schema for %s", t)
		return object{}
	}
}

// reference describes a struct, unless that was done, and returns a reference to it.
func (s *schemas) reference(t reflect.Type) object {
	name := t.Name()
	if name == "" {
		s.err = fmt.Errorf("openapi: a struct without a name: %s", t)
	}
	if _, done := s.done[name]; !done {
		schema := object{"type": "object", "description": s.comments.of(name, "")}
		s.done[name] = schema // before its fields: one may lead back to it
		properties, required := object{}, []any{}
		s.fields(t, properties, &required)
		schema["properties"] = properties
		if len(required) > 0 {
			schema["required"] = required
		}
	}
	return object{"$ref": "#/components/schemas/" + name}
}

// fields describes the fields of a struct as encoding/json writes them.
func (s *schemas) fields(t reflect.Type, properties object, required *[]any) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			s.fields(f.Type, properties, required)
			continue
		case name == "-" || !f.IsExported():
			continue
		case name == "":
			name = f.Name
		}
		schema := s.of(f.Type)
		if text := s.comments.of(t.Name(), f.Name); text != "" {
			schema["description"] = text // beside $ref, which OpenAPI 3.1 allows
		}
		properties[name] = schema
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
			*required = append(*required, name)
		}
	}
}

package config

import (
	_ "embed"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"
)

// valueKind is what a value in a file is.
type valueKind string

const (
	kindObject   valueKind = "section"
	kindMap      valueKind = "map"
	kindList     valueKind = "list"
	kindString   valueKind = "string"
	kindPath     valueKind = "path"
	kindBool     valueKind = "boolean"
	kindInt      valueKind = "integer"
	kindFloat    valueKind = "number"
	kindDuration valueKind = "duration"
	kindSize     valueKind = "size"
	kindPaths    valueKind = "path or list of paths" // of include
)

// shape is what a value may look like: the configuration's structs, worked out for the
// JSON Schema, the reference and the layout of files.
type shape struct {
	kind valueKind
	// words are the values it may have; none: any of its kind.
	words []string
	// keys are those of a section, in order; elem is what a list or a map holds.
	keys []shapeKey
	elem *shape
	// preset is the default as the file would have it; nil: there is none of its own.
	preset any
}

// shapeKey is one key of a section.
type shapeKey struct {
	name     string
	doc      string
	required bool
	// when is the word that another key must have for this one to be there; empty: it
	// always may.
	when string
	// on is that other key.
	on string
	// owner is the Go field, as in Listener.Address.
	owner string
	shape *shape
}

// fieldNote is what is known of a field beside its type.
type fieldNote struct {
	Doc      string   `json:"doc"`
	Words    []string `json:"words,omitempty"`
	Required bool     `json:"required,omitempty"`
}

// notesJSON is generated from the doc comments and the checks of this package: see
// TestReferenceNotes.
//
//go:embed reference.json
var notesJSON []byte

// shapeBuilder works out shapes.
type shapeBuilder struct {
	notes map[string]fieldNote
	fresh map[reflect.Type]reflect.Value
}

func newShapeBuilder() *shapeBuilder {
	b := &shapeBuilder{notes: map[string]fieldNote{}, fresh: map[reflect.Type]reflect.Value{}}
	if err := json.Unmarshal(notesJSON, &b.notes); err != nil {
		panic("config: reference.json: " + err.Error()) // a test finds it
	}
	for _, v := range append(elements(), Service{Policy: builtin().Defaults.Policy}) {
		b.fresh[reflect.TypeOf(v)] = reflect.ValueOf(v)
	}
	return b
}

// configShape is the shape of a configuration file.
func configShape() *shape {
	root := newShapeBuilder().of(reflect.ValueOf(*builtin()), false)
	include := shapeKey{
		name: "include", shape: &shape{kind: kindPaths},
		doc: "Other files to merge into this one: a path, a glob, or a list of them, counted from this file. " +
			"Lists are joined, maps merged key by key, and what is set twice is an error.",
	}
	root.keys = append([]shapeKey{include}, root.keys...)
	return root
}

// catalogShape is the shape of the file of a file registry.
func catalogShape() *shape { return newShapeBuilder().of(reflect.ValueOf(Catalog{}), false) }

// of works out the shape of values like v, which holds the defaults.
func (b *shapeBuilder) of(v reflect.Value, path bool) *shape {
	t := v.Type()
	switch {
	case t == reflect.TypeFor[Content]():
		return &shape{kind: kindPath}
	case t == reflect.TypeFor[time.Duration]():
		return &shape{kind: kindDuration, preset: durationText(time.Duration(v.Int()))}
	case t == reflect.TypeFor[Size]():
		return &shape{kind: kindSize, preset: Size(v.Int()).String()}
	}
	switch t.Kind() {
	case reflect.Struct:
		return &shape{kind: kindObject, keys: b.keys(v, shapeKey{})}
	case reflect.Pointer:
		s := b.of(b.element(t.Elem()), path)
		s.preset = nil
		return s
	case reflect.Slice:
		return &shape{kind: kindList, elem: b.withoutPreset(t.Elem(), path), preset: listPreset(v)}
	case reflect.Map:
		return &shape{kind: kindMap, elem: b.withoutPreset(t.Elem(), path)}
	}
	return b.scalar(v, path)
}

// withoutPreset is the shape of what a list or a map holds: its own default is none, while
// those of its keys are.
func (b *shapeBuilder) withoutPreset(t reflect.Type, path bool) *shape {
	s := b.of(b.element(t), path)
	s.preset = nil
	return s
}

func (b *shapeBuilder) element(t reflect.Type) reflect.Value {
	if v, ok := b.fresh[t]; ok {
		return v
	}
	return reflect.Zero(t)
}

func listPreset(v reflect.Value) any {
	if v.Len() == 0 {
		return nil
	}
	return v.Interface()
}

func (b *shapeBuilder) scalar(v reflect.Value, path bool) *shape {
	kinds := map[reflect.Kind]valueKind{
		reflect.String: kindString, reflect.Bool: kindBool, reflect.Int: kindInt, reflect.Float64: kindFloat,
	}
	s := &shape{kind: kinds[v.Kind()], preset: v.Interface()}
	if path {
		s.kind = kindPath
	}
	if s.preset == "" {
		s.preset = nil
	}
	return s
}

// keys are those of a struct; like is what those of a branch have in common.
func (b *shapeBuilder) keys(v reflect.Value, like shapeKey) (keys []shapeKey) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		condition, when := strings.CutPrefix(option, "when ")
		switch {
		case name == "-" || option == "pos":
		case option == "inline":
			keys = append(keys, b.keys(v.Field(i), like)...)
		case when:
			branch := shapeKey{}
			branch.on, branch.when, _ = strings.Cut(condition, "=")
			keys = append(keys, b.keys(b.element(f.Type.Elem()), branch)...)
		default:
			keys = append(keys, b.key(v.Field(i), t.Name(), f, name, like))
		}
	}
	return b.addSecretFiles(t, keys, like)
}

func (b *shapeBuilder) key(v reflect.Value, owner string, f reflect.StructField, name string, like shapeKey) shapeKey {
	k := like
	k.name, k.owner, k.shape = name, owner+"."+f.Name, b.of(v, f.Tag.Get("path") == "true")
	note := b.notes[k.owner]
	k.doc, k.required = note.Doc, note.Required
	if k.shape.kind == kindList {
		k.shape.elem.words = note.Words
	} else {
		k.shape.words = note.Words
	}
	return k
}

// addSecretFiles adds key_file for secrets, behind them.
func (b *shapeBuilder) addSecretFiles(t reflect.Type, keys []shapeKey, like shapeKey) []shapeKey {
	for f := range t.Fields() {
		if f.Tag.Get("secret") != "true" {
			continue
		}
		at := slices.IndexFunc(keys, func(k shapeKey) bool { return k.owner == t.Name()+"."+f.Name })
		name := keys[at].name + "_file"
		if slices.ContainsFunc(keys, func(k shapeKey) bool { return k.name == name }) {
			continue
		}
		k := like
		k.name, k.shape = name, &shape{kind: kindPath}
		k.doc = "A file to read `" + keys[at].name + "` from, instead."
		keys = slices.Insert(keys, at+1, k)
	}
	return keys
}

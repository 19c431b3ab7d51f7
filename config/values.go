package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Value is one value of a configuration, as text, by the path of its key.
type Value struct{ Key, Text string }

// Values returns what a part of a configuration says, in the order of its fields: the
// keys are those of the file, a value that is not given is left out. Secrets, and the
// contents of other files, are told apart by a few digits of their hash and not shown.
func Values(part any) []Value {
	var out values
	out.add("", reflect.ValueOf(part))
	return out
}

type values []Value

func (l *values) add(key string, v reflect.Value) {
	if !v.IsValid() {
		return
	}
	switch x := v.Interface().(type) {
	case Pos:
		return
	case Content:
		if x != (Content{}) {
			l.put(key, x.Path+" "+digest(x.Data))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		l.addStruct(key, v)
	case reflect.Pointer:
		if !v.IsNil() {
			l.add(key, v.Elem())
		}
	case reflect.Slice:
		l.addSlice(key, v)
	case reflect.Map:
		l.addMap(key, v)
	default:
		l.put(key, fmt.Sprint(plainValue(v)))
	}
}

func (l *values) put(key, text string) {
	if text != "" {
		*l = append(*l, Value{key, text})
	}
}

func (l *values) addStruct(key string, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		name, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case f.Tag.Get("hash") == "true", f.Tag.Get("secret") == "true":
			l.addHidden(below(key, cmp.Or(strings.Trim(name, "-"), strings.ToLower(f.Name))), v.Field(i))
		case name == "-":
		case option == "inline" || strings.HasPrefix(option, "when "):
			l.add(key, v.Field(i))
		default:
			l.add(below(key, cmp.Or(name, strings.ToLower(f.Name))), v.Field(i))
		}
	}
}

// addHidden adds only what tells one content from another.
func (l *values) addHidden(key string, v reflect.Value) {
	if !v.IsZero() {
		l.put(key, digest(fmt.Sprintf("%#v", v.Interface())))
	}
}

// addSlice adds a list of plain values as one, in one line.
func (l *values) addSlice(key string, v reflect.Value) {
	if k := v.Type().Elem().Kind(); k == reflect.Struct || k == reflect.Map || k == reflect.Pointer {
		for i := range v.Len() {
			l.add(key+"["+strconv.Itoa(i)+"]", v.Index(i))
		}
		return
	}
	parts := make([]string, v.Len())
	for i := range parts {
		parts[i] = fmt.Sprint(plainValue(v.Index(i)))
	}
	l.put(key, strings.Join(parts, ", "))
}

func (l *values) addMap(key string, v reflect.Value) {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, k := range keys {
		if at := below(key, k.String()); v.MapIndex(k).Kind() == reflect.String && Credential(k.String()) {
			l.addHidden(at, v.MapIndex(k))
		} else {
			l.add(at, v.MapIndex(k))
		}
	}
}

func below(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

// digest tells contents apart without telling them: too short to find one by trying.
func digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "#" + hex.EncodeToString(sum[:3])
}

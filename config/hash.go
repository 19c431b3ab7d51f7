package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"reflect"
	"slices"
)

// hashOf identifies the values of a configuration, wherever in which files they
// stand.
func hashOf(cfg *Config) string {
	h := sha256.New()
	writeValue(h, reflect.ValueOf(*cfg))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// writeValue writes a form of v in which different values differ. Writing to a
// hash does not fail.
func writeValue(w io.Writer, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		writeStruct(w, v)
	case reflect.Pointer:
		if !v.IsNil() {
			writeValue(w, v.Elem())
		}
	case reflect.Slice:
		fmt.Fprintf(w, "%d[", v.Len())
		for i := range v.Len() {
			writeValue(w, v.Index(i))
		}
	case reflect.Map:
		fmt.Fprintf(w, "%d{", v.Len())
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
		for _, k := range keys {
			fmt.Fprintf(w, "%q:", k.String())
			writeValue(w, v.MapIndex(k))
		}
	default:
		fmt.Fprintf(w, "%#v;", v.Interface())
	}
}

// writeStruct leaves out positions and what was not read from the file, but for the
// contents of other files.
func writeStruct(w io.Writer, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		unread := f.Tag.Get("yaml") == "-" && f.Tag.Get("hash") != "true"
		if f.Type == reflect.TypeFor[Pos]() || unread {
			continue
		}
		fmt.Fprintf(w, "%s=", f.Name)
		writeValue(w, v.Field(i))
	}
}

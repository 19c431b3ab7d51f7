package config

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"usher/config/redact"
)

// Setting is one value of a configuration and where it comes from.
type Setting struct {
	// Path is like listeners[0].address or services.orders.retry.attempts.
	Path string
	// Value is a string, bool, int, float64, or a list of these; durations and sizes are
	// strings as the file has them. An empty list or map is []string{} or map[string]any{}.
	Value any
	// Origin is the position in a file (usher.yaml:3:5), the path of the file that a secret
	// was read from, "flag --listen", "env CONSUL_HTTP_ADDR", or "default".
	Origin string
}

// Redacted stands for the value of a secret.
const Redacted = "redacted"

// OriginDefault is the origin of what nobody gave.
const OriginDefault = "default"

// origins are where the values of a configuration come from.
type origins struct {
	// file is the configuration file; empty: there was none.
	file  string
	where positions
	// secrets are the files that secrets were read from, by the path of the secret.
	secrets map[string]string
}

// Settings returns every value of the configuration in the order of the reference, the
// elements of a map by their keys: what the file says and what it leaves out. Optional
// sections that are not there (a route without a redirect) are left out, and so are the
// keys that belong to another type of registry. Secrets are Redacted, empty ones shown as
// such; so are the values of headers by whose name they may be credentials, and passwords
// in URLs. It may be called from any goroutine; the result is the caller's.
func (c *Config) Settings() []Setting {
	w := settingsWalk{origins: c.origins}
	w.structure(reflect.ValueOf(c).Elem(), "", "")
	return w.out
}

// settingsWalk goes over the values. Each step knows the path and, for what a service
// inherits, the path in defaults that it comes from when it was not given ("" for
// nothing).
type settingsWalk struct {
	origins origins
	out     []Setting
}

func (w *settingsWalk) add(path, inherited string, value any) {
	w.out = append(w.out, Setting{Path: path, Value: value, Origin: w.origins.of(path, inherited)})
}

func (w *settingsWalk) structure(v reflect.Value, path, inherited string) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		key, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case key == "-" || option == "pos":
		case option == "inline":
			w.structure(v.Field(i), path, inherited)
		case key == "": // a branch
			if !v.Field(i).IsNil() {
				w.structure(v.Field(i).Elem(), path, inherited)
			}
		case f.Tag.Get("secret") == "true":
			w.secret(v.Field(i).String(), child(path, key), inherit(inherited, key))
		default:
			w.value(v.Field(i), child(path, key), inherit(inherited, key))
		}
	}
}

func inherit(inherited, key string) string {
	if inherited == "" {
		return ""
	}
	return child(inherited, key)
}

func (w *settingsWalk) value(v reflect.Value, path, inherited string) {
	if c, ok := v.Interface().(Content); ok {
		w.add(path, inherited, c.Path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			w.value(v.Elem(), path, w.cut(path, inherited))
		}
	case reflect.Struct:
		w.structure(v, path, inherited)
	case reflect.Slice:
		w.list(v, path, w.cut(path, inherited))
	case reflect.Map:
		w.dict(v, path, w.cut(path, inherited))
	default:
		w.add(path, inherited, plainValue(v))
	}
}

// cut ends the inheritance where something was given that replaces the whole.
func (w *settingsWalk) cut(path, inherited string) string {
	if w.origins.where.given(path) {
		return ""
	}
	return inherited
}

// list shows a list of plain values as one value.
func (w *settingsWalk) list(v reflect.Value, path, inherited string) {
	switch v.Type().Elem().Kind() {
	case reflect.Struct, reflect.Pointer, reflect.Map, reflect.Slice:
		for i := range v.Len() {
			from := inherited
			if from != "" {
				from = index(from, i)
			}
			w.value(v.Index(i), index(path, i), from)
		}
		if v.Len() == 0 {
			w.add(path, inherited, []string{})
		}
	case reflect.Int:
		w.add(path, inherited, append([]int{}, v.Interface().([]int)...))
	default:
		out := []string{}
		for i := range v.Len() {
			out = append(out, redactURL(fmt.Sprint(plainValue(v.Index(i)))))
		}
		w.add(path, inherited, out)
	}
}

func (w *settingsWalk) dict(v reflect.Value, path, inherited string) {
	if v.Len() == 0 {
		w.add(path, inherited, map[string]any{})
		return
	}
	values := map[string]reflect.Value{}
	for iter := v.MapRange(); iter.Next(); {
		values[iter.Key().String()] = iter.Value()
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		at, from := child(path, key), inherit(inherited, key)
		switch {
		case path == "services":
			w.value(values[key], at, "defaults")
		case values[key].Kind() == reflect.String && Credential(key):
			w.secret(values[key].String(), at, from)
		default:
			w.value(values[key], at, from)
		}
	}
}

func (w *settingsWalk) secret(value, path, inherited string) {
	if value != "" {
		value = Redacted
	}
	w.add(path, inherited, value)
}

// Credential says whether what goes by such a name (of a header, of meta, of a parameter of
// a query) may be secret. What tells of requests goes by the same names.
func Credential(name string) bool {
	rules := redact.New(nil, nil)
	return rules.Secret(name) || rules.SecretParam([]byte(name))
}

// redactURL takes the password out of a URL.
func redactURL(text string) string {
	if !strings.Contains(text, "://") || !strings.Contains(text, "@") {
		return text
	}
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return text
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), Redacted)
	}
	return u.String()
}

// plainValue is a scalar as the file would have it.
func plainValue(v reflect.Value) any {
	switch x := v.Interface().(type) {
	case time.Duration:
		return durationText(x)
	case Size:
		return x.String()
	case string:
		return redactURL(x)
	default:
		return x
	}
}

// durationText leaves out the zeros that Duration.String ends with: 1m, not 1m0s.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// of says where the value at path comes from; inherited is the path of the defaults that
// it is taken from when it was not given itself.
func (o *origins) of(path, inherited string) string {
	for _, p := range []string{path, inherited} {
		if p == "" {
			continue
		}
		if file, ok := o.secrets[p]; ok {
			return file
		}
		if pos, ok := o.where[p]; ok {
			return o.describe(pos)
		}
	}
	return OriginDefault
}

// describe tells a position in a file from what stands for one.
func (o *origins) describe(pos Pos) string {
	switch {
	case pos.Line > 0:
		return pos.String()
	case pos.File == "" || pos.File == o.file:
		return OriginDefault
	case strings.HasPrefix(pos.File, "--"):
		return "flag " + pos.File
	default:
		return "env " + pos.File
	}
}

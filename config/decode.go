package config

import (
	"path/filepath"
	"reflect"
	"strings"
)

// positions maps the path of a value, such as routes[2].match.path, to where it
// was given. Values that nobody gave are not in it.
type positions map[string]Pos

// of returns where path was given, or the nearest thing around it.
func (p positions) of(path string) Pos {
	for path != "" {
		if pos, ok := p[path]; ok {
			return pos
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return p[""]
}

// given says whether the value at path was set by anybody.
func (p positions) given(path string) bool {
	_, ok := p[path]
	return ok
}

// decoder fills structs from nodes, strictly: what it does not know is a problem.
type decoder struct {
	problems *problems
	where    positions
	// failed has the paths that a problem was reported for already, and those of
	// structs with an unknown key: later stages do not complain about them again.
	failed map[string]bool
	// secrets has the files that secrets were read from, by the path of the secret.
	secrets map[string]string
	// fresh are the values that new elements of lists and maps start from.
	fresh map[reflect.Type]reflect.Value
	// outer are keys of the outermost map that are handled elsewhere; here they
	// only help to guess what an unknown key was meant to be.
	outer []string
	// secret reads the secret that a key at pos names by a path. It reports its
	// own problems. Nil: no file may be named.
	secret func(pos Pos, path string) (string, bool)
	// file reads a file whose content is part of the configuration, as secret does. Nil:
	// no file may be named.
	file  func(pos Pos, path string) (string, bool)
	plans map[reflect.Type]*plan
}

func newDecoder(p *problems) *decoder {
	return &decoder{
		problems: p,
		where:    positions{},
		failed:   map[string]bool{},
		secrets:  map[string]string{},
		fresh:    map[reflect.Type]reflect.Value{},
		plans:    map[reflect.Type]*plan{},
	}
}

// startFrom makes new elements of value's type start as a copy of value. Its maps and
// slices are shared with every element that does not give its own, which replaces them
// whole: nobody may write to them.
func (d *decoder) startFrom(value any) {
	d.fresh[reflect.TypeOf(value)] = reflect.ValueOf(value)
}

func (d *decoder) element(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	if f, ok := d.fresh[t]; ok {
		v.Set(f)
	}
	return v
}

func (d *decoder) plan(t reflect.Type) *plan {
	p, ok := d.plans[t]
	if !ok {
		p = planOf(t)
		d.plans[t] = p
	}
	return p
}

func (d *decoder) fail(pos Pos, path, format string, args ...any) {
	d.failed[path] = true
	d.problems.add(pos, format, args...)
}

// value fills v, which keeps what it holds where n leaves keys out.
func (d *decoder) value(n *node, v reflect.Value, path string) {
	d.where[path] = n.pos
	if n.kind == badNode {
		d.failed[path] = true
		return
	}
	if c, ok := v.Addr().Interface().(*Content); ok {
		d.content(n, c, path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		elem := d.element(v.Type().Elem())
		d.value(n, elem, path)
		v.Set(elem.Addr())
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Slice:
		d.list(n, v, path)
	case reflect.Map:
		d.dict(n, v, path)
	default:
		d.scalar(n, v, path)
	}
}

func (d *decoder) scalar(n *node, v reflect.Value, path string) {
	if n.kind != scalarNode {
		d.fail(n.pos, path, "expected %s, found %s", expected(v.Type()), n.what())
		return
	}
	if err := setScalar(v, n.text); err != nil {
		d.fail(n.pos, path, "%v", err)
	}
}

func (d *decoder) list(n *node, v reflect.Value, path string) {
	if n.kind != listNode {
		d.fail(n.pos, path, "expected a list, found %s%s", n.what(), bracketHint(n, v))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, len(n.items)))
	for i, item := range n.items {
		at := index(path, i)
		elem := d.element(v.Type().Elem())
		if item.kind == nullNode {
			d.fail(item.pos, at, "this element of the list is empty")
		} else {
			d.value(item, elem, at)
		}
		v.Set(reflect.Append(v, elem))
	}
}

func bracketHint(n *node, v reflect.Value) string {
	switch v.Type().Elem().Kind() {
	case reflect.Struct, reflect.Map, reflect.Slice:
		return ""
	}
	if n.kind != scalarNode || len(n.text) > 60 {
		return ""
	}
	return "; write [" + n.what() + "]"
}

// dict fills a map whose keys the user chooses. Null drops a section, as
// anywhere, but never a scalar: a header to match without a value would silently
// widen the match.
func (d *decoder) dict(n *node, v reflect.Value, path string) {
	if n.kind != mapNode {
		d.fail(n.pos, path, "expected a map, found %s", n.what())
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.entries)))
	for _, e := range n.entries {
		at := child(path, e.key)
		elemType := v.Type().Elem()
		section := elemType.Kind() == reflect.Struct && elemType != reflect.TypeFor[Content]()
		elem := d.element(elemType)
		switch {
		case e.value.kind == nullNode && section:
			continue
		case e.value.kind == nullNode:
			d.fail(e.value.pos, at, "key %q has no value; write \"\" for an empty one", e.key)
			continue
		case section:
			// A section is known by its key, so that is its position.
			e.value.pos = e.pos
		}
		d.value(e.value, elem, at)
		v.SetMapIndex(reflect.ValueOf(e.key), elem)
	}
}

func (d *decoder) structure(n *node, v reflect.Value, path string) {
	if n.kind != mapNode {
		d.fail(n.pos, path, "expected a map, found %s", n.what())
		return
	}
	p := d.plan(v.Type())
	if p.pos != nil {
		v.FieldByIndex(p.pos).Set(reflect.ValueOf(n.pos))
	}
	active := d.branch(n, v, p, path)
	for _, e := range n.entries {
		switch {
		case p.field(e.key) != nil:
			d.field(n, e, v, p.field(e.key), path)
		case active != nil && active.plan.field(e.key) != nil:
			d.field(n, e, v.FieldByIndex(active.index).Elem(), active.plan.field(e.key), path)
		default:
			d.unknown(e, v.Type(), p, active, path)
		}
	}
}

// branch finds the branch that n chooses and makes its struct. It returns nil
// when the choice is missing or unknown; the latter is reported.
func (d *decoder) branch(n *node, v reflect.Value, p *plan, path string) *branch {
	if len(p.branches) == 0 {
		return nil
	}
	key := p.branches[0].key
	choice := n.given(key)
	if choice == nil || choice.kind != scalarNode {
		return nil
	}
	for i, b := range p.branches {
		if b.word == choice.text {
			elem := d.element(v.FieldByIndex(b.index).Type().Elem())
			v.FieldByIndex(b.index).Set(elem.Addr())
			return &p.branches[i]
		}
	}
	d.fail(choice.pos, child(path, key), "unknown %s %q%s", key, shorten(choice.text), suggest(choice.text, p.words()))
	return nil
}

func (d *decoder) field(n *node, e entry, v reflect.Value, f *field, path string) {
	if e.value.kind == nullNode {
		return
	}
	at := child(path, e.key)
	if f.secret != nil {
		d.secretFile(n, e, v, f, at)
		return
	}
	fv := v.FieldByIndex(f.index)
	d.value(e.value, fv, at)
	if f.path {
		d.countPaths(fv, at, e.value.pos)
	}
}

// countPaths makes a path, or each of a list, count from the folder of its file.
func (d *decoder) countPaths(v reflect.Value, at string, pos Pos) {
	if v.Kind() != reflect.Slice {
		v.SetString(besides(pos, v.String()))
		return
	}
	for i := range v.Len() {
		v.Index(i).SetString(besides(d.where.of(index(at, i)), v.Index(i).String()))
	}
}

func (d *decoder) secretFile(n *node, e entry, v reflect.Value, f *field, at string) {
	key := strings.TrimSuffix(e.key, "_file")
	if n.given(key) != nil {
		d.fail(e.pos, at, "both %q and %q are set", key, e.key)
		return
	}
	var path string
	d.value(e.value, reflect.ValueOf(&path).Elem(), at)
	if d.failed[at] {
		return
	}
	if d.secret == nil {
		d.fail(e.value.pos, at, "an entry of a key-value store cannot name a file")
		return
	}
	path = besides(e.value.pos, path)
	if f.index != nil {
		v.FieldByIndex(f.index).SetString(path)
	}
	value, ok := d.secret(e.value.pos, path)
	if !ok {
		d.failed[at] = true
		return
	}
	v.FieldByIndex(f.secret).SetString(value)
	d.secrets[strings.TrimSuffix(at, "_file")] = path
}

// content reads the file that a scalar names.
func (d *decoder) content(n *node, c *Content, at string) {
	var path string
	d.value(n, reflect.ValueOf(&path).Elem(), at)
	switch {
	case d.failed[at]:
	case d.file == nil:
		d.fail(n.pos, at, "an entry of a key-value store cannot name a file")
	default:
		c.Path = besides(n.pos, path)
		data, ok := d.file(n.pos, c.Path)
		c.Data = data
		d.failed[at] = !ok
	}
}

// besides makes a relative path count from the folder of the file it stands in.
func besides(pos Pos, path string) string {
	if path == "" || pos.Line == 0 || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(pos.File), path)
}

func (d *decoder) unknown(e entry, t reflect.Type, p *plan, active *branch, path string) {
	d.failed[path] = true
	owner := p.owner(e.key)
	switch {
	case owner == nil:
		known := p.keys(active)
		if path == "" {
			known = append(known, d.outer...)
		}
		d.problems.add(e.pos, "unknown key %q%s", shorten(e.key), suggest(e.key, known))
	case active != nil:
		d.problems.add(e.pos, "key %q belongs to %s %s, this %s is of %s %s", e.key, owner.key, owner.word,
			strings.ToLower(t.Name()), active.key, active.word)
	}
}

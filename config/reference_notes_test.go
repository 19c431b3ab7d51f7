package config

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// compareGenerated compares a generated file with what is generated now; with -update it
// writes it.
func compareGenerated(t *testing.T, path string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s is not what the code says any more: make reference", path)
	}
}

// TestReferenceNotes: reference.json has the doc comment of each key, the words that the
// checks allow, and which keys they require.
func TestReferenceNotes(t *testing.T) {
	docs := readComments(t)
	notes := map[string]fieldNote{}
	for _, root := range []struct {
		shape *shape
		load  func(string, Options) error
	}{
		{configShape(), func(path string, o Options) error { _, err := Load(path, o); return err }},
		{catalogShape(), func(path string, o Options) error { _, err := LoadCatalog(path, o); return err }},
	} {
		p := prober{t, root.load}
		p.walk(root.shape, nil, func(k shapeKey, at []string) {
			if k.owner == "" {
				return
			}
			note := fieldNote{Doc: docs[k.owner], Words: p.words(k, at), Required: p.required(k, at)}
			if note.Doc == "" {
				t.Errorf("%s has no comment that could describe the key %q", k.owner, k.name)
			}
			notes[k.owner] = note
		})
	}
	data, err := json.MarshalIndent(notes, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	compareGenerated(t, "reference.json", append(data, '\n'))
}

// prober finds out what the checks say of keys, by files that are wrong in one.
type prober struct {
	t    *testing.T
	load func(string, Options) error
}

// walk visits every key and the path to it, in which [] stands for the element of a list
// and * for that of a map.
func (p *prober) walk(s *shape, at []string, visit func(k shapeKey, at []string)) {
	switch s.kind {
	case kindList:
		p.walk(s.elem, append(slices.Clone(at), "[]"), visit)
	case kindMap:
		p.walk(s.elem, append(slices.Clone(at), "*"), visit)
	}
	for _, k := range s.keys {
		here := append(slices.Clone(at), k.name)
		if k.when != "" {
			here[len(here)-1] = k.on + "=" + k.when + "&" + k.name
		}
		visit(k, here)
		p.walk(k.shape, here, visit)
	}
}

// fileWith is a file with one value at a path. JSON is YAML.
func fileWith(at []string, value any) any {
	if len(at) == 0 {
		return value
	}
	inner := fileWith(at[1:], value)
	switch at[0] {
	case "[]":
		return []any{inner}
	case "*":
		return map[string]any{"x": inner}
	}
	m := map[string]any{}
	name := at[0]
	if condition, key, ok := strings.Cut(name, "&"); ok {
		on, word, _ := strings.Cut(condition, "=")
		m[on], name = word, key
	}
	m[name] = inner
	// What is looked at only where something else is said.
	switch name {
	case "tls":
		m["protocol"] = "https"
	case "storage":
		m["domains"] = []string{"a.example.com"}
	}
	return m
}

// problemsWith are the messages about a file with one value at a path.
func (p *prober) problemsWith(at []string, value any) Errors {
	p.t.Helper()
	data, err := json.Marshal(fileWith(at, value))
	if err != nil {
		p.t.Fatal(err)
	}
	path := filepath.Join(p.t.TempDir(), "probe.yaml")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		p.t.Fatal(err)
	}
	err = p.load(path, Options{Env: envOf(nil)})
	list, _ := err.(Errors) //nolint:errorlint // Load returns nothing else
	return list
}

// words are those that a message lists when the value is none of them. The empty one
// belongs to them if it is not complained about.
func (p *prober) words(k shapeKey, at []string) []string {
	var value, empty any = "no-such-word", ""
	switch {
	case k.shape.kind == kindList && k.shape.elem.kind == kindString:
		value = []any{value}
	case k.shape.kind != kindString:
		return nil
	}
	words := listedWords(p.problemsWith(at, value))
	if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(w, "NAME") }) {
		return nil // forms, not words
	}
	if words != nil && k.shape.kind == kindString && listedWords(p.problemsWith(at, empty)) == nil {
		words = append(words, "")
	}
	return words
}

func listedWords(list Errors) []string {
	for _, problem := range list {
		_, words, found := strings.Cut(problem.Msg, ", expected one of ")
		if found && strings.HasPrefix(problem.Msg, "unknown ") {
			return strings.Split(words, ", ")
		}
	}
	return nil
}

// required says whether a section without the key is refused for that.
func (p *prober) required(k shapeKey, at []string) bool {
	section := at[:len(at)-1]
	if len(section) == 0 {
		return false
	}
	value := map[string]any{}
	if condition, _, ok := strings.Cut(at[len(at)-1], "&"); ok {
		on, word, _ := strings.Cut(condition, "=")
		value[on] = word
	}
	for _, problem := range p.problemsWith(section, value) {
		m := regexp.MustCompile(` has no (\w+)`).FindStringSubmatch(problem.Msg)
		if m != nil && m[1] == k.name && !strings.HasPrefix(problem.Msg, "https listener") {
			return true
		}
	}
	return false
}

// readComments returns the doc comment of each field of this package's structs, in the
// words of the file: Address becomes `address`, a constant its value.
func readComments(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var parsed []*ast.File
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
	}
	c := commentReader{
		t: t, docs: map[string]string{}, types: map[string]string{}, keys: map[string]string{},
		constants: map[string]string{}, declared: map[string]bool{},
	}
	for _, f := range parsed {
		c.declarations(f)
	}
	for _, f := range parsed {
		ast.Inspect(f, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if s, ok := spec.Type.(*ast.StructType); ok {
					c.structure(spec.Name.Name, s)
				}
			}
			return true
		})
	}
	return c.docs
}

type commentReader struct {
	t         *testing.T
	docs      map[string]string
	types     map[string]string // the comments of types
	keys      map[string]string // of all fields
	constants map[string]string
	declared  map[string]bool
}

// declarations notes the names that a reader of the reference does not know.
func (c *commentReader) declarations(f *ast.File) {
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			c.declared[d.Name.Name] = d.Name.IsExported()
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					c.declared[s.Name.Name] = s.Name.IsExported()
					c.types[s.Name.Name] = d.Doc.Text()
					if x, ok := s.Type.(*ast.StructType); ok {
						maps.Copy(c.keys, keysOfFields(x))
					}
				case *ast.ValueSpec:
					c.values(s)
				}
			}
		}
	}
}

func (c *commentReader) values(s *ast.ValueSpec) {
	for i, name := range s.Names {
		if i < len(s.Values) {
			if lit, ok := s.Values[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				c.constants[name.Name], _ = strconv.Unquote(lit.Value)
			}
		}
	}
}

func (c *commentReader) structure(name string, s *ast.StructType) {
	keys := keysOfFields(s)
	before := ""
	for _, f := range s.Fields.List {
		doc := f.Doc.Text()
		for _, n := range f.Names {
			own := doc
			if own == "" && regexp.MustCompile(`\b`+n.Name+`\b`).MatchString(before) {
				own = before // a comment that speaks of several fields
			}
			if own == "" {
				own = c.typeText(n.Name, f.Type)
			}
			if keys[n.Name] != "" {
				c.docs[name+"."+n.Name] = c.userText(name, n.Name, own, keys)
			}
		}
		if doc != "" {
			before = doc
		}
	}
}

func keysOfFields(s *ast.StructType) map[string]string {
	keys := map[string]string{}
	for _, f := range s.Fields.List {
		for _, n := range f.Names {
			keys[n.Name] = keyOf(f)
		}
	}
	return keys
}

// typeText makes the comment of a section's type one of the field that is of it.
func (c *commentReader) typeText(field string, t ast.Expr) string {
	each := field
	for {
		switch x := t.(type) {
		case *ast.ArrayType:
			t, each = x.Elt, "Each"
		case *ast.MapType:
			t, each = x.Value, "Each"
		case *ast.StarExpr:
			t = x.X
		case *ast.Ident:
			if rest, ok := strings.CutPrefix(c.types[x.Name], x.Name+" "); ok {
				return each + " " + rest
			}
			return ""
		default:
			return ""
		}
	}
}

func keyOf(f *ast.Field) string {
	if f.Tag == nil {
		return ""
	}
	tag, _ := strconv.Unquote(f.Tag.Value)
	key, _, _ := strings.Cut(reflect.StructTag(tag).Get("yaml"), ",")
	return strings.Trim(key, "-")
}

// userText is a comment without the names of Go.
func (c *commentReader) userText(owner, field, doc string, keys map[string]string) string {
	doc = strings.ReplaceAll(strings.Join(strings.Fields(doc), " "), "Nil: ", "Left out: ")
	text := regexp.MustCompile(`\b[A-Z][A-Za-z0-9]*\b`).ReplaceAllStringFunc(doc, func(word string) string {
		if key := keys[word]; key != "" && isGoName(word, doc) {
			return "`" + key + "`"
		}
		if key := c.keys[word]; key != "" && regexp.MustCompile(`[a-z][A-Z]`).MatchString(word) {
			return "`" + key + "`" // of another section
		}
		if value, ok := c.constants[word]; ok {
			return "`" + value + "`"
		}
		return word
	})
	for _, word := range regexp.MustCompile(`\b[A-Z][A-Za-z]*[A-Z][a-z][A-Za-z]*\b`).FindAllString(text, -1) {
		if c.declared[word] {
			c.t.Errorf("the comment of %s.%s speaks of %s, which a reader of the reference does not know",
				owner, field, word)
		}
	}
	return text
}

// isGoName tells Path, the field, from Path, a word at the beginning of a sentence, and
// from Host and TLS, which are words of their own.
func isGoName(word, doc string) bool {
	switch {
	case regexp.MustCompile(`^` + word + `[ ,]`).MatchString(doc):
		return true
	case word == "Host" || strings.ToUpper(word) == word:
		return false
	}
	return regexp.MustCompile(`[a-z,;:] `+word+`\b`).MatchString(doc) ||
		regexp.MustCompile(`[a-z][A-Z]`).MatchString(word)
}

package openapi

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"strings"
)

// comments are those of types and of their fields, by Type or Type.Field.
type comments map[string]string

func (c comments) of(typ, field string) string {
	if field != "" {
		typ += "." + field
	}
	return c[typ]
}

// readComments reads the Go files of a package.
func readComments(sources fs.FS) (comments, error) {
	files, err := fs.Glob(sources, "*.go")
	if err != nil {
		return nil, err
	}
	out := comments{}
	for _, name := range files {
		text, err := fs.ReadFile(sources, name)
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		out.read(file)
	}
	return out, nil
}

func (c comments) read(file *ast.File) {
	for _, decl := range file.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok || d.Tok != token.TYPE {
			continue
		}
		for _, spec := range d.Specs {
			t, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			c[t.Name.Name] = sentence(d.Doc)
			if s, ok := t.Type.(*ast.StructType); ok {
				c.readFields(t.Name.Name, s)
			}
		}
	}
}

// readFields reads the comments of fields: those above them, or else those behind.
func (c comments) readFields(typ string, s *ast.StructType) {
	for _, f := range s.Fields.List {
		text := sentence(f.Doc)
		if text == "" {
			text = sentence(f.Comment)
		}
		for _, name := range f.Names {
			c[typ+"."+name.Name] = text
		}
	}
}

// sentence is a comment in one line.
func sentence(g *ast.CommentGroup) string { return strings.Join(strings.Fields(g.Text()), " ") }

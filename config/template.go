package config

import (
	"fmt"
	"slices"
	"strings"
)

// Template is text with variables, taken apart: the parts follow each other.
type Template []TemplatePart

// TemplatePart is a piece of plain text, or a variable by its name.
type TemplatePart struct{ Text, Variable string }

// HeaderVariables are those of the values of HeaderEdits: the client's address, the
// host it asked for without a port, and http or https.
func HeaderVariables() []string { return []string{"client_ip", "host", "scheme"} }

// RedirectVariables are those of Redirect.To: the request's path with its beginning
// slash, as it is after the route's rewriting; its host without a port; its query
// without the question mark; and http or https.
func RedirectVariables() []string { return []string{"path", "host", "query", "scheme"} }

// ParseTemplate takes a text apart. A variable is a dollar sign and one of the names;
// two dollar signs are a plain one. A dollar sign before anything else is an error.
func ParseTemplate(text string, names []string) (t Template, err error) {
	return parseTemplate(text, names, inVariable)
}

// inVariable says whether a byte may stand in the name of a variable.
func inVariable(c byte) bool { return c == '_' || 'a' <= c && c <= 'z' }

// parseTemplate is ParseTemplate where named says what the names of variables are made of.
func parseTemplate(text string, names []string, named func(c byte) bool) (t Template, err error) {
	for text != "" {
		before, rest, found := strings.Cut(text, "$")
		t = t.plain(before)
		if !found {
			break
		}
		if strings.HasPrefix(rest, "$") {
			t, text = t.plain("$"), rest[1:]
			continue
		}
		end := 0
		for end < len(rest) && named(rest[end]) {
			end++
		}
		name := rest[:end]
		switch {
		case name == "":
			return nil, fmt.Errorf("a dollar sign begins no variable: write $$ for a plain one")
		case !slices.Contains(names, name):
			return nil, fmt.Errorf("unknown variable %q%s", shorten("$"+name), suggest(name, names))
		}
		t, text = append(t, TemplatePart{Variable: name}), rest[end:]
	}
	return t, nil
}

// plain appends plain text.
func (t Template) plain(text string) Template {
	if text == "" {
		return t
	}
	if n := len(t); n > 0 && t[n-1].Variable == "" {
		t[n-1].Text += text
		return t
	}
	return append(t, TemplatePart{Text: text})
}

// Has says whether a variable is in t.
func (t Template) Has(name string) bool {
	return slices.ContainsFunc(t, func(p TemplatePart) bool { return p.Variable == name })
}

// Expand returns the text with the variables' values put in.
func (t Template) Expand(value func(name string) string) string {
	var b strings.Builder
	for _, p := range t {
		if p.Variable == "" {
			b.WriteString(p.Text)
		} else {
			b.WriteString(value(p.Variable))
		}
	}
	return b.String()
}

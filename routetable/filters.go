package routetable

import (
	"bytes"
	"cmp"
	"fmt"
	"net/textproto"
	"regexp"
	"slices"
	"strconv"

	"usher/config"
)

// Param is a parameter of the query that must be there with this very value once it is
// decoded; an empty one stands for any.
type Param struct{ Name, Value string }

// Pattern is a field that must be there with a value that Expr finds something in.
type Pattern struct {
	Name string
	Expr *regexp.Regexp
}

// Respond is an answer that is always the same. It is immutable.
type Respond struct {
	Status int
	// Fields are lines of the head, each with its end. Body may be empty.
	Fields, Body []byte
}

// Edits are changes of the fields of a head, made in the order of their names. They
// are immutable.
type Edits struct {
	// Drop are the names of fields that are taken out: those removed and those set anew.
	Drop []string
	// Fields are put in.
	Fields []FieldTemplate
}

// FieldTemplate is a field whose value may hold variables. The name is in canonical
// form.
type FieldTemplate struct {
	Name  string
	Value config.Template
}

// Drops says whether fields of a name, in canonical form, are taken out. Nil edits
// take nothing out.
func (e *Edits) Drops(name []byte) bool {
	if e == nil {
		return false
	}
	for _, d := range e.Drop {
		if d == string(name) {
			return true
		}
	}
	return false
}

// Page is the body of an answer that usher makes because a request failed.
type Page struct {
	// Type is its media type.
	Type string
	Body []byte
}

// Pages are error pages: by reason, by status (503) and by class (5xx). Nil ones are
// none.
type Pages map[string]*Page

// Find returns the page of a failure, the most special one, nil for none.
func (p Pages) Find(reason string, status int) *Page {
	if len(p) == 0 {
		return nil
	}
	text := strconv.Itoa(status)
	for _, key := range []string{reason, text, text[:1] + "xx"} {
		if page := p[key]; page != nil {
			return page
		}
	}
	return nil
}

// ErrorPages returns the pages of failures that a route has none for.
func (t *Table) ErrorPages() Pages { return t.rules.pages }

func compilePages(pages map[string]config.Content) Pages {
	if len(pages) == 0 {
		return nil
	}
	out := Pages{}
	for key, c := range pages {
		out[key] = &Page{c.Type(), []byte(c.Data)}
	}
	return out
}

// compileFilters prepares what the rule of a route does to requests and answers. The
// configuration has checked all of it, so that an error is one of a hand-made rule.
func (r *Route) compileFilters(c *config.Route) (err error) {
	for _, name := range sortedKeys(c.Match.HeadersRegex) {
		expr, err := regexp.Compile(c.Match.HeadersRegex[name])
		if err != nil {
			return fmt.Errorf("header %q: %w", name, err)
		}
		r.Patterns = append(r.Patterns, Pattern{name, expr})
	}
	for _, name := range sortedKeys(c.Match.Query) {
		r.Query = append(r.Query, Param{name, c.Match.Query[name]})
	}
	if r.Rewrite, err = rewriteOf(c); err != nil {
		return err
	}
	if c.Redirect != nil {
		t, err := config.ParseTemplate(c.Redirect.To, config.RedirectVariables())
		if err != nil {
			return fmt.Errorf("redirect: %w", err)
		}
		r.Redirect = newRedirect(c.Redirect.Code, t, r.Rewrite)
	}
	r.Respond = respondOf(c.Respond)
	if r.RequestEdits, err = editsOf(&c.RequestHeaders); err != nil {
		return err
	}
	if r.ResponseEdits, err = editsOf(&c.ResponseHeaders); err != nil {
		return err
	}
	r.Pages = compilePages(c.ErrorPages)
	return nil
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func rewriteOf(c *config.Route) (*Rewrite, error) {
	if c.StripPrefix == "" && c.PrependPrefix == "" && c.Host == "" && c.Rewrite == nil {
		return nil, nil
	}
	r := &Rewrite{Strip: c.StripPrefix, Prepend: c.PrependPrefix, Host: c.Host}
	if c.Rewrite == nil {
		return r, nil
	}
	var err error
	if r.Pattern, err = regexp.Compile(c.Rewrite.Path); err != nil {
		return nil, fmt.Errorf("rewrite: %w", err)
	}
	r.To = c.Rewrite.To
	return r, nil
}

func respondOf(c *config.Respond) *Respond {
	if c == nil {
		return nil
	}
	r := &Respond{Status: c.Status, Body: []byte(c.Body)}
	contentType := c.ContentType
	if c.BodyFile.Path != "" {
		r.Body = []byte(c.BodyFile.Data)
	}
	if len(r.Body) > 0 {
		contentType = cmp.Or(contentType, c.BodyFile.Type())
	}
	if contentType != "" {
		r.Fields = appendLine(r.Fields, "Content-Type", contentType)
	}
	for _, name := range sortedKeys(c.Headers) {
		r.Fields = appendLine(r.Fields, name, c.Headers[name])
	}
	return r
}

func appendLine(dst []byte, name, value string) []byte {
	return append(append(append(append(dst, name...), ": "...), value...), "\r\n"...)
}

// editsOf prepares edits; nil when they change nothing.
func editsOf(c *config.HeaderEdits) (*Edits, error) {
	if c.Empty() {
		return nil, nil
	}
	e := &Edits{}
	for _, name := range c.Remove {
		e.Drop = append(e.Drop, textproto.CanonicalMIMEHeaderKey(name))
	}
	for _, fields := range []map[string]string{c.Set, c.Add} {
		for _, name := range sortedKeys(fields) {
			value, err := config.ParseTemplate(fields[name], config.HeaderVariables())
			if err != nil {
				return nil, fmt.Errorf("header %q: %w", name, err)
			}
			e.Fields = append(e.Fields, FieldTemplate{textproto.CanonicalMIMEHeaderKey(name), value})
		}
	}
	for name := range c.Set {
		e.Drop = append(e.Drop, textproto.CanonicalMIMEHeaderKey(name))
	}
	slices.Sort(e.Drop)
	return e, nil
}

// holds says whether a target's query has the parameter; of several of its name any
// will do.
func (p *Param) holds(target []byte) bool {
	_, query, _ := bytes.Cut(target, []byte("?"))
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte("&"))
		name, value, _ := bytes.Cut(pair, []byte("="))
		if formEqual(name, p.Name) && (p.Value == "" || formEqual(value, p.Value)) {
			return true
		}
	}
	return false
}

// formEqual compares a piece of a query, encoded as forms are, with plain text. What
// is no encoding stands for itself. It allocates nothing.
func formEqual(b []byte, s string) bool {
	n := 0
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(b) && unhex(b[i+1]) >= 0 && unhex(b[i+2]) >= 0:
			c = byte(unhex(b[i+1])<<4 | unhex(b[i+2]))
			i += 2
		}
		if n == len(s) || s[n] != c {
			return false
		}
		n++
	}
	return n == len(s)
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	default:
		return -1
	}
}

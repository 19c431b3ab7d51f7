package config

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// filters checks what a route does to its requests and answers.
func (c *checker) filters(r Route, at string) {
	if r.Rewrite != nil {
		c.notBoth(r.Name, at, "rewrite", "strip_prefix", "prepend_prefix")
		c.rewrite(*r.Rewrite, child(at, "rewrite"))
	}
	if r.Redirect != nil {
		c.redirect(*r.Redirect, child(at, "redirect"))
		c.unused(at, "redirect", "host", "request_headers")
	}
	if r.Respond != nil {
		c.respond(*r.Respond, child(at, "respond"))
		c.unused(at, "respond", "host", "request_headers", "response_headers", "strip_prefix", "prepend_prefix",
			"rewrite")
	}
	c.edits(r.RequestHeaders, child(at, "request_headers"), "Host", "Cdn-Loop")
	c.edits(r.ResponseHeaders, child(at, "response_headers"), "X-Usher-Reason")
	c.errorPages(r.ErrorPages, child(at, "error_pages"))
	c.policy(r.Over(Policy{}), at)
}

// unused refuses keys that do nothing on a route that answers by itself.
func (c *checker) unused(at, kind string, keys ...string) {
	for _, key := range append(keys, "connect_timeout", "timeout", "idle_timeout", "total_timeout", "retry") {
		if path := child(at, key); c.where.given(path) {
			c.bad(path, "%s has no effect on a route with %s", key, kind)
		}
	}
}

// notBoth refuses keys that do not go together with another.
func (c *checker) notBoth(route, at, key string, others ...string) {
	for _, other := range others {
		if c.where.given(child(at, other)) {
			c.bad(child(at, other), "route %q has both %s and %s", route, key, other)
		}
	}
}

func (c *checker) rewrite(r PathRewrite, at string) {
	if r.Path == "" {
		c.required(at, "path", "rewrite has no path")
		return
	}
	re := c.regex(child(at, "path"), "path", r.Path)
	if r.To == "" {
		c.required(at, "to", "rewrite has no to")
		return
	}
	if re != nil {
		c.replacement(child(at, "to"), r.To, re)
	}
}

// replacement checks that a text makes a path, and that the groups it names exist.
func (c *checker) replacement(path, to string, re *regexp.Regexp) {
	c.prefix(path, "to", to)
	c.ascii(path, to)
	if strings.ContainsAny(to, "?#") {
		c.bad(path, "to %q contains ? or #: the query stays as it is", shorten(to))
	}
	for rest := to; ; {
		_, after, found := strings.Cut(rest, "$")
		if !found {
			return
		}
		name, ok := "", false
		if name, rest, ok = groupName(after); !ok {
			c.bad(path, "to %q: a dollar sign names no group: write $$ for a plain one", shorten(to))
			return
		}
		n, err := strconv.Atoi(name)
		if name != "$" && (err != nil && re.SubexpIndex(name) < 0 || err == nil && n > re.NumSubexp()) {
			c.bad(path, "to %q: path has no group %q: write ${1}a for $1 and an a", shorten(to), shorten(name))
			return
		}
	}
}

// ascii refuses what cannot be in a URL as it stands.
func (c *checker) ascii(path, to string) {
	if strings.ContainsFunc(to, func(r rune) bool { return r >= 0x80 }) {
		c.bad(path, "to %q is not ASCII: write it percent-encoded", shorten(to))
	}
}

// groupName takes the name of a group off the front of s, as regexp.Expand reads it;
// the name of an escaped dollar sign is $.
func groupName(s string) (name, rest string, ok bool) {
	if rest, ok = strings.CutPrefix(s, "$"); ok {
		return "$", rest, true
	}
	inner, braced := strings.CutPrefix(s, "{")
	end := 0
	for end < len(inner) && (inner[end] == '_' || isAlphanumeric(inner[end])) {
		end++
	}
	name, rest = inner[:end], inner[end:]
	if braced {
		rest, ok = strings.CutPrefix(rest, "}")
		return name, rest, ok && name != ""
	}
	return name, rest, name != ""
}

func isAlphanumeric(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}

func (c *checker) redirect(r Redirect, at string) {
	if !slices.Contains([]int{301, 302, 303, 307, 308}, r.Code) {
		c.bad(child(at, "code"), "code must be 301, 302, 303, 307 or 308, found %d", r.Code)
	}
	path := child(at, "to")
	if r.To == "" {
		c.required(at, "to", "redirect has no to")
		return
	}
	t, err := ParseTemplate(r.To, RedirectVariables())
	if err != nil {
		c.bad(path, "to %q: %v", shorten(r.To), err)
		return
	}
	c.ascii(path, r.To)
	// What it makes of one request tells what it makes of all.
	sample := t.Expand(func(name string) string {
		return map[string]string{"path": "/path", "host": "host.example", "query": "a=b", "scheme": "https"}[name]
	})
	u, err := url.Parse(sample)
	switch {
	case hasSpace(sample), err != nil:
		c.bad(path, "to %q is not a URL", shorten(r.To))
	case u.Scheme == "" && sample[0] == '/':
	case strings.Contains(u.Host, "="):
		c.bad(path, "to %q: the query cannot be in the host", shorten(r.To))
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		c.bad(path, "to %q is neither an http or https URL nor a path", shorten(r.To))
	}
}

func (c *checker) respond(r Respond, at string) {
	if r.Status < 200 || r.Status > 599 {
		c.bad(child(at, "status"), "status must be from 200 to 599, found %d", r.Status)
	}
	file := c.where.given(child(at, "body_file"))
	switch {
	case file && c.where.given(child(at, "body")):
		c.bad(child(at, "body_file"), "respond has both body and body_file")
	case slices.Contains([]int{204, 205, 304}, r.Status) && (file || r.Body != ""):
		c.bad(child(at, "status"), "an answer with the status %d has no body", r.Status)
	}
	if path := child(at, "content_type"); strings.ContainsFunc(r.ContentType, isControl) {
		c.bad(path, "content_type contains a control character")
	}
	for name, value := range r.Headers {
		path := child(child(at, "headers"), name)
		c.fieldName(path, name, "Content-Type", "X-Usher-Reason")
		c.fieldValue(path, name, value)
	}
}

// edits checks changes of a head. refused are names that may not be changed in it,
// beside those that frame it.
func (c *checker) edits(h HeaderEdits, at string, refused ...string) {
	for key, fields := range map[string]map[string]string{"set": h.Set, "add": h.Add} {
		seen := map[string]string{}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			path := child(child(at, key), name)
			c.fieldName(path, name, refused...)
			if other, twice := seen[lowerASCII(name)]; twice {
				c.bad(path, "header %q is in %s already, as %q", shorten(name), key, shorten(other))
			}
			seen[lowerASCII(name)] = name
			c.fieldValue(path, name, fields[name])
			if _, err := ParseTemplate(fields[name], HeaderVariables()); err != nil {
				c.bad(path, "the value of header %q: %v", shorten(name), err)
			}
		}
	}
	for i, name := range h.Remove {
		path := index(child(at, "remove"), i)
		c.fieldName(path, name, refused...)
		for set := range h.Set {
			if lowerASCII(set) == lowerASCII(name) {
				c.bad(path, "header %q is in set and in remove", shorten(name))
			}
		}
	}
}

// framing are the fields that are not a route's to change: they frame a message, or
// are about one connection.
func framing() []string {
	return []string{
		"Connection", "Content-Length", "Expect", "Host", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	}
}

func (c *checker) fieldName(path, name string, refused ...string) {
	same := func(other string) bool { return strings.EqualFold(other, name) }
	switch {
	case !isToken(name):
		c.bad(path, "%q is not a valid header name", shorten(name))
	case slices.ContainsFunc(framing(), same), slices.ContainsFunc(refused, same):
		c.bad(path, "header %q cannot be changed here", shorten(name))
	}
}

func (c *checker) fieldValue(path, name, value string) {
	if strings.ContainsFunc(value, isControl) {
		c.bad(path, "the value of header %q contains a control character", shorten(name))
	}
}

// isControl says whether r may not be in a field's value: what ends a line, NUL, and
// the other control characters but for the tab.
func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// predicates checks the conditions on query and fields that are not a plain value.
func (c *checker) predicates(m Match, at string) {
	for name, expr := range m.HeadersRegex {
		path := child(child(at, "headers_regex"), name)
		c.header(path, name, "")
		c.regex(path, "the value of header "+strconv.Quote(shorten(name)), expr)
	}
	for name := range m.Query {
		if name == "" {
			c.bad(child(at, "query"), "a parameter of query has no name")
		}
	}
}

// errorPages checks the keys; the files are read already.
func (c *checker) errorPages(pages map[string]Content, at string) {
	for key := range pages {
		class, status := strings.TrimSuffix(key, "xx"), 0
		if len(key) == 3 && (len(class) == 1 || len(class) == 3) {
			status, _ = strconv.Atoi((class + "00")[:3])
		}
		switch path := child(at, key); {
		case status >= 400 && status <= 599:
		case status != 0 || key == "" || key[0] >= '0' && key[0] <= '9':
			c.bad(path, "error page %q: a status is from 400 to 599, a class 4xx or 5xx", shorten(key))
		default:
			c.word(path, "reason", key, ErrorReasons()...)
		}
	}
}

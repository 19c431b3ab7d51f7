package routetable

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"

	"usher/config"
)

// Redirect sends the client elsewhere. It is immutable.
type Redirect struct {
	// Code is the status, from 300 to 399.
	Code int

	to config.Template
	// rewrite is what $path goes through; nil: nothing.
	rewrite *Rewrite
	// query says that the request's query goes along.
	query bool
}

// Asked is what a client asked for, as far as a redirect depends on it. Its slices are
// only read during the call.
type Asked struct {
	// Scheme is http or https.
	Scheme string
	// Host is the host without a port, HostPort as it was sent; both in lower case.
	Host, HostPort []byte
	// Target is in origin form, as it was sent.
	Target []byte
}

// newRedirect prepares a redirect. $path begins with a slash, so one in front of it
// would be there twice (Fabio's rule).
func newRedirect(code int, to config.Template, rewrite *Rewrite) *Redirect {
	r := &Redirect{Code: code, rewrite: rewrite, query: to.Has("path") && !to.Has("query")}
	for i, p := range to {
		if i+1 < len(to) && to[i+1].Variable == "path" && !strings.HasSuffix(p.Text, "://") {
			p.Text = strings.TrimSuffix(p.Text, "/")
		}
		r.query = r.query && !strings.ContainsAny(p.Text, "?#")
		if p != (config.TemplatePart{}) {
			r.to = append(r.to, p)
		}
	}
	return r
}

// announcedRedirect prepares the redirect of a tag, in which a dollar sign before
// anything but a variable is one, and what is not ASCII is encoded.
func announcedRedirect(code int, target string, rewrite *Rewrite) *Redirect {
	var t config.Template
	target = encoded(target)
	for target != "" {
		before, rest, found := strings.Cut(target, "$")
		if before != "" {
			t = append(t, config.TemplatePart{Text: before})
		}
		if !found {
			break
		}
		target = rest
		name, text := "", "$"
		for _, v := range []string{"path", "host"} { // Fabio knows no others
			if after, ok := strings.CutPrefix(rest, v); ok {
				name, text, target = v, "", after
				break
			}
		}
		t = append(t, config.TemplatePart{Text: text, Variable: name})
	}
	return newRedirect(code, t, rewrite)
}

// encoded percent-encodes what is not ASCII.
func encoded(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] < 0x80 {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}

// AppendLocation appends where a client is sent. It may allocate.
func (r *Redirect) AppendLocation(dst []byte, a *Asked) []byte {
	target := a.Target
	if r.rewrite != nil {
		target = r.rewrite.Target(nil, target)
	}
	path, _, _ := bytes.Cut(target, []byte("?"))
	_, query, _ := bytes.Cut(a.Target, []byte("?"))
	from := len(dst)
	for _, p := range r.to {
		dst = append(dst, p.Text...)
		switch p.Variable {
		case "path":
			dst = append(dst, path...)
		case "host":
			dst = append(dst, a.Host...)
		case "query":
			dst = append(dst, query...)
		case "scheme":
			dst = append(dst, a.Scheme...)
		}
	}
	dst = endAuthority(r.oneSlash(dst, from), from)
	if r.query && len(query) > 0 {
		dst = append(append(dst, '?'), query...)
	}
	return dst
}

// oneSlash keeps a location that is a path from naming a host of the request's making:
// browsers take two slashes, or backslashes, for the beginning of one.
func (r *Redirect) oneSlash(dst []byte, from int) []byte {
	end := from
	for end < len(dst) && (dst[end] == '/' || dst[end] == '\\') {
		end++
	}
	if end == from || strings.HasPrefix(r.to[0].Text, "//") {
		return dst
	}
	dst[from] = '/'
	return append(dst[:from+1], dst[end:]...)
}

// endAuthority gives a URL that ends with its host the path /.
func endAuthority(dst []byte, from int) []byte {
	_, rest, absolute := bytes.Cut(dst[from:], []byte("://"))
	if absolute && !bytes.ContainsAny(rest, "/?#") {
		return append(dst, '/')
	}
	return dst
}

// Stays says whether the client would be sent to what it asked for: scheme, host and
// path are the same.
func (r *Redirect) Stays(a *Asked) bool {
	location := r.AppendLocation(nil, a)
	if i := bytes.IndexAny(location, "?#"); i >= 0 {
		location = location[:i]
	}
	asked, _, _ := bytes.Cut(a.Target, []byte("?"))
	if location[0] == '/' && !bytes.HasPrefix(location, []byte("//")) {
		return bytes.Equal(location, asked)
	}
	scheme, rest, absolute := bytes.Cut(location, []byte("://"))
	if !absolute {
		scheme, rest = []byte(a.Scheme), bytes.TrimPrefix(location, []byte("//"))
	}
	slash := bytes.IndexByte(rest, '/')
	if slash < 0 {
		slash = len(rest)
	}
	host, path := rest[:slash], rest[slash:]
	return strings.EqualFold(string(scheme), a.Scheme) && bytes.Equal(path, asked) &&
		withoutPort(host, a.Scheme) == withoutPort(a.HostPort, a.Scheme)
}

// withoutPort is a host in lower case without the port that its scheme implies.
func withoutPort(host []byte, scheme string) string {
	port := ":80"
	if scheme == "https" {
		port = ":443"
	}
	return strings.TrimSuffix(strings.ToLower(string(host)), port)
}

// validTarget says whether a redirect's text makes a URL, or a path.
func validTarget(target string) bool {
	if target == "" || !printable(target) || strings.ContainsAny(target, " \t") {
		return false
	}
	r := announcedRedirect(301, target, nil)
	a := []byte("a")
	sample := r.AppendLocation(nil, &Asked{Scheme: "http", Host: a, HostPort: a, Target: []byte("/")})
	if len(sample) == 0 {
		return false
	}
	u, err := url.Parse(string(sample))
	return err == nil && (u.Host != "" || u.Scheme == "" && sample[0] == '/')
}

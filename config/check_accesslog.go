package config

import (
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// leastAccessBuffer is what the buffers of an access log need at least, mostAccessHeaders
// how many header fields it may have of each head.
const (
	leastAccessBuffer = 256 << 10
	mostAccessHeaders = 32
)

func (c *checker) accessLog(a AccessLog) {
	const at = "access_log"
	if a.Output == "" && c.where.given(at) && !c.where.given(at+".output") {
		c.required(at, "output",
			"access_log has no output: a file, stdout, stderr or a URL like syslog+udp://127.0.0.1:514")
	}
	if a.Syslog() {
		c.syslog(at+".output", a.Output)
	}
	c.word(at+".format", "format", a.Format, AccessJSON, AccessCombined, AccessCommon, AccessTemplate)
	c.accessTemplate(a)
	c.accessFields(a)
	if a.Sample < 0 || a.Sample > 1 {
		c.bad(at+".sample", "sample must be from 0 to 1, found %v", a.Sample)
	}
	if a.BufferSize < leastAccessBuffer {
		c.bad(at+".buffer_size", "buffer_size must be at least 256KiB, found %s", a.BufferSize)
	}
	c.atLeast(at+".flush_interval", "flush_interval", a.FlushInterval, 10*time.Millisecond)
	c.headerNames(at+".request_headers", a.RequestHeaders)
	c.headerNames(at+".response_headers", a.ResponseHeaders)
	for i, name := range a.Redact.Headers {
		if !isToken(name) {
			c.bad(index(at+".redact.headers", i), "%q is not a valid header name", shorten(name))
		}
	}
	for i, name := range a.Redact.Query {
		if name == "" {
			c.bad(index(at+".redact.query", i), "parameter name is empty")
		}
	}
}

func (c *checker) accessTemplate(a AccessLog) {
	const at = "access_log.template"
	switch {
	case a.Format == AccessTemplate && a.Template == "":
		c.required("access_log", "template", "format template has no template")
	case a.Template == "":
	case a.Format != AccessTemplate:
		c.bad(at, "template belongs to format template, the format is %s", a.Format)
	case strings.ContainsAny(a.Template, "\r\n"):
		c.bad(at, "template has more than one line")
	default:
		if _, err := ParseAccessTemplate(a); err != nil {
			c.bad(at, "%v", err)
		}
	}
}

func (c *checker) accessFields(a AccessLog) {
	const at = "access_log.fields"
	if !c.where.given(at) {
		return
	}
	if a.Format != AccessJSON {
		c.bad(at, "fields belongs to format json, the format is %s", a.Format)
	}
	if len(a.Fields) == 0 {
		c.bad(at, "fields is empty: leave the key out for all of them")
	}
	for i, name := range a.Fields {
		c.word(index(at, i), "field", name, AccessLogFields()...)
		if slices.Contains(a.Fields[:i], name) {
			c.bad(index(at, i), "field %q is there twice", shorten(name))
		}
	}
}

// headerNames checks a list of header fields to log.
func (c *checker) headerNames(at string, names []string) {
	if len(names) > mostAccessHeaders {
		c.bad(at, "more than %d header fields", mostAccessHeaders)
	}
	seen := map[string]bool{}
	for i, name := range names {
		if !isToken(name) {
			c.bad(index(at, i), "%q is not a valid header name", shorten(name))
		}
		if key := strings.ToLower(name); seen[key] {
			c.bad(index(at, i), "header field %q is there twice", shorten(name))
		} else {
			seen[key] = true
		}
	}
}

// syslog checks where a receiver of syslog is said to be.
func (c *checker) syslog(at, text string) {
	const form = "expected syslog+udp://host:port, syslog+tcp://host:port or syslog+unix:///path, found %q"
	u, err := url.Parse(text)
	if err != nil {
		c.bad(at, form, shorten(text))
		return
	}
	_, _, noPort := net.SplitHostPort(u.Host)
	switch u.Scheme {
	case "syslog+udp", "syslog+tcp":
		if noPort != nil || u.Path != "" {
			c.bad(at, form, shorten(text))
		}
	case "syslog+unix":
		if u.Host != "" || u.Path == "" {
			c.bad(at, form, shorten(text))
		}
	default:
		c.bad(at, form, shorten(text))
	}
	for key, values := range u.Query() {
		switch key {
		case "facility":
			c.word(at, "facility", values[0], SyslogFacilities()...)
		case "tag":
			if len(values[0]) > 48 || values[0] == "" || hasSpace(values[0]) {
				c.bad(at, "tag %q is empty, too long, or has a space in it", shorten(values[0]))
			}
		default:
			c.bad(at, "unknown parameter %q%s", shorten(key), suggest(key, []string{"facility", "tag"}))
		}
	}
}

// SyslogFacilities are the words of syslog's facilities, by their numbers.
func SyslogFacilities() []string {
	return []string{
		"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
		"ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
		"local7",
	}
}

func (c *checker) debug(d Debug, at string) {
	for i, p := range d.From {
		if !isPrefix(p) {
			c.bad(index(child(at, "from"), i), "%q is neither an IP address nor a range like 10.0.0.0/8", shorten(p))
		}
	}
}

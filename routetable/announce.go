package routetable

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// rule is one announcement, parsed. fabio-compatible: a source, then options.
type rule struct {
	host      string
	path      string
	listeners []string
	rewrite   *Rewrite
	// weight is the fixed share of the route's traffic; negative: none given.
	weight float64
	// unknown are the options that mean nothing to usher.
	unknown []string
}

// dynamicWeight marks a rule without a fixed share.
const dynamicWeight = -1

// parseRule parses the text behind the tag prefix, or the value of a meta key:
// "host/path option=value …". The error says what is wrong in the words of the
// text.
func parseRule(text string) (rule, error) {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return rule{}, fmt.Errorf("empty rule")
	}
	r := rule{weight: dynamicWeight}
	if err := r.parseSource(fields[0]); err != nil {
		return rule{}, err
	}
	options := map[string]string{}
	order := make([]string, 0, len(fields)-1)
	for _, f := range fields[1:] {
		key, value, _ := strings.Cut(f, "=")
		if _, dup := options[key]; !dup {
			order = append(order, key)
		}
		options[key] = value
	}
	for _, key := range order {
		if err := r.option(key, options[key]); err != nil {
			return rule{}, err
		}
	}
	return r, nil
}

// validHost says whether a host pattern, in lower case, is one: a name with stars,
// or an address in brackets, and a port.
func validHost(host string) bool {
	name, port := host, ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.Contains(host[i:], "]") {
		if name, port = host[:i], host[i+1:]; port == "" {
			return false
		}
	}
	allowed := "0123456789abcdefghijklmnopqrstuvwxyz._*?-"
	if inner, ok := strings.CutPrefix(name, "["); ok {
		if name, ok = strings.CutSuffix(inner, "]"); !ok || name == "" {
			return false
		}
		allowed = "0123456789abcdef:."
	}
	return only(name, allowed) && only(port, "0123456789*")
}

// only says whether s is made of the characters of allowed.
func only(s, allowed string) bool {
	for i := range len(s) {
		if strings.IndexByte(allowed, s[i]) < 0 {
			return false
		}
	}
	return true
}

// parseSource parses "host/path". A bare host means all its paths.
func (r *rule) parseSource(src string) error {
	if strings.HasPrefix(src, ":") {
		return fmt.Errorf("source %q is a TCP port, which is not served yet", src)
	}
	host, path, hasPath := strings.Cut(src, "/")
	r.host = NormalizeHost(host)
	r.path = "/" + path
	if !hasPath && host == "" {
		return fmt.Errorf("source %q has neither host nor path", src)
	}
	if !validHost(r.host) {
		return fmt.Errorf("host %q is not a host name", host)
	}
	if !printable(r.path) || strings.Contains(r.path, "?") {
		return fmt.Errorf("path %q holds a query, a control character or invalid UTF-8", r.path)
	}
	return nil
}

// printable says whether s is valid UTF-8 without control characters.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// NormalizeHost lower-cases a host pattern and takes the default ports off, as
// requests are looked up without them.
func NormalizeHost(host string) string {
	host = strings.Map(lowerASCII, host)
	for _, port := range []string{":80", ":443"} {
		if bare, ok := strings.CutSuffix(host, port); ok && !strings.HasSuffix(bare, ":") {
			host = bare
			break
		}
	}
	return strings.TrimSuffix(host, ".") // requests are looked up without it
}

// lowerASCII leaves other letters alone: some of them have an ASCII lower case.
func lowerASCII(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r + ('a' - 'A')
	}
	return r
}

// option takes one option. What usher cannot serve yet is refused rather than
// ignored: a route that should have been restricted must not be open.
func (r *rule) option(key, value string) error {
	switch key {
	case "strip", "prepend":
		return r.parsePath(key, value)
	case "host":
		return r.parseHost(value)
	case "weight":
		return r.parseWeight(value)
	case "listener":
		return r.parseListeners(value)
	case "proto":
		if value != "" && value != "http" {
			return fmt.Errorf("proto=%s is not served yet", value)
		}
	case "tlsskipverify", "pxyproto":
		if value != "" && value != "false" {
			return fmt.Errorf("option %s= is not served yet", key)
		}
	case "redirect", "auth", "allow", "deny", "grpcservername":
		return fmt.Errorf("option %s= is not served yet", key)
	default:
		r.unknown = append(r.unknown, key)
	}
	return nil
}

func (r *rule) edit() *Rewrite {
	if r.rewrite == nil {
		r.rewrite = &Rewrite{}
	}
	return r.rewrite
}

// parsePath takes the path of strip or prepend.
func (r *rule) parsePath(key, value string) error {
	if !strings.HasPrefix(value, "/") || !printable(value) {
		return fmt.Errorf("%s=%q is not a path", key, value)
	}
	if key == "strip" {
		r.edit().Strip = value
	} else {
		r.edit().Prepend = value
	}
	return nil
}

func (r *rule) parseHost(value string) error {
	if value == "" || !validHost(strings.Map(lowerASCII, value)) || strings.ContainsAny(value, "*?") {
		return fmt.Errorf("host=%q is not a host name", value)
	}
	r.edit().Host, r.edit().HostIsAddress = value, value == "dst"
	return nil
}

func (r *rule) parseListeners(value string) error {
	names := strings.Split(value, ",")
	slices.Sort(names)
	if r.listeners = slices.Compact(names); names[0] == "" {
		return fmt.Errorf("listener=%q names no listener", value)
	}
	return nil
}

func (r *rule) parseWeight(value string) error {
	w, err := strconv.ParseFloat(value, 64)
	if err != nil || w < 0 || math.IsInf(w, 0) || math.IsNaN(w) {
		return fmt.Errorf("weight %q is not a share between 0 and 1", value)
	}
	r.weight = w
	return nil
}

// matchKey identifies what a rule matches; rules with the same key share a route. A
// rule holds no space, so no path can look like a listener.
func (r *rule) matchKey() string {
	key := r.host + r.path
	if len(r.listeners) > 0 {
		key += " listener=" + strings.Join(r.listeners, ",")
	}
	return key
}

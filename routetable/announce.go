package routetable

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// rule is one announcement, parsed. fabio-compatible: a source, then options.
type rule struct {
	host string
	path string
	// port is that of a TCP source, ":3306", which is its host, too, and has no path; 0:
	// none.
	port      uint16
	pathType  PathType
	listeners []string

	// proto is how the instance is spoken to: https, h2, h2c, grpc, grpcs or tcp; empty: http.
	proto   string
	rewrite *Rewrite
	// weight is the fixed share of the route's traffic; negative: none given.
	weight float64
	// redirect answers instead of the instance; nil: it does not.
	redirect *redirect
	// access is who may come; nil: everybody.
	access *Access
	// skipVerify takes any certificate of the instance; proxyProtocol tells it in front
	// of the connection who the client is; serverName is what an instance is asked for over
	// TLS.
	skipVerify, proxyProtocol bool
	serverName                string
	// register is a name that Fabio would register itself under.
	register string
	// unknown are the options that mean nothing to usher.
	unknown []string
}

// redirect is an answer that sends the client elsewhere. The URL may hold $path and
// $host.
type redirect struct {
	code int
	url  string
}

// dynamicWeight marks a rule without a fixed share.
const dynamicWeight = -1

// parseRule parses the text behind the tag prefix, or the value of a meta key:
// "host/path option=value …". The error says what is wrong in the words of the
// text. A rule may be well-formed and still ask for what is not served yet: see
// unserved.
func parseRule(text string) (rule, error) {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return rule{}, fmt.Errorf("empty rule")
	}
	r := rule{weight: dynamicWeight}
	if err := r.parseOptions(fields[1:]); err != nil {
		return rule{}, err
	}
	if err := r.parseSource(fields[0]); err != nil {
		return rule{}, err
	}
	if r.kind() != Requests {
		r.pathType = Prefix // matcher= is about paths
	}
	if reason := r.streamed(); reason != "" {
		return rule{}, errors.New(reason)
	}
	return r, nil
}

// restricts says whether a text, broken as it may be, asks for a restriction of
// access: what stood there before must not go on without one.
func restricts(text string) bool {
	fields := strings.Fields(text)
	for _, f := range fields[min(1, len(fields)):] {
		if key, _, _ := strings.Cut(f, "="); restricting(strings.Map(lowerASCII, key)) {
			return true
		}
	}
	return false
}

// restricting says whether an option restricts access.
func restricting(key string) bool { return key == "allow" || key == "deny" || key == "auth" }

// unserved says what a well-formed rule asks for that usher cannot do yet; empty:
// nothing.
func (r *rule) unserved() string {
	const reason = "not served yet: "
	switch {
	case r.redirect != nil:
		return "" // nobody connects to the instance
	case r.proxyProtocol && byHTTP2(r.proto): // one connection serves many clients
		return reason + "pxyproto=true with proto=" + r.proto
	default:
		return ""
	}
}

// notice says what of a rule that is served has no effect; empty: nothing.
func (r *rule) notice() string {
	var parts []string
	if r.register != "" {
		parts = append(parts, "register="+r.register+": nothing is registered")
	}
	if idle := r.idle(); idle != "" {
		parts = append(parts, idle)
	}
	if len(r.unknown) > 0 {
		parts = append(parts, "unknown option "+strings.Join(r.unknown, ", "))
	}
	return strings.Join(parts, "; ")
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

// parseSource parses "host/path", or ":port". A bare host means all its paths.
func (r *rule) parseSource(src string) error {
	if port, ok := strings.CutPrefix(src, ":"); ok {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("source %q is not a TCP port", src)
		}
		r.port, r.host = uint16(n), ":"+strconv.Itoa(int(n))
		return nil
	}
	host, path, hasPath := strings.Cut(src, "/")
	r.host = NormalizeHost(host)
	r.path = "/" + path
	if !hasPath && r.host == "" {
		return fmt.Errorf("source %q has neither host nor path", src)
	}
	if !validHost(r.host) || r.host == "" && host != "" {
		return fmt.Errorf("host %q is not a host name", host)
	}
	return r.checkPath()
}

// checkPath refuses a path that no request has, and of a glob what only Fabio's has:
// taken by the letter it would match something else.
func (r *rule) checkPath() error {
	if !printable(r.path) || r.pathType != Glob && strings.Contains(r.path, "?") {
		return fmt.Errorf("path %q holds a query, a control character or invalid UTF-8", r.path)
	}
	if r.pathType == Glob && strings.ContainsAny(r.path, `[]{}\`) {
		return fmt.Errorf("path %q: a glob knows * and ? alone", r.path)
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

// matchKey identifies what a rule matches; rules with the same key share a route. A
// rule holds no space, so no path can look like a matcher or a listener.
func (r *rule) matchKey() string {
	key := r.match()
	if len(r.listeners) > 0 {
		key += " listener=" + strings.Join(r.listeners, ",")
	}
	return key
}

// match is what is matched on all listeners.
func (r *rule) match() string { return matchOf(r.kind(), r.host, r.path, r.pathType) }

// matchOf is what is matched on all listeners, written as a rule would.
func matchOf(kind Kind, host, path string, t PathType) string {
	switch {
	case kind == Names:
		return host + path + " proto=tcp"
	case kind == Connections && host == "": // the configuration's alone
		return "proto=tcp"
	case kind == Connections:
		return host
	case t == Prefix:
		return host + path
	default:
		return host + path + " matcher=" + t.String()
	}
}

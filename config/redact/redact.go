// Package redact takes what is secret out of what usher tells of requests: of the access
// log, of the recent requests it remembers, of traces. All of these hide the same things.
//
// A name is secret by its own: that of a header field, or of a parameter of the query.
// What stands in a path cannot be told from any other path and stays.
package redact

import (
	"bytes"
	"slices"
	"strings"
)

// Mask stands in the place of a secret.
const Mask = "REDACTED"

// Rules say which names are secret. They are immutable; any goroutine may use them.
type Rules struct {
	headers, params map[string]bool
	// tells are the telltales by their first letter.
	tells [26][]string
}

// fields are the header fields that are secret, in lower case. Every name that holds one
// of telltales is secret, too.
func fields() []string {
	return []string{
		"authorization", "proxy-authorization", "cookie", "set-cookie", "x-amz-security-token",
		"authentication-info", "x-forwarded-client-cert", "x-goog-iap-jwt-assertion", "cf-access-jwt-assertion",
		"sec-websocket-key",
	}
}

// params are the parameters of a query that are secret, in lower case. Every name that
// holds one of telltales is secret, too.
func params() []string {
	return []string{
		"code", "key", "pwd", "pass", "auth", "sig", "sign", "jwt", "sid", "session", "sessionid", "session_id",
		"otp", "pin", "assertion", "samlresponse", "samlrequest", "x-amz-credential", "x-goog-credential",
	}
}

// telltales make a name secret that holds one of them, hyphens and underscores left out.
func telltales() []string {
	return []string{
		"token", "secret", "password", "passwd", "passphrase", "apikey", "accesskey", "privatekey", "credential",
		"signature", "authorization", "cookie", "private",
	}
}

// New returns the rules with more names that are secret beside the ones that always are;
// none: those alone. Case makes no difference.
func New(moreHeaders, moreParams []string) *Rules {
	r := &Rules{headers: set(fields(), moreHeaders), params: set(params(), moreParams)}
	for _, t := range telltales() {
		r.tells[t[0]-'a'] = append(r.tells[t[0]-'a'], t)
	}
	return r
}

func set(lists ...[]string) map[string]bool {
	out := map[string]bool{}
	for _, name := range slices.Concat(lists...) {
		out[strings.ToLower(name)] = true
	}
	return out
}

// telltale says whether a name, in lower case, holds what makes it secret. It writes over
// the name.
func (r *Rules) telltale(name []byte) bool {
	bare := name[:0]
	for _, c := range name {
		if c != '-' && c != '_' {
			bare = append(bare, c)
		}
	}
	for i, c := range bare {
		if c < 'a' || c > 'z' {
			continue
		}
		for _, t := range r.tells[c-'a'] {
			if len(bare)-i >= len(t) && string(bare[i:i+len(t)]) == t {
				return true
			}
		}
	}
	return false
}

// Secret says whether a header field of that name is secret.
func (r *Rules) Secret(header string) bool {
	name := strings.ToLower(header)
	return r.headers[name] || r.telltale([]byte(name))
}

// Header returns the value of a header field as it may be told.
func (r *Rules) Header(name, value string) string {
	if value != "" && r.Secret(name) {
		return Mask
	}
	return value
}

// SecretParam says whether a parameter of a query is secret. The name is as it stands
// there: what is encoded is decoded first.
func (r *Rules) SecretParam(name []byte) bool {
	var room [64]byte // longer names are rare
	lower := appendLower(room[:0], name)
	return r.params[string(lower)] || r.telltale(lower)
}

// AppendTarget appends a request target, path and query as they were sent, with the
// secrets of its query masked.
func (r *Rules) AppendTarget(dst, target []byte) []byte {
	at := bytes.IndexByte(target, '?')
	if at < 0 {
		return append(dst, target...)
	}
	dst = append(dst, target[:at+1]...)
	for rest := target[at+1:]; ; {
		end := bytes.IndexAny(rest, "&;")
		pair := rest
		if end >= 0 {
			pair = rest[:end]
		}
		dst = r.appendPair(dst, pair)
		if end < 0 {
			return dst
		}
		dst = append(dst, rest[end])
		rest = rest[end+1:]
	}
}

// appendPair appends name=value.
func (r *Rules) appendPair(dst, pair []byte) []byte {
	name, value, valued := bytes.Cut(pair, []byte("="))
	if !valued || len(value) == 0 || !r.SecretParam(name) {
		return append(dst, pair...)
	}
	return append(append(append(dst, name...), '='), Mask...)
}

// appendLower appends b in lower case, with %XX decoded; what is no such thing is left.
func appendLower(dst, b []byte) []byte {
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '%' && i+2 < len(b) {
			hi, ok1 := unhex(b[i+1])
			lo, ok2 := unhex(b[i+2])
			if ok1 && ok2 {
				c = hi<<4 | lo
				i += 2
			}
		}
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return dst
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	default:
		return 0, false
	}
}

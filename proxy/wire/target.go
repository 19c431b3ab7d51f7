package wire

import "bytes"

// Target is a request target, understood.
type Target struct {
	// Origin is the path and query to forward, byte for byte as they came.
	Origin []byte
	// Authority is the host of an absolute-form target, which replaces Host (RFC
	// 9112 §3.2.2); nil otherwise.
	Authority []byte
	// Asterisk is OPTIONS *.
	Asterisk bool
}

// ParseTarget reads a request target that ScanRequest passed. A target that
// begins with a slash is a path, even with two: "//evil/a" names no host.
func ParseTarget(method, raw []byte) (Target, error) {
	switch {
	case raw[0] == '/':
		return Target{Origin: raw}, nil
	case len(raw) == 1 && raw[0] == '*':
		if string(method) != "OPTIONS" {
			return Target{}, errTarget
		}
		return Target{Asterisk: true}, nil
	default:
		return parseAbsolute(raw)
	}
}

var (
	schemeEnd = []byte("://")
	rootPath  = []byte("/")
)

func parseAbsolute(raw []byte) (Target, error) {
	scheme, rest, ok := bytes.Cut(raw, schemeEnd)
	if !ok {
		return Target{}, errTarget
	}
	if !EqualFold(scheme, "http") && !EqualFold(scheme, "https") {
		return Target{}, errScheme
	}
	end := bytes.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	t := Target{Authority: rest[:end], Origin: rest[end:]}
	if err := checkHost(t.Authority, false); err != nil {
		return Target{}, err
	}
	switch {
	case len(t.Origin) == 0:
		t.Origin = rootPath
	case t.Origin[0] == '?':
		return Target{}, errTarget
	}
	return t, nil
}

// Path returns the path of an origin-form target, without the query.
func Path(origin []byte) []byte {
	if i := bytes.IndexByte(origin, '?'); i >= 0 {
		return origin[:i]
	}
	return origin
}

// Unescape appends path with its percent-encoding taken off once. What is not an
// encoding stays as it is.
func Unescape(dst, path []byte) []byte {
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			hi, lo := unhex(path[i+1]), unhex(path[i+2])
			if hi >= 0 && lo >= 0 {
				dst = append(dst, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		dst = append(dst, path[i])
	}
	return dst
}

func unhex(c byte) int {
	switch {
	case digit(c):
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	default:
		return -1
	}
}

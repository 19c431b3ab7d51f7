package forward

import (
	"bytes"

	"usher/proxy/wire"
)

// dropTrailers returns the lines of a response's trailer section without those that would
// frame, route or authorise (RFC 9110 §6.5.1). It works in place.
func dropTrailers(lines []byte) []byte {
	kept := lines[:0]
	for len(lines) > 0 {
		line, rest, _ := bytes.Cut(lines, []byte("\r\n"))
		lines = rest
		name, _, _ := bytes.Cut(line, []byte(":"))
		if !forbiddenTrailer(name) {
			kept = append(append(kept, line...), "\r\n"...)
		}
	}
	return kept
}

func forbiddenTrailer(name []byte) bool {
	for _, f := range []string{
		"transfer-encoding", "content-length", "host", "connection", "trailer", "te", "upgrade",
		"keep-alive", "proxy-connection", "set-cookie", "content-encoding", "content-type",
		"content-range", "location", "www-authenticate", "authorization", "cache-control",
	} {
		if wire.EqualFold(name, f) {
			return true
		}
	}
	return false
}

package core

import (
	"bytes"

	"usher/routetable"
)

// sticky is a Picker that brings a client back to its endpoint by a cookie.
type sticky interface {
	routetable.Picker
	// Cookie is the name of the cookie.
	Cookie() string
	// Find returns the endpoint that a value of the cookie names, -1 for none.
	Find(value []byte) int
	// AppendField appends the line of a head that sets the cookie for an endpoint.
	AppendField(dst []byte, endpoint int) []byte
}

// home returns the endpoint that the request's cookie names, -1 for none. Of several
// cookies of the name the first that names one counts.
func (x *Exchange) home() int {
	for _, line := range x.head().PeekAll("Cookie") {
		for len(line) > 0 {
			var value []byte
			if value, line = nextCookie(line, x.sticky.Cookie()); value == nil {
				continue
			}
			if i := x.sticky.Find(value); i >= 0 {
				return i
			}
		}
	}
	return -1
}

// cookie returns the value of the first cookie of that name, nil when there is none.
func (x *Exchange) cookie(name string) []byte {
	for _, line := range x.head().PeekAll("Cookie") {
		for len(line) > 0 {
			var value []byte
			if value, line = nextCookie(line, name); value != nil {
				return value
			}
		}
	}
	return nil
}

// nextCookie looks for a cookie in the value of a Cookie field (RFC 6265 §4.2.1) and
// returns its value without quotes, nil when it is not there, and what stands behind it.
// What is no pair is passed over.
func nextCookie(line []byte, name string) (value, rest []byte) {
	for len(line) > 0 {
		var pair []byte
		pair, line, _ = bytes.Cut(line, []byte(";"))
		key, value, found := bytes.Cut(pair, []byte("="))
		if !found || string(bytes.Trim(key, " \t")) != name {
			continue
		}
		value = bytes.Trim(value, " \t")
		if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
			value = value[1 : n-1]
		}
		return value, line
	}
	return nil, nil
}

// AppendCookie appends the line that sets the client's cookie to the endpoint that has
// answered, unless it is there already or the cluster has none.
func (x *Exchange) AppendCookie(dst []byte) []byte {
	if x.sticky == nil || x.pick.Home() == x.endpoint {
		return dst
	}
	return x.sticky.AppendField(dst, x.endpoint)
}

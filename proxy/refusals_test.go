package proxy_test

import (
	"strings"
)

// refusals are heads that usher must not forward, each with the status and the
// reason it is answered with.
var refusals = []struct {
	name, head string
	status     int
	reason     string
}{
	// The request line.
	{"no version", "GET /\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"leading space", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"two spaces before the version", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"tab for a space", "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"space behind the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"method is no token", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"method is a colon", ": / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"version of three digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"version without a dot", "GET / HTTP/11\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"bare CR in the request line", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"bare LF behind the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "bad_request"},
	{"five blank lines in front", strings.Repeat("\r\n", 5) + "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"bare LF in front", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "version_not_served"},
	{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, "version_not_served"},
	{"HTTP/0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505, "version_not_served"},
	{"h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version_not_served"},
	{"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405, "method_not_allowed"},
	{"TLS hello", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", 400, "bad_request"},

	// The target.
	{"non-ASCII target", "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"overlong UTF-8 in the target", "GET /\xc0\xaf HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"control character in the target", "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"NUL in the target", "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"DEL in the target", "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"relative target", "GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"authority as target", "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"asterisk for GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"asterisk and more", "OPTIONS *a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"userinfo in the target", "GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"other scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"file scheme", "GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"no authority", "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"backslash authority", "GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},

	// Lines and fields.
	{"folded field", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", 400, "bad_request"},
	{"folded with a tab", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\t2\r\n\r\n", 400, "bad_request"},
	{"folded blank", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n \r\n\r\n", 400, "bad_request"},
	{"folded first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "bad_request"},
	{"bare LF behind a field", "GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", 400, "bad_request"},
	{"bare LF for the blank line", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400, "bad_request"},
	{"all lines end in LF", "GET / HTTP/1.1\nHost: a\n\n", 400, "bad_request"},
	{"bare CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r2\r\n\r\n", 400, "bad_request"},
	{"bare CR smuggles a field", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\rContent-Length: 5\r\n\r\n", 400, "bad_request"},
	{"CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\r\n\r\n", 400, "bad_request"},
	{"CR in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\rY: 1\r\n\r\n", 400, "bad_request"},
	{"NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\x002\r\n\r\n", 400, "bad_request"},
	{"control character in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\x082\r\n\r\n", 400, "bad_request"},
	{"DEL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\x7f2\r\n\r\n", 400, "bad_request"},
	{"space in a name", "GET / HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n", 400, "bad_request"},
	{"space before the colon", "GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", 400, "bad_request"},
	{"tab before the colon", "GET / HTTP/1.1\r\nHost: a\r\nX\t: 1\r\n\r\n", 400, "bad_request"},
	{"empty name", "GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n", 400, "bad_request"},
	{"no colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400, "bad_request"},
	{"separator in a name", "GET / HTTP/1.1\r\nHost: a\r\nX/Y: 1\r\n\r\n", 400, "bad_request"},
	{"non-ASCII name", "GET / HTTP/1.1\r\nHost: a\r\nX\xe4: 1\r\n\r\n", 400, "bad_request"},
	{"NUL in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\x00: 1\r\n\r\n", 400, "bad_request"},

	// Framing.
	{
		"Content-Length then Transfer-Encoding",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		400, "bad_request",
	},
	{
		"Transfer-Encoding then Content-Length",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		400, "bad_request",
	},
	{"Content-Length twice, equal", post("Content-Length: 2\r\nContent-Length: 2\r\n", "ok"), 400, "bad_request"},
	{"Content-Length twice, different", post("Content-Length: 2\r\nContent-Length: 0\r\n", "ok"), 400, "bad_request"},
	{"Content-Length list", post("Content-Length: 2, 2\r\n", "ok"), 400, "bad_request"},
	{"Content-Length with a plus", post("Content-Length: +2\r\n", "ok"), 400, "bad_request"},
	{"Content-Length negative", post("Content-Length: -2\r\n", "ok"), 400, "bad_request"},
	{"Content-Length minus zero", post("Content-Length: -0\r\n", ""), 400, "bad_request"},
	{"Content-Length hexadecimal", post("Content-Length: 0x2\r\n", "ok"), 400, "bad_request"},
	{"Content-Length with a fraction", post("Content-Length: 2.0\r\n", "ok"), 400, "bad_request"},
	{"Content-Length with an exponent", post("Content-Length: 2e0\r\n", "ok"), 400, "bad_request"},
	{"Content-Length with an inner space", post("Content-Length: 1 2\r\n", "ok"), 400, "bad_request"},
	{"Content-Length with an underscore", post("Content-Length: 1_2\r\n", "ok"), 400, "bad_request"},
	{"Content-Length empty", post("Content-Length: \r\n", "ok"), 400, "bad_request"},
	{"Content-Length beyond 64 bits", post("Content-Length: 18446744073709551618\r\n", "ok"), 400, "bad_request"},
	{"Content-Length beyond 63 bits", post("Content-Length: 9223372036854775808\r\n", "ok"), 400, "bad_request"},
	{"Content-Length quoted", post("Content-Length: \"2\"\r\n", "ok"), 400, "bad_request"},
	{"Content-Length in other digits", post("Content-Length: \xd9\xa2\r\n", "ok"), 400, "bad_request"},
	{
		"Transfer-Encoding in HTTP/1.0",
		"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		400, "bad_request",
	},
	{"identity", post("Transfer-Encoding: identity\r\n", ""), 400, "bad_request"},
	{
		"identity with a length", post("Transfer-Encoding: identity\r\nContent-Length: 2\r\n", "ok"),
		400, "bad_request",
	},
	{"gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501, "coding_not_served"},
	{"gzip", post("Transfer-Encoding: gzip\r\n", ""), 501, "coding_not_served"},
	{"chunked, chunked", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), 501, "coding_not_served"},
	{"chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), 501, "coding_not_served"},
	{"chunked with a parameter", post("Transfer-Encoding: chunked;a=b\r\n", "0\r\n\r\n"), 501, "coding_not_served"},
	{"xchunked", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 501, "coding_not_served"},
	{"chunked in quotes", post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), 501, "coding_not_served"},
	{"chunked behind a vertical tab", post("Transfer-Encoding: \vchunked\r\n", "0\r\n\r\n"), 400, "bad_request"},
	{"empty Transfer-Encoding", post("Transfer-Encoding: \r\n", ""), 501, "coding_not_served"},
	{
		"Transfer-Encoding twice",
		post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 501, "coding_not_served",
	},
	{
		"Transfer-Encoding chunked and identity",
		post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"), 501, "coding_not_served",
	},
	{
		"Transfer-Encoding with a space before the colon",
		post("Transfer-Encoding : chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), 400, "bad_request",
	},

	// Host.
	{"no Host", "GET / HTTP/1.1\r\n\r\n", 400, "bad_request"},
	{"no Host, absolute form", "GET http://a/ HTTP/1.1\r\n\r\n", 400, "bad_request"},
	{"Host twice", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_request"},
	{"Host twice, equal", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400, "bad_request"},
	{"Host empty", "GET / HTTP/1.1\r\nHost: \r\n\r\n", 400, "bad_request"},
	{"userinfo in Host", "GET / HTTP/1.1\r\nHost: u:p@evil\r\n\r\n", 400, "bad_request"},
	{"path in Host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "bad_request"},
	{"space in Host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_request"},
	{"non-ASCII Host", "GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", 400, "bad_request"},
	{"bracket", "GET / HTTP/1.1\r\nHost: [\r\n\r\n", 400, "bad_request"},
	{"empty brackets", "GET / HTTP/1.1\r\nHost: []\r\n\r\n", 400, "bad_request"},
	{"empty brackets and a port", "GET / HTTP/1.1\r\nHost: []:80\r\n\r\n", 400, "bad_request"},
	{"open bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, "bad_request"},
	{"text behind brackets", "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 400, "bad_request"},
	{"text behind brackets, a port", "GET / HTTP/1.1\r\nHost: [::1]x:80\r\n\r\n", 400, "bad_request"},
	{"brackets twice", "GET / HTTP/1.1\r\nHost: [::1][::1]\r\n\r\n", 400, "bad_request"},
	{"bracket within a name", "GET / HTTP/1.1\r\nHost: a]b\r\n\r\n", 400, "bad_request"},
	{"brackets behind a name", "GET / HTTP/1.1\r\nHost: a[::1]\r\n\r\n", 400, "bad_request"},
	{"no address in brackets", "GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n", 400, "bad_request"},
	{"a name in brackets", "GET / HTTP/1.1\r\nHost: [a]\r\n\r\n", 400, "bad_request"},
	{"IPv4 in brackets", "GET / HTTP/1.1\r\nHost: [127.0.0.1]\r\n\r\n", 400, "bad_request"},
	{"an address with a zone", "GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", 400, "bad_request"},
	{"bracket in the target", "GET http://[::1/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"},
	{"port without a host", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400, "bad_request"},
	{"port is no number", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400, "bad_request"},
	{"two ports", "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", 400, "bad_request"},
	{"IPv6 without brackets", "GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", 400, "bad_request"},
	{"fragment in Host", "GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", 400, "bad_request"},
	{"backslash in Host", "GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", 400, "bad_request"},

	{"unknown Expect", "GET / HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n", 417, "expectation_failed"},
	{"Expect and more", "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\n\r\n", 417, "expectation_failed"},

	{
		"one field too large", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 16<<10) + "\r\n\r\n",
		431, "head_too_large",
	},
	{
		"too many fields", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 3000) + "\r\n",
		431, "head_too_large",
	},
	{"target too long", "GET /" + strings.Repeat("a", 100<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", 431, "head_too_large"},
	{"method too long", strings.Repeat("A", 100<<10) + " / HTTP/1.1\r\nHost: a\r\n\r\n", 431, "head_too_large"},
}

// get begins a request that can be answered, chunked a response that is chunked.
const (
	get     = "GET / HTTP/1.1\r\nHost: a\r\n"
	chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
)

// post is a POST with these fields.
func post(fields, body string) string {
	return "POST / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" + body
}

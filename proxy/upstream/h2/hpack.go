package h2

// Entries of the static table (RFC 7541, appendix A).
const (
	authorityName = 1
	methodGET     = 2
	methodPOST    = 3
	pathSlash     = 4
	schemeHTTP    = 6
	schemeHTTPS   = 7
)

// The ways a field is written (RFC 7541 §6). One that is never indexed is a secret: no
// proxy on the way compresses it.
const (
	indexed      = 0x80
	literal      = 0x00
	neverIndexed = 0x10
)

func appendMethod(dst, method []byte) []byte {
	switch string(method) {
	case "GET":
		return append(dst, indexed|methodGET)
	case "POST":
		return append(dst, indexed|methodPOST)
	default:
		return appendIndexed(dst, methodGET, method)
	}
}

func appendScheme(dst []byte, secure bool) []byte {
	if secure {
		return append(dst, indexed|schemeHTTPS)
	}
	return append(dst, indexed|schemeHTTP)
}

func appendPath(dst, target []byte) []byte {
	if string(target) == "/" {
		return append(dst, indexed|pathSlash)
	}
	return appendIndexed(dst, pathSlash, target)
}

// appendIndexed appends a field whose name is in the static table.
func appendIndexed(dst []byte, index int, value []byte) []byte {
	return appendString(appendInt(dst, literal, 4, index), value)
}

// appendField appends a field, its name in lower case.
func appendField(dst, name, value []byte) []byte {
	from := len(dst)
	dst = append(dst, literal)
	dst = appendInt(dst, 0, 7, len(name))
	at := len(dst)
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	index, secret := staticName(dst[at:])
	kind := byte(literal)
	if secret {
		kind = neverIndexed
	}
	if index > 0 {
		dst = appendInt(dst[:from], kind, 4, index)
	} else {
		dst[from] = kind
	}
	return appendString(dst, value)
}

// appendString appends a string as it is: to compress it costs more than it saves.
func appendString(dst, s []byte) []byte {
	return append(appendInt(dst, 0, 7, len(s)), s...)
}

// appendInt appends an integer (RFC 7541 §5.1), whose first byte has bits of its own in
// front of a prefix.
func appendInt(dst []byte, first byte, prefix uint, n int) []byte {
	most := 1<<prefix - 1
	if n < most {
		return append(dst, first|byte(n))
	}
	dst = append(dst, first|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		dst = append(dst, 0x80|byte(n&0x7f))
	}
	return append(dst, byte(n))
}

// staticName is where the static table has a name that requests have, 0: nowhere; secret
// says that its values are.
func staticName(name []byte) (index int, secret bool) {
	switch string(name) {
	case "accept-charset":
		return 15, false
	case "accept-encoding":
		return 16, false
	case "accept-language":
		return 17, false
	case "accept-ranges":
		return 18, false
	case "accept":
		return 19, false
	case "authorization":
		return 23, true
	case "cache-control":
		return 24, false
	case "content-disposition":
		return 25, false
	case "content-encoding":
		return 26, false
	case "content-language":
		return 27, false
	case "content-length":
		return 28, false
	case "content-type":
		return 31, false
	case "cookie":
		return 32, true
	case "date":
		return 33, false
	case "if-match":
		return 39, false
	case "if-modified-since":
		return 40, false
	case "if-none-match":
		return 41, false
	case "if-range":
		return 42, false
	case "if-unmodified-since":
		return 43, false
	case "range":
		return 50, false
	case "referer":
		return 51, false
	case "user-agent":
		return 58, false
	case "via":
		return 60, false
	default:
		return 0, false
	}
}

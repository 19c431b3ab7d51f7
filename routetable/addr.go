package routetable

import (
	"bytes"
	"net/netip"
)

// parseAddr reads an IP address without a zone. Unlike netip.ParseAddr it takes bytes
// and allocates nothing, whatever it is given: what it reads comes from clients.
func parseAddr(b []byte) (netip.Addr, bool) {
	if bytes.IndexByte(b, ':') >= 0 {
		return parseAddr6(b)
	}
	four, ok := parseQuad(b)
	return netip.AddrFrom4(four), ok
}

// parseQuad reads four decimal numbers with dots between them; leading zeros, which
// some take for octal, are refused.
func parseQuad(b []byte) (ip [4]byte, ok bool) {
	for i := range ip {
		part := b
		if at := bytes.IndexByte(b, '.'); at >= 0 && i < 3 {
			part, b = b[:at], b[at+1:]
		} else if i < 3 {
			return ip, false
		}
		n := 0
		for _, c := range part {
			if c < '0' || c > '9' || n > 255 {
				return ip, false
			}
			n = n*10 + int(c-'0')
		}
		if len(part) == 0 || n > 255 || len(part) > 1 && part[0] == '0' {
			return ip, false
		}
		ip[i] = byte(n)
	}
	return ip, true
}

// parseAddr6 reads an IPv6 address (RFC 4291 §2.2): groups of sixteen bits with
// colons between them, a run of zero groups as two colons, the last two groups maybe
// in the form of IPv4.
func parseAddr6(b []byte) (addr netip.Addr, ok bool) {
	var ip [16]byte
	n, gap := 0, -1 // bytes read; where the two colons stand
	if rest, found := bytes.CutPrefix(b, []byte("::")); found {
		gap, b = 0, rest
	}
	for len(b) > 0 {
		part, rest, more := bytes.Cut(b, []byte(":"))
		if !more && n <= 12 && bytes.IndexByte(part, '.') >= 0 {
			four, ok := parseQuad(part)
			if !ok {
				return addr, false
			}
			n += copy(ip[n:], four[:])
			break
		}
		group, ok := parseGroup(part)
		if !ok || n == 16 {
			return addr, false
		}
		ip[n], ip[n+1] = byte(group>>8), byte(group)
		n += 2
		if more && len(rest) == 0 {
			return addr, false // one colon at the end
		}
		if more && rest[0] == ':' {
			if gap >= 0 {
				return addr, false
			}
			gap, rest = n, rest[1:]
		}
		b = rest
	}
	if (n == 16) != (gap < 0) {
		return addr, false
	}
	if gap >= 0 {
		moved := copy(ip[16-(n-gap):], ip[gap:n])
		clear(ip[gap : 16-moved])
	}
	return netip.AddrFrom16(ip), true
}

// parseGroup reads one to four hexadecimal digits.
func parseGroup(b []byte) (v int, ok bool) {
	if len(b) == 0 || len(b) > 4 {
		return 0, false
	}
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | int(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			v = v<<4 | int(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

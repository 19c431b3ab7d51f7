package routetable

import "strings"

// Stripped is the length of what is stripped from the front of target, 0 for nothing.
// Both are compared decoded once, as routes are matched: what an encoded path matched by
// is stripped from it, too. The query is no part of it. It allocates nothing.
func (r *Rewrite) Stripped(target []byte) int {
	if n := len(r.Strip); n > 0 && len(target) >= n && string(target[:n]) == r.Strip &&
		!strings.ContainsAny(r.Strip, "%?") {
		return n
	}
	at := 0
	for from := 0; from < len(r.Strip); {
		if at == len(target) || target[at] == '?' {
			return 0
		}
		want, n := decoded(r.Strip[from:])
		got, m := decoded(target[at:])
		if got != want {
			return 0
		}
		from, at = from+n, at+m
	}
	return at
}

// decoded is the first byte of a path that is not empty, and what that takes there. What
// is no encoding stands for itself.
func decoded[T string | []byte](path T) (c byte, n int) {
	if path[0] == '%' && len(path) > 2 && unhex(path[1]) >= 0 && unhex(path[2]) >= 0 {
		return byte(unhex(path[1])<<4 | unhex(path[2])), 3
	}
	return path[0], 1
}

package routetable

import (
	"cmp"
	"slices"
	"strings"

	"usher/config"
	"usher/watcher"
)

// claimList is the configuration's claims, the most specific one first.
type claimList []claim

// claim reserves what it covers for services.
type claim struct {
	// kind and host say which hosts: none, one, those that end in it, or all. A port is a
	// host of its own.
	kind claimKind
	host string
	// port says that host has a port; otherwise it covers the host with any.
	port bool
	// path is without a slash at its end; empty: all paths.
	path     string
	services []string
	reason   string
}

// claimKind is how a claim's host is compared, in rising order of precedence.
type claimKind uint8

const (
	claimNoHost claimKind = iota
	claimSuffix
	claimHost
)

// compileClaims makes claims ready. Of two for the same the first one counts.
func compileClaims(claims []config.Claim) claimList {
	var out claimList
	for i := range claims {
		out = append(out, newClaim(&claims[i]))
	}
	slices.SortStableFunc(out, func(a, b claim) int {
		return cmp.Or(cmp.Compare(b.kind, a.kind), cmp.Compare(len(b.host), len(a.host)),
			cmp.Compare(len(b.path), len(a.path)))
	})
	return out
}

func newClaim(c *config.Claim) claim {
	host := NormalizeHost(c.Host)
	if strings.HasPrefix(c.Host, ":") {
		host = c.Host // a port of connections, none of a host
	}
	out := claim{
		kind: claimHost, host: host, port: bareHost(host) != host,
		path: strings.TrimSuffix(c.Path, "/"), services: c.Services,
		reason: "claimed for " + cmp.Or(strings.Join(c.Services, ", "), "no service"),
	}
	switch rest, star := strings.CutPrefix(host, "*"); {
	case host == "":
		out.kind = claimNoHost
	case star && !strings.ContainsAny(rest, "*?"):
		out.kind, out.host = claimSuffix, rest
	}
	return out
}

// bareHost is a host without its port.
func bareHost(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.Contains(host[i:], "]") {
		return host[:i]
	}
	return host
}

// against says why a service may not have a rule: the most specific claim that covers
// it does not list the service. Empty: it may.
func (l claimList) against(service watcher.Key, r *rule) string {
	for i := range l {
		c := &l[i]
		if !c.covers(r) {
			continue
		}
		if slices.ContainsFunc(c.services, func(name string) bool { return names(name, service) }) {
			return ""
		}
		return c.reason
	}
	return ""
}

// covers says whether a rule's source belongs to what is claimed, whatever the
// listeners are.
func (c *claim) covers(r *rule) bool {
	host := r.host
	if !c.port {
		// Or a port behind the name would be a way around the claim.
		host = bareHost(host)
	}
	switch c.kind {
	case claimNoHost:
		return r.host == "" && c.coversPath(r) && (c.path != "" || r.literalPath() == "/")
	case claimSuffix:
		return r.host != "" && r.port == 0 && strings.HasSuffix(host, c.host) && c.coversPath(r)
	default:
		return host == c.host && c.coversPath(r)
	}
}

// coversPath says whether the rule's path is the claim's or below it: /orders covers
// /orders/x and not /ordersx.
func (c *claim) coversPath(r *rule) bool {
	path, n := r.literalPath(), len(c.path)
	if len(path) < n || path[:n] != c.path && (r.pathType != IPrefix || !equalFold([]byte(path[:n]), c.path)) {
		return false
	}
	return n == 0 || len(path) == n || path[n] == '/'
}

// literalPath is the rule's path, of a glob what stands before its first star: /* is
// as good as /.
func (r *rule) literalPath() string {
	if i := strings.IndexAny(r.path, "*?"); i >= 0 && r.pathType == Glob {
		return r.path[:i]
	}
	return r.path
}

// names says whether a name in the configuration, in which a star stands for any run
// of characters, means a service: by its name, or as name@registry.
func names(pattern string, service watcher.Key) bool {
	if strings.Contains(pattern, "@") {
		return starFits(pattern, service.String())
	}
	return starFits(pattern, service.Service)
}

// starFits says whether s is pattern with something in the place of each star. Going
// from left to right, the shortest fit of each part leaves most to those behind it.
func starFits(pattern, s string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	s, ok := strings.CutPrefix(s, head)
	if !star || !ok {
		return ok && s == ""
	}
	for {
		part, next, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(s, part)
		}
		at := strings.Index(s, part)
		if at < 0 {
			return false
		}
		s, rest = s[at+len(part):], next
	}
}

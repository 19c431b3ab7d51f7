package config

import "strings"

// upgrades checks the protocols that connections may change to.
func (c *checker) upgrades(path string, list []string) {
	for i, protocol := range list {
		at := index(path, i)
		lower := strings.ToLower(protocol)
		name, version, versioned := strings.Cut(protocol, "/")
		switch {
		case !isToken(name) || versioned && !isToken(version):
			c.bad(at, "upgrade %q is not the name of a protocol", shorten(protocol))
		case lower != protocol:
			c.bad(at, "upgrade %q is not in lower case: write %q", shorten(protocol), shorten(lower))
		case name == "h2c" || name == "http":
			// Requests within such a tunnel would be nobody's to check.
			c.bad(at, "upgrade %q is never let through: it would carry requests past the routes", shorten(protocol))
		}
	}
}

// tunnels checks what a policy says of connections that have changed their protocol.
func (c *checker) tunnels(p Policy, at string) {
	if path := child(at, "upgrades"); c.where.given(path) && !c.failed[path] {
		c.upgrades(path, p.Upgrades)
	}
	if path := child(at, "tunnel_idle_timeout"); c.where.given(path) {
		c.positive(path, "tunnel_idle_timeout", p.TunnelIdleTimeout)
	}
}

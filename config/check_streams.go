package config

import "cmp"

// stream checks what the protocol of a listener decides: which keys mean something.
func (c *checker) stream(l Listener, at string) {
	if l.Stream() {
		for _, key := range []string{
			"tls", "h2c", "http2", "trusted_proxies", "max_tunnels", "keepalive_timeout", "max_body_size", "request_id",
			"via", "forwarded", "underscore_headers",
		} {
			c.noUse(child(at, key), key, l.Protocol)
		}
		c.noBound(child(at, "port"), "port", l.Port)
		if l.Port > 65535 {
			c.bad(child(at, "port"), "port %d is above 65535", l.Port)
		}
	} else {
		for _, key := range []string{"idle_timeout", "port"} {
			c.noUse(child(at, key), key, l.Protocol)
		}
	}
	if l.Protocol == ProtocolTCP {
		c.noUse(child(at, "header_timeout"), "header_timeout", l.Protocol)
	}
	if l.Protocol != ProtocolHTTPS {
		c.noUse(child(at, "passthrough"), "passthrough", l.Protocol)
	}
	c.proxyProtocol(l.ProxyProtocol, child(at, "proxy_protocol"))
}

// noUse refuses a key that does nothing with a protocol.
func (c *checker) noUse(path, key, protocol string) {
	if c.where.given(path) {
		c.bad(path, "%s has no effect with protocol %s", key, protocol)
	}
}

func (c *checker) proxyProtocol(p ProxyProtocol, at string) {
	for i, from := range p.From {
		if !isPrefix(from) {
			c.bad(index(child(at, "from"), i), "%q is neither an IP address nor a range like 10.0.0.0/8", shorten(from))
		}
	}
	c.positive(child(at, "timeout"), "timeout", p.Timeout)
	if c.where.given(at) && !c.where.given(child(at, "from")) {
		c.required(at, "from", "proxy_protocol does not say whose headers are believed")
	}
}

// streamRoute checks a route that takes connections: there are no requests in them.
func (c *checker) streamRoute(r Route, at string, known routeNames) {
	path := child(at, "protocol")
	if c.where.given(path) {
		c.word(path, "protocol", r.Protocol, ProtocolHTTP, ProtocolTCP, ProtocolPassthrough)
	}
	for i, name := range r.Match.Listeners {
		l, found := known.protocols[name]
		if found && !l.takes(r.Protocol) {
			c.bad(index(child(at, "match.listeners"), i), "listener %q speaks %s, and route %q is for %s",
				shorten(name), l.Protocol, r.Name, cmp.Or(r.Protocol, ProtocolHTTP))
		}
	}
	if r.Protocol != ProtocolTCP && r.Protocol != ProtocolPassthrough {
		return
	}
	keys := []string{
		"match.path", "match.path_type", "match.methods", "match.headers", "match.headers_regex", "match.query",
		"redirect", "respond", "strip_prefix", "prepend_prefix", "rewrite", "host", "request_headers",
		"response_headers", "error_pages", "timeout", "idle_timeout", "total_timeout",
	}
	if r.Protocol == ProtocolTCP {
		keys = append(keys, "match.hosts")
	}
	for _, key := range keys {
		c.noUse(child(at, key), key, r.Protocol)
	}
}

package config

import (
	"fmt"
	"net"
	"net/netip"
)

// listeners checks everything usher listens on, admin and telemetry included:
// no two may have the same address.
func (c *checker) listeners(cfg *Config) {
	if len(cfg.Listeners) == 0 {
		c.bad("listeners", "listeners is empty: leave the key out for the default, :8080")
	}
	names, addresses := map[string]string{}, map[string]string{}
	for i, l := range cfg.Listeners {
		c.listener(l, index("listeners", i), names, addresses)
		c.listenerTLS(cfg, l, index("listeners", i))
	}
	c.admin(cfg.Admin, addresses)
	if c.where.given("telemetry.address") {
		c.listen("telemetry.address", cfg.Telemetry.Address, addresses)
	}
}

func (c *checker) listener(l Listener, at string, names, addresses map[string]string) {
	if l.Address == "" && !c.where.given(child(at, "address")) {
		c.required(at, "address", "listener %q has no address", l.Name)
	} else {
		c.name(child(at, "name"), "listener", l.Name)
		c.listen(child(at, "address"), l.Address, addresses)
	}
	if l.Name != "" {
		c.unique(names, at, "listener", l.Name)
	}
	c.protocol(child(at, "protocol"), l.Protocol)
	c.stream(l, at)
	c.positive(child(at, "header_timeout"), "header_timeout", l.HeaderTimeout)
	c.positive(child(at, "keepalive_timeout"), "keepalive_timeout", l.KeepaliveTimeout)
	c.noBound(child(at, "max_connections"), "max_connections", l.MaxConnections)
	c.noBound(child(at, "max_tunnels"), "max_tunnels", l.MaxTunnels)
	c.noBound(child(at, "max_connections_per_client"), "max_connections_per_client", l.MaxConnectionsPerClient)
	c.word(child(at, "underscore_headers"), "underscore_headers", l.UnderscoreHeaders, "drop", "keep")
	c.http2(l.HTTP2, child(at, "http2"))
	c.debug(l.Debug, child(at, "debug"))
	for i, p := range l.TrustedProxies {
		if !isPrefix(p) {
			c.bad(index(child(at, "trusted_proxies"), i),
				"trusted proxy %q is neither an IP address nor a range like 10.0.0.0/8", shorten(p))
		}
	}
}

// noBound refuses negative numbers where 0 means "no bound".
func (c *checker) noBound(path, key string, n int) {
	if n < 0 {
		c.bad(path, "%s is negative; 0 means no bound", key)
	}
}

func (c *checker) limits(l Limits) {
	if l.MaxConnections < 0 {
		c.bad("limits.max_connections",
			"max_connections is negative; 0 means three quarters of what RLIMIT_NOFILE leaves")
	}
}

func (c *checker) telemetry(t Telemetry) {
	if t.UpstreamSeries < 0 {
		c.bad("telemetry.upstream_series", "upstream_series is negative; 0 means that no endpoint has its own series")
	}
}

func (c *checker) protocol(path, protocol string) {
	c.word(path, "protocol", protocol, ProtocolHTTP, ProtocolHTTPS, ProtocolTCP, ProtocolPassthrough)
}

// listen checks an address and that no other listener has it. Port 0, any free
// port, never conflicts.
func (c *checker) listen(path, address string, taken map[string]string) {
	key, err := listenKey(address)
	if err != nil {
		c.bad(path, "%v", err)
		return
	}
	if key == "" {
		return
	}
	if first, twice := taken[key]; twice {
		c.conflict(path, first, address)
		return
	}
	taken[key] = path
}

// conflict reports at the address that somebody wrote: one of the two may be a
// default.
func (c *checker) conflict(path, first, address string) {
	if c.where.given(path) {
		c.bad(path, "address %q is already in use by %s%s", address, first, c.at(first))
		return
	}
	c.bad(first, "address %q is already in use by the default of %s", address, path)
}

func (c *checker) at(path string) string {
	if !c.where.given(path) || c.where[path].Line == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s)", c.where[path])
}

// listenKey returns what two conflicting addresses have in common; "" for
// port 0.
func listenKey(address string) (string, error) {
	host, port, err := splitAddress(address, 0)
	if err != nil {
		return "", err
	}
	if port == 0 {
		return "", nil
	}
	ip, err := netip.ParseAddr(host)
	if err == nil && ip.IsUnspecified() {
		host = ""
	}
	return net.JoinHostPort(host, fmt.Sprint(port)), nil
}

func isPrefix(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	_, err := netip.ParsePrefix(s)
	return err == nil
}

package config

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

func (c *checker) consul(r *Consul, at string) {
	c.consulAddresses(r, at)
	c.datacenters(r, at)
	if r.TagPrefix == "" {
		c.bad(child(at, "tag_prefix"), "tag_prefix is empty: every tag would announce a route")
	}
	if r.MaxWatches < 1 {
		c.bad(child(at, "max_watches"), "max_watches is %d, it must be at least 1", r.MaxWatches)
	}
	if (r.TLS.CertFile == "") != (r.TLS.KeyFile == "") {
		c.bad(child(at, "tls"), "cert_file and key_file must be set together")
	}
	if r.MaxStale < 0 {
		c.bad(child(at, "max_stale"), "max_stale is negative; 0 asks only the leader")
	}
	if hasSpace(r.TaggedAddress) {
		c.bad(child(at, "tagged_address"), "tagged_address %q is not one word, such as lan or wan",
			shorten(r.TaggedAddress))
	}
	c.word(child(at, "expose"), "expose", r.Expose, "announced", "all")
	c.word(child(at, "checks_required"), "checks_required", r.ChecksRequired, "all", "one")
	c.defaultRoute(child(at, "default_route"), r.DefaultRoute)
	c.kvPrefix(child(at, "kv_prefix"), r.KVPrefix)
	c.guard(r.Guard, child(at, "guard"))
	if r.Register.Name != "" {
		c.register(r.Register, child(at, "register"))
	}
	c.name(child(child(at, "connect"), "service"), "service", r.Connect.Service)
}

// consulAddresses checks the one address, or the several that stand instead of it.
// They share a scheme, because they share the TLS settings and the token.
func (c *checker) consulAddresses(r *Consul, at string) {
	if len(r.Addresses) == 0 {
		c.consulAddress(child(at, "address"), r.Address)
		return
	}
	if c.where.given(child(at, "address")) {
		c.bad(child(at, "addresses"), "both \"address\" and \"addresses\" are set")
	}
	first, _ := splitScheme(r.Addresses[0])
	taken := map[string]string{}
	for i, address := range r.Addresses {
		path := index(child(at, "addresses"), i)
		scheme, rest := splitScheme(address)
		c.consulAddress(path, address)
		if scheme != first && isScheme(scheme) && isScheme(first) {
			c.bad(path, "address %q has the scheme %q, the first one has %q: all must have the same",
				shorten(address), shorten(scheme), shorten(first))
		}
		c.once(taken, path, "address", address, scheme+"://"+sameHost(scheme, rest))
	}
}

// once reports an element of a list whose key an earlier one has.
func (c *checker) once(taken map[string]string, path, what, value, key string) {
	if first, twice := taken[key]; twice {
		c.bad(path, "%s %q is already listed at %s", what, shorten(value), c.where.of(first))
		return
	}
	taken[key] = path
}

// splitScheme splits an agent's address; without a scheme it is plain HTTP.
func splitScheme(address string) (scheme, rest string) {
	if scheme, rest, ok := strings.Cut(address, "://"); ok {
		return scheme, rest
	}
	return "http", address
}

// sameHost returns what two ways to write one agent have in common.
func sameHost(scheme, rest string) string {
	if scheme == "unix" {
		return rest
	}
	host, path, _ := strings.Cut(rest, "/")
	return lowerASCII(host) + "/" + strings.TrimSuffix(path, "/")
}

func isScheme(s string) bool { return slices.Contains([]string{"http", "https", "unix"}, s) }

func (c *checker) consulAddress(path, address string) {
	scheme, rest := splitScheme(address)
	switch {
	case !isScheme(scheme):
		c.bad(path, "address %q has the scheme %q, expected http, https or unix", shorten(address), shorten(scheme))
	case rest == "":
		c.bad(path, "address %q names no host", shorten(address))
	case scheme == "unix":
	default:
		host, _, _ := strings.Cut(rest, "/")
		if err := checkHost(host, false); err != nil {
			c.bad(path, "address %q: %v", shorten(address), err)
		}
	}
}

func (c *checker) datacenters(r *Consul, at string) {
	if r.Datacenter != "" && len(r.Datacenters) > 0 {
		c.bad(child(at, "datacenters"), "both \"datacenter\" and \"datacenters\" are set")
	}
	taken := map[string]string{}
	for i, dc := range r.Datacenters {
		path := index(child(at, "datacenters"), i)
		c.name(path, "datacenter", dc)
		c.once(taken, path, "datacenter", dc, dc)
	}
}

// kvPrefix wants the prefix as Consul writes keys: folders end in a slash, and none
// begins with one.
func (c *checker) kvPrefix(path, prefix string) {
	switch {
	case strings.HasPrefix(prefix, "/"):
		c.bad(path, "kv_prefix %q begins with \"/\", which no key does", shorten(prefix))
	case prefix != "" && !strings.HasSuffix(prefix, "/"):
		c.bad(path, "kv_prefix %q does not end in \"/\": write %q", shorten(prefix), shorten(prefix+"/"))
	case hasControl(prefix):
		c.bad(path, "kv_prefix %q contains a control character", shorten(prefix))
	}
}

// defaultRoute checks the template of a rule. What the rule itself may say is the
// routing table's matter.
func (c *checker) defaultRoute(path, rule string) {
	if rule == "" {
		return
	}
	if hasControl(rule) {
		c.bad(path, "default_route %q contains a control character", shorten(rule))
	}
	names, ok := placeholders(rule)
	if !ok {
		c.bad(path, "default_route %q has a brace without its other", shorten(rule))
		return
	}
	for _, name := range names {
		if name != "service" {
			c.bad(path, "unknown placeholder %q in default_route, expected {service}", shorten("{"+name+"}"))
		}
	}
	source, _, _ := strings.Cut(strings.TrimLeft(rule, " "), " ")
	if !strings.Contains(source, "{service}") {
		c.bad(path, "default_route %q lacks {service} in its host and path: all services would have the same source",
			shorten(rule))
	}
	options := []string{"strip=", "prepend=", "host=", "weight=", "listener=", "matcher=", "proto=", "redirect="}
	for _, option := range options {
		if i := strings.Index(source, option); i >= 0 {
			c.bad(path, "default_route %q lacks a space before %q", shorten(rule), shorten(source[i:]))
		}
	}
}

// placeholders returns the names in braces, and whether each brace has its other.
func placeholders(rule string) (names []string, ok bool) {
	for {
		before, after, open := strings.Cut(rule, "{")
		name, rest, closed := strings.Cut(after, "}")
		switch {
		case strings.Contains(before, "}") || open && !closed || strings.Contains(name, "{"):
			return nil, false
		case !open:
			return names, true
		}
		names = append(names, name)
		rule = rest
	}
}

func (c *checker) guard(g Guard, at string) {
	c.share(child(at, "service_share"), "service_share", g.ServiceShare)
	c.share(child(at, "catalog_share"), "catalog_share", g.CatalogShare)
	c.positive(child(at, "window"), "window", g.Window)
	c.number(child(at, "min_endpoints"), "min_endpoints", g.MinEndpoints, 1)
	c.number(child(at, "min_catalog"), "min_catalog", g.MinCatalog, 1)
}

func (c *checker) share(path, key string, share float64) {
	if share <= 0 || share > 1 {
		c.bad(path, "%s must be more than 0 and at most 1, found %v", key, share)
	}
}

func (c *checker) register(r Register, at string) {
	c.name(child(at, "name"), "service", r.Name)
	c.reachable(child(at, "address"), r.Address)
	if r.Port < 0 || r.Port > 65535 {
		c.bad(child(at, "port"), "port must be from 0 to 65535, found %d", r.Port)
	}
	if r.CheckURL != "" && !isHTTP(r.CheckURL) {
		c.bad(child(at, "check_url"), "check_url %q is not an http:// or https:// URL", shorten(r.CheckURL))
	}
	c.atLeast(child(at, "ttl"), "ttl", r.TTL, time.Second)
	// An agent makes a minute of anything less.
	if d := r.DeregisterAfter; d != 0 {
		c.atLeast(child(at, "deregister_after"), "deregister_after", d, time.Minute)
	}
}

// reachable checks an address that others are told: a name or an IP address alone.
// Empty leaves it to the agent.
func (c *checker) reachable(path, address string) {
	if address == "" {
		return
	}
	ip, err := netip.ParseAddr(address)
	switch {
	case err == nil && ip.IsUnspecified():
		c.bad(path, "address %q is no address that others can reach", address)
	case err == nil:
	case strings.Contains(address, ":"):
		c.bad(path, "address %q is neither a name nor an IP address; the port has its own key", shorten(address))
	default:
		if err := checkName(address, false); err != nil {
			c.bad(path, "address %q %v", shorten(address), err)
		}
	}
}

func isHTTP(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}

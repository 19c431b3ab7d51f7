package fabio

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// takeListeners takes proxy.addr: usher listens for HTTP, what is more is noted.
func takeListeners(c *conversion, p Property) {
	groups, err := parseGroups(p.Value)
	if err != nil {
		c.notes.add(Todo, p.Where, "cannot be read: %v", err)
	}
	for _, g := range groups {
		c.takeListener(p, g)
	}
	if len(c.set.listeners) == 0 {
		c.notes.add(Todo, p.Where, "no listener could be taken over: until you write one, usher listens on :8080")
		return
	}
	c.notes.add(Differs, p.Where, "what clients say in X-Forwarded-* is believed only of trusted_proxies; "+
		"list there what stands in front of usher")
}

func (c *conversion) takeListener(p Property, g fields) {
	address := cmp.Or(g.get(""), g.get("addr"))
	proto := g.get("proto")
	if proto == "" && g.get("cs") != "" {
		proto = "https"
	}
	switch proto {
	case "", "http":
	case "prometheus":
		if c.listenable(p, address) {
			c.set.telemetry = address
			c.notes.add(Differs, p.Where, "the listener %s for Prometheus is the telemetry listener, "+
				"which has /metrics, /livez and /readyz", address)
		}
		return
	default:
		c.notes.add(Todo, p.Where, "the listener %s was left out: this conversion writes plain HTTP listeners alone, "+
			"not proto=%s", clip(address), clip(proto))
		return
	}
	if !c.listenable(p, address) {
		return
	}
	l := fields{{"name", quote("web")}, {"address", quote(address)}}
	if n := len(c.set.listeners); n > 0 {
		l = l.set("name", quote("web-"+strconv.Itoa(n+1)))
	}
	for _, o := range g {
		l = c.listenerOption(p, l, address, o)
	}
	c.set.listeners = append(c.set.listeners, l)
	c.taken(p, "the listener "+address)
}

// listenerOption takes one option of a listener.
func (c *conversion) listenerOption(p Property, l fields, address string, o field) fields {
	switch o.key {
	case "", "addr", "proto":
	case "it":
		if d, ok := c.duration(p, o.value, time.Nanosecond); ok {
			c.notes.add(Taken, p.Where, "it= of %s is keepalive_timeout", address)
			return l.set("keepalive_timeout", d.String())
		}
	case "rt":
		c.notes.add(Dropped, p.Where, "rt=%s of %s: usher bounds the head (header_timeout) and each pause in a body, "+
			"not a whole request", clip(o.value), address)
	case "wt":
		c.notes.add(Dropped, p.Where, "wt=%s of %s: usher bounds each pause (idle_timeout), not a whole answer",
			clip(o.value), address)
	case "pxyproto", "pxytimeout":
		c.notes.add(Todo, p.Where, "%s=%s of %s: this conversion writes no PROXY protocol; clients would show "+
			"with the address of the balancer in front", o.key, clip(o.value), address)
	default:
		c.notes.add(Dropped, p.Where, "the option %s= of %s has no equivalent", clip(o.key), address)
	}
	return l
}

// listenable says whether usher can listen on an address, which nothing else has taken;
// else it is noted.
func (c *conversion) listenable(p Property, address string) bool {
	host, port, err := net.SplitHostPort(address)
	n, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || bad != nil || host != "" && !validName(host, false) && !validIP(host) {
		c.notes.add(Todo, p.Where, "the address %q was left out: write it as host:port", clip(address))
		return false
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = ""
	}
	key := net.JoinHostPort(host, strconv.FormatUint(n, 10))
	if slices.Contains(c.listening, key) {
		c.notes.add(Todo, p.Where, "the address %q was left out: another listener has it", clip(address))
		return false
	}
	if n != 0 {
		c.listening = append(c.listening, key)
	}
	return true
}

// takeCertSources says what became of the certificates.
func takeCertSources(c *conversion, p Property) {
	groups, err := parseGroups(p.Value)
	if err != nil || len(groups) == 0 {
		c.notes.add(Todo, p.Where, "cannot be read as sources of certificates")
	}
	for _, g := range groups {
		c.notes.add(Todo, p.Where, "the certificates %s (%s) belong to listeners with TLS, which this conversion does "+
			"not write", clip(g.get("cs")), clip(strings.TrimSpace(g.get("type")+" "+g.get("cert"))))
	}
}

package fabio

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// nowhere is the address of an instance that only redirects: nothing connects to it.
const nowhere = "127.0.0.1:9"

// endpoint is the address of a target as usher dials it.
func (t *target) endpoint() (string, error) {
	if t.opts.get("redirect") != "" {
		return nowhere, nil
	}
	host, port := t.url.Hostname(), t.url.Port()
	if port == "" {
		port = map[string]string{"": "80", "http": "80", "https": "443", "grpcs": "443"}[t.url.Scheme]
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || !validName(host, false) && !validIP(host) {
		return "", errors.New("the destination " + strconv.Quote(clip(t.url.String())) + " is not scheme://host:port")
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

// validName says whether a name is one that usher's configuration accepts; a pattern
// may have stars.
func validName(name string, pattern bool) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._"
	bad := func(r rune) bool { return !strings.ContainsRune(letters, r) && (r != '*' || !pattern) }
	return name != "" && !strings.ContainsFunc(name, bad) && name[0] != '.' && !strings.Contains(name, "..")
}

// validIP says whether s is an IP address without a zone.
func validIP(s string) bool {
	ip, err := netip.ParseAddr(s)
	return err == nil && ip.Zone() == ""
}

// validHost says whether the configuration accepts a host, with or without a port.
func validHost(host string, pattern bool) bool {
	name, port, has := strings.Cut(host, ":")
	if strings.HasPrefix(host, "[") {
		inner, rest, _ := strings.Cut(host[1:], "]")
		if ip, err := netip.ParseAddr(inner); err != nil || !ip.Is6() || ip.Zone() != "" {
			return false
		}
		if name, port, has = "v6", strings.TrimPrefix(rest, ":"), rest != ""; has && rest[0] != ':' {
			return false
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); has && (err != nil || n == 0) {
		return false
	}
	return validName(name, pattern)
}

// announcement is the target in the language of the urlprefix- tags.
func (c *conversion) announcement(r *route, t *target) string {
	parts := []string{r.source()}
	for _, o := range c.options(t) {
		if o.value == "" {
			parts = append(parts, o.key)
		} else {
			parts = append(parts, o.key+"="+o.value)
		}
	}
	if c.matcher != "prefix" {
		parts = append(parts, "matcher="+c.matcher)
	}
	if t.fixed > 0 {
		parts = append(parts, "weight="+strconv.FormatFloat(t.fixed, 'g', -1, 64))
	}
	return strings.Join(parts, " ")
}

// options are the target's in usher's words: the protocol comes from the destination,
// as it does in Fabio, and what only Fabio's tags or only usher knows is left out.
func (c *conversion) options(t *target) (out fields) {
	switch proto := t.url.Scheme; proto {
	case "", "http":
		if p := t.opts.get("proto"); p != "" && p != "http" {
			c.notes.add(Differs, t.where, "proto=%s was left out: the destination's scheme decides in Fabio, here http",
				clip(p))
		}
	default:
		out = out.set("proto", proto)
	}
	if t.url.RawQuery != "" && t.opts.get("redirect") == "" {
		c.notes.add(Todo, t.where, "the query of the destination, which Fabio adds to each request, has no equivalent")
	}
	for _, o := range t.opts {
		if o, ok := c.option(t, o); ok {
			out = out.set(o.key, o.value)
		}
	}
	if slices.ContainsFunc(out, func(o field) bool { return o.key == "redirect" }) {
		out = slices.DeleteFunc(out, func(o field) bool { return o.key == "proto" })
	}
	return out
}

// option translates one option; ok is false when it goes.
func (c *conversion) option(t *target, o field) (field, bool) {
	switch o.key {
	case "proto":
		return o, false
	case "weight", "listener", "matcher":
		c.notes.add(Differs, t.where, "the option %s= does nothing here in Fabio and was left out", clip(o.key))
		return o, false
	case "redirect":
		if o.value == "" {
			return o, false
		}
		o.value += "," + t.url.String()
	case "prepend":
		if o.value != "" && o.value[0] != '/' {
			o.value = "/" + o.value
		}
		return o, o.value != ""
	case "strip":
		if o.value != "" && o.value[0] != '/' {
			c.notes.add(Differs, t.where, "strip=%s strips nothing in Fabio and was left out", clip(o.value))
		}
		return o, strings.HasPrefix(o.value, "/")
	case "host", "auth", "allow", "deny", "register", "grpcservername":
		return o, o.value != ""
	}
	return o, true
}

package routetable

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// parseOptions takes the options of a rule; of those that are given twice the last
// one counts.
func (r *rule) parseOptions(fields []string) error {
	values := map[string]string{}
	order := make([]string, 0, len(fields))
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		if _, dup := values[key]; !dup {
			order = append(order, key)
		}
		values[key] = value
	}
	for _, key := range order {
		if err := r.option(key, values[key]); err != nil {
			return err
		}
	}
	return nil
}

// option takes one option. One that restricts access is refused rather than ignored
// when it makes no sense: a route that should have been restricted must not be open.
func (r *rule) option(key, value string) error {
	switch key {
	case "proto":
		return r.parseProto(value)
	case "weight":
		return r.parseWeight(value)
	case "redirect":
		return r.parseRedirect(value)
	case "strip", "prepend":
		return r.parsePath(key, value)
	case "host":
		return r.parseHost(value)
	case "allow", "deny", "auth":
		return r.parseAccess(key, value)
	case "listener":
		return r.parseListeners(value)
	case "matcher":
		return r.parseMatcher(value)
	case "tlsskipverify":
		r.skipVerify = value == "true"
	case "pxyproto":
		r.proxyProtocol = value == "true"
	case "grpcservername":
		r.serverName = value
	case "register":
		r.register = value
	default:
		if restricting(strings.Map(lowerASCII, key)) {
			return fmt.Errorf("option %s is written in lower case", key)
		}
		r.unknown = append(r.unknown, key)
	}
	return nil
}

func (r *rule) parseProto(value string) error {
	if !slices.Contains([]string{"", "http", "https", "h2", "h2c", "grpc", "grpcs", "tcp"}, value) {
		return fmt.Errorf("proto=%s is not one of http, https, h2, h2c, grpc, grpcs, tcp", value)
	}
	if value != "http" {
		r.proto = value
	}
	return nil
}

// parseRedirect takes "301,https://x$path".
func (r *rule) parseRedirect(value string) error {
	code, target, _ := strings.Cut(value, ",")
	n, err := strconv.Atoi(code)
	if err != nil || len(code) != 3 || n < 300 || n > 399 {
		return fmt.Errorf("redirect=%q does not begin with a code from 300 to 399", value)
	}
	if !validTarget(target) {
		return fmt.Errorf("redirect=%q names no URL", value)
	}
	r.redirect = &redirect{n, target}
	return nil
}

func (r *rule) edit() *Rewrite {
	if r.rewrite == nil {
		r.rewrite = &Rewrite{}
	}
	return r.rewrite
}

// parsePath takes the path of strip or prepend.
func (r *rule) parsePath(key, value string) error {
	if !strings.HasPrefix(value, "/") || !printable(value) {
		return fmt.Errorf("%s=%q is not a path", key, value)
	}
	if key == "strip" {
		r.edit().Strip = value
	} else {
		r.edit().Prepend = value
	}
	return nil
}

func (r *rule) parseHost(value string) error {
	if value == "" || !validHost(strings.Map(lowerASCII, value)) || strings.ContainsAny(value, "*?") {
		return fmt.Errorf("host=%q is not a host name", value)
	}
	r.edit().Host, r.edit().HostIsAddress = value, value == "dst"
	return nil
}

// parseAccess takes one of the options that restrict access. Both lists at once say
// nothing of an address that is on neither or on both.
func (r *rule) parseAccess(key, value string) error {
	if key == "auth" {
		a, err := parseAuth(value)
		r.access = r.access.and(a)
		return err
	}
	if r.access != nil && len(r.access.lists) > 0 {
		return fmt.Errorf("allow= and deny= exclude each other")
	}
	a, err := parseAccess(key, value)
	r.access = r.access.and(a)
	return err
}

func (r *rule) parseListeners(value string) error {
	names := strings.Split(value, ",")
	slices.Sort(names)
	if r.listeners = slices.Compact(names); names[0] == "" {
		return fmt.Errorf("listener=%q names no listener", value)
	}
	return nil
}

func (r *rule) parseMatcher(value string) error {
	t, ok := map[string]PathType{"prefix": Prefix, "glob": Glob, "iprefix": IPrefix}[value]
	if !ok {
		return fmt.Errorf("matcher=%s is not one of prefix, glob, iprefix", value)
	}
	r.pathType = t
	return nil
}

func (r *rule) parseWeight(value string) error {
	w, err := strconv.ParseFloat(value, 64)
	if err != nil || w < 0 || math.IsInf(w, 0) || math.IsNaN(w) {
		return fmt.Errorf("weight %q is not a share between 0 and 1", value)
	}
	r.weight = w
	return nil
}

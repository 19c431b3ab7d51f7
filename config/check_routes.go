package config

import (
	"regexp"
	"slices"
	"strings"
)

// routeNames are the names a route may refer to.
type routeNames struct {
	listeners, registries []string
	// protocols are the listeners by name.
	protocols map[string]*Listener
	// any says that they are not known here, and every name will do.
	any bool
}

func (c *checker) routes(cfg *Config) {
	var known routeNames
	known.protocols = map[string]*Listener{}
	for i, l := range cfg.Listeners {
		known.listeners = append(known.listeners, l.Name)
		known.protocols[l.Name] = &cfg.Listeners[i]
	}
	for _, r := range cfg.Registries {
		known.registries = append(known.registries, r.Name)
	}
	names := map[string]string{}
	for i, r := range cfg.Routes {
		c.route(r, index("routes", i), known, names)
	}
}

func (c *checker) route(r Route, at string, known routeNames, names map[string]string) {
	if r.Name == "" {
		c.required(at, "name", "route has no name")
	} else {
		c.name(child(at, "name"), "route", r.Name)
		c.unique(names, at, "route", r.Name)
	}
	c.target(r, at, known)
	c.match(r.Match, child(at, "match"), known)
	c.streamRoute(r, at, known)
	c.prefix(child(at, "strip_prefix"), "strip_prefix", r.StripPrefix)
	c.prefix(child(at, "prepend_prefix"), "prepend_prefix", r.PrependPrefix)
	c.filters(r, at)
	if r.Host != "" {
		c.host(child(at, "host"), r.Host, false)
	}
}

// target checks that a route says where requests go, in one way.
func (c *checker) target(r Route, at string, known routeNames) {
	kinds := r.targets()
	switch {
	case len(kinds) > 1:
		c.bad(child(at, kinds[1]), "route %q has both %s and %s", r.Name, kinds[0], kinds[1])
	case r.Service != "":
		c.service(child(at, "service"), r.Service, known)
	case len(r.Split) > 0:
		c.split(r.Split, child(at, "split"), known)
	case len(kinds) == 0 && !c.anyFailed(at, "split", "redirect", "respond"):
		c.required(at, "service", "route %q has neither service nor split, redirect or respond", r.Name)
	}
}

// targets are the keys that say where a route's requests go.
func (r *Route) targets() (keys []string) {
	for _, k := range []struct {
		key   string
		given bool
	}{
		{"service", r.Service != ""},
		{"split", len(r.Split) > 0},
		{"redirect", r.Redirect != nil},
		{"respond", r.Respond != nil},
	} {
		if k.given {
			keys = append(keys, k.key)
		}
	}
	return keys
}

// anyFailed says whether one of the keys of a section could not be read.
func (c *checker) anyFailed(section string, keys ...string) bool {
	return slices.ContainsFunc(keys, func(k string) bool { return c.failed[child(section, k)] })
}

func (c *checker) split(arms []Arm, at string, known routeNames) {
	sum, sure := 0.0, true
	for i, a := range arms {
		arm := index(at, i)
		if a.Service == "" {
			c.required(arm, "service", "this part of the split has no service")
		} else {
			c.service(child(arm, "service"), a.Service, known)
		}
		if a.Weight < 0 {
			c.bad(child(arm, "weight"), "weight is negative")
		}
		sum += max(0, a.Weight)
		sure = sure && a.Weight >= 0 && !c.failed[child(arm, "weight")]
	}
	if sure && sum == 0 {
		c.bad(at, "the weights of the split sum up to 0")
	}
}

// service checks a service's name, or name@registry.
func (c *checker) service(path, service string, known routeNames) {
	c.name(path, "service", service)
	i := strings.LastIndexByte(service, '@')
	if i < 0 {
		return
	}
	if i == 0 {
		c.bad(path, "service %q has no name before the @", shorten(service))
	}
	registry := service[i+1:]
	switch {
	case registry == "":
		c.bad(path, "service %q has no registry after the @", shorten(service))
	case !known.any && !slices.Contains(known.registries, registry):
		c.bad(path, "unknown registry %q in service %q%s", shorten(registry), shorten(service),
			suggest(registry, known.registries))
	}
}

func (c *checker) match(m Match, at string, known routeNames) {
	for i, l := range m.Listeners {
		c.listenerName(index(child(at, "listeners"), i), l, known)
	}
	for i, h := range m.Hosts {
		c.host(index(child(at, "hosts"), i), h, true)
	}
	for i, method := range m.Methods {
		c.method(index(child(at, "methods"), i), method)
	}
	for name, value := range m.Headers {
		c.header(child(child(at, "headers"), name), name, value)
	}
	c.predicates(m, at)
	if m.GRPC != nil {
		c.grpc(m.GRPC, at)
		return
	}
	c.path(m, at)
}

func (c *checker) listenerName(path, name string, known routeNames) {
	if known.any {
		c.name(path, "listener", name)
		return
	}
	if !slices.Contains(known.listeners, name) {
		c.bad(path, "unknown listener %q%s", shorten(name), suggest(name, known.listeners))
	}
}

func (c *checker) path(m Match, at string) {
	c.word(child(at, "path_type"), "path_type", m.PathType, "prefix", "iprefix", "exact", "glob", "regex")
	path := child(at, "path")
	switch m.PathType {
	case "prefix", "iprefix", "exact":
		c.plainPath(path, m.Path)
	case "glob", "regex":
		if m.Path == "" {
			c.required(at, "path", "path is required with path_type %s", m.PathType)
		}
	}
	if m.PathType != "regex" {
		return
	}
	c.regex(path, "path", m.Path)
}

// regex compiles a regular expression; nil when it cannot be one, which is reported.
func (c *checker) regex(path, key, expr string) *regexp.Regexp {
	re, err := regexp.Compile(expr)
	if err != nil {
		c.bad(path, "%s is not a valid regular expression: %s", key,
			strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return re
}

// plainPath checks text that the path of a request is compared with.
func (c *checker) plainPath(path, value string) {
	c.prefix(path, "path", value)
	if strings.ContainsAny(value, "?#") {
		c.bad(path, "path %q contains ? or #: only the path of a request is matched", shorten(value))
	}
}

// prefix checks text that begins a request path; empty is none.
func (c *checker) prefix(path, key, value string) {
	switch {
	case value == "":
	case value[0] != '/':
		c.bad(path, "%s %q does not start with \"/\"", key, shorten(value))
	case hasSpace(value):
		c.bad(path, "%s %q contains a space or a control character", key, shorten(value))
	}
}

func (c *checker) host(path, host string, pattern bool) {
	if err := checkHost(host, pattern); err != nil {
		c.bad(path, "%v", err)
	}
}

func (c *checker) method(path, method string) {
	switch upper := strings.ToUpper(method); {
	case !isToken(method):
		c.bad(path, "method %q is not a valid HTTP method", shorten(method))
	case upper != method:
		c.bad(path, "method %q is not in upper case: write %q", shorten(method), shorten(upper))
	}
}

func (c *checker) header(path, name, value string) {
	if !isToken(name) {
		c.bad(path, "%q is not a valid header name", shorten(name))
	}
	if strings.ContainsAny(value, "\r\n\x00") {
		c.bad(path, "the value of header %q contains a line end or a NUL", shorten(name))
	}
}

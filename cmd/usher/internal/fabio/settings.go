package fabio

import (
	"cmp"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settings are what the properties say, in usher's words. Their values are ready to be
// written as YAML.
type settings struct {
	listeners        []fields
	admin, telemetry string
	logLevel         string
	backend          string
	matcher          string
	consul           fields
	tls, register    fields
	defaults         fields
}

// taker takes one property over.
type taker func(c *conversion, p Property)

// takeProperties goes through the properties and then sees to what Fabio does when
// nothing is said and usher does otherwise.
func (c *conversion) takeProperties(p *Properties) {
	c.notes.list = append(c.notes.list, p.notes...)
	for _, x := range p.list {
		c.take(x)
	}
	if c.set.backend != "consul" {
		c.set.consul, c.set.register = nil, nil
	}
	if p.Get("proxy.addr") == "" {
		c.set.listeners = []fields{{{"name", quote("web")}, {"address", quote(":9999")}}}
		c.notes.add(Taken, "proxy.addr", "is not set: the listener is Fabio's default, :9999")
	}
	if p.Get("proxy.responseheadertimeout") == "" {
		c.set.defaults = c.set.defaults.set("timeout", "0s")
		c.notes.add(Taken, "proxy.responseheadertimeout", "is not set: defaults.timeout is 0, no bound, as in Fabio")
	}
	if c.set.backend == "consul" {
		c.consulDefaults(p)
	}
}

// consulDefaults keeps those of Fabio's defaults that decide who gets traffic.
func (c *conversion) consulDefaults(p *Properties) {
	if p.Get("registry.consul.checksRequired") == "" {
		c.set.consul = c.set.consul.set("checks_required", "one")
		c.notes.add(Taken, "registry.consul.checksRequired", "is not set: checks_required is Fabio's default, one")
	}
	if p.Get("registry.consul.service.status") == "" {
		c.notes.add(Differs, "registry.consul.service.status",
			"is not set: Fabio takes passing alone, usher also sends to warning instances, by their warning weight")
	}
	if p.Get("registry.consul.register.enabled") == "" && p.Get("registry.consul.register.name") == "" {
		c.notes.add(Differs, "registry.consul.register.enabled",
			"is not set: Fabio registers itself as fabio, usher only when register.name is set")
	}
}

// take takes one property over, or says why not.
func (c *conversion) take(p Property) {
	if f, has := takers[p.Key]; has && p.Value == "" {
		c.notes.add(Taken, p.Where, "is empty, as if it were not there")
		return
	} else if has {
		f(c, p)
		return
	}
	i := slices.IndexFunc(withoutEquivalent, func(w field) bool {
		return w.key == p.Key || strings.HasSuffix(w.key, ".") && strings.HasPrefix(p.Key, w.key)
	})
	if i < 0 {
		c.notes.add(Dropped, p.Where, "is not a setting of Fabio's, which ignores it; is it misspelt?")
		return
	}
	c.notes.add(Dropped, p.Where, "%s", withoutEquivalent[i].value)
}

// taken notes that a property is in the output under a key.
func (c *conversion) taken(p Property, key string) { c.notes.add(Taken, p.Where, "is %s", key) }

// textTo takes a text to a key of the Consul registry.
func textTo(key string) taker {
	return func(c *conversion, p Property) {
		c.set.consul = c.set.consul.set(key, quote(p.Value))
		c.taken(p, key+" of the registry")
	}
}

// fileTo takes a path to a key of the registry's tls.
func fileTo(key string) taker {
	return func(c *conversion, p Property) {
		c.set.tls = c.set.tls.set(key, quote(p.Value))
		c.taken(p, "tls."+key+" of the registry")
		if !filepath.IsAbs(p.Value) {
			c.notes.add(Differs, p.Where, "is relative: to usher.yaml, not to the working directory")
		}
	}
}

// durationTo takes a duration to a key of the defaults; least is the smallest that
// usher accepts.
func durationTo(key string, least time.Duration) taker {
	return func(c *conversion, p Property) {
		if d, ok := c.duration(p, p.Value, least); ok {
			c.set.defaults = c.set.defaults.set(key, d.String())
			c.taken(p, "defaults."+key)
		}
	}
}

// duration parses a duration; one that usher does not accept is noted.
func (c *conversion) duration(p Property, value string, least time.Duration) (time.Duration, bool) {
	d, err := time.ParseDuration(value)
	if err != nil {
		c.notes.add(Todo, p.Where, "%q is not a duration like 30s", clip(value))
		return 0, false
	}
	if d < least {
		c.notes.add(Differs, p.Where, "%s means no bound to Fabio; usher wants one, and its default stays", d)
		return 0, false
	}
	return d, true
}

// isTrue parses a switch; what is none is noted.
func (c *conversion) isTrue(p Property) bool {
	on, err := strconv.ParseBool(p.Value)
	if err != nil {
		c.notes.add(Todo, p.Where, "%q is neither true nor false", clip(p.Value))
	}
	return on
}

func takeStrategy(c *conversion, p Property) {
	switch p.Value {
	case "rr":
		c.set.defaults = c.set.defaults.set("balance", "round_robin")
		c.taken(p, "defaults.balance round_robin")
	case "rnd":
		c.notes.add(Differs, p.Where,
			"the default least_request takes the less loaded of two; balance: random is what Fabio does")
	default:
		c.notes.add(Todo, p.Where, "%q is neither rnd nor rr", clip(p.Value))
	}
}

func takeMatcher(c *conversion, p Property) {
	switch p.Value {
	case "prefix":
		c.taken(p, "what usher does")
	case "glob", "iprefix":
		c.set.matcher = p.Value
		c.notes.add(Differs, p.Where, "usher decides for each route: imported ones say matcher=%s, and so must "+
			"the tags of services; without it they are plain prefixes", p.Value)
	default:
		c.notes.add(Todo, p.Where, "%q is neither prefix, glob nor iprefix", clip(p.Value))
	}
}

func takeNoRoute(c *conversion, p Property) {
	if p.Value == "404" {
		c.taken(p, "what usher answers")
		return
	}
	c.notes.add(Dropped, p.Where, "usher always answers 404 where no route matches")
}

func takeChecks(c *conversion, p Property) {
	if p.Value != "one" && p.Value != "all" {
		c.notes.add(Todo, p.Where, "%q is neither one nor all", clip(p.Value))
		return
	}
	c.set.consul = c.set.consul.set("checks_required", p.Value)
	c.taken(p, "checks_required of the registry")
}

func takeStatus(c *conversion, p Property) {
	for _, s := range strings.Split(p.Value, ",") {
		if s = strings.TrimSpace(s); s != "passing" && s != "warning" {
			c.notes.add(Todo, p.Where, "usher never sends to instances that are %s", clip(s))
		}
	}
	c.notes.add(Differs, p.Where, "usher sends to passing and warning instances, to the latter by their warning weight")
}

func takeConsulAddress(c *conversion, p Property) {
	scheme, address, has := strings.Cut(strings.ToLower(p.Value), "://")
	if !has {
		scheme, address = "http", scheme
	}
	address, _, _ = strings.Cut(address, "/")
	if scheme != "http" && scheme != "https" || !validHost(address, false) {
		c.notes.add(Todo, p.Where, "%q is not an address of an agent", clip(p.Value))
		return
	}
	if scheme == "https" {
		address = "https://" + address
	}
	c.set.consul = c.set.consul.set("address", quote(address))
	c.taken(p, "address of the registry")
}

func takeToken(c *conversion, p Property) {
	c.set.consul = c.set.consul.set("token", quote(p.Value))
	c.notes.add(Taken, p.Where, "is token of the registry; token_file keeps it out of the configuration")
}

func takeSkipVerify(c *conversion, p Property) {
	if c.isTrue(p) {
		c.set.tls = c.set.tls.set("insecure_skip_verify", "true")
	}
	c.taken(p, "tls.insecure_skip_verify of the registry")
}

func takeConsistent(c *conversion, p Property) {
	if c.isTrue(p) {
		c.set.consul = c.set.consul.set("max_stale", "0s")
		c.notes.add(Differs, p.Where, "is max_stale 0s: the leader is asked, without its confirming that it still is")
		return
	}
	c.taken(p, "what usher does")
}

func takeStale(c *conversion, p Property) {
	if c.isTrue(p) {
		c.notes.add(Differs, p.Where, "any server may answer, as long as its answer is not older than max_stale (30s)")
		return
	}
	c.taken(p, "max_stale: 0s makes usher ask the leader alone, if that is wanted")
}

func takeRegistryTimeout(c *conversion, p Property) {
	if d, ok := c.duration(p, p.Value, 0); ok {
		c.set.consul = c.set.consul.set("start_timeout", d.String())
		c.notes.add(Differs, p.Where, "is start_timeout: after it usher starts without the registry, where Fabio exits")
	}
}

func takeBackend(c *conversion, p Property) {
	switch p.Value {
	case "consul", "static", "file":
		c.set.backend = p.Value
		c.taken(p, "the list of registries")
	default:
		c.set.backend = "none"
		c.notes.add(Todo, p.Where, "usher has no registry like %q: write its services into services.yaml",
			clip(p.Value))
	}
}

func takeKVPath(c *conversion, p Property) {
	c.notes.add(Differs, p.Where, "usher does not read route commands from Consul: the ones that are there now "+
		"are converted with --consul or --kv")
}

// takeStatic and takeRoutesFile run the commands of the backends without Consul.
func takeStatic(c *conversion, p Property) {
	if backend := c.props.Get("registry.backend"); backend != "static" {
		c.notes.add(Dropped, p.Where, "does nothing unless registry.backend is static")
		return
	}
	c.texts = append(c.texts, Text{p.Where, p.Value})
	c.taken(p, "services.yaml")
}

func takeRoutesFile(c *conversion, p Property) {
	if backend := c.props.Get("registry.backend"); backend != "file" {
		c.notes.add(Dropped, p.Where, "does nothing unless registry.backend is file")
		return
	}
	if c.in.ReadFile == nil {
		c.notes.add(Todo, p.Where, "give the file with --kv to have its routes")
		return
	}
	data, err := c.in.ReadFile(p.Value)
	if err != nil {
		c.notes.add(Todo, p.Where, "could not be read (%v): give it with --kv to have its routes", err)
		return
	}
	c.texts = append(c.texts, Text{p.Value, string(data)})
	c.taken(p, "services.yaml")
}

func takeLogLevel(c *conversion, p Property) {
	level, ok := map[string]string{
		"TRACE": "debug", "DEBUG": "debug", "INFO": "info", "WARN": "warn", "ERROR": "error", "FATAL": "error",
	}[strings.ToUpper(p.Value)]
	if !ok {
		c.notes.add(Todo, p.Where, "%q is not a level of Fabio's", clip(p.Value))
		return
	}
	c.set.logLevel = level
	c.taken(p, "log.level "+level)
}

func takeMetrics(c *conversion, p Property) {
	for _, target := range strings.Split(p.Value, ",") {
		if target = strings.TrimSpace(target); target == "prometheus" {
			c.notes.add(Differs, p.Where, "/metrics is always there, on the admin and the telemetry listener, "+
				"with names of usher's own")
		} else {
			c.notes.add(Dropped, p.Where, "usher sends no metrics to %q: have Prometheus scrape /metrics", clip(target))
		}
	}
}

func takeRegister(c *conversion, p Property) {
	if !c.isTrue(p) {
		c.taken(p, "what usher does")
		return
	}
	if c.props.Get("registry.consul.register.name") == "" {
		c.set.register = c.set.register.set("name", quote("fabio"))
	}
	c.notes.add(Differs, p.Where, "is register: the name that is registered is Fabio's, for those who look for it")
}

func takeRegisterName(c *conversion, p Property) {
	if c.props.Get("registry.consul.register.enabled") == "false" {
		c.notes.add(Dropped, p.Where, "does nothing while registry.consul.register.enabled is false")
		return
	}
	if strings.ContainsFunc(p.Value, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		c.notes.add(Todo, p.Where, "%q is no name of a service", clip(p.Value))
		return
	}
	c.set.register = c.set.register.set("name", quote(p.Value))
	c.taken(p, "register.name of the registry")
}

func takeRegisterAddress(c *conversion, p Property) {
	host, port, err := net.SplitHostPort(p.Value)
	n, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || bad != nil || n == 0 || host != "" && !validName(host, false) && !validIP(host) {
		c.notes.add(Todo, p.Where, "%q is not host:port: write register.address and port", clip(p.Value))
		return
	}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		c.set.register = c.set.register.set("address", quote(host))
	}
	c.set.register = c.set.register.set("port", strconv.FormatUint(n, 10))
	c.notes.add(Differs, p.Where, "is register.address and port, which Fabio gives its admin pages; "+
		"without them usher registers its first listener")
}

func takeRegisterTags(c *conversion, p Property) {
	var tags []string
	for _, t := range strings.Split(p.Value, ",") {
		tags = append(tags, quote(strings.TrimSpace(t)))
	}
	c.set.register = c.set.register.set("tags", "["+strings.Join(tags, ", ")+"]")
	c.taken(p, "register.tags of the registry")
}

// takeAdmin takes the address of Fabio's pages for usher's admin listener.
func takeAdmin(c *conversion, p Property) {
	groups, err := parseGroups(p.Value)
	if err != nil || len(groups) != 1 {
		c.notes.add(Todo, p.Where, "%q is not one address", clip(p.Value))
		return
	}
	address := cmp.Or(groups[0].get(""), groups[0].get("addr"))
	if !c.listenable(p, address) {
		return
	}
	c.set.admin = address
	c.taken(p, "admin.address")
	if host, _, _ := net.SplitHostPort(address); !strings.HasPrefix(host, "127.") && host != "localhost" {
		c.notes.add(Todo, p.Where, "can be reached from other machines, and so can usher's admin listener: "+
			"see that only operators reach it, or use 127.0.0.1 and a telemetry listener")
	}
	if groups[0].get("cs") != "" {
		c.notes.add(Todo, p.Where, "usher's admin listener has no TLS")
	}
}

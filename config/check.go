package config

import (
	"slices"
	"time"
)

// checker looks for what is wrong with decoded values. Each check reports at the
// path of the value; what failed to decode is not reported a second time.
type checker struct {
	problems *problems
	where    positions
	failed   map[string]bool
}

func newChecker(d *decoder) *checker {
	return &checker{problems: d.problems, where: d.where, failed: d.failed}
}

// checkConfig checks every section.
func checkConfig(cfg *Config, d *decoder) {
	c := newChecker(d)
	c.listeners(cfg)
	c.limits(cfg.Limits)
	c.telemetry(cfg.Telemetry)
	c.log(cfg.Log)
	c.accessLog(cfg.AccessLog)
	c.registries(cfg.Registries)
	c.atLeast("discovery.canary_interval", "canary_interval", cfg.Discovery.CanaryInterval, time.Second)
	c.history(cfg.History)
	c.routes(cfg)
	c.claims(cfg.Claims)
	c.acme(cfg)
	c.policy(cfg.Defaults.Policy, "defaults")
	c.errorPages(cfg.ErrorPages, "error_pages")
	for name, s := range cfg.Services {
		c.name(child("services", name), "service", name)
		c.policy(s.Policy, child("services", name))
	}
	c.connect(cfg)
}

func (c *checker) bad(path, format string, args ...any) {
	if !c.failed[path] {
		c.problems.add(c.where.of(path), format, args...)
	}
}

// required reports that a section lacks a key. It is silent where the section
// has an unknown key: that may be the one, misspelt.
func (c *checker) required(section, key, format string, args ...any) {
	if !c.failed[section] {
		c.bad(child(section, key), format, args...)
	}
}

// word checks that a value is one of a fixed set.
func (c *checker) word(path, what, value string, known ...string) {
	if !slices.Contains(known, value) {
		c.bad(path, "unknown %s %q%s", what, shorten(value), suggest(value, known))
	}
}

// name refuses names that would be misread in logs, labels and name@registry.
func (c *checker) name(path, what, name string) {
	switch {
	case name == "":
		c.bad(path, "%s name is empty", what)
	case hasSpace(name):
		c.bad(path, "%s name %q contains a space or a control character", what, shorten(name))
	}
}

// unique reports a name that an earlier section took.
func (c *checker) unique(taken map[string]string, section, what, name string) {
	path := child(section, "name")
	if first, twice := taken[name]; twice {
		c.bad(path, "%s name %q is already taken at %s", what, shorten(name), c.where.of(first))
		return
	}
	taken[name] = path
}

func (c *checker) log(l Log) {
	c.word("log.level", "log level", l.Level, "debug", "info", "warn", "error")
	c.word("log.format", "log format", l.Format, "text", "json", "auto")
}

// policy checks what is written at a place: what a service inherits is reported
// where it was written.
func (c *checker) policy(p Policy, at string) {
	c.balance(p, at)
	if path := child(at, "connect_timeout"); c.where.given(path) {
		c.positive(path, "connect_timeout", p.ConnectTimeout)
	}
	if path := child(at, "idle_timeout"); c.where.given(path) {
		c.positive(path, "idle_timeout", p.IdleTimeout)
	}
	c.tunnels(p, at)
	c.retry(p.Retry, child(at, "retry"))
	c.hedge(p.Hedge, child(at, "hedge"))
	c.inFlight(p, at)
	c.upstream(p, at)
	c.health(p.Health, at)
}

// positive refuses 0 where it is not documented to mean "no bound".
func (c *checker) positive(path, key string, d time.Duration) {
	if d <= 0 {
		c.bad(path, "%s must be more than 0", key)
	}
}

// atLeast refuses times shorter than the least that makes sense.
func (c *checker) atLeast(path, key string, d, least time.Duration) {
	if d < least {
		c.bad(path, "%s must be at least %s, found %s", key, least, d)
	}
}

// number refuses numbers below the least.
func (c *checker) number(path, key string, n, least int) {
	if n < least {
		c.bad(path, "%s must be at least %d, found %d", key, least, n)
	}
}

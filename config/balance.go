package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// RingHash are the settings of the policy ring_hash.
type RingHash struct {
	// LoadFactor bounds the requests in flight at an endpoint: this many times its part
	// of those at all endpoints, by weight. From 1.05 to 10.
	LoadFactor float64 `yaml:"load_factor"`
}

// Sticky is the cookie that brings a client back.
type Sticky struct {
	// Cookie is its name; empty: there is none.
	Cookie string `yaml:"cookie"`
	// TTL is how long the client keeps it, counted from when it was set. 0: until its
	// session ends.
	TTL time.Duration `yaml:"ttl"`
	// Secret is what it is signed with, at least 16 bytes; secret_file reads it from a
	// file. Empty: what the process made up.
	Secret string `yaml:"secret" secret:"true"`
	// Secure keeps it from being sent without TLS.
	Secure bool `yaml:"secure"`
	// SameSite is lax, strict or none, which needs Secure.
	SameSite string `yaml:"same_site"`
	// Path is the path below which the client sends it.
	Path string `yaml:"path"`
}

// Balances returns the policies by which an endpoint can be chosen.
func Balances() []string {
	return []string{"least_request", "round_robin", "random", "ewma", "maglev", "ring_hash"}
}

// Hashes says whether the policy goes by HashKey.
func (p *Policy) Hashes() bool { return p.Balance == "maglev" || p.Balance == "ring_hash" }

// MeasuresLatency says whether the policy goes by how long responses take.
func (p *Policy) MeasuresLatency() bool { return p.Balance == "ewma" }

// HashSource is where the key of a request is taken from.
type HashSource uint8

// The sources of keys.
const (
	// HashClientIP is the client's address, HashPath the path without the query, HashHost
	// the host without a port.
	HashClientIP HashSource = iota
	HashPath
	HashHost
	// HashHeader is a field of the head, HashCookie a cookie, HashQuery a parameter.
	HashHeader
	HashCookie
	HashQuery
)

// HashKey is what requests of one key have in common.
type HashKey struct {
	Source HashSource
	// Name is that of the field, the cookie or the parameter; empty for the others.
	Name string
}

// ParseHashKey reads client_ip, path, host, header:NAME, cookie:NAME or query:NAME.
func ParseHashKey(text string) (HashKey, error) {
	plain := []string{"client_ip", "path", "host"}
	if i := slices.Index(plain, text); i >= 0 {
		return HashKey{Source: HashSource(i)}, nil
	}
	named := []string{"header", "cookie", "query"}
	kind, name, found := strings.Cut(text, ":")
	i := slices.Index(named, kind)
	switch {
	case !found || i < 0:
		plain = append(plain, "header:NAME", "cookie:NAME", "query:NAME")
		return HashKey{}, fmt.Errorf("unknown hash_key %q%s", shorten(text), suggest(text, plain))
	case name == "":
		return HashKey{}, fmt.Errorf("hash_key %q names no %s", shorten(text), kind)
	case kind != "query" && !isToken(name):
		return HashKey{}, fmt.Errorf("hash_key %q: no %s can be called that", shorten(text), kind)
	}
	return HashKey{HashHeader + HashSource(i), name}, nil
}

// balance checks how endpoints are chosen, as policy checks the rest.
func (c *checker) balance(p Policy, at string) {
	if path := child(at, "balance"); c.where.given(path) {
		c.word(path, "balance", p.Balance, Balances()...)
	}
	if path := child(at, "hash_key"); c.where.given(path) {
		if _, err := ParseHashKey(p.HashKey); err != nil {
			c.bad(path, "%v", err)
		}
	}
	path := child(at, "ring_hash.load_factor")
	if f := p.RingHash.LoadFactor; c.where.given(path) && (f < 1.05 || f > 10) {
		c.bad(path, "load_factor must be from 1.05 to 10, found %v", f)
	}
	c.sticky(p.Sticky, child(at, "sticky"))
}

func (c *checker) sticky(s Sticky, at string) {
	const minSecret = 16
	if path := child(at, "cookie"); c.where.given(path) && s.Cookie != "" && !isToken(s.Cookie) {
		c.bad(path, "cookie %q: no cookie can be called that", shorten(s.Cookie))
	}
	for _, key := range []string{"secret", "secret_file"} {
		if path := child(at, key); c.where.given(path) && s.Secret != "" && len(s.Secret) < minSecret {
			c.bad(path, "secret must have at least %d bytes, found %d", minSecret, len(s.Secret))
		}
	}
	if path := child(at, "same_site"); c.where.given(path) {
		c.word(path, "same_site", s.SameSite, "lax", "strict", "none")
	}
	if path := child(at, "same_site"); s.SameSite == "none" && !s.Secure && c.where.given(at) {
		c.bad(path, "same_site none needs secure: true")
	}
	unfit := func(r rune) bool { return r <= ' ' || r == ';' || r > '~' }
	path := child(at, "path")
	if c.where.given(path) && (!strings.HasPrefix(s.Path, "/") || strings.ContainsFunc(s.Path, unfit)) {
		c.bad(path, "path %q must begin with / and hold no space and no semicolon", shorten(s.Path))
	}
}

// Warnings returns what is right by itself but unlikely to be what is meant.
func (c *Config) Warnings() (out []string) {
	out = c.Admin.warnings()
	lacks := func(s Sticky) bool { return s.Cookie != "" && s.Secret == "" }
	warn := func(where string) {
		out = append(out, where+": sticky has no secret, so that each process makes up its own: "+
			"a restart, or another usher beside this one, knows none of its cookies")
	}
	if lacks(c.Defaults.Sticky) {
		warn("defaults")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Services)) {
		if s := c.Services[name].Sticky; lacks(s) && s != c.Defaults.Sticky {
			warn("services." + name)
		}
	}
	return out
}

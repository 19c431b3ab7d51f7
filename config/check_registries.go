package config

import (
	"slices"
	"strings"
)

func (c *checker) registries(registries []Registry) {
	names := map[string]string{}
	for i, r := range registries {
		at := index("registries", i)
		if r.Type == "" {
			c.required(at, "type", "registry has no type, expected one of consul, file")
		}
		if r.Name != "" {
			c.registryName(child(at, "name"), r.Name)
			c.unique(names, at, "registry", r.Name)
		}
		if r.Consul != nil {
			c.consul(r.Consul, at)
		}
		if r.File != nil && r.File.Path == "" {
			c.required(at, "path", "file registry %q has no path", r.Name)
		}
	}
}

// registryName also keeps the @ of name@registry unambiguous.
func (c *checker) registryName(path, name string) {
	c.name(path, "registry", name)
	if strings.Contains(name, "@") {
		c.bad(path, "registry name %q contains an @", shorten(name))
	}
}

func (c *checker) consul(r *Consul, at string) {
	c.consulAddress(child(at, "address"), r.Address)
	if r.TagPrefix == "" {
		c.bad(child(at, "tag_prefix"), "tag_prefix is empty: every tag would announce a route")
	}
	if r.MaxWatches < 1 {
		c.bad(child(at, "max_watches"), "max_watches is %d, it must be at least 1", r.MaxWatches)
	}
	if (r.TLS.CertFile == "") != (r.TLS.KeyFile == "") {
		c.bad(child(at, "tls"), "cert_file and key_file must be set together")
	}
}

func (c *checker) consulAddress(path, address string) {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		scheme, rest = "http", address
	}
	switch {
	case !slices.Contains([]string{"http", "https", "unix"}, scheme):
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

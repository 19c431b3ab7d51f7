package config

import "strings"

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

package config

import (
	"maps"
	"slices"
)

// connect checks that who is to be reached over the mesh can be: that usher is part of
// one.
func (c *checker) connect(cfg *Config) {
	member := slices.ContainsFunc(cfg.Registries, func(r Registry) bool {
		return r.Consul != nil && r.Consul.Connect.Enabled
	})
	c.meshed(cfg.Defaults.Upstream, "defaults.upstream", member)
	for _, name := range slices.Sorted(maps.Keys(cfg.Services)) {
		c.meshed(cfg.Services[name].Upstream, child(child("services", name), "upstream"), member)
	}
}

func (c *checker) meshed(u Upstream, at string, member bool) {
	path := child(at, "connect")
	switch {
	case !u.Connect || !c.where.given(path):
	case !member:
		c.bad(path, "connect needs a registry with connect: {enabled: true}, who usher is in the mesh")
	case c.where.given(child(at, "tls")):
		c.bad(path, "both \"connect\" and \"tls\" are set: in the mesh its own certificates count")
	}
}

// refuseConnect refuses an entry of a key-value store that says whether the mesh is used:
// who may write there could take it away.
func refuseConnect(d *decoder) {
	if at := "upstream.connect"; d.where.given(at) && !d.failed[at] {
		d.fail(d.where.of(at), at, "an entry of a key-value store cannot say whether the mesh is used")
	}
}

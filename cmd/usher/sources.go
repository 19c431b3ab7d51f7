package main

import (
	"fmt"
	"strings"

	"usher/config"
	"usher/watcher"
	"usher/watcher/consul"
	"usher/watcher/file"
	"usher/watcher/resolve"
)

// sources are the registries of a configuration as the manager runs them.
func (a *app) sources(cfg *config.Config) []watcher.Source {
	out := make([]watcher.Source, 0, len(cfg.Registries))
	for _, r := range cfg.Registries {
		s := watcher.Source{Name: r.Name, StartTimeout: r.StartTimeout}
		switch {
		case r.Consul != nil:
			a.consulSource(&s, *r.Consul, cfg)
		case r.File != nil:
			conf := *r.File
			s.Spec = conf
			s.New = func() (watcher.Discoverer, error) {
				return resolve.Wrap(file.New(conf.Path, a.opts, a.log.Logger), resolve.Options{}), nil
			}
		}
		out = append(out, s)
	}
	return out
}

// consulSource completes the source of a Consul. How usher registers itself is no
// part of what is watched.
func (a *app) consulSource(s *watcher.Source, conf config.Consul, cfg *config.Config) {
	watched, defaults, mesh := conf, cfg.Defaults.Policy, meshedServices(cfg, s.Name)
	watched.Register = config.Register{Name: conf.Register.Name}
	s.Spec = fmt.Sprintf("%+v %+v %+v", watched, defaults, mesh)
	s.Identity = identity(&conf)
	s.Guard = &conf.Guard
	s.New = func() (watcher.Discoverer, error) {
		r, err := consul.New(conf, a.log.Logger)
		if err != nil {
			return nil, err
		}
		r.Options = consul.Options{Defaults: defaults, Busy: a.metrics.Downstream.ByService, Mesh: mesh.has}
		return resolve.Wrap(r, resolve.Options{}), nil
	}
}

// identity names a Consul for the snapshot: what it holds depends on these settings.
func identity(c *config.Consul) string {
	parts := []string{"consul", strings.Join(append([]string{c.Address}, c.Addresses...), ",")}
	parts = append(parts, "dc="+strings.Join(append([]string{c.Datacenter}, c.Datacenters...), ","))
	return strings.Join(append(parts, "ns="+c.Namespace, "partition="+c.Partition), " ")
}

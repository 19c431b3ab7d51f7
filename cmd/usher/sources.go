package main

import (
	"fmt"

	"usher/config"
	"usher/watcher"
	"usher/watcher/consul"
	"usher/watcher/file"
)

// sources are the registries of a configuration as the manager runs them.
func (a *app) sources(cfg *config.Config) []watcher.Source {
	out := make([]watcher.Source, 0, len(cfg.Registries))
	for _, r := range cfg.Registries {
		s := watcher.Source{Name: r.Name, StartTimeout: r.StartTimeout}
		switch {
		case r.Consul != nil:
			conf := *r.Consul
			s.Spec = fmt.Sprintf("%+v", conf)
			s.New = func() (watcher.Discoverer, error) { return consul.New(conf, a.log.Logger) }
		case r.File != nil:
			conf := *r.File
			s.Spec = conf
			s.New = func() (watcher.Discoverer, error) { return file.New(conf.Path, a.opts, a.log.Logger), nil }
		}
		out = append(out, s)
	}
	return out
}

package main

import (
	"encoding/json"

	"usher/config"
	"usher/routetable"
	"usher/watcher"
)

// rulesFrom are the rules of a configuration.
func rulesFrom(cfg *config.Config, balancers map[string]routetable.Balancer) *routetable.Rules {
	return &routetable.Rules{
		Routes: cfg.Routes, Services: cfg.Services, Defaults: cfg.Defaults.Policy, Balancers: balancers,
		Claims: cfg.Claims, ExclusiveRoutes: !cfg.SharedRoutes, ErrorPages: cfg.ErrorPages,
	}
}

// buildOffline builds the table of a configuration and of what a snapshot knows, beside any
// that is in use: nothing adopts it, so it leaves no trace.
func buildOffline(rules *routetable.Rules, s *watcher.Snapshot) (*routetable.Table, error) {
	var memory routetable.Memory
	if len(s.Memory) > 0 {
		if err := json.Unmarshal(s.Memory, &memory); err != nil {
			return nil, err
		}
	}
	return routetable.Build(catalogOf(s), rules, routetable.Remember(memory)), nil
}

// catalogOf is the catalog that a snapshot stands for.
func catalogOf(s *watcher.Snapshot) *watcher.Catalog {
	var services []*watcher.Service
	var overrides []*watcher.Overrides
	for i := range s.Registries {
		services = append(services, s.Registries[i].Services...)
		if o := s.Registries[i].Overrides; o != nil {
			overrides = append(overrides, o)
		}
	}
	return watcher.NewCatalog(1, services...).WithOverrides(1, overrides...)
}

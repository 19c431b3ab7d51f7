package main

import (
	"cmp"
	"slices"
	"strings"

	"usher/config"
	"usher/routetable"
)

// maxSkipped is how many skipped services the start names one by one.
const maxSkipped = 20

// reportWarnings says what of a configuration is unlikely to be what is meant.
func (a *app) reportWarnings(cfg *config.Config) {
	for _, w := range cfg.Warnings() {
		a.log.Warn("configuration", "warning", w)
	}
}

// reportStart says what usher listens on, what it reached and what it routes.
func (a *app) reportStart(cfg *config.Config) {
	addresses := a.proxy.Addresses()
	for _, l := range cfg.Listeners {
		a.log.Info("listening", "listener", l.Name, "address", addresses[l.Name])
	}
	a.log.Info("admin listening", "address", addressText(a.admin.Address()))
	if t := a.telemetry.Address(); t != nil {
		a.log.Info("telemetry listening", "address", t.String())
	}
	seen := 0
	for _, s := range a.manager.Statuses() {
		seen += max(s.Seen, s.Watched)
		if s.Err != nil || !s.Synced {
			a.log.Warn("registry not reached yet", "registry", s.Name, "err", s.Err)
			continue
		}
		a.log.Info("registry reached", "registry", s.Name, "contact", s.Contact, "services", s.Seen)
	}
	a.reportServices(cfg, a.proxy.Table(), seen)
	a.reportWarnings(cfg)
}

// reportServices says how many services there are, how many are routed, and why
// the others are not.
func (a *app) reportServices(cfg *config.Config, t *routetable.Table, seen int) {
	services := t.Services()
	routed, silent := 0, max(0, seen-len(services))
	skipped := slices.DeleteFunc(services, func(s routetable.ServiceReport) bool {
		if s.Routed {
			routed++
		}
		return s.Routed
	})
	a.log.Info("services", "seen", seen, "routed", routed, "skipped", seen-routed)
	for i, s := range skipped {
		if i == maxSkipped {
			a.log.Info("services skipped: more", "count", len(skipped)-i)
			break
		}
		a.log.Info("service skipped", "service", s.String(), "reason", s.Reason)
	}
	if silent > 0 {
		a.log.Info("services skipped: they announce no route and no route of the configuration names them",
			"count", silent)
	}
	if len(t.Routes()) == 0 {
		a.log.Warn("no route yet: " + hint(cfg))
	}
}

// hint says how a service gets a route.
func hint(cfg *config.Config) string {
	prefix := "urlprefix-"
	for _, r := range cfg.Registries {
		if r.Consul != nil {
			prefix = cmp.Or(r.Consul.TagPrefix, prefix)
		}
	}
	return strings.Join([]string{
		"register a service with the tag " + prefix + "shop.example.com/",
		"or the meta usher-route=shop.example.com/",
		"or name it in a route of the configuration",
	}, ", ")
}

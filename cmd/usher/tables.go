package main

import (
	"time"

	"usher/config"
	"usher/metrics"
	"usher/routetable"
	"usher/watcher"
)

// maxBuildPause bounds how long a change waits while tables are built often.
const maxBuildPause = 250 * time.Millisecond

// buildTables turns each catalog into a table: at once after a quiet time, then no
// sooner than twice the last build's duration.
func (a *app) buildTables() {
	for {
		change, err := a.manager.Next(a.ctx)
		if err != nil {
			return
		}
		took := a.buildTable(change)
		select {
		case <-time.After(min(2*took, maxBuildPause)):
		case <-a.ctx.Done():
			return
		}
	}
}

// buildTable builds and publishes one table.
func (a *app) buildTable(change watcher.Change) (took time.Duration) {
	begin := time.Now()
	cfg := a.config.Load()
	previous := a.proxy.Table()
	if a.remembered != nil {
		previous, a.remembered = a.remembered, nil
	}
	catalog, rules := a.past.underPin(change.Catalog, a.rulesOf(cfg))
	t := routetable.Build(catalog, rules, previous)
	a.health.Adopt(t)
	a.proxy.Publish(t)
	now := time.Now()
	a.standing.tableSwapped(now)
	a.catalogs.changed()
	for registry, since := range change.Since {
		a.metrics.Discovery.Propagated(registry, now.Sub(since))
	}
	a.observeCanaries(t)
	a.countTable(cfg, t, now, now.Sub(begin))
	a.logRefusals(t)
	a.cameIntoUse(previous, t, change, now.Sub(begin))
	select {
	case a.published <- struct{}{}:
	default:
	}
	select {
	case <-a.built:
	default:
		close(a.built)
	}
	return now.Sub(begin)
}

// rulesOf returns the rules of a configuration, the same pointer for the same one.
func (a *app) rulesOf(cfg *config.Config) *routetable.Rules {
	if a.rulesFrom != cfg {
		a.rulesFrom = cfg
		a.rules = rulesFrom(cfg, a.balancers)
	}
	return a.rules
}

func (a *app) countTable(cfg *config.Config, t *routetable.Table, at time.Time, took time.Duration) {
	counts := t.Counts()
	routes := make(map[string]int, len(counts.Routes))
	for s, n := range counts.Routes {
		routes[routetable.Source(s).String()] = n
	}
	refused := 0
	for _, n := range counts.Refused {
		refused += n
	}
	a.metrics.Table.Published(metrics.Built{
		Version: t.Version, At: at, Took: took, Routes: routes, Refused: refused, Conflicts: counts.Conflicts,
	})
	for _, r := range cfg.Registries {
		a.metrics.Discovery.Refused(r.Name, counts.Refused[r.Name])
	}
}

// logRefusals logs what a table leaves out and was not logged. What has gone is
// forgotten with the next news, so that a rule that flaps is told once.
func (a *app) logRefusals(t *routetable.Table) {
	news := t.Delta().Refused
	if len(news) == 0 {
		return
	}
	now := map[routetable.Refusal]bool{}
	for _, r := range t.Refused() {
		now[r] = true
	}
	var fresh []routetable.Refusal
	for _, r := range news {
		if now[r] && !a.refused[r] {
			fresh = append(fresh, r)
			a.log.Warn("rule refused; everything else is served", "service", r.Service.String(),
				"instance", r.Instance, "rule", r.Where, "reason", r.Reason)
		}
	}
	a.tellRefusals(fresh)
	a.refused = now
}

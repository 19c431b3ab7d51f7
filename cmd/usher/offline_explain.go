package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"usher/cmd/usher/internal/api"
	"usher/config"
	"usher/healthcheck"
	"usher/metrics"
	"usher/proxy"
	"usher/proxy/core"
	"usher/routetable/balance"
	"usher/watcher"
	"usher/watcher/file"
)

// offlineCatalog is what there is to know without asking a registry: what the snapshot
// says of the registries that the configuration has, and what its file registries hold.
// The snapshot is that of a file or a folder; empty: of the configuration's state_dir, if
// there is one. notes say what is missing.
func offlineCatalog(
	cfg *config.Config, opts config.Options, snapshot string,
) (s *watcher.Snapshot, notes []string, err error) {
	if s, err = readSnapshot(cfg, snapshot); err != nil {
		return nil, nil, err
	}
	s.Registries = slices.DeleteFunc(s.Registries, func(r watcher.RegistrySnapshot) bool {
		gone := !slices.ContainsFunc(cfg.Registries, func(c config.Registry) bool {
			return c.Name == r.Name && c.File == nil
		})
		if gone {
			notes = append(notes, fmt.Sprintf("the snapshot's registry %q is not one of the configuration's", r.Name))
		}
		return gone
	})
	for _, r := range cfg.Registries {
		known := slices.ContainsFunc(s.Registries, func(o watcher.RegistrySnapshot) bool { return o.Name == r.Name })
		switch {
		case r.File != nil:
			services, err := file.Read(r.File.Path, r.Name, opts)
			if err != nil {
				return nil, nil, err
			}
			s.Registries = append(s.Registries, watcher.RegistrySnapshot{Name: r.Name, Services: services})
		case !known:
			notes = append(notes, fmt.Sprintf("nothing is known of what registry %q holds: see --snapshot", r.Name))
		}
	}
	return s, notes, nil
}

// readSnapshot reads the snapshot of a path, or the one that the configuration keeps. It is
// empty where there is none.
func readSnapshot(cfg *config.Config, path string) (*watcher.Snapshot, error) {
	if path == "" {
		if cfg.StateDir == "" {
			return &watcher.Snapshot{}, nil
		}
		s, err := watcher.ReadSnapshot(cfg.StateDir)
		if errors.Is(err, fs.ErrNotExist) {
			return &watcher.Snapshot{}, nil
		}
		return s, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return watcher.ReadSnapshot(path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := watcher.DecodeSnapshot(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Clean(path), err)
	}
	return s, nil
}

// explainOffline explains by a configuration and what is known without asking anybody.
// Nothing listens, and no endpoint is probed or asked.
func explainOffline(cfg *config.Config, s *watcher.Snapshot, q api.Question) (api.Explanation, error) {
	t, err := buildOffline(rulesFrom(cfg, balance.All()), s)
	if err != nil {
		return api.Explanation{}, err
	}
	log := slog.New(slog.DiscardHandler)
	health := healthcheck.New(log, nil)
	health.Adopt(t)
	p := proxy.New(log, metrics.New(version, core.Reasons()).Downstream, health)
	defer p.Close()
	e := &explainer{proxy: p, health: health, table: t, cfg: cfg}
	return e.explain(q)
}

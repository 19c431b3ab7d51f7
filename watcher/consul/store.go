package consul

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"usher/config"
	"usher/watcher"
)

// The folders of the key-value store, below the configured prefix: each key in one
// of them holds one route, or the settings of one service, in the YAML of the
// configuration. Other keys are nobody's business here.
const (
	routesFolder   = "routes/"
	servicesFolder = "services/"
)

// store follows the key-value store and keeps, of every key, the last version that could
// be used.
type store struct {
	keys
	// routes and services are the last good version of each key.
	routes   map[string]config.Route
	services map[string]config.Service
}

// watchStore follows the key-value store until the context ends.
func (c *coordinator) watchStore() {
	s := &store{
		keys:   keys{coordinator: c, follower: newFollower(), prefix: c.conf.KVPrefix},
		routes: map[string]config.Route{}, services: map[string]config.Service{},
	}
	s.follower.well = &c.well
	for {
		u, err := s.read(c.ctx)
		if c.ctx.Err() != nil {
			return
		}
		if u != nil {
			select {
			case c.store <- *u:
			case <-c.ctx.Done():
				return
			}
		}
		if !next(c.ctx, s.follower, err) {
			return
		}
	}
}

// read reads the store once; the update is nil when there is nothing to tell.
func (s *store) read(ctx context.Context) (*watcher.Update, error) {
	what, err := s.keys.read(ctx)
	since := time.Now()
	switch {
	case err != nil:
		return &watcher.Update{Report: &watcher.Report{Err: err, Reason: reason(err), Partial: true}}, err
	case what == unseen:
		return &watcher.Update{}, nil // what is known from before may well be there
	case what == changed:
		return &watcher.Update{Overrides: s.overrides(s.prefix), Since: since}, nil
	}
	return nil, nil
}

// overrides makes what the store says usable. A key that is not refuses itself alone,
// and its last good version stays.
func (s *store) overrides(prefix string) *watcher.Overrides {
	o := &watcher.Overrides{Services: map[string]config.Service{}}
	maps.DeleteFunc(s.routes, func(key string, _ config.Route) bool { return s.values[key] == nil })
	maps.DeleteFunc(s.services, func(key string, _ config.Service) bool { return s.values[key] == nil })
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		if err := s.decode(prefix, key); err != nil {
			o.Refused = append(o.Refused, watcher.RefusedOverride{Key: prefix + key, Reason: err.Error()})
		}
	}
	for _, r := range s.routes {
		o.Routes = append(o.Routes, r)
	}
	slices.SortFunc(o.Routes, func(a, b config.Route) int { return cmp.Compare(a.Name, b.Name) })
	for key, v := range s.services {
		o.Services[strings.TrimPrefix(key, servicesFolder)] = v
	}
	return o
}

// decode takes in the value of one key. Consul's pages make folders, keys without a
// value that end in a slash: they say nothing.
func (s *store) decode(prefix, key string) error {
	if strings.HasSuffix(key, "/") {
		return nil
	}
	if name, ok := strings.CutPrefix(key, routesFolder); ok && name != "" {
		r, err := config.DecodeRoute(prefix+key, name, s.values[key])
		if err == nil {
			s.routes[key] = r
		}
		return err
	}
	if name, ok := strings.CutPrefix(key, servicesFolder); ok && name != "" {
		v, err := config.DecodeService(prefix+key, s.values[key], s.Options.Defaults)
		if err == nil {
			s.services[key] = v
		}
		return err
	}
	return nil
}

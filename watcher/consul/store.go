package consul

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

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

// store follows the key-value store and keeps, of every key, what it said last and
// the last that could be used.
type store struct {
	*coordinator
	follower *follower
	// values are as read last; routes and services the last good version of each key.
	values   map[string][]byte
	routes   map[string]config.Route
	services map[string]config.Service
	// failing says that the last read failed, doubted that an empty store is not believed.
	failing, doubted bool
	// filtered says that the token never saw every key, narrowed that it has come to see
	// less than it did.
	filtered, narrowed bool
}

// watchStore follows the key-value store until the context ends.
func (c *coordinator) watchStore() {
	s := &store{
		coordinator: c, follower: newFollower(),
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
	prefix := s.conf.KVPrefix
	pairs, meta, err := ask(ctx, s.coordinator, s.follower,
		func(o *api.QueryOptions) (api.KVPairs, *api.QueryMeta, error) { return s.client.KV().List(prefix, o) })
	since := time.Now()
	if err != nil {
		if !s.failing && ctx.Err() == nil {
			s.log.Warn("the key-value store cannot be read; what it said last stays", "prefix", prefix, "err", err)
		}
		s.failing = true
		return &watcher.Update{Report: &watcher.Report{Err: err, Reason: reason(err), Partial: true}}, err
	}
	s.failing = false
	// The index of a list may fall when a key is deleted.
	apply, _ := s.follower.answered(meta.LastIndex)
	if !apply {
		return nil, nil
	}
	why := s.follower.doubt(meta.ResultsFilteredByACLs)
	values := map[string][]byte{}
	for _, p := range pairs {
		values[strings.TrimPrefix(p.Key, prefix)] = append([]byte{}, p.Value...)
	}
	s.keepUnseen(values, meta.ResultsFilteredByACLs)
	if s.values == nil && len(values) == 0 && meta.ResultsFilteredByACLs {
		return &watcher.Update{}, nil // what is known from before may well be there
	}
	if len(values) == 0 && len(s.values) > 0 && (why != "" || s.doubted) {
		s.doubt(prefix, why)
		return nil, nil
	}
	s.doubted = false
	if s.values != nil && maps.EqualFunc(values, s.values, bytes.Equal) {
		return nil, nil
	}
	s.values = values
	return &watcher.Update{Overrides: s.overrides(prefix), Since: since}, nil
}

// keepUnseen adds to the values as read those that the token has lost the right to read:
// they are not gone. A token that never saw everything is believed all the same, as far
// as it sees.
func (s *store) keepUnseen(values map[string][]byte, filtered bool) {
	rule := keyRule(s.conf.KVPrefix)
	if !filtered {
		s.filtered, s.narrowed = false, false
		return
	}
	if s.filtered {
		return
	}
	lost := 0
	for key, value := range s.values {
		if _, seen := values[key]; !seen {
			values[key] = value
			lost++
		}
	}
	switch {
	case lost == 0 && !s.narrowed:
		s.filtered = true
		s.log.Warn("the token may not read every key of the key-value store", "missing", rule)
	case !s.narrowed:
		s.narrowed = true
		s.log.Warn("the token has lost the right to read keys of the key-value store; what they held stays",
			"keys", lost, "missing", rule)
	}
}

// doubt notes that an empty store is not believed: like a lost catalog it may be
// lost, and nobody but an operator can tell.
func (s *store) doubt(prefix, why string) {
	if !s.doubted {
		s.log.Warn("the key-value store is said to be empty; what it held stays", "prefix", prefix, "reason", why,
			"hint", "write any key below the prefix to say that the rest is really gone")
	}
	s.doubted = true
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

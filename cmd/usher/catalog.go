package main

import (
	"math"
	"sync"
	"time"

	"usher/cmd/usher/internal/admin"
	"usher/cmd/usher/internal/api"
	"usher/watcher"
)

// catalogPause is the least time between two catalogs, which may take a fifth of the time.
const (
	catalogPause = 50 * time.Millisecond
	catalogShare = 5
)

// catalogs make the catalog that clients discover services by, anew only when something has
// changed and somebody asks. The zero value is ready.
type catalogs struct {
	// changes is held but for a moment: whoever tells of a change may hold other locks.
	changes sync.Mutex
	version uint64
	// wake is closed at the next change; nil: nobody waits.
	wake chan struct{}

	// making is held while a catalog is made.
	making sync.Mutex
	last   *admin.Catalog
	of     uint64
	next   time.Time
}

// changed notes that the catalog may be another one. It does not block.
func (c *catalogs) changed() {
	c.changes.Lock()
	defer c.changes.Unlock()
	c.version++
	if c.wake != nil {
		close(c.wake)
		c.wake = nil
	}
}

// now is the number of changes, and what is closed at the next.
func (c *catalogs) now() (version uint64, next <-chan struct{}) {
	c.changes.Lock()
	defer c.changes.Unlock()
	if c.wake == nil {
		c.wake = make(chan struct{})
	}
	return c.version, c.wake
}

// get returns the catalog, and what is closed when there may be another. While changes come
// faster than that is worth it, it is the one of a moment before.
func (c *catalogs) get(services func() []api.CatalogService) (*admin.Catalog, <-chan struct{}) {
	c.making.Lock()
	defer c.making.Unlock()
	version, changed := c.now()
	if c.last != nil && version == c.of {
		return c.last, changed
	}
	begin := time.Now()
	if c.last != nil && begin.Before(c.next) {
		soon := make(chan struct{})
		time.AfterFunc(c.next.Sub(begin), func() { close(soon) })
		return c.last, soon
	}
	c.last, c.of = admin.NewCatalog(services()), version
	end := time.Now()
	c.next = end.Add(max(catalogPause, (catalogShare-1)*end.Sub(begin)))
	return c.last, changed
}

// Catalog implements admin.Discovery.
func (a *app) Catalog() (*admin.Catalog, <-chan struct{}) { return a.catalogs.get(a.catalogServices) }

// catalogServices are the services of all registries as usher knows them, by name, then
// registry.
func (a *app) catalogServices() []api.CatalogService {
	routed := map[watcher.Key]bool{}
	for _, r := range a.proxy.Table().Services() {
		routed[r.Key] = r.Routed
	}
	all := a.manager.Services()
	out := make([]api.CatalogService, 0, len(all))
	for _, s := range all {
		v := api.CatalogService{
			Name: s.Service, Registry: s.Registry, Routed: routed[s.Key],
			Instances: make([]api.CatalogInstance, 0, len(s.Instances)),
		}
		for i := range s.Instances {
			v.Instances = append(v.Instances, a.catalogInstance(s.Key, &s.Instances[i]))
		}
		out = append(out, v)
	}
	return out
}

// catalogInstance is an instance by the registry's word, and by usher's where it is routed.
func (a *app) catalogInstance(key watcher.Key, in *watcher.Instance) api.CatalogInstance {
	v := api.CatalogInstance{
		ID: in.ID, Address: in.Address, Status: in.Status.String(), State: unrouted,
		Datacenter: in.Datacenter, Zone: in.Zone, Tier: in.Tier, Held: in.Held != nil, Tags: in.Tags, Meta: in.Meta,
	}
	rep, known := a.health.Of(key.Registry, key.Service, in.ID, in.Address)
	if !known {
		if v.Usable = in.Status.TakesTraffic() && in.Weight > 0 && in.Held == nil; v.Usable {
			v.Weight = in.Weight
		}
		return v
	}
	v.State, v.Usable = rep.State.String(), rep.Picked
	if v.Usable {
		v.Weight = rep.Weight
	}
	if v.Usable && v.Weight == 0 { // it is tried for want of better ones
		v.Weight = in.Weight
	}
	v.Weight = math.Round(v.Weight*1e3) / 1e3
	return v
}

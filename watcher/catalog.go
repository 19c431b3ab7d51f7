package watcher

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// Status is what a registry says of an instance, worst last.
type Status uint8

// The statuses, as Consul names them.
const (
	Passing Status = iota
	Warning
	Critical
	Maintenance
)

// String returns the registry's word for s.
func (s Status) String() string {
	switch s {
	case Passing:
		return "passing"
	case Warning:
		return "warning"
	case Critical:
		return "critical"
	default:
		return "maintenance"
	}
}

// TakesTraffic says whether an instance of this status is sent requests.
func (s Status) TakesTraffic() bool { return s <= Warning }

// ParseStatus is the inverse of String; ok is false for any other word.
func ParseStatus(word string) (s Status, ok bool) {
	for s := Passing; s <= Maintenance; s++ {
		if s.String() == word {
			return s, true
		}
	}
	return 0, false
}

// Key identifies a service: the registry that announced it and its name there.
type Key struct {
	Registry string
	Service  string
}

// String returns service@registry, the form the configuration accepts too.
func (k Key) String() string { return k.Service + "@" + k.Registry }

// Compare orders keys by service, then registry.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Service, o.Service), cmp.Compare(k.Registry, o.Registry))
}

// Origin says where an announcement was made, in rising order of precedence.
type Origin uint8

// The origins of an announcement.
const (
	FromTag Origin = iota
	FromMeta
)

// String names the origin as messages and metrics do.
func (o Origin) String() string {
	if o == FromMeta {
		return "meta"
	}
	return "tag"
}

// Announcement is one rule as an instance announced it, not yet parsed: the text
// behind the tag prefix, or the value of a meta key.
type Announcement struct {
	Origin Origin
	// Where is the whole tag or the meta key, for messages.
	Where string
	Text  string
}

// Instance is one instance of a service. It is immutable once sent.
type Instance struct {
	// ID identifies the instance among all of its registry and does not change
	// while it is registered.
	ID string
	// Address is host:port.
	Address string
	Status  Status
	// Cause says why Status is not Passing: the check and its state.
	Cause string
	// Weight is the share relative to the other instances; 0 takes no traffic.
	Weight float64
	// Created orders instances by age where the registry tells it (Consul's
	// CreateIndex); 0 otherwise.
	Created       uint64
	Announcements []Announcement
	Tags          []string
	Meta          map[string]string
}

// Service is one service and its instances, in the order of their IDs. It is
// immutable: a change makes a new one, so equal pointers mean nothing changed.
type Service struct {
	Key
	Instances []Instance
}

// Catalog is everything the registries said at one moment. It is immutable.
type Catalog struct {
	// Version grows by one with each catalog of a Manager.
	Version uint64

	// services are by name; those of one name are in the order of their registries.
	services Map[[]*Service]
}

// NewCatalog returns a catalog of the given services.
func NewCatalog(version uint64, services ...*Service) *Catalog {
	return (&Catalog{}).With(version, services...)
}

// With returns a later catalog in which the given services take the place of those
// with the same keys.
func (c *Catalog) With(version uint64, services ...*Service) *Catalog {
	e := c.services.Edit()
	for _, s := range services {
		e.Set(s.Service, withService(e.Get(s.Service), s.Key, s))
	}
	return &Catalog{Version: version, services: e.Map()}
}

// withService returns the services of one name with that of key replaced, or taken
// out when s is nil.
func withService(list []*Service, key Key, s *Service) []*Service {
	i, had := slices.BinarySearchFunc(list, key, func(o *Service, k Key) int { return o.Compare(k) })
	list = slices.Clone(list)
	if had {
		list = slices.Delete(list, i, i+1)
	}
	if s == nil {
		return list
	}
	return slices.Insert(list, i, s)
}

// Find returns the services that name means: those of that name in any registry,
// or the one given as name@registry. Don't change the result.
func (c *Catalog) Find(name string) []*Service {
	name, registry, one := strings.Cut(name, "@")
	list := c.services.Get(name)
	if !one {
		return list
	}
	for i, s := range list {
		if s.Registry == registry {
			return list[i : i+1]
		}
	}
	return nil
}

// Services returns all services in the order of Key.Compare.
func (c *Catalog) Services() []*Service {
	out := make([]*Service, 0, c.services.Len())
	for _, list := range c.services.All() {
		out = append(out, list...)
	}
	slices.SortFunc(out, func(a, b *Service) int { return a.Compare(b.Key) })
	return out
}

// Changed goes over the names whose services differ from those of another catalog.
// It costs little when one came of the other.
func (c *Catalog) Changed(from *Catalog) iter.Seq[string] {
	return func(yield func(string) bool) {
		for name := range c.services.Changed(from.services) {
			if !slices.Equal(c.services.Get(name), from.services.Get(name)) && !yield(name) {
				return
			}
		}
	}
}

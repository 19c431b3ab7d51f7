package watcher

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"usher/config"
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

// MarshalText implements encoding.TextMarshaler: a status is its word.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Status) UnmarshalText(word []byte) error {
	known, ok := ParseStatus(string(word))
	if !ok {
		return fmt.Errorf("unknown status %q", word)
	}
	*s = known
	return nil
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
	// FromDefault is the registry's default_route, for services that announce nothing.
	FromDefault Origin = iota
	FromTag
	FromMeta
)

// String names the origin as messages and metrics do.
func (o Origin) String() string { return [...]string{"default", "tag", "meta"}[o] }

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
	// Datacenter and Zone say where it runs, where the registry tells.
	Datacenter, Zone string
	// Tier is how near it is: requests go to the lowest tier with a usable instance.
	Tier uint8
	// Mesh is whom it must show itself to be, where it is reached over a service mesh; nil:
	// it is reached as it stands.
	Mesh *Mesh `json:",omitempty"`
	// Problem is what is wrong with how it describes itself, though it is served; empty:
	// nothing.
	Problem string
	// Held says that the registry no longer lists it, and why it is kept; nil: it is
	// listed. The Manager alone sets it.
	Held *Hold
}

// Mesh is the identity of an instance in the service mesh of its registry. It is
// immutable.
type Mesh struct{ Service, Namespace, Partition, Datacenter string }

// Hold is why an instance is kept that the registry no longer lists. It is
// immutable.
type Hold struct {
	Since  time.Time
	Reason string
	// Quorum is how many confirmed instances of its service must be usable for the held
	// ones to be spared: below it they are sent requests as well.
	Quorum int
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
	// overrides are in the order of their registries.
	overrides []*Overrides
}

// Overrides are the routes and settings that a registry's key-value store holds, as
// the configuration would. They are immutable: a change makes new ones.
type Overrides struct {
	Registry string
	// Routes are by name, Services by the service's. A Pos names the key.
	Routes   []config.Route
	Services map[string]config.Service
	// Refused are the entries that cannot be used; the last good version of each, if
	// there was one, is among the others.
	Refused []RefusedOverride
}

// RefusedOverride is an entry that cannot be used, and why.
type RefusedOverride struct{ Key, Reason string }

// Overrides returns what the registries override, in the order of their names.
// Don't change the result.
func (c *Catalog) Overrides() []*Overrides { return c.overrides }

// WithOverrides returns a later catalog with other overrides.
func (c *Catalog) WithOverrides(version uint64, overrides ...*Overrides) *Catalog {
	return &Catalog{Version: version, services: c.services, overrides: overrides}
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
	return &Catalog{Version: version, services: e.Map(), overrides: c.overrides}
}

// WithNamed returns a later catalog in which the services of each of these names are those
// listed, in the order of their registries; an empty list is none. It shares the rest.
func (c *Catalog) WithNamed(version uint64, named map[string][]*Service) *Catalog {
	e := c.services.Edit()
	for name, list := range named {
		if len(list) == 0 {
			e.Delete(name)
		} else {
			e.Set(name, list)
		}
	}
	return &Catalog{Version: version, services: e.Map(), overrides: c.overrides}
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

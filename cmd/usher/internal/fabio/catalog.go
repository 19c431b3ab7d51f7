package fabio

import (
	"slices"
	"strconv"
	"strings"

	"usher/watcher"
	"usher/watcher/file"
)

// service is one service of the file registry.
type service struct {
	name string
	// routes are what every instance announces.
	routes    []string
	instances []*instance
}

// instance is one of a service: a destination with at most one rule for a source.
type instance struct {
	id, address string
	tags        []string
	// announced are the rules by what they match, in order.
	announced fields
}

// buildCatalog makes services of the targets that commands made.
func (c *conversion) buildCatalog() {
	byName := map[string]*service{}
	for _, r := range c.table.routes {
		for _, t := range r.targets {
			if t.instance != "" {
				continue
			}
			address, err := t.endpoint()
			if err != nil {
				c.notes.add(Todo, t.where, "%v, and was left out", err)
				continue
			}
			s := byName[t.service]
			if s == nil {
				s = &service{name: c.serviceName(t.service, t.where)}
				byName[t.service] = s
				c.services = append(c.services, s)
			}
			in := s.instance(address, r.source())
			in.announced = in.announced.set(r.source(), c.announcement(r, t))
			c.keepTags(in, t)
			c.homes[t] = s.name
		}
	}
	for _, s := range c.services {
		s.hoist()
		c.sizes[s.name+"@"+staticRegistry] = len(s.instances)
	}
}

// instance finds the instance at an address that has no rule for a source yet: two
// rules of one instance for the same source would be one.
func (s *service) instance(address, source string) *instance {
	id := address
	for n := 2; ; n++ {
		i := slices.IndexFunc(s.instances, func(x *instance) bool { return x.id == id })
		if i < 0 {
			in := &instance{id: id, address: address}
			s.instances = append(s.instances, in)
			return in
		}
		if s.instances[i].announced.get(source) == "" {
			return s.instances[i]
		}
		id = address + "#" + strconv.Itoa(n)
	}
}

// keepTags keeps the tags that mean nothing to usher.
func (c *conversion) keepTags(in *instance, t *target) {
	for _, tag := range t.tags {
		if strings.HasPrefix(tag, file.TagPrefix) {
			c.notes.add(Differs, t.where, "the tag %q was left out: it announces nothing in Fabio", clip(tag))
		} else if tag != "" && !slices.Contains(in.tags, tag) {
			in.tags = append(in.tags, tag)
		}
	}
}

// hoist writes what all instances announce once.
func (s *service) hoist() {
	for _, a := range s.instances[0].announced {
		if s.all(a) {
			s.routes = append(s.routes, a.value)
		}
	}
}

// all says whether all instances make an announcement.
func (s *service) all(a field) bool {
	return !slices.ContainsFunc(s.instances, func(in *instance) bool { return in.announced.get(a.key) != a.value })
}

// allTags are an instance's tags in the file, with what it alone announces.
func (s *service) allTags(in *instance) []string {
	tags := slices.Clone(in.tags)
	for _, a := range in.announced {
		if !slices.Contains(s.routes, a.value) {
			tags = append(tags, file.TagPrefix+a.value)
		}
	}
	return tags
}

// serviceName is a name that usher accepts, unlike any given before.
func (c *conversion) serviceName(name, where string) string {
	clean := strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f || r == '@' {
			return '-'
		}
		return r
	}, name)
	unique := clean
	for n := 2; c.names[unique]; n++ {
		unique = clean + "-" + strconv.Itoa(n)
	}
	c.names[unique] = true
	if unique != name {
		c.notes.add(Differs, where, "the service %q is called %q in usher", clip(name), clip(unique))
	}
	return unique
}

// registered is the service as the file registry will hand it on.
func (s *service) registered() *watcher.Service {
	out := &watcher.Service{Key: watcher.Key{Registry: staticRegistry, Service: s.name}}
	for _, in := range s.instances {
		w := watcher.Instance{ID: s.name + "/" + in.id, Address: in.address, Weight: 1, Tags: in.tags}
		for _, a := range in.announced {
			w.Announcements = append(w.Announcements, watcher.Announcement{
				Origin: watcher.FromTag, Where: file.TagPrefix + a.value, Text: a.value,
			})
		}
		out.Instances = append(out.Instances, w)
	}
	return out
}

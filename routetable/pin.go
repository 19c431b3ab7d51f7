package routetable

import (
	"slices"
	"strings"

	"usher/watcher"
)

// Pin holds the rules of a past table while the instances follow the registries. A table
// built of its Catalog and its Rules has the routes of the past one: an instance that is
// new has the rules that its service had then, one that is gone is gone, and a service
// that was not known then announces nothing. Statuses, addresses and weights are those of
// now.
//
// One goroutine uses a Pin.
type Pin struct {
	past *Past
	// rivals are, for the name of a service that owned a source, the names of the others
	// that announced it: those have it when that one is gone.
	rivals map[string][]string
	// owned are the sources that a service announced and another one owned, by Key.String.
	owned map[string]map[string]watcher.Key

	// live is the catalog that was last asked for, made what became of it; nil: none was.
	live, made *watcher.Catalog
}

// NewPin returns a Pin of the rules of p.
func NewPin(p *Past) *Pin {
	pin := &Pin{past: p, rivals: map[string][]string{}, owned: map[string]map[string]watcher.Key{}}
	if p.owners.Len() == 0 {
		return pin
	}
	for _, s := range p.catalog.Services() {
		for _, match := range p.announced(s) {
			owner := p.owners.Get(match)
			if owner == (watcher.Key{}) || owner == s.Key {
				continue
			}
			if pin.owned[s.String()] == nil {
				pin.owned[s.String()] = map[string]watcher.Key{}
			}
			pin.owned[s.String()][match] = owner
			pin.rivals[owner.Service] = append(pin.rivals[owner.Service], s.Service)
		}
	}
	return pin
}

// announced are the sources that a service announced, broken rules left out.
func (p *Past) announced(s *watcher.Service) (matches []string) {
	for i := range s.Instances {
		for _, a := range p.rulesOf(s, i) {
			if r, err := parseRule(a.Text); err == nil && !slices.Contains(matches, r.matchKey()) {
				matches = append(matches, r.matchKey())
			}
		}
	}
	return matches
}

// rulesOf are the announcements of an instance that were served: those that are rules, and
// those that stood in for others.
func (p *Past) rulesOf(s *watcher.Service, instance int) (out []watcher.Announcement) {
	in := &s.Instances[instance]
	for _, a := range in.Announcements {
		if _, err := parseRule(a.Text); err == nil {
			out = append(out, a)
		}
	}
	for _, k := range p.kept.Get(s.String()) {
		if k.Instance == in.ID {
			out = append(out, watcher.Announcement{Origin: k.Origin, Where: k.Where, Text: k.Text})
		}
	}
	return out
}

// Rules are those of the configuration then.
func (pin *Pin) Rules() *Rules { return pin.past.rules }

// Services are the names of those known then, which must stay known though they announce
// nothing any more, and of those that the rules lead to.
func (pin *Pin) Services() []string {
	var out []string
	for _, s := range pin.past.catalog.Services() {
		if slices.ContainsFunc(s.Instances, func(in watcher.Instance) bool { return len(in.Announcements) > 0 }) {
			out = append(out, s.Service)
		}
	}
	if pin.past.rules == nil {
		return out
	}
	for i := range pin.past.rules.Routes {
		for _, arm := range armsOf(&pin.past.rules.Routes[i]) {
			name, _, _ := strings.Cut(arm.Service, "@")
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Catalog returns what live is under the pin: its instances, and the rules of then. What
// it costs depends on what changed since the last call. live is of the same Manager as
// the past table's.
func (pin *Pin) Catalog(live *watcher.Catalog) *watcher.Catalog {
	overrides := pin.past.catalog.Overrides()
	if pin.made == nil {
		pin.live, pin.made = &watcher.Catalog{}, live.WithOverrides(live.Version, overrides...)
	}
	named := map[string][]*watcher.Service{}
	take := func(name string) {
		if _, had := named[name]; !had {
			named[name] = pin.named(live, name)
		}
	}
	for name := range live.Changed(pin.live) {
		take(name)
		for _, rival := range pin.rivals[name] {
			take(rival)
		}
	}
	pin.live = live
	pin.made = pin.made.WithNamed(live.Version, named).WithOverrides(live.Version, overrides...)
	return pin.made
}

// named are the services of a name under the pin.
func (pin *Pin) named(live *watcher.Catalog, name string) []*watcher.Service {
	list := slices.Clone(live.Find(name))
	for i, s := range list {
		list[i] = pin.held(live, s)
	}
	return list
}

// held is a service with the rules of then: itself when it has these.
func (pin *Pin) held(live *watcher.Catalog, s *watcher.Service) *watcher.Service {
	then := pin.then(s.Key)
	out, same := &watcher.Service{Key: s.Key, Instances: slices.Clone(s.Instances)}, true
	for i := range out.Instances {
		in := &out.Instances[i]
		rules := pin.owns(live, s, pin.rulesFor(then, in))
		same = same && slices.Equal(rules, in.Announcements)
		in.Announcements = rules
	}
	if same {
		return s
	}
	return out
}

// then is a service as it was, nil when it was not known.
func (pin *Pin) then(key watcher.Key) *watcher.Service {
	if list := pin.past.catalog.Find(key.String()); len(list) > 0 {
		return list[0]
	}
	return nil
}

// rulesFor are the announcements that an instance of a service has under the pin.
func (pin *Pin) rulesFor(then *watcher.Service, in *watcher.Instance) []watcher.Announcement {
	if then == nil || len(then.Instances) == 0 {
		return nil
	}
	i, known := slices.BinarySearchFunc(then.Instances, in.ID, func(x watcher.Instance, id string) int {
		return strings.Compare(x.ID, id)
	})
	if !known {
		i = typical(then, in.Datacenter)
	}
	return pin.past.rulesOf(then, i)
}

// typical is the instance that a new one of a datacenter is taken to be like: of those
// there, or of all when there is none, one whose announcements most of them make.
func typical(s *watcher.Service, datacenter string) int {
	there := func(in watcher.Instance) bool { return in.Datacenter == datacenter }
	all := !slices.ContainsFunc(s.Instances, there)
	best, most := 0, 0
	for i := range s.Instances {
		if !all && !there(s.Instances[i]) {
			continue
		}
		n := 0
		for j := range s.Instances {
			if slices.Equal(s.Instances[i].Announcements, s.Instances[j].Announcements) {
				n++
			}
		}
		if n > most {
			best, most = i, n
		}
	}
	return best
}

// owns leaves out the rules for sources that another service owned and, if it still makes
// the claim, owns.
func (pin *Pin) owns(live *watcher.Catalog, s *watcher.Service, rules []watcher.Announcement) []watcher.Announcement {
	others := pin.owned[s.String()]
	if len(others) == 0 {
		return rules
	}
	return slices.DeleteFunc(rules, func(a watcher.Announcement) bool {
		r, err := parseRule(a.Text)
		if err != nil {
			return false
		}
		owner, owned := others[r.matchKey()]
		return owned && pin.claims(live, owner, r.matchKey())
	})
}

// claims says whether an instance of a service announces a source under the pin.
func (pin *Pin) claims(live *watcher.Catalog, owner watcher.Key, match string) bool {
	then := pin.then(owner)
	for _, s := range live.Find(owner.String()) {
		for i := range s.Instances {
			for _, a := range pin.rulesFor(then, &s.Instances[i]) {
				if r, err := parseRule(a.Text); err == nil && r.matchKey() == match {
					return true
				}
			}
		}
	}
	return false
}

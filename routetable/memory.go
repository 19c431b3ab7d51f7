package routetable

import (
	"cmp"

	"usher/watcher"
)

// Memory is what a table knows beyond its catalog and its rules: what would be lost if
// the process began again with these. It holds no pointers into the table; its order
// is fixed. It may be kept as JSON.
type Memory struct {
	// Owners are the services that own a source, by what it matches; none while sources
	// are shared.
	Owners []Owner `json:"owners,omitempty"`
	// Rules are those served in the place of broken ones, by service and instance.
	Rules []KeptRule `json:"rules,omitempty"`
}

// Owner is the service that a source belongs to for as long as it announces it.
type Owner struct {
	// Match is what the source matches.
	Match   string      `json:"match"`
	Service watcher.Key `json:"service"`
}

// KeptRule is the last good rule of an instance, in the place of a broken one.
type KeptRule struct {
	Service watcher.Key `json:"service"`
	// Instance is the instance's ID.
	Instance string         `json:"instance"`
	Origin   watcher.Origin `json:"origin"`
	// Where is the tag or the meta key that the rule had, Text the rule.
	Where string `json:"where"`
	Text  string `json:"text"`
}

// Memory returns what the table remembers.
func (t *Table) Memory() Memory {
	if t.remembered != nil {
		return t.remembered.memory
	}
	return memoryOf(t.owners, t.kept)
}

func compareOwners(a, b Owner) int { return cmp.Compare(a.Match, b.Match) }

// Remember returns an empty table that remembers m, to build the first one on: that
// one serves what the table m came from would. What m says of services and instances
// that the first catalog does not hold is forgotten; a text that is no rule is ignored.
// m is not copied: don't change it.
func Remember(m Memory) *Table {
	r := &remembered{memory: m, owners: map[string]watcher.Key{}, services: map[string]*announcer{}}
	for _, o := range m.Owners {
		r.owners[o.Match] = o.Service
	}
	for i := range m.Rules {
		r.keep(&m.Rules[i])
	}
	t := Empty()
	t.remembered = r
	return t
}

// remembered is a Memory made ready. A nil one is empty.
type remembered struct {
	memory Memory
	owners map[string]watcher.Key
	// services hold the kept rules, as announcers without states.
	services map[string]*announcer
}

func (r *remembered) keep(k *KeptRule) {
	parsed, err := parseRule(k.Text)
	if err != nil || parsed.unserved() != "" {
		return
	}
	a := r.services[k.Service.String()]
	if a == nil {
		a = &announcer{service: &watcher.Service{Key: k.Service}}
		r.services[k.Service.String()] = a
	}
	a.service.Instances = append(a.service.Instances, watcher.Instance{ID: k.Instance})
	a.parsed = append(a.parsed, offer{
		by: a, instance: len(a.parsed), origin: k.Origin, where: k.Where, text: k.Text,
		kept: true, key: parsed.matchKey(), rule: parsed,
	})
}

// service returns what is remembered of a service, nil for nothing.
func (r *remembered) service(key string) *announcer {
	if r == nil {
		return nil
	}
	return r.services[key]
}

// owner returns who owned a source, the zero Key for nobody.
func (r *remembered) owner(match string) watcher.Key {
	if r == nil {
		return watcher.Key{}
	}
	return r.owners[match]
}

package routetable

import (
	"slices"
	"strings"

	"usher/watcher"
)

// announcer is one service as it announced itself, parsed, and the state of its
// endpoints. It is immutable and stays from table to table while the service does.
type announcer struct {
	service *watcher.Service
	// states are aligned with the service's instances.
	states  []*State
	offers  []offer
	refused []Refusal
	notices []Refusal
}

// offer is one instance's parsed announcement.
type offer struct {
	by       *announcer
	instance int
	origin   watcher.Origin
	where    string
	// key is what the rule matches.
	key  string
	rule rule
}

// in is the offer's instance.
func (o *offer) in() *watcher.Instance { return &o.by.service.Instances[o.instance] }

// name says who made the offer.
func (o *offer) name() string { return o.by.service.String() + " " + o.where }

// newAnnouncer parses what a service announces. A rule that cannot be parsed costs
// that rule. The state of an endpoint is carried over from before, which may be
// nil.
func newAnnouncer(s *watcher.Service, before *announcer) *announcer {
	a := &announcer{service: s, states: make([]*State, len(s.Instances))}
	for i := range s.Instances {
		in := &s.Instances[i]
		a.states[i] = before.stateOf(in)
		for _, text := range in.Announcements {
			if !a.parse(i, text) {
				a.keepLastGood(i, text, before)
			}
		}
	}
	return a
}

// keepLastGood lets the instance's rule that a refused one replaces go on: the one
// of the same meta key, or the first of its tags that is gone. What is kept once is
// kept again by the next announcer.
func (a *announcer) keepLastGood(instance int, bad watcher.Announcement, before *announcer) {
	if before == nil {
		return
	}
	in := &a.service.Instances[instance]
	for _, o := range before.offers {
		if o.in().ID != in.ID || o.origin != bad.Origin || a.offering(instance, o.where, o.rule.host, o.rule.path) {
			continue
		}
		if bad.Origin == watcher.FromMeta && o.where != bad.Where {
			continue
		}
		if bad.Origin == watcher.FromTag && announces(in, o.where) {
			continue
		}
		o.by, o.instance = a, instance
		a.offers = append(a.offers, o)
		return
	}
}

// offering says whether an instance's offers hold one made there already.
func (a *announcer) offering(instance int, where, host, path string) bool {
	return slices.ContainsFunc(a.offers, func(o offer) bool {
		return o.instance == instance && o.where == where && o.rule.host == host && o.rule.path == path
	})
}

// announces says whether an instance still has the tag.
func announces(in *watcher.Instance, where string) bool {
	return slices.ContainsFunc(in.Announcements, func(x watcher.Announcement) bool { return x.Where == where })
}

// stateOf returns the state of the instance with the same identity and address, a
// fresh one if there is none: an instance that comes back at another address is
// another process.
func (a *announcer) stateOf(in *watcher.Instance) *State {
	if a != nil {
		i, found := slices.BinarySearchFunc(a.service.Instances, in.ID, func(x watcher.Instance, id string) int {
			return strings.Compare(x.ID, id)
		})
		if found && a.service.Instances[i].Address == in.Address {
			return a.states[i]
		}
	}
	return &State{}
}

// parse takes in one announcement and says whether it is a rule.
func (a *announcer) parse(instance int, text watcher.Announcement) bool {
	id := a.service.Instances[instance].ID
	r, err := parseRule(text.Text)
	if err != nil {
		a.refused = append(a.refused, Refusal{a.service.Key, id, text.Where, err.Error()})
		return false
	}
	if len(r.unknown) > 0 {
		reason := "unknown option " + strings.Join(r.unknown, ", ")
		a.notices = append(a.notices, Refusal{a.service.Key, id, text.Where, reason})
	}
	a.offers = append(a.offers, offer{a, instance, text.Origin, text.Where, r.matchKey(), r})
	return true
}

// endpoint makes the endpoint of an instance.
func (a *announcer) endpoint(instance int, weight float64, rw *Rewrite, service int) *Endpoint {
	in := &a.service.Instances[instance]
	return &Endpoint{
		ID: in.ID, Address: in.Address, Service: a.service.Key, ServiceIndex: service,
		Status: in.Status, Cause: in.Cause, Weight: weight, Rewrite: rw, State: a.states[instance],
	}
}

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
	states []*State
	// parsed are the rules that could be served, broken the announcements that cannot.
	// Neither depends on the configuration.
	parsed []offer
	broken []Refusal

	// claimed says of each of parsed why the claims do not let the service have it,
	// empty when they do; nil when they let it have all.
	claimed []string
	// offers are those of parsed that the claims leave, refused all that is not served.
	offers  []offer
	refused []Refusal
}

// offer is one instance's parsed announcement.
type offer struct {
	by       *announcer
	instance int
	origin   watcher.Origin
	where    string
	text     string
	// kept says that it is no longer announced: it stands in for a broken one.
	kept bool
	// key is what the rule matches.
	key  string
	rule rule
}

// in is the offer's instance.
func (o *offer) in() *watcher.Instance { return &o.by.service.Instances[o.instance] }

// name says who made the offer.
func (o *offer) name() string { return o.by.service.String() + " " + o.where }

// refusal says why what the offer's instance announced there is not served.
func (o *offer) refusal(reason string) Refusal {
	return Refusal{Service: o.by.service.Key, Instance: o.in().ID, Where: o.where, Reason: reason}
}

// newAnnouncer parses what a service announces. A rule that cannot be parsed costs
// that rule. The state of an endpoint is carried over from before, which may be
// nil.
func newAnnouncer(s *watcher.Service, before *announcer, claims claimList) *announcer {
	a := &announcer{service: s, states: make([]*State, len(s.Instances))}
	for i := range s.Instances {
		in := &s.Instances[i]
		a.states[i] = before.stateOf(in)
		var bad []watcher.Announcement
		for _, text := range in.Announcements {
			if !a.parse(i, text) {
				bad = append(bad, text)
			}
		}
		// Only now it is known which of the rules of before are still there.
		for _, text := range bad {
			a.keepLastGood(i, text, before)
		}
	}
	a.judge(claims)
	return a
}

// parse takes in one announcement and says whether something older may stand in for
// it: it may for a broken rule, not for one that cannot be served yet.
func (a *announcer) parse(instance int, text watcher.Announcement) bool {
	o := offer{by: a, instance: instance, origin: text.Origin, where: text.Where, text: text.Text}
	r, err := parseRule(text.Text)
	if err != nil {
		a.broken = append(a.broken, o.refusal(err.Error()))
		return false
	}
	if reason := r.unserved(); reason != "" {
		refusal := o.refusal(reason)
		refusal.NotServed = true
		a.broken = append(a.broken, refusal)
		return true
	}
	o.key, o.rule = r.matchKey(), r
	a.parsed = append(a.parsed, o)
	return true
}

// keepLastGood lets the instance's rule that a broken one replaces go on: the one
// of the same meta key, or the first of its tags that is gone. What is kept once is
// kept again by the next announcer. In the place of a rule that was to restrict access
// only one that does is kept.
func (a *announcer) keepLastGood(instance int, bad watcher.Announcement, before *announcer) {
	if before == nil {
		return
	}
	in := &a.service.Instances[instance]
	restricts := restricts(bad.Text)
	for _, o := range before.parsed {
		if o.in().ID != in.ID || o.origin != bad.Origin || a.offering(instance, o.where, o.rule.host, o.rule.path) {
			continue
		}
		if bad.Origin == watcher.FromTag && announces(in, o.where) {
			continue
		}
		if bad.Origin != watcher.FromTag && o.where != bad.Where {
			continue
		}
		if restricts && o.rule.access == nil {
			continue
		}
		o.by, o.instance, o.kept = a, instance, true
		a.parsed = append(a.parsed, o)
		return
	}
}

// offering says whether an instance's offers hold one made there already.
func (a *announcer) offering(instance int, where, host, path string) bool {
	return slices.ContainsFunc(a.parsed, func(o offer) bool {
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
	if i := a.find(in); i >= 0 {
		return a.states[i]
	}
	return &State{}
}

// find returns the place of the instance with the same identity and address, -1 if
// there is none or nothing of its state is known. The announcer may be nil.
func (a *announcer) find(in *watcher.Instance) int {
	if a == nil || a.states == nil {
		return -1
	}
	i, found := slices.BinarySearchFunc(a.service.Instances, in.ID, func(x watcher.Instance, id string) int {
		return strings.Compare(x.ID, id)
	})
	if !found || a.service.Instances[i].Address != in.Address {
		return -1
	}
	return i
}

// judge sets what depends on the claims.
func (a *announcer) judge(claims claimList) {
	a.claimed = a.verdicts(claims)
	a.offers, a.refused = a.parsed, a.broken
	if a.claimed == nil {
		return
	}
	a.offers, a.refused = nil, slices.Clone(a.broken)
	for i := range a.parsed {
		switch o := &a.parsed[i]; {
		case a.claimed[i] == "":
			a.offers = append(a.offers, *o)
		case !o.kept: // of one that is kept the refusal is there: that of the broken one
			a.refused = append(a.refused, o.refusal(a.claimed[i]))
		}
	}
}

// verdicts says of each of parsed why claims take it away; nil: they take nothing.
func (a *announcer) verdicts(claims claimList) (out []string) {
	for i := range a.parsed {
		reason := claims.against(a.service.Key, &a.parsed[i].rule)
		if reason != "" && out == nil {
			out = make([]string, len(a.parsed))
		}
		if out != nil {
			out[i] = reason
		}
	}
	return out
}

// under returns the announcer under other claims: itself when they change nothing for
// it.
func (a *announcer) under(claims claimList) *announcer {
	if slices.Equal(a.verdicts(claims), a.claimed) {
		return a
	}
	now := &announcer{service: a.service, states: a.states, parsed: slices.Clone(a.parsed), broken: a.broken}
	for i := range now.parsed {
		now.parsed[i].by = now
	}
	now.judge(claims)
	return now
}

// notices are what of the service's rules has no effect, and what else is wrong with
// how its instances describe themselves.
func (a *announcer) notices() (out []Refusal) {
	for i := range a.service.Instances {
		if in := &a.service.Instances[i]; in.Problem != "" {
			out = append(out, Refusal{Service: a.service.Key, Instance: in.ID, Where: "instance", Reason: in.Problem})
		}
	}
	for i := range a.offers {
		o := &a.offers[i]
		if reason := o.rule.notice(); reason != "" && !o.kept {
			out = append(out, o.refusal(reason))
		}
	}
	return out
}

// endpoint makes the endpoint of an instance.
func (a *announcer) endpoint(instance int, weight float64, service int) *Endpoint {
	in := &a.service.Instances[instance]
	return &Endpoint{
		ID: in.ID, Address: in.Address, Service: a.service.Key, ServiceIndex: service,
		Status: in.Status, Cause: in.Cause, Weight: weight, Tier: in.Tier, Held: in.Held,
		State: a.states[instance], mesh: meshOf(in, a.service.Registry),
	}
}

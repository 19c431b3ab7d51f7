package routetable

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"usher/config"
	"usher/watcher"
)

// Change is one difference between two tables.
type Change struct {
	// Kind is Added, Removed or Changed, What is one of the words below.
	Kind, What string
	// Name is a route's ID, service@registry, service@registry/instance, or what a refusal or
	// a conflict is about.
	Name string
	// Owner is whose rule it is, of a route.
	Owner string
	// Fields are what changed; of what is new or gone none.
	Fields []Field
}

// Field is one value before and after; empty: it was not, or is not, there.
type Field struct{ Name, From, To string }

// The kinds of changes.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// What changes.
const (
	// WhatSettings are those of a service, of all (defaults), or of routing as a whole.
	WhatSettings = "settings"
	WhatRoute    = "route"
	WhatService  = "service"
	WhatInstance = "instance"
	WhatConflict = "conflict"
	WhatRefusal  = "refusal"
)

// whats are in the order in which they are told.
func whats() []string {
	return []string{WhatSettings, WhatRoute, WhatService, WhatInstance, WhatConflict, WhatRefusal}
}

// Diff returns how a table differs from another one, by what it is about, then by name.
// Where a rule of the configuration stands in its file is no difference. It costs little
// where one came of the other. Any goroutine may call it.
func Diff(from, to *Table) []Change {
	d := &differ{from: from, to: to, rules: from.rules != to.rules}
	if d.rules {
		d.settings()
	}
	d.routes()
	d.services()
	d.reports()
	slices.SortFunc(d.out, compareChanges)
	return d.out
}

func compareChanges(a, b Change) int {
	order := whats()
	return cmp.Or(
		cmp.Compare(slices.Index(order, a.What), slices.Index(order, b.What)), cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Owner, b.Owner),
	)
}

// differ is one run of Diff.
type differ struct {
	from, to *Table
	// rules says that those of the configuration or the overrides are not the same.
	rules bool
	// touched are the services whose own sources changed, by Key.String.
	touched map[string]bool
	out     []Change
}

func (d *differ) changed(what, name, owner string, fields []Field) {
	if len(fields) > 0 {
		d.out = append(d.out, Change{Changed, what, name, owner, fields})
	}
}

// settings compares those of services and of routing as a whole.
func (d *differ) settings() {
	a, b := d.from.rules, d.to.rules
	d.changed(WhatSettings, "routing", "", Fields(config.Values(wholeOf(a)), config.Values(wholeOf(b))))
	var was, is config.Policy
	if a.Rules != nil {
		was = a.Defaults
	}
	if b.Rules != nil {
		is = b.Defaults
	}
	general := Fields(config.Values(was), config.Values(is))
	if a.Rules != nil && b.Rules != nil { // an empty table has none to compare with
		d.changed(WhatSettings, "defaults", "", general)
	}
	names := map[string]bool{}
	for _, services := range []map[string]config.Service{a.services, b.services} {
		for name := range services {
			names[name] = true
		}
	}
	for name := range names {
		x, y := a.settingsOr(name, was), b.settingsOr(name, is)
		own := slices.DeleteFunc(Fields(config.Values(x), config.Values(y)), func(f Field) bool {
			return slices.Contains(general, f)
		})
		d.changed(WhatSettings, name, "", own)
	}
}

// settingsOr are those that a service has of its own, or the given ones.
func (s *ruleSet) settingsOr(service string, otherwise config.Policy) config.Policy {
	if own, ok := s.services[service]; ok {
		return own.Policy
	}
	return otherwise
}

// whole is what the rules say of routing beside routes and services.
type whole struct {
	SharedRoutes bool                      `yaml:"shared_routes"`
	Claims       map[string]config.Claim   `yaml:"claims"`
	ErrorPages   map[string]config.Content `yaml:"error_pages"`
}

func wholeOf(s *ruleSet) whole {
	w := whole{SharedRoutes: true, Claims: map[string]config.Claim{}}
	if s.Rules == nil {
		return w
	}
	w.SharedRoutes, w.ErrorPages = !s.ExclusiveRoutes, s.ErrorPages
	for _, c := range s.Claims {
		w.Claims[c.Host+c.Path] = c
	}
	return w
}

// Fields returns the differences of two lists of values.
func Fields(from, to []config.Value) (out []Field) {
	was := make(map[string]string, len(from))
	for _, v := range from {
		was[v.Key] = v.Text
	}
	for _, v := range to {
		before := was[v.Key]
		delete(was, v.Key)
		if before != v.Text {
			out = append(out, Field{v.Key, before, v.Text})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(was)) {
		out = append(out, Field{key, was[key], ""})
	}
	slices.SortFunc(out, func(a, b Field) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// rule is a route, and the rule of the configuration or of an override that it comes of;
// nil: it is announced.
type ruled struct {
	route *Route
	rule  *config.Route
}

// routes compares the routes by their IDs.
func (d *differ) routes() {
	d.touched = map[string]bool{}
	was, is := map[string]ruled{}, map[string]ruled{}
	for key := range d.to.sources.Changed(d.from.sources) {
		a, b := d.from.sources.Get(key), d.to.sources.Get(key)
		if a == b {
			continue
		}
		d.touch(a)
		d.touch(b)
		noteSource(was, a)
		noteSource(is, b)
	}
	if !slices.Equal(d.from.configured, d.to.configured) {
		noteConfigured(was, d.from)
		noteConfigured(is, d.to)
	}
	for id, b := range is {
		a, had := was[id]
		switch {
		case !had:
			d.out = append(d.out, Change{Added, WhatRoute, id, b.route.Owner, nil})
		case a.route != b.route:
			d.changed(WhatRoute, id, b.route.Owner, Fields(a.values(b), b.values(a)))
		}
		delete(was, id)
	}
	for id, a := range was {
		d.out = append(d.out, Change{Removed, WhatRoute, id, a.route.Owner, nil})
	}
}

// touch notes the services behind a source, which may be nil.
func (d *differ) touch(s *source) {
	if s != nil {
		for _, c := range s.claimants {
			d.touched[c] = true
		}
	}
}

func noteSource(routes map[string]ruled, s *source) {
	if s != nil && s.route != nil {
		routes[s.route.ID] = ruled{s.route, nil}
	}
}

func noteConfigured(routes map[string]ruled, t *Table) {
	for i, r := range t.configured {
		if r != nil {
			routes[r.ID] = ruled{r, t.rules.configs[i]}
		}
	}
}

// values tells the route, as far as it can differ from the other one of its ID.
func (r ruled) values(other ruled) []config.Value {
	own := []config.Value{{Key: "source", Text: r.route.Source.String()}}
	if r.route.Source != SourceConfig || other.route.Source != SourceConfig {
		own = append(own, config.Value{Key: "owner", Text: r.route.Owner})
	}
	if r.rule != nil {
		own = append(own, config.Values(*r.rule)...)
		served := config.Value{Key: "match.hosts", Text: strings.Join(r.route.Hosts, ", ")}
		return append(slices.DeleteFunc(own, func(v config.Value) bool { return v.Key == served.Key }), served)
	}
	services := r.route.Arms[0].Cluster.Services
	for key, text := range map[string]string{
		"protocol": r.route.Kind.String(), "match.hosts": strings.Join(r.route.Hosts, ", "),
		"match.path": r.route.Path, "match.path_type": r.route.PathType.String(),
		"match.listeners": strings.Join(r.route.Listeners, ", "), "service": strings.Join(services, ", "),
	} {
		if text != "" {
			own = append(own, config.Value{Key: key, Text: text})
		}
	}
	return own
}

// services compares services and their instances.
func (d *differ) services() {
	for name := range d.to.catalog.Changed(d.from.catalog) {
		was, is := d.from.catalog.Find(name), d.to.catalog.Find(name)
		for _, s := range is {
			d.touched[s.String()] = true
			before, _ := instancesIn(was, s.Key)
			d.instances(s.String(), before, s.Instances)
		}
		for _, s := range was {
			d.touched[s.String()] = true
			if _, there := instancesIn(is, s.Key); !there {
				d.instances(s.String(), s.Instances, nil)
			}
		}
	}
	if d.rules {
		for _, t := range []*Table{d.from, d.to} {
			for key := range t.services.All() {
				d.touched[key] = true
			}
		}
	}
	for key := range d.touched {
		d.service(key)
	}
}

// instancesIn are those of a service in a list of services, if it is there.
func instancesIn(list []*watcher.Service, key watcher.Key) (instances []watcher.Instance, there bool) {
	for _, s := range list {
		if s.Key == key {
			return s.Instances, true
		}
	}
	return nil, false
}

// service tells whether a service is there, and routed.
func (d *differ) service(key string) {
	was, is := d.from.services.Get(key), d.to.services.Get(key)
	switch {
	case was == nil && is == nil:
	case was == nil:
		d.out = append(d.out, Change{Added, WhatService, key, "", nil})
	case is == nil:
		d.out = append(d.out, Change{Removed, WhatService, key, "", nil})
	default:
		if a, b := routed(d.from.reportOf(was)), routed(d.to.reportOf(is)); a != b {
			d.changed(WhatService, key, "", []Field{{"routed", a, b}})
		}
	}
}

func routed(r ServiceReport) string {
	if r.Routed {
		return "yes"
	}
	return "no: " + r.Reason
}

// instances compares those of a service, both in the order of their IDs.
func (d *differ) instances(service string, was, is []watcher.Instance) {
	for len(was) > 0 || len(is) > 0 {
		switch {
		case len(is) == 0 || len(was) > 0 && was[0].ID < is[0].ID:
			d.out = append(d.out, Change{Removed, WhatInstance, service + "/" + was[0].ID, "", nil})
			was = was[1:]
		case len(was) == 0 || is[0].ID < was[0].ID:
			d.out = append(d.out, Change{Added, WhatInstance, service + "/" + is[0].ID, "", nil})
			is = is[1:]
		default:
			d.changed(WhatInstance, service+"/"+is[0].ID, "", instanceFields(&was[0], &is[0]))
			was, is = was[1:], is[1:]
		}
	}
}

func instanceFields(a, b *watcher.Instance) (out []Field) {
	differ := func(name, from, to string) {
		if from != to {
			out = append(out, Field{name, from, to})
		}
	}
	differ("address", a.Address, b.Address)
	differ("status", a.Status.String(), b.Status.String())
	differ("cause", a.Cause, b.Cause)
	differ("weight", fmt.Sprint(a.Weight), fmt.Sprint(b.Weight))
	differ("rules", rulesText(a), rulesText(b))
	differ("tags", strings.Join(a.Tags, ", "), strings.Join(b.Tags, ", "))
	differ("meta", metaText(a.Meta), metaText(b.Meta))
	differ("datacenter", a.Datacenter, b.Datacenter)
	differ("zone", a.Zone, b.Zone)
	differ("tier", fmt.Sprint(a.Tier), fmt.Sprint(b.Tier))
	differ("problem", a.Problem, b.Problem)
	differ("held", heldText(a.Held), heldText(b.Held))
	differ("mesh", meshText(a.Mesh), meshText(b.Mesh))
	return out
}

func rulesText(in *watcher.Instance) string {
	parts := make([]string, len(in.Announcements))
	for i, a := range in.Announcements {
		parts[i] = a.Origin.String() + " " + a.Text
	}
	return strings.Join(parts, "; ")
}

func metaText(meta map[string]string) string {
	parts := make([]string, 0, len(meta))
	for _, key := range slices.Sorted(maps.Keys(meta)) {
		parts = append(parts, key+"="+shown(key, meta[key]))
	}
	return strings.Join(parts, ", ")
}

func heldText(h *watcher.Hold) string {
	if h == nil {
		return ""
	}
	return h.Reason
}

func meshText(m *watcher.Mesh) string {
	if m == nil {
		return ""
	}
	return fmt.Sprintf("%+v", *m)
}

// reports compares what is refused and what is outranked.
func (d *differ) reports() {
	refused, outranked := map[Refusal]int{}, map[Conflict]int{}
	for _, side := range []struct {
		t  *Table
		by int
	}{{d.to, 1}, {d.from, -1}} {
		names := side.t.rules.places()
		refusal := func(r Refusal) Refusal {
			r.Where = names(r.Where)
			return r
		}
		conflict := func(c Conflict) Conflict { return Conflict{c.Match, names(c.Winner), names(c.Loser)} }
		if d.rules {
			count(refused, side.t.rules.refused, side.by, refusal)
			count(outranked, side.t.rules.conflicts, side.by, conflict)
		}
		for key := range d.touched {
			count(refused, side.t.services.Get(key).refusals(), side.by, refusal)
		}
		for key := range d.to.sources.Changed(d.from.sources) {
			if d.from.sources.Get(key) != d.to.sources.Get(key) {
				count(outranked, side.t.sources.Get(key).outranked(), side.by, conflict)
			}
		}
	}
	report(d, WhatRefusal, refused, Refusal.String)
	report(d, WhatConflict, outranked, Conflict.String)
}

// places returns what gives the routes of the configuration their names in the place of
// where they stand: that changes with every line above.
func (s *ruleSet) places() func(string) string {
	var names map[string]string
	return func(place string) string {
		if names == nil {
			names = map[string]string{}
			if s.Rules != nil {
				for i := range s.Routes {
					names[s.Routes[i].Pos.String()] = "route " + s.Routes[i].Name
				}
			}
		}
		if name, ok := names[place]; ok {
			return name
		}
		return place
	}
}

func count[T comparable](n map[T]int, list []T, by int, of func(T) T) {
	for _, x := range list {
		n[of(x)] += by
	}
}

func report[T comparable](d *differ, what string, n map[T]int, name func(T) string) {
	for x, n := range n {
		kind := Added
		if n < 0 {
			kind, n = Removed, -n
		}
		for range n {
			d.out = append(d.out, Change{kind, what, name(x), "", nil})
		}
	}
}

// refusals are those of a service's announcements. The announcer may be nil.
func (a *announcer) refusals() []Refusal {
	if a == nil {
		return nil
	}
	return a.refused
}

// outranked are the claims of a source that are not served. The source may be nil.
func (s *source) outranked() []Conflict {
	if s == nil {
		return nil
	}
	return s.conflicts
}

// String says it in one line.
func (r Refusal) String() string {
	who := r.Service.String()
	switch {
	case r.Service == (watcher.Key{}):
		who = "configuration"
	case r.Service.Service == "":
		who = r.Service.Registry
	}
	if r.Instance != "" {
		who += "/" + r.Instance
	}
	return who + " " + r.Where + ": " + r.Reason
}

// String says it in one line.
func (c Conflict) String() string { return c.Match + ": " + c.Winner + " over " + c.Loser }

package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"usher/cmd/usher/internal/api"
	"usher/config"
	"usher/config/redact"
	"usher/routetable"
)

// Compare says what another configuration changes: next, whose table is after, in the place
// of running, whose table is before. Both tables are of the same catalog. The requests are
// tried against both.
func Compare(
	running, next *Running, before, after *routetable.Table, requests []api.SampledRequest,
) *api.Plan {
	p := &api.Plan{
		Changes: Changes(routetable.Diff(before, after)), Shadowed: []api.Shadow{}, Refused: []api.Refusal{},
		Conflicts: []api.Conflict{}, Moved: []api.Moved{}, Notes: []string{}, Replayed: len(requests),
	}
	p.Changes = append(p.Changes, listenerChanges(running, next)...)
	p.Changes = append(p.Changes, registryChanges(running, next)...)
	hiddenNow := map[string]bool{}
	for _, s := range before.Shadowed() {
		hiddenNow[s.Route.ID] = true
	}
	for _, s := range after.Shadowed() {
		p.Shadowed = append(p.Shadowed, api.Shadow{
			Route: s.Route.ID, Owner: s.Route.Owner, By: s.By.ID, New: !hiddenNow[s.Route.ID],
		})
	}
	for _, r := range after.Refused() {
		p.Refused = append(p.Refused, api.Refusal{
			Service: r.Service.Service, Registry: r.Service.Registry, Instance: r.Instance, Where: r.Where,
			Reason: r.Reason, NotServed: r.NotServed,
		})
	}
	for _, c := range after.Conflicts() {
		p.Conflicts = append(p.Conflicts, api.Conflict{Match: c.Match, Winner: c.Winner, Loser: c.Loser})
	}
	replay(p, newSide(before, running), newSide(after, next), requests)
	note(p, running, before, after)
	return p
}

// Changes are the differences of two tables as the API has them.
func Changes(changes []routetable.Change) []api.Change {
	out := make([]api.Change, 0, len(changes))
	for _, c := range changes {
		out = append(out, api.Change{
			Kind: c.Kind, What: c.What, Name: c.Name, Owner: c.Owner, Fields: fields(c.Fields),
		})
	}
	return out
}

func fields(list []routetable.Field) (out []api.FieldChange) {
	for _, f := range list {
		out = append(out, api.FieldChange{Field: f.Name, From: f.From, To: f.To})
	}
	return out
}

// listenerChanges compares the listeners by their names.
func listenerChanges(running, next *Running) []api.Change {
	was, is := map[string][]config.Value{}, map[string][]config.Value{}
	for _, l := range running.Listeners {
		was[l.Name] = l.Settings
	}
	for _, l := range next.Listeners {
		is[l.Name] = l.Settings
	}
	return named("listener", was, is)
}

func registryChanges(running, next *Running) []api.Change {
	return named("registry", running.Registries, next.Registries)
}

// named compares settings by whose they are.
func named(what string, was, is map[string][]config.Value) (out []api.Change) {
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if now, stays := is[name]; !stays {
			out = append(out, api.Change{Kind: routetable.Removed, What: what, Name: name})
		} else if changed := routetable.Fields(was[name], now); len(changed) > 0 {
			out = append(out, api.Change{Kind: routetable.Changed, What: what, Name: name, Fields: fields(changed)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		if _, was := was[name]; !was {
			out = append(out, api.Change{Kind: routetable.Added, What: what, Name: name})
		}
	}
	return out
}

// replay tries the requests against both sides.
func replay(p *api.Plan, before, after *side, requests []api.SampledRequest) {
	at := map[string]int{}
	for i := range requests {
		q := newRequest(&requests[i])
		from, to := before.leads(q), after.leads(q)
		if !from.elsewhere(to) {
			continue
		}
		p.MovedCount++
		r := &requests[i]
		key := fmt.Sprintf("%q", []any{r.Listener, r.Method, r.Host, r.Target, r.Headers, r.GRPC})
		if first, had := at[key]; had {
			p.Moved[first].Count++
			continue
		}
		at[key] = len(p.Moved)
		p.Moved = append(p.Moved, api.Moved{Request: *r, Count: 1, From: from.Destination, To: to.Destination})
	}
	slices.SortStableFunc(p.Moved, func(a, b api.Moved) int {
		return cmp.Or(cmp.Compare(a.Request.Host, b.Request.Host), cmp.Compare(a.Request.Target, b.Request.Target))
	})
}

// note says what the plan cannot know.
func note(p *api.Plan, running *Running, before, after *routetable.Table) {
	add := func(format string, args ...any) { p.Notes = append(p.Notes, fmt.Sprintf(format, args...)) }
	if running.Pinned != nil {
		add("the rules of generation %d are pinned: the configuration takes effect when the pin is over, and is "+
			"compared with the rules that would be in force without it", *running.Pinned)
	}
	var unknown []string
	for _, name := range after.HeaderNames() {
		if !slices.Contains(before.HeaderNames(), name) && !redact.New(nil, nil).Secret(name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		add("the recent requests were remembered without %s, which no route matched on: they are tried as if they "+
			"had not had it", strings.Join(unknown, ", "))
	}
	secrets := redact.New(nil, nil)
	for _, name := range after.HeaderNames() {
		if secrets.Secret(name) {
			add("the values of %s are secret and not remembered: rules that match on it take no request", name)
		}
	}
	for _, c := range p.Changes {
		if c.What == "registry" {
			add("registry %s is %s: the plan goes by the services that are known now", c.Name, c.Kind)
		}
	}
}

package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"usher/cmd/usher/internal/api"
	"usher/healthcheck"
	"usher/proxy/certs"
	"usher/routetable"
	"usher/watcher"
)

const (
	// gatherTime is how long transitions are gathered before they are told.
	gatherTime = 100 * time.Millisecond
	// maxTold is how many of a kind are told one by one; beyond it they are one event.
	maxTold = 5
	// maxGroups is how many events come of one gathering; what is left is one more.
	maxGroups = 50
	// certificatesEvery is how often certificates are looked through for news.
	certificatesEvery = 5 * time.Second
)

// transitions gather changes of health, which may come by the thousand, and tell of them.
type transitions struct {
	mu   sync.Mutex
	list []healthcheck.Transition
	// wake holds a token while there is something to tell.
	wake chan struct{}
}

func newTransitions() *transitions { return &transitions{wake: make(chan struct{}, 1)} }

// add takes in one. It does not block: the monitor calls it with its lock held.
func (t *transitions) add(tr healthcheck.Transition) {
	if tr.From == healthcheck.SlowStart && tr.To == healthcheck.Healthy {
		return // that a weight has grown is no news
	}
	t.mu.Lock()
	t.list = append(t.list, tr)
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *transitions) take() []healthcheck.Transition {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.list
	t.list = nil
	return list
}

// run tells of what is gathered until ctx ends.
func (t *transitions) run(ctx context.Context, tell func(api.Event)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		}
		if !watcher.Sleep(ctx, gatherTime) {
			return
		}
		tellTransitions(t.take(), tell)
	}
}

// sameNews are transitions that can be told together.
type sameNews struct {
	service string
	to      healthcheck.State
}

// tellTransitions makes events of transitions: one of each, or one of many that are alike.
func tellTransitions(list []healthcheck.Transition, tell func(api.Event)) {
	groups := map[sameNews][]healthcheck.Transition{}
	var order []sameNews
	for _, tr := range list {
		key := sameNews{tr.Service + "@" + tr.Registry, tr.To}
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], tr)
	}
	for i, key := range order {
		if i == maxGroups {
			rest := 0
			for _, left := range order[i:] {
				rest += len(groups[left])
			}
			tell(api.Event{Kind: "health", Level: "warn", Message: fmt.Sprintf(
				"%d more instances of %d services changed their state", rest, len(order)-i)})
			return
		}
		tellGroup(key, groups[key], tell)
	}
}

func tellGroup(key sameNews, group []healthcheck.Transition, tell func(api.Event)) {
	if len(group) > maxTold {
		tell(api.Event{
			Kind: "health", Level: healthLevel(key.to), Service: group[0].Service,
			Message: fmt.Sprintf("%d instances of %s are %s, such as %s: %s",
				len(group), key.service, key.to, group[0].ID, group[0].Cause),
		})
		return
	}
	for _, tr := range group {
		tell(api.Event{
			Kind: "health", Level: healthLevel(tr.To), Service: tr.Service, Instance: tr.ID,
			Message: fmt.Sprintf("%s of %s (%s) is %s, was %s: %s",
				tr.ID, key.service, tr.Address, tr.To, tr.From, tr.Cause),
		})
	}
}

// healthLevel is how much a state is worth noticing.
func healthLevel(s healthcheck.State) string {
	switch s {
	case healthcheck.Ejected, healthcheck.Unhealthy, healthcheck.Critical, healthcheck.Held:
		return "warn"
	default:
		return "info"
	}
}

// tellHold tells of instances that are held, or no longer.
func (a *app) tellHold(c watcher.HoldChange) {
	e := api.Event{Kind: "hold", Service: c.Service}
	if c.Held > c.Before {
		e.Level = "warn"
		e.Message = fmt.Sprintf("%s: %d instances are held that the registry no longer lists: %s",
			c.Key, c.Held, c.Reason)
	} else {
		e.Message = fmt.Sprintf("%s: %d held instances released, %d left", c.Key, c.Before-c.Held, c.Held)
	}
	a.events.Add(e)
}

// tellRefusals tells of rules that are refused from now on.
func (a *app) tellRefusals(list []routetable.Refusal) {
	for i, r := range list {
		if i == maxTold && len(list) > maxTold+1 {
			a.events.Add(api.Event{Kind: "refused", Level: "warn", Message: fmt.Sprintf(
				"%d more rules are refused: see /api/v1/routes", len(list)-i)})
			return
		}
		whose := cmp.Or(strings.TrimPrefix(r.Service.String(), "@"), "configuration")
		a.events.Add(api.Event{
			Kind: "refused", Level: "warn", Service: r.Service.Service, Instance: r.Instance,
			Message: fmt.Sprintf("%s: %s refused: %s", whose, r.Where, r.Reason),
		})
	}
}

// expiring is how long before its end a certificate is told of, again and again.
func expiring() []time.Duration { return []time.Duration{14 * 24 * time.Hour, 3 * 24 * time.Hour, 0} }

// certificateNews is what was told of one certificate.
type certificateNews struct {
	serial, problem string
	// warned is how many of expiring were told.
	warned int
}

// watchCertificates tells of certificates that are new, refused, or about to end, until
// ctx ends.
func (a *app) watchCertificates(ctx context.Context) {
	known := map[string]certificateNews{}
	for {
		known = tellCertificates(a.Certificates(), known, time.Now(), a.events.Add)
		if !watcher.Sleep(ctx, certificatesEvery) {
			return
		}
	}
}

// tellCertificates tells what is new and returns what is known then. The self-signed ones
// are no news: clients have them made.
func tellCertificates(
	list []api.Certificate, known map[string]certificateNews, now time.Time, tell func(api.Event),
) map[string]certificateNews {
	next := make(map[string]certificateNews, len(list))
	for _, c := range list {
		if c.Origin == certs.SelfSigned {
			continue
		}
		name := c.Origin
		if c.Origin == acmeOrigin {
			name = "acme: " + strings.Join(c.Names, ", ")
		}
		before := known[name]
		n := certificateNews{serial: c.Serial, problem: c.Problem}
		for _, e := range certificateEvents(name, &c, before, &n, now) {
			e.Kind = "certificate"
			tell(e)
		}
		next[name] = n
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if _, stays := next[name]; !stays {
			tell(api.Event{Kind: "certificate", Message: name + " is gone"})
		}
	}
	return next
}

func certificateEvents(
	name string, c *api.Certificate, before certificateNews, n *certificateNews, now time.Time,
) (out []api.Event) {
	if c.Serial != "" && c.Serial != before.serial {
		out = append(out, api.Event{Message: fmt.Sprintf("%s is in use, for %s until %s",
			name, strings.Join(c.Names, ", "), c.NotAfter.Format(time.DateOnly))})
	}
	if c.Problem != "" && c.Problem != before.problem {
		out = append(out, api.Event{Level: "warn", Message: name + " is refused: " + c.Problem})
	}
	if c.Serial == "" {
		return out
	}
	for _, before := range expiring() {
		if c.NotAfter.Sub(now) <= before {
			n.warned++
		}
	}
	if n.warned == 0 || n.warned <= before.warned && c.Serial == before.serial {
		return out
	}
	e := api.Event{Level: "warn", Message: fmt.Sprintf("%s ends at %s", name, c.NotAfter.Format(time.RFC3339))}
	if n.warned == len(expiring()) {
		e.Level, e.Message = "error", fmt.Sprintf("%s has ended, at %s", name, c.NotAfter.Format(time.RFC3339))
	}
	return append(out, e)
}

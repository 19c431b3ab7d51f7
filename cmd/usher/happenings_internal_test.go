package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"usher/cmd/usher/internal/api"
	"usher/healthcheck"
	"usher/routetable"
	"usher/watcher"
)

func transition(service string, n int, from, to healthcheck.State) healthcheck.Transition {
	return healthcheck.Transition{
		Registry: "r", Service: service, ID: fmt.Sprintf("%s-%d", service, n), Address: "h:1", From: from, To: to,
		Cause: "because",
	}
}

// A few transitions are told one by one, a thousand as one; and those of many services do not
// push everything else out of the log.
func TestTellTransitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []api.Event
		tr := newTransitions()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			tr.run(ctx, func(e api.Event) { told = append(told, e) })
		}()
		for i := range 1000 {
			tr.add(transition("many", i, healthcheck.Healthy, healthcheck.Critical))
		}
		tr.add(transition("few", 1, healthcheck.Healthy, healthcheck.Ejected))
		tr.add(transition("few", 1, healthcheck.Ejected, healthcheck.Probation))
		tr.add(transition("few", 1, healthcheck.SlowStart, healthcheck.Healthy)) // no news
		<-time.After(2 * gatherTime)
		synctest.Wait()
		var said []string
		for _, e := range told {
			said = append(said, e.Kind+" "+e.Level+" "+e.Service+" "+e.Instance+": "+e.Message)
		}
		want := []string{
			"health warn many : 1000 instances of many@r are critical, such as many-0: because",
			"health warn few few-1: few-1 of few@r (h:1) is ejected, was healthy: because",
			"health info few few-1: few-1 of few@r (h:1) is probation, was ejected: because",
		}
		if !slices.Equal(said, want) {
			t.Errorf("told\n%s", strings.Join(said, "\n"))
		}
		told = nil
		for i := range 500 {
			tr.add(transition(fmt.Sprint("s", i), 1, healthcheck.Healthy, healthcheck.Critical))
		}
		<-time.After(2 * gatherTime)
		synctest.Wait()
		if last := told[len(told)-1].Message; len(told) != maxGroups+1 ||
			last != "450 more instances of 450 services changed their state" {
			t.Errorf("%d events, the last %q", len(told), last)
		}
		cancel()
		<-ended
	})
}

func TestTellRefusalsAndHolds(t *testing.T) {
	var a app
	refusals := make([]routetable.Refusal, 100)
	for i := range refusals {
		refusals[i] = routetable.Refusal{Service: watcher.Key{Registry: "r", Service: "s"}, Where: "tag", Reason: "why"}
	}
	refusals[0] = routetable.Refusal{Where: "usher.yaml:1:1", Reason: "why"}
	refusals[1].Service.Service = ""
	a.tellRefusals(refusals)
	key := watcher.Key{Registry: "r", Service: "s"}
	a.tellHold(watcher.HoldChange{Key: key, Held: 3, Reason: "why"})
	a.tellHold(watcher.HoldChange{Key: key, Before: 3, Held: 1, Reason: "why"})
	var said []string
	for _, e := range a.events.Since(0) {
		said = append(said, e.Kind+" "+e.Message)
	}
	want := []string{
		"refused configuration: usher.yaml:1:1 refused: why", "refused r: tag refused: why",
		"refused s@r: tag refused: why", "refused s@r: tag refused: why", "refused s@r: tag refused: why",
		"refused 95 more rules are refused: see /api/v1/routes",
		"hold s@r: 3 instances are held that the registry no longer lists: why",
		"hold s@r: 2 held instances released, 1 left",
	}
	if !slices.Equal(said, want) {
		t.Errorf("told\n%s", strings.Join(said, "\n"))
	}
}

// Each certificate is told of when it is new, when a later one is refused, and thrice before
// its end.
func TestTellCertificates(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	c := api.Certificate{Names: []string{"a.test"}, Origin: "/a.pem", Serial: "1", NotAfter: begin.Add(30 * day)}
	known := map[string]certificateNews{}
	var said []string
	look := func(now time.Time, want []string, list ...api.Certificate) {
		t.Helper()
		said = nil
		list = append(list, api.Certificate{Names: []string{"x"}, Origin: "self-signed", Serial: now.String()})
		tell := func(e api.Event) { said = append(said, e.Kind+" "+e.Level+" "+e.Message) }
		known = tellCertificates(list, known, now, tell)
		if !slices.Equal(said, want) {
			t.Errorf("at %s: told %q, want %q", now, said, want)
		}
	}
	look(begin, []string{"certificate  /a.pem is in use, for a.test until 2026-01-31"}, c)
	look(begin.Add(day), nil, c)
	c.Problem = "no key"
	look(begin.Add(day), []string{"certificate warn /a.pem is refused: no key"}, c)
	look(begin.Add(2*day), nil, c)
	ends := "2026-01-31T00:00:00Z"
	look(begin.Add(17*day), []string{"certificate warn /a.pem ends at " + ends}, c)
	look(begin.Add(18*day), nil, c)
	look(begin.Add(28*day), []string{"certificate warn /a.pem ends at " + ends}, c)
	look(begin.Add(31*day), []string{"certificate error /a.pem has ended, at " + ends}, c)
	look(begin.Add(32*day), nil, c)
	c.Serial, c.NotAfter, c.Problem = "2", begin.Add(40*day), ""
	look(begin.Add(33*day), []string{
		"certificate  /a.pem is in use, for a.test until 2026-02-10",
		"certificate warn /a.pem ends at 2026-02-10T00:00:00Z",
	}, c)
	look(begin.Add(34*day), []string{"certificate  /a.pem is gone"})
	look(begin.Add(20*day), []string{"certificate  acme: b.test is in use, for b.test until 2026-02-10"},
		api.Certificate{Names: []string{"b.test"}, Origin: "acme", Serial: "2", NotAfter: begin.Add(40 * day)})
}

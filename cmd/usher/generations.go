package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"usher/cmd/usher/internal/admin"
	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/history"
	"usher/cmd/usher/internal/plan"
	"usher/config"
	"usher/routetable"
	"usher/watcher"
)

const (
	// pinPatience is how long a pin waits until it is in force.
	pinPatience = 10 * time.Second
	// historyBacklog is how many tables may wait to be compared. When there are more, the
	// next table waits: history then takes as long as building does.
	historyBacklog = 16
)

// past is what of a running usher tells of the tables before, and holds their rules.
type past struct {
	log *history.Log
	// tables are those that came into use and are not compared yet.
	tables chan history.Table
	// pinning is held while a pin is put in force, or its end.
	pinning sync.Mutex
	// pin is what is asked for, held what the build goroutine builds by.
	pin  atomic.Pointer[pin]
	held *pin
}

// pin is the rules that are to be held; without a table nobody's are.
type pin struct {
	number uint64
	rules  *routetable.Pin
	// inForce is closed when a table was published by it.
	inForce chan struct{}
}

func newPast(cfg *config.Config) *past {
	p := &past{log: history.New(cfg.History.Generations), tables: make(chan history.Table, historyBacklog)}
	p.held = &pin{inForce: make(chan struct{})}
	close(p.held.inForce)
	p.pin.Store(p.held)
	return p
}

// underPin returns what the next table is to be built of. The build goroutine calls it.
func (p *past) underPin(live *watcher.Catalog, rules *routetable.Rules) (*watcher.Catalog, *routetable.Rules) {
	p.held = p.pin.Load()
	if p.held.rules == nil {
		return live, rules
	}
	return p.held.rules.Catalog(live), p.held.rules.Rules()
}

// cameIntoUse takes in a published table. The build goroutine calls it.
func (a *app) cameIntoUse(before, now *routetable.Table, change watcher.Change, took time.Duration) {
	select {
	case a.past.tables <- history.Table{
		Before: before, Now: now, At: time.Now(), Took: took, Causes: change.Causes, More: change.More,
	}:
	case <-a.ctx.Done():
	}
	select {
	case <-a.past.held.inForce:
	default:
		close(a.past.held.inForce)
	}
}

// remember compares the tables that came into use, one after the other.
func (a *app) remember() {
	for {
		select {
		case t := <-a.past.tables:
			if g, news := a.past.log.Add(t); news {
				a.events.Add(api.Event{Kind: "generation", At: g.At, Generation: g.Number, Message: sentence(g)})
			}
		case <-a.ctx.Done():
			return
		}
	}
}

// sentence is a generation in one line: what changed, and why first.
func sentence(g *history.Generation) string {
	text := g.Summary
	if len(g.Causes) == 0 {
		return text
	}
	c := g.Causes[0]
	text += ": " + c.Kind
	if c.Service != "" {
		text += " " + c.Service
	}
	text += ": " + c.Detail
	if more := len(g.Causes) - 1 + g.More; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// pinned is the generation whose rules are held, nil for none's.
func (a *app) pinned() *uint64 {
	if p := a.past.pin.Load(); p.rules != nil {
		return new(p.number)
	}
	return nil
}

// current waits a moment until the table in use was compared, and returns its number.
func (a *app) current(ctx context.Context) uint64 {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	n := a.proxy.Table().Version
	a.past.log.Await(ctx, n)
	return n
}

// Generations implements admin.Past.
func (a *app) Generations(ctx context.Context) api.Generations {
	return a.generationsOf(a.current(ctx), a.past.log.All, false)
}

// GenerationsAround implements admin.Past.
func (a *app) GenerationsAround(ctx context.Context, from, to time.Time) api.Generations {
	between := func() []*history.Generation { return a.past.log.Between(from, to) }
	return a.generationsOf(a.current(ctx), between, true)
}

func (a *app) generationsOf(current uint64, list func() []*history.Generation, changes bool) api.Generations {
	out := api.Generations{Current: current, Pinned: a.pinned(), Generations: []api.Generation{}}
	for _, g := range list() {
		v := a.generationView(g)
		if !changes {
			v.Changes = nil
		}
		out.Generations = append(out.Generations, v)
	}
	return out
}

func (a *app) generationView(g *history.Generation) api.Generation {
	v := api.Generation{
		Number: g.Number, Last: g.Last, At: g.At.UTC(), Took: g.Took.Seconds(), Causes: []api.Cause{},
		MoreCauses: g.More, Summary: g.Summary, Routes: g.Routes,
		Changes: plan.Changes(g.Changes), MoreChanges: g.Dropped,
	}
	if n := a.pinned(); n != nil {
		v.Pinned = g.Number <= *n && *n <= g.Last
	}
	for _, c := range g.Causes {
		v.Causes = append(v.Causes, api.Cause{
			At: c.At.UTC(), Kind: c.Kind, Registry: c.Registry, Service: c.Service, Detail: c.Detail,
		})
	}
	return v
}

// Generation implements admin.Past.
func (a *app) Generation(ctx context.Context, number uint64) (g api.Generation, known bool) {
	a.current(ctx)
	found := a.past.log.Find(number)
	if found == nil {
		return g, false
	}
	return a.generationView(found), true
}

// rememberedPast returns what the table of a number was made of.
func (a *app) rememberedPast(ctx context.Context, number uint64) (*routetable.Past, error) {
	a.current(ctx)
	if g := a.past.log.Find(number); g != nil {
		return g.Past, nil
	}
	return nil, fmt.Errorf("generation %d is %w: see usher generations", number, admin.ErrUnknown)
}

// Diff implements admin.Past. It builds both tables again, beside the one in use.
func (a *app) Diff(ctx context.Context, from, to uint64) (api.Diff, error) {
	before, err := a.rememberedPast(ctx, from)
	if err != nil {
		return api.Diff{}, err
	}
	after, err := a.rememberedPast(ctx, to)
	if err != nil {
		return api.Diff{}, err
	}
	return api.Diff{From: from, To: to, Changes: plan.Changes(routetable.Diff(before.Table(), after.Table()))}, nil
}

// Pin implements admin.Past.
func (a *app) Pin(ctx context.Context, number uint64) (api.Pinned, error) {
	p, err := a.rememberedPast(ctx, number)
	if err != nil {
		return api.Pinned{}, err
	}
	a.past.pinning.Lock()
	defer a.past.pinning.Unlock()
	rules := routetable.NewPin(p)
	a.manager.Keep(rules.Services()) // they may have been given up
	next := &pin{number, rules, make(chan struct{})}
	a.past.pin.Store(next)
	a.log.Warn("the rules of a generation are pinned: instances follow the registries, rules do not",
		"generation", number)
	a.events.Add(api.Event{
		Kind: "pin", Level: "warn", Generation: number,
		Message: fmt.Sprintf("the rules of generation %d are pinned", number),
	})
	return a.await(ctx, next, watcher.Cause{Kind: watcher.CausePin, Detail: fmt.Sprintf("generation %d", number)})
}

// Unpin implements admin.Past.
func (a *app) Unpin(ctx context.Context) (api.Pinned, error) {
	a.past.pinning.Lock()
	defer a.past.pinning.Unlock()
	was := a.pinned()
	if was == nil {
		return api.Pinned{Generation: a.current(ctx)}, nil
	}
	next := &pin{inForce: make(chan struct{})}
	a.past.pin.Store(next)
	a.manager.Keep(nil)
	a.log.Info("the pin is over: the rules of now apply", "pinned", *was)
	a.events.Add(api.Event{
		Kind: "pin", Generation: *was, Message: fmt.Sprintf("the pin of generation %d is over", *was),
	})
	return a.await(ctx, next, watcher.Cause{Kind: watcher.CauseUnpin, Detail: fmt.Sprintf("generation %d", *was)})
}

// await has a table built by a pin and waits until it is in use.
func (a *app) await(ctx context.Context, p *pin, because watcher.Cause) (api.Pinned, error) {
	ctx, cancel := context.WithTimeout(ctx, pinPatience)
	defer cancel()
	a.manager.Touch(because)
	select {
	case <-p.inForce:
	case <-a.ctx.Done():
		return api.Pinned{}, a.ctx.Err()
	case <-ctx.Done():
		return api.Pinned{}, fmt.Errorf("no table was built by it yet: %w", ctx.Err())
	}
	return api.Pinned{Pinned: a.pinned(), Generation: a.current(ctx)}, nil
}

// reloadedUnderPin says that a new configuration waits.
func (a *app) reloadedUnderPin() {
	if n := a.pinned(); n != nil {
		a.log.Warn("the new configuration's routes, services and defaults take effect when the pin is over",
			"pinned", *n)
		a.events.Add(api.Event{
			Kind: "pin", Level: "warn", Generation: *n,
			Message: fmt.Sprintf("a new configuration waits for the pin of generation %d to be over", *n),
		})
	}
}

// Requests implements admin.Past.
func (a *app) Requests() []api.SampledRequest {
	out := []api.SampledRequest{}
	for _, s := range a.proxy.Requests() {
		r := api.SampledRequest{
			At: s.At.UTC(), Listener: s.Listener, Method: s.Method, Host: s.Host, Target: s.Target, GRPC: s.GRPC,
			Route: s.Route, Service: s.Service, Status: s.Status, Reason: s.Reason.String(), Generation: s.Generation,
		}
		for name, value := range s.Headers {
			if r.Headers == nil {
				r.Headers = map[string][]string{}
			}
			r.Headers[name] = []string{value}
		}
		out = append(out, r)
	}
	return out
}

// Snapshot implements admin.Past.
func (a *app) Snapshot() ([]byte, error) {
	t := a.proxy.Table()
	s := a.manager.Known()
	plan.Hide(s)
	memory, err := json.Marshal(t.Memory())
	if err != nil {
		return nil, err
	}
	running := plan.NewRunning(a.config.Load(), version)
	running.Generation, running.Pinned = t.Version, a.pinned()
	s.Memory = memory
	if s.Running, err = running.Encode(); err != nil {
		return nil, err
	}
	return watcher.EncodeSnapshot(s)
}

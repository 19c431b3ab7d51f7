package main

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"usher/cmd/usher/internal/admin"
	"usher/cmd/usher/internal/api"
)

// errStopping is why nothing is changed any more.
var errStopping = errors.New("usher is stopping")

// reloads hand an operator's wish for a reload to the goroutine that does them. Its methods
// may be called from any goroutine.
type reloads struct {
	ask   chan chan error
	ended chan struct{}
	once  sync.Once
}

func newReloads() *reloads { return &reloads{ask: make(chan chan error), ended: make(chan struct{})} }

// end refuses those who ask from now on, and those who wait.
func (r *reloads) end() { r.once.Do(func() { close(r.ended) }) }

// do has a reload done and waits for what comes of it. err says that it was not tried, or
// that what came of it is not known.
func (r *reloads) do(ctx context.Context) (refused, err error) {
	answer := make(chan error, 1) // who answers does not wait
	select {
	case r.ask <- answer:
	case <-r.ended:
		return nil, errStopping
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case refused := <-answer:
		return refused, nil
	case <-r.ended:
		return nil, errStopping
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Reload implements admin.Control.
func (a *app) Reload(ctx context.Context) (state api.ConfigState, taken bool, err error) {
	refused, err := a.reloads.do(ctx)
	if err != nil {
		return api.ConfigState{}, false, err
	}
	_, state = a.standing.now()
	if refused != nil {
		now := time.Now().UTC()
		state.Refused, state.RefusedAt = texts(asProblems(refused)), &now
	}
	return state, refused == nil, nil
}

// drainState says whether usher drains, and on whose word.
type drainState struct {
	mu sync.Mutex
	// asked says that an operator asked for it, stopping that usher ends.
	asked, stopping bool
}

// drains says whether usher drains.
func (a *app) drains() bool {
	a.drain.mu.Lock()
	defer a.drain.mu.Unlock()
	return a.drain.asked || a.drain.stopping
}

// Drain implements admin.Control.
func (a *app) Drain() error {
	a.drain.mu.Lock()
	defer a.drain.mu.Unlock()
	switch {
	case a.drain.stopping:
		return errStopping
	case a.drain.asked:
		return nil
	}
	a.drain.asked = true
	a.metrics.Process.Ready(false)
	a.proxy.Drain()
	a.log.Warn("draining, as an operator asked: unready, but serving")
	a.events.Add(api.Event{Kind: "drain", Level: "warn", Message: "drained by an operator: unready, but serving"})
	return nil
}

// Undrain implements admin.Control.
func (a *app) Undrain() error {
	a.drain.mu.Lock()
	defer a.drain.mu.Unlock()
	switch {
	case a.drain.stopping:
		return errStopping
	case !a.drain.asked:
		return nil
	}
	a.drain.asked = false
	a.proxy.Undrain()
	a.metrics.Process.Ready(a.bound())
	a.log.Info("undrained, as an operator asked")
	a.events.Add(api.Event{Kind: "drain", Message: "undrained by an operator"})
	return nil
}

// beginStop makes usher unready for good: what an operator asked for no longer counts.
func (a *app) beginStop() {
	a.drain.mu.Lock()
	defer a.drain.mu.Unlock()
	a.drain.stopping = true
	a.metrics.Process.Ready(false)
	a.proxy.Drain()
	a.events.Add(api.Event{Kind: "drain", Level: "warn", Message: "draining to stop"})
}

// serving notes that the listeners are bound, and shows whether usher is ready.
func (a *app) serving() {
	a.drain.mu.Lock()
	defer a.drain.mu.Unlock()
	close(a.bindings)
	a.metrics.Process.Ready(!a.drain.asked && !a.drain.stopping)
}

// bound says whether the listeners are.
func (a *app) bound() bool {
	select {
	case <-a.bindings:
		return true
	default:
		return false
	}
}

// Access implements admin.State.
func (a *app) Access() admin.Access {
	c := &a.config.Load().Admin
	access := admin.Access{Token: c.Token, Hosts: c.AllowedHosts}
	if host, _, err := net.SplitHostPort(c.Address); err == nil && host != "" && net.ParseIP(host) == nil {
		access.Hosts = append([]string{host}, access.Hosts...) // the name it was told to listen at
	}
	return access
}

// addressText is an address as a configuration has it.
func addressText(at net.Addr) string {
	if at.Network() == "unix" {
		return "unix://" + strings.TrimPrefix(at.String(), "unix://")
	}
	return at.String()
}

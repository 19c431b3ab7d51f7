// Package plan works out what another configuration would change: for the routes, and for
// requests that came of late.
//
// It is pure: it builds tables beside the one in use, in the process of whoever asks, and
// leaves no trace in a running usher.
package plan

import (
	"bytes"
	"encoding/json"
	"fmt"

	"usher/config"
	"usher/routetable"
)

// Running is what of a configuration decides where requests go, and what else of it is
// worth telling when it changes. It holds no secret: see hidden.
type Running struct {
	// Usher is the version of the program.
	Usher string
	// Generation is the table in use, Pinned the one whose rules are held; nil: none's.
	Generation uint64
	Pinned     *uint64
	Hash       string

	Routes       []config.Route
	Services     map[string]config.Service
	Defaults     config.Policy
	Claims       []config.Claim
	ErrorPages   map[string]config.Content
	SharedRoutes bool

	Listeners []Listener
	// Registries are the settings of each registry, by its name.
	Registries map[string][]config.Value
}

// Listener is one listener.
type Listener struct {
	Name, Address, Protocol string
	// RedirectHTTPS says that it answers with redirects to https alone.
	RedirectHTTPS bool
	// Settings are all of them.
	Settings []config.Value
}

// NewRunning returns what of a configuration is told.
func NewRunning(cfg *config.Config, version string) *Running {
	h := newHider(cfg)
	r := &Running{
		Usher: version, Hash: cfg.Hash, Defaults: h.policy(cfg.Defaults.Policy), Claims: cfg.Claims,
		SharedRoutes: cfg.SharedRoutes, Services: h.services(cfg.Services), Registries: map[string][]config.Value{},
		Routes: h.routes(cfg.Routes), ErrorPages: h.pages(cfg.ErrorPages),
	}
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		r.Listeners = append(r.Listeners, Listener{
			Name: l.Name, Address: l.Address, Protocol: l.Protocol, RedirectHTTPS: l.RedirectHTTPS != nil,
			Settings: h.values(*l),
		})
	}
	for i := range cfg.Registries {
		r.Registries[cfg.Registries[i].Name] = h.values(cfg.Registries[i])
	}
	return r
}

// Encode is the inverse of Decode.
func (r *Running) Encode() (json.RawMessage, error) { return json.Marshal(r) }

// Decode reads what Encode made. What it does not know it refuses: a newer usher may have
// rules that would be missed.
func Decode(data json.RawMessage) (*Running, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	r := &Running{}
	if err := d.Decode(r); err != nil {
		return nil, fmt.Errorf("the rules of the running usher cannot be read by this one: %w", err)
	}
	return r, nil
}

// Rules are those for a table that never serves.
func (r *Running) Rules() *routetable.Rules {
	rules := &routetable.Rules{
		Routes: r.Routes, Services: r.Services, Defaults: r.Defaults, Claims: r.Claims, ErrorPages: r.ErrorPages,
		ExclusiveRoutes: !r.SharedRoutes, Balancers: map[string]routetable.Balancer{},
	}
	for _, name := range config.Balances() {
		rules.Balancers[name] = nil
	}
	return rules.WithoutPickers()
}

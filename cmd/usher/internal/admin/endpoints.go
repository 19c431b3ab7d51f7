package admin

import (
	"context"
	"net/http"
	"slices"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/events"
)

// Observer tells how usher stands. Its methods may be called from any goroutine; the values
// are the caller's.
type Observer interface {
	Overview() api.Overview
	Traffic() api.Traffic
	// Service returns the services of a name, or the one given as name@registry, with
	// everything that is known of them.
	Service(name string) []api.Service
	Certificates() []api.Certificate
	Config() api.Config
	Version() api.Version
}

// Discovery tells clients where services are.
type Discovery interface {
	// Catalog returns the catalog as it is, and a channel that is closed when there may be
	// another. Any goroutine may call it.
	Catalog() (c *Catalog, changed <-chan struct{})
}

// Control changes what usher does. Its methods may be called from any goroutine.
type Control interface {
	// Reload reads the configuration again and waits for what comes of it: what is in force
	// then, and whether that is what was read. An error says that it is not known.
	Reload(ctx context.Context) (state api.ConfigState, taken bool, err error)
	// Drain makes usher unready and each response the last of its connection, while it
	// serves on; Undrain ends that. An error says why it cannot be done now.
	Drain() error
	Undrain() error
}

// allEndpoints are those of the API, its own description included.
func allEndpoints(a API, log *events.Log) []endpoint {
	list := slices.Concat(
		endpoints(a), stateEndpoints(a), discoveryEndpoints(a), controlEndpoints(a), eventEndpoints(log),
	)
	return append(list, documentEndpoint(list))
}

func stateEndpoints(a API) []endpoint {
	return []endpoint{
		{
			method: http.MethodGet, path: "/overview", summary: "The state of this usher at a glance",
			answer: api.Overview{},
			serve:  func(w http.ResponseWriter, _ *http.Request) { answer(w, a.Overview()) },
		},
		{
			method: http.MethodGet, path: "/traffic", summary: "The traffic of the last ten minutes",
			answer: api.Traffic{},
			serve:  func(w http.ResponseWriter, _ *http.Request) { answer(w, a.Traffic()) },
		},
		{
			method: http.MethodGet, path: "/certificates", summary: "The certificates that listeners show",
			answer: []api.Certificate{},
			serve:  func(w http.ResponseWriter, _ *http.Request) { answer(w, a.Certificates()) },
		},
		{
			method: http.MethodGet, path: "/config", summary: "The configuration in force",
			answer: api.Config{},
			serve:  func(w http.ResponseWriter, _ *http.Request) { answer(w, a.Config()) },
		},
		{
			method: http.MethodGet, path: "/version", summary: "Which usher this is",
			answer: api.Version{},
			serve:  func(w http.ResponseWriter, _ *http.Request) { answer(w, a.Version()) },
		},
	}
}

func discoveryEndpoints(a API) []endpoint {
	service := param{"service", "only the services of this name, or the one of name@registry"}
	return []endpoint{
		{
			method: http.MethodGet, path: "/catalog",
			summary: "Where services can be reached, for clients that go there by themselves",
			params: []param{
				service,
				{"usable", "1: only instances that may be sent requests now"},
				{"wait", "with If-None-Match: how long to wait for a change, like 30s; at most 5m"},
			},
			answer: api.Catalog{}, others: map[int]any{http.StatusNotModified: nil},
			serve: func(w http.ResponseWriter, r *http.Request) { serveCatalog(a, w, r) },
		},
		{
			method: http.MethodGet, path: "/http_sd", summary: "The instances, as Prometheus discovers them over HTTP",
			params: []param{service}, answer: []api.TargetGroup{},
			serve: func(w http.ResponseWriter, r *http.Request) { serveTargets(a, w, r) },
		},
	}
}

func controlEndpoints(a API) []endpoint {
	return []endpoint{
		{
			method: http.MethodPost, path: "/reload", summary: "Read the configuration again",
			answer: api.ConfigState{}, others: map[int]any{http.StatusUnprocessableEntity: api.ConfigState{}},
			serve: func(w http.ResponseWriter, r *http.Request) { reload(a, w, r) },
		},
		{
			method: http.MethodPost, path: "/drain",
			summary: "Be unready, and end each connection with its next response, but serve on",
			answer:  api.Draining{},
			serve:   func(w http.ResponseWriter, _ *http.Request) { drain(w, a.Drain, true) },
		},
		{
			method: http.MethodPost, path: "/undrain", summary: "End a drain", answer: api.Draining{},
			serve: func(w http.ResponseWriter, _ *http.Request) { drain(w, a.Undrain, false) },
		},
	}
}

func eventEndpoints(log *events.Log) []endpoint {
	return []endpoint{{
		method: http.MethodGet, path: "/events",
		summary: "What happened of late; a stream of it for those that accept " + streamType,
		params:  []param{{"since", "only events after the one of this number; Last-Event-ID goes before it"}},
		answer:  []api.Event{},
		serve:   func(w http.ResponseWriter, r *http.Request) { serveEvents(log, w, r) },
	}}
}

func reload(a API, w http.ResponseWriter, r *http.Request) {
	state, taken, err := a.Reload(r.Context())
	switch {
	case err != nil:
		fail(w, http.StatusConflict, err.Error())
	case taken:
		answer(w, state)
	default:
		respond(w, http.StatusUnprocessableEntity, state)
	}
}

func drain(w http.ResponseWriter, do func() error, draining bool) {
	if err := do(); err != nil {
		fail(w, http.StatusConflict, err.Error())
		return
	}
	answer(w, api.Draining{Draining: draining})
}

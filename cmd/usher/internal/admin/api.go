package admin

import (
	"fmt"
	"net/http"

	"usher/cmd/usher/internal/api"
)

// API answers what operators ask about routing. Its methods may be called from any
// goroutine; the values are the caller's.
type API interface {
	// Registries returns what is known of each registry, by name.
	Registries() []api.Registry
	// Services returns the services of the table in use, by name, then registry.
	Services() []api.Service
	// Routes returns the routes of the table in use, and what is not served. Who asks does not
	// change them.
	Routes() api.Routes
	// Release ends the holds of a service, given by name or name@registry, and returns
	// how many instances it released. known is false when there is no such service.
	Release(service string) (released int, known bool)

	Observer
	Discovery
	Control
	Past
	Explainer
}

// endpoint is one of the API: what the mux is told of it, and who describes the API.
type endpoint struct {
	// method and path are as http.ServeMux has them, the path from /api/v1 on.
	method, path string
	// summary says in one line what it does.
	summary string
	params  []param
	// body and answer are zero values of what is sent and returned; nil: nothing is.
	body, answer any
	// kind is the media type of the answer; empty: JSON. others are answers of other
	// statuses than 200, as zero values, nil for none; and but for failures, which are
	// api.Error.
	kind   string
	others map[int]any
	serve  http.HandlerFunc
}

// param is a parameter of the query, or one in the path when that has it.
type param struct{ name, what string }

// endpoints are those of the API.
func endpoints(a API) []endpoint {
	return append([]endpoint{
		{
			method: http.MethodGet, path: "/registries", summary: "What is known of each registry",
			answer: []api.Registry{},
			serve:  func(w http.ResponseWriter, _ *http.Request) { answer(w, a.Registries()) },
		},
		{
			method: http.MethodGet, path: "/routes", summary: "The routes in use, and what is not served",
			answer: api.Routes{},
			serve:  func(w http.ResponseWriter, _ *http.Request) { answer(w, a.Routes()) },
		},
		{
			method: http.MethodGet, path: "/services", summary: "The services, their instances and their health",
			answer: []api.Service{},
			serve:  func(w http.ResponseWriter, _ *http.Request) { answer(w, a.Services()) },
		},
		{
			method: http.MethodGet, path: "/services/{name}", summary: "The services of a name, or name@registry",
			params: []param{{"name", "the service, or service@registry"}}, answer: []api.Service{},
			serve: func(w http.ResponseWriter, r *http.Request) { serveNamed(w, a, r.PathValue("name")) },
		},
		{
			method: http.MethodGet, path: "/holds", summary: "The services with instances that the registry lost",
			answer: []api.Service{},
			serve: func(w http.ResponseWriter, _ *http.Request) {
				answer(w, pick(a.Services(), func(s api.Service) bool { return s.Hold != nil }))
			},
		},
		{
			method: http.MethodPost, path: "/holds/{service}/release",
			summary: "Believe that the held instances are gone",
			params:  []param{{"service", "the service, or service@registry"}}, answer: api.Released{},
			serve: func(w http.ResponseWriter, r *http.Request) { release(w, a, r.PathValue("service")) },
		},
		explainEndpoint(a),
	}, pastEndpoints(a)...)
}

// handleAPI adds endpoints below /api/v1.
func handleAPI(mux *http.ServeMux, list []endpoint) {
	for _, e := range list {
		mux.HandleFunc(e.method+" "+e.fullPath(), e.serve)
	}
}

// fullPath is the path from the root on.
func (e *endpoint) fullPath() string { return apiRoot + "/v1" + e.path }

// release ends the holds of a service.
func release(w http.ResponseWriter, a API, service string) {
	released, known := a.Release(service)
	if !known {
		fail(w, http.StatusNotFound, fmt.Sprintf("no service %q", service))
		return
	}
	answer(w, api.Released{Released: released})
}

// serveNamed answers with the services of a name, or the one given as name@registry.
func serveNamed(w http.ResponseWriter, a API, name string) {
	found := a.Service(name)
	if len(found) == 0 {
		fail(w, http.StatusNotFound, fmt.Sprintf("no service %q", name))
		return
	}
	answer(w, found)
}

// pick returns those that keep picks; never nil, so that JSON shows a list.
func pick(services []api.Service, keep func(api.Service) bool) []api.Service {
	out := []api.Service{}
	for _, s := range services {
		if keep(s) {
			out = append(out, s)
		}
	}
	return out
}

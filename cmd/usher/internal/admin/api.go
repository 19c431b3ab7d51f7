package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// API answers what operators ask about routing. Its methods may be called from any
// goroutine; the values are the caller's.
type API interface {
	// Registries returns what is known of each registry, by name.
	Registries() []Registry
	// Services returns the services of the table in use, by name, then registry.
	Services() []Service
	// Routes returns the routes of the table in use, and what is not served.
	Routes() Routes
	// Release ends the holds of a service, given by name or name@registry, and returns
	// how many instances it released. known is false when there is no such service.
	Release(service string) (released int, known bool)
}

// Registry is what is known of one registry.
type Registry struct {
	Name        string     `json:"name"`
	State       string     `json:"state"`
	Synced      bool       `json:"synced"`
	Contact     string     `json:"contact,omitempty"`
	LastContact *time.Time `json:"last_contact,omitempty"`
	// Snapshot is when the snapshot was taken that is served until the first sync.
	Snapshot *time.Time `json:"snapshot,omitempty"`
	Error    string     `json:"error,omitempty"`
	Doubt    string     `json:"doubt,omitempty"`
	Seen     int        `json:"services_seen"`
	Watched  int        `json:"services_watched"`
	Held     int        `json:"held_instances"`
}

// Service is one service and whether it is routed.
type Service struct {
	Name     string `json:"name"`
	Registry string `json:"registry"`
	Routed   bool   `json:"routed"`
	// Reason says why it is not routed.
	Reason string `json:"reason,omitempty"`
	// Confirmed is when the registry last said that this is how it is, Age how many
	// seconds ago that was.
	Confirmed time.Time  `json:"confirmed"`
	Age       float64    `json:"age_seconds"`
	Instances []Instance `json:"instances"`
	Hold      *Hold      `json:"hold,omitempty"`
}

// Instance is one instance of a service.
type Instance struct {
	ID         string  `json:"id"`
	Address    string  `json:"address"`
	Status     string  `json:"status"`
	Cause      string  `json:"cause,omitempty"`
	Weight     float64 `json:"weight"`
	Datacenter string  `json:"datacenter,omitempty"`
	Zone       string  `json:"zone,omitempty"`
	Tier       uint8   `json:"tier"`
	// Held says that the registry no longer lists it.
	Held bool `json:"held"`
	// Health is how it stands in the table in use; nil: it is not routed.
	Health *Health `json:"health,omitempty"`
}

// Health is how an instance stands by all that usher knows.
type Health struct {
	State string    `json:"state"`
	Cause string    `json:"cause"`
	Since time.Time `json:"since"`
	// EffectiveWeight is what it counts among its peers now.
	EffectiveWeight float64 `json:"effective_weight"`
	// EjectedUntil is when its ejection ends; Ejections is how many count so far.
	EjectedUntil *time.Time `json:"ejected_until,omitempty"`
	Ejections    int        `json:"ejections"`
	// Panic says that all endpoints of a route of its are tried, whatever their state.
	Panic bool   `json:"panic"`
	Probe *Probe `json:"probe,omitempty"`
	// Disagreement says that the registry (status) and the probes (probe.verdict) say
	// different things.
	Disagreement bool `json:"disagreement"`
}

// Probe is what the probes of an instance say.
type Probe struct {
	// Verdict is up or down; Result is the last probe's, pass or fail.
	Verdict string    `json:"verdict"`
	Result  string    `json:"result"`
	Error   string    `json:"error,omitempty"`
	At      time.Time `json:"at"`
	Took    float64   `json:"took_seconds"`
}

// Hold is why instances are kept that the registry no longer lists.
type Hold struct {
	Instances int       `json:"instances"`
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason"`
	// Quorum is how many listed instances must be usable for the held ones to be spared.
	Quorum int `json:"quorum"`
}

// Routes are the routes in use, the rules that are not served, and the claims that
// others outrank.
type Routes struct {
	Version   uint64     `json:"version"`
	Routes    []Route    `json:"routes"`
	Refused   []Refusal  `json:"refused"`
	Notices   []Refusal  `json:"notices"`
	Conflicts []Conflict `json:"conflicts"`
}

// Route is one route.
type Route struct {
	ID        string   `json:"id"`
	Source    string   `json:"source"`
	Owner     string   `json:"owner"`
	Protocol  string   `json:"protocol"`
	Hosts     []string `json:"hosts"`
	Path      string   `json:"path"`
	PathType  string   `json:"path_type"`
	Listeners []string `json:"listeners,omitempty"`
	Services  []string `json:"services"`
}

// Refusal is a rule that is not served, or not as it may be meant.
type Refusal struct {
	Service   string `json:"service,omitempty"`
	Registry  string `json:"registry,omitempty"`
	Instance  string `json:"instance,omitempty"`
	Where     string `json:"where"`
	Reason    string `json:"reason"`
	NotServed bool   `json:"not_served,omitempty"`
}

// Conflict is a claim of a match that another one outranks.
type Conflict struct {
	Match  string `json:"match"`
	Winner string `json:"winner"`
	Loser  string `json:"loser"`
}

// handleAPI adds the endpoints below /api/v1.
func handleAPI(mux *http.ServeMux, api API) {
	mux.HandleFunc("GET /api/v1/registries", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, api.Registries())
	})
	mux.HandleFunc("GET /api/v1/routes", func(w http.ResponseWriter, _ *http.Request) { answer(w, api.Routes()) })
	mux.HandleFunc("GET /api/v1/services", func(w http.ResponseWriter, _ *http.Request) { answer(w, api.Services()) })
	mux.HandleFunc("GET /api/v1/services/{name}", func(w http.ResponseWriter, r *http.Request) {
		serveNamed(w, api, r.PathValue("name"))
	})
	mux.HandleFunc("GET /api/v1/holds", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, pick(api.Services(), func(s Service) bool { return s.Hold != nil }))
	})
	mux.HandleFunc("POST /api/v1/holds/{service}/release", func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("service")
		released, known := api.Release(name)
		if !known {
			fail(w, http.StatusNotFound, fmt.Sprintf("no service %q", name))
			return
		}
		answer(w, map[string]int{"released": released})
	})
}

// serveNamed answers with the services of a name, or the one given as name@registry.
func serveNamed(w http.ResponseWriter, api API, name string) {
	found := pick(api.Services(), func(s Service) bool { return s.Name == name || s.Name+"@"+s.Registry == name })
	if len(found) == 0 {
		fail(w, http.StatusNotFound, fmt.Sprintf("no service %q", name))
		return
	}
	answer(w, found)
}

// pick returns those that keep picks; never nil, so that JSON shows a list.
func pick(services []Service, keep func(Service) bool) []Service {
	out := []Service{}
	for _, s := range services {
		if keep(s) {
			out = append(out, s)
		}
	}
	return out
}

func answer(w http.ResponseWriter, v any) { respond(w, http.StatusOK, v) }

func fail(w http.ResponseWriter, code int, why string) {
	respond(w, code, map[string]string{"error": why})
}

func respond(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client is gone if this fails
}

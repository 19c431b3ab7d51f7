// Package admin serves the operators' side of usher: liveness, readiness, metrics and the
// API. It runs on net/http: nothing here is on a request's path. Everything that is asked
// goes through a guard (security.go) first.
package admin

import (
	"io"
	"net/http"
	"net/http/pprof"

	"usher/cmd/usher/internal/events"
)

// State tells what the endpoints answer with. Its methods may be called from any
// goroutine.
type State interface {
	// Ready says whether usher is ready, and if not, why.
	Ready() (ok bool, why string)
	// Details are lines on the registries and the table, for /readyz?verbose.
	Details() []string
	// Profiling says whether the runtime's profiles are to be had.
	Profiling() bool
	// Access says who may ask. It is called for each request.
	Access() Access
}

// Options are what a handler is made of.
type Options struct {
	State State
	// API answers operators; nil: there are only liveness, readiness and metrics, for
	// whoever asks.
	API     API
	Metrics http.Handler
	// Events are what the API tells of; it must be given with API.
	Events *events.Log
	// Asked is told of each request: the pattern of its endpoint, and the status. Nil:
	// nobody is.
	Asked func(path string, code int)
	// Dashboard serves the files of the dashboard; nil: there is none. It may be had
	// without a token: the API that its pages ask may not.
	Dashboard http.Handler
}

// Handler returns the endpoints.
func Handler(o Options) http.Handler {
	mux := http.NewServeMux()
	g := newGuard(o, mux)
	if o.API != nil {
		handleAPI(mux, allEndpoints(o.API, o.Events))
		handleProfiles(mux, o.State)
		mux.HandleFunc(unknownAPI, g.unknown)
	}
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { readyz(g, w, r) })
	mux.Handle("GET /metrics", o.Metrics)
	mux.HandleFunc(rest, func(w http.ResponseWriter, r *http.Request) {
		if o.Dashboard != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			o.Dashboard.ServeHTTP(w, r)
			return
		}
		g.unknown(w, r)
	})
	return g
}

const (
	// unknownAPI is the pattern of what is not in the API, rest that of all that is left.
	unknownAPI, rest = apiRoot + "/", "/"
	// apiRoot is where the paths of the API begin, of whatever version.
	apiRoot = "/api"
)

// handleProfiles adds the runtime's profiles, which are there while they are wanted.
func handleProfiles(mux *http.ServeMux, s State) {
	for path, h := range map[string]http.HandlerFunc{
		"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol,
		"trace": pprof.Trace,
	} {
		mux.HandleFunc("GET /debug/pprof/"+path, func(w http.ResponseWriter, r *http.Request) {
			if s.Profiling() {
				h(w, r)
			} else {
				fail(w, http.StatusNotFound, "profiles are off: set admin.pprof")
			}
		})
	}
}

// readyz answers whether usher is ready. The lines of verbose are for those alone who may
// ask for more.
func readyz(g *guard, w http.ResponseWriter, r *http.Request) {
	code, word := http.StatusOK, "ok"
	if ok, why := g.state.Ready(); !ok {
		code, word = http.StatusServiceUnavailable, why
	}
	if r.URL.Query().Has("verbose") && g.trusts(r) {
		for _, line := range g.state.Details() {
			word += "\n" + line
		}
	}
	text(w, code, word)
}

func text(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, body+"\n") // the client is gone if this fails
}

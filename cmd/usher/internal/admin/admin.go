// Package admin serves the operators' side of usher: liveness, readiness and
// metrics. It runs on net/http: nothing here is on a request's path.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"
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
}

// Handler returns the endpoints: those that only read, and with an api that as well.
// A browser cannot be led to change anything from another site.
func Handler(s State, api API, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	if api != nil {
		handleAPI(mux, api)
		handleProfiles(mux, s)
	}
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { readyz(s, w, r) })
	mux.Handle("GET /metrics", metrics)
	return http.NewCrossOriginProtection().Handler(mux)
}

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

func readyz(s State, w http.ResponseWriter, r *http.Request) {
	code, word := http.StatusOK, "ok"
	if ok, why := s.Ready(); !ok {
		code, word = http.StatusServiceUnavailable, why
	}
	if r.URL.Query().Has("verbose") {
		for _, line := range s.Details() {
			word += "\n" + line
		}
	}
	text(w, code, word)
}

func text(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, body+"\n") // the client is gone if this fails
}

// Server serves a handler on an address that may change. Its methods may be called
// from any goroutine.
type Server struct {
	handler http.Handler

	mu      sync.Mutex
	address string
	bound   net.Addr
	server  *http.Server
	running sync.WaitGroup
}

// NewServer returns a Server that does not listen yet.
func NewServer(h http.Handler) *Server { return &Server{handler: h} }

// Listen makes the server listen on address, and no longer on another one; empty
// is nowhere. On an error nothing has changed.
func (s *Server) Listen(ctx context.Context, address string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if address == s.address {
		return nil
	}
	if address == "" {
		s.stop()
		return nil
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("admin listener: %w", err)
	}
	s.stop()
	srv := &http.Server{
		Handler: s.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10,
	}
	s.address, s.bound, s.server = address, ln.Addr(), srv
	s.running.Go(func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			panic(err) // an accept loop that net/http gave up on
		}
	})
	return nil
}

// Address is where the server listens, nil for nowhere.
func (s *Server) Address() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bound
}

// stop ends the running server. The caller holds s.mu.
func (s *Server) stop() {
	if s.server != nil {
		_ = s.server.Close() // idle keep-alive connections of scrapers
		s.address, s.bound, s.server = "", nil, nil
	}
}

// Close stops listening and waits.
func (s *Server) Close() {
	s.mu.Lock()
	s.stop()
	s.mu.Unlock()
	s.running.Wait()
}

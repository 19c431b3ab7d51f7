package dashboard_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"usher/cmd/usher/internal/admin/dashboard"
	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/events"
)

// evil is a name that would be a script if anything took it for HTML.
const evil = `<img src=x onerror="window.pwned=1">`

// double stands in for usher: it answers the admin API with made-up values of the API's own
// types, such as no registry would let a test have: hostile names, every state at once.
type double struct {
	*httptest.Server
	events atomic.Pointer[events.Log]
	stop   chan struct{}
	// started is the start of the process: with another, the dashboard begins anew.
	started time.Time

	mu     sync.Mutex
	token  string
	pinned *uint64
	held   bool
	gone   bool
}

// newDouble starts one.
func newDouble(t *testing.T) *double {
	t.Helper()
	d := &double{held: true, stop: make(chan struct{}), started: at(50 * time.Hour)}
	mux := http.NewServeMux()
	pages := dashboard.Handler()
	mux.Handle("GET /{$}", pages)
	mux.Handle("GET /assets/", pages)
	for path, of := range map[string]func(*http.Request) any{
		"overview": d.overview, "traffic": traffic, "routes": routes,
		"services": d.services, "services/{name}": d.service, "holds": d.holds,
		"generations": d.generations, "generations/{n}": generation, "generations/diff": diff,
		"explain": explain, "certificates": certificates, "config": settings,
	} {
		mux.HandleFunc("GET /api/v1/"+path, func(w http.ResponseWriter, r *http.Request) { d.answer(w, r, of(r)) })
	}
	mux.HandleFunc("GET /api/v1/events", d.stream)
	mux.HandleFunc("POST /api/v1/generations/{n}/pin", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.ParseUint(r.PathValue("n"), 10, 64)
		d.pin(&n)
		d.answer(w, r, struct{}{})
	})
	mux.HandleFunc("POST /api/v1/generations/unpin", func(w http.ResponseWriter, r *http.Request) {
		d.pin(nil)
		d.answer(w, r, struct{}{})
	})
	mux.HandleFunc("POST /api/v1/holds/{service}/release", func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		d.held = false
		d.mu.Unlock()
		d.answer(w, r, api.Released{Released: 2})
	})
	d.events.Store(&events.Log{})
	d.events.Load().Add(api.Event{Kind: "generation", Message: "generation 7: route added", Generation: 7})
	d.events.Load().Add(api.Event{
		Kind: "health", Level: "warn", Message: evil + " ejected", Service: evil, Instance: evil,
	})
	d.Server = httptest.NewServer(d.whileThere(mux))
	t.Cleanup(func() {
		close(d.stop)
		d.CloseClientConnections()
		d.Close()
	})
	return d
}

// whileThere cuts connections while the double plays dead.
func (d *double) whileThere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		gone := d.gone
		d.mu.Unlock()
		if gone {
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	})
}

// be makes it play dead, or no longer.
func (d *double) be(gone bool) {
	d.mu.Lock()
	d.gone = gone
	d.mu.Unlock()
	if gone {
		d.CloseClientConnections()
	}
}

func (d *double) pin(n *uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pinned = n
}

// happen makes something happen.
func (d *double) happen(text string) error {
	d.events.Load().Add(api.Event{Kind: "reload", Level: "warn", Message: text})
	return nil
}

// restart plays another process, to which nothing has happened.
func (d *double) restart(string) error {
	d.mu.Lock()
	d.started = at(0)
	d.mu.Unlock()
	d.events.Store(&events.Log{})
	d.CloseClientConnections()
	return nil
}

// allowed says whether a request has the token, if there is one.
func (d *double) allowed(w http.ResponseWriter, r *http.Request) bool {
	d.mu.Lock()
	token := d.token
	d.mu.Unlock()
	if token == "" || r.Header.Get("Authorization") == "Bearer "+token {
		return true
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	_ = json.NewEncoder(w).Encode(api.Error{Error: "a token is needed"})
	return false
}

func (d *double) answer(w http.ResponseWriter, r *http.Request, v any) {
	if !d.allowed(w, r) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if v == nil {
		w.WriteHeader(http.StatusNotFound)
		v = api.Error{Error: "no such thing: " + evil}
	}
	_ = json.NewEncoder(w).Encode(v)
}

// stream answers with the events so far, or as they come.
func (d *double) stream(w http.ResponseWriter, r *http.Request) {
	last, _ := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64)
	past, coming, stop := d.events.Load().Subscribe(last)
	defer stop()
	if !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		d.answer(w, r, past)
		return
	}
	if !d.allowed(w, r) {
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(e api.Event) {
		b, _ := json.Marshal(e)
		fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Kind, b)
		w.(http.Flusher).Flush()
	}
	fmt.Fprint(w, ": hello\n\n")
	w.(http.Flusher).Flush()
	for _, e := range past {
		send(e)
	}
	for {
		select {
		case e := <-coming:
			send(e)
		case <-r.Context().Done():
			return
		case <-d.stop:
			return
		}
	}
}

func ptr[T any](v T) *T { return &v }

// at is a time so long ago.
func at(ago time.Duration) time.Time { return time.Now().UTC().Add(-ago) }

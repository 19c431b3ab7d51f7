package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// house is an API with little behind it, and what was asked of it.
type house struct {
	access Access

	mu       sync.Mutex
	services []api.CatalogService
	routes   int
	wake     chan struct{}
	catalog  *Catalog
	// does is what was done, asked the endpoints and statuses that were counted.
	does  []string
	asked map[string]int
	fails error
}

func newHouse() *house {
	h := &house{wake: make(chan struct{}), asked: map[string]int{}}
	h.catalog = NewCatalog(nil)
	return h
}

func (h *house) did(what string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.does = append(h.does, what)
	return h.fails
}

func (h *house) done() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.does...)
}

// serves puts another catalog in use.
func (h *house) serves(services ...api.CatalogService) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.services, h.catalog = services, NewCatalog(services)
	close(h.wake)
	h.wake = make(chan struct{})
}

func (h *house) Ready() (bool, string)  { return false, "still building" }
func (h *house) Details() []string      { return []string{"registry secrets of the house"} }
func (h *house) Profiling() bool        { return false }
func (h *house) Access() Access         { return h.access }
func (h *house) Overview() api.Overview { return api.Overview{} }
func (h *house) Traffic() api.Traffic   { return api.Traffic{Points: []api.Point{}} }
func (h *house) Config() api.Config     { return api.Config{} }
func (h *house) Version() api.Version   { return api.Version{} }
func (h *house) Drain() error           { return h.did("drain") }
func (h *house) Undrain() error         { return h.did("undrain") }

func (h *house) Registries() []api.Registry      { return []api.Registry{} }
func (h *house) Services() []api.Service         { return []api.Service{} }
func (h *house) Service(string) []api.Service    { return nil }
func (h *house) Certificates() []api.Certificate { return []api.Certificate{} }

func (h *house) Routes() api.Routes {
	r := api.Routes{Routes: []api.Route{}}
	for range h.routes {
		r.Routes = append(r.Routes, api.Route{ID: "shop.example.com/orders", Hosts: []string{"shop.example.com"}})
	}
	return r
}

func (h *house) Release(service string) (int, bool) {
	_ = h.did("release " + service)
	return 1, true
}

func (h *house) Reload(context.Context) (state api.ConfigState, taken bool, err error) {
	if err = h.did("reload"); errors.Is(err, errRefused) {
		return api.ConfigState{Refused: []string{err.Error()}}, false, nil
	}
	return api.ConfigState{}, true, err
}

var errRefused = errors.New("usher.yaml:1:1: refused")

func (h *house) Catalog() (*Catalog, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.catalog, h.wake
}

func (h *house) count(path string, code int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked[path+" "+http.StatusText(code)]++
}

func (h *house) counted(what string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked[what]
}

// handler is that of the house; open: the one of a telemetry listener.
func (h *house) handler(log *events.Log, open bool) http.Handler {
	o := Options{
		State: h, Events: log, Asked: h.count,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") }),
	}
	if !open {
		o.API = h
	}
	return Handler(o)
}

// start serves the house at an address; it ends with the test.
func (h *house) start(t testing.TB, address string, log *events.Log) *Server {
	t.Helper()
	s := NewServer(h.handler(log, false), slog.New(slog.DiscardHandler))
	if err := s.Listen(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// reply is an answer without its body.
type reply struct {
	StatusCode int
	Status     string
	Header     http.Header
}

// ask makes a request of a server on TCP; fields are names and values.
func ask(t testing.TB, s *Server, method, path string, fields ...string) (r *reply, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.Address().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == "Host" {
			req.Host = fields[i+1]
		} else {
			req.Header.Set(fields[i], fields[i+1])
		}
	}
	tr := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr, Timeout: patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	r = &reply{resp.StatusCode, resp.Status, resp.Header}
	if resp.Header.Get("Content-Encoding") != "" {
		return r, string(data)
	}
	return r, strings.TrimSpace(string(data))
}

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not so: %s", what)
		}
	}
}

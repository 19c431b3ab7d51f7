package consul

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"usher/watcher"
	"usher/watcher/consul/consultest"
)

// answer is what the fake agent says to one query.
type answer struct {
	status int // 0: 200
	index  uint64
	body   string // empty: null
	hang   bool   // until the client goes
	// over is true of an answer that does not wait: the wait is over.
	over bool
	// header is what it says beside the index.
	header map[string]string
}

// fake is a double of an agent's HTTP API, for what a real one cannot be made to
// do. A blocking query hangs while the answer has the index it waits for. The path
// with plain behind it, if it is there, answers those that are not blocking; with
// stale behind it those that any server may answer, with sure behind it those that only
// a leader may answer that knows that it is one.
type fake struct {
	mu      sync.Mutex
	answers map[string]answer
	// changed is closed when an answer changes.
	changed chan struct{}
	// asked counts the queries by path.
	asked map[string]int
	addr  string
}

// fakeAgent starts a fake with fixed answers.
func fakeAgent(t *testing.T, answers map[string]answer) (addr string) {
	t.Helper()
	return newFake(t, answers).addr
}

func newFake(t *testing.T, answers map[string]answer) *fake {
	t.Helper()
	f := &fake{answers: answers, changed: make(chan struct{}), asked: map[string]int{}}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	f.addr = s.Listener.Addr().String()
	return f
}

// set changes the answer of a path, and wakes who waits for it.
func (f *fake) set(path string, a answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[path] = a
	close(f.changed)
	f.changed = make(chan struct{})
}

// count returns how often a path was asked.
func (f *fake) count(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[path]
}

func (f *fake) now(path, index string, q url.Values) (answer, chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for mode, key := range map[string]string{stale: "stale", sure: "consistent"} {
		if a, ok := f.answers[path+mode]; ok && q.Has(key) {
			return a, f.changed
		}
	}
	if a, ok := f.answers[path+plain]; ok && index == "" {
		return a, f.changed
	}
	a, ok := f.answers[path]
	if !ok {
		a = answer{index: 1, body: "{}"}
	}
	return a, f.changed
}

// ServeHTTP answers as an agent does. The list filtered by meta has a path of its
// own.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if r.URL.Query().Has("filter") {
		path += "?filter"
	}
	f.mu.Lock()
	f.asked[path]++
	if r.URL.Query().Has("stale") {
		f.asked[path+stale]++
	}
	f.mu.Unlock()
	for {
		waits := r.URL.Query().Get("index")
		a, changed := f.now(path, waits, r.URL.Query())
		if !a.hang && (a.over || waits == "" || waits != fmt.Sprint(a.index)) {
			reply(w, a)
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func reply(w http.ResponseWriter, a answer) {
	if a.index > 0 {
		w.Header().Set("X-Consul-Index", fmt.Sprint(a.index))
	}
	w.Header().Set("X-Consul-LastContact", "0") // without it a client reads none of the others
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	if a.body == "" {
		a.body = "null"
	}
	_, _ = w.Write([]byte(a.body))
}

const (
	listPath  = "/v1/catalog/services"
	metaPath  = "/v1/catalog/services?filter"
	nodesPath = "/v1/catalog/nodes"
	webPath   = "/v1/health/service/web"
	leader    = "/v1/status/leader"
	plain     = "?plain"
	stale     = "?stale"
	sure      = "?consistent"
)

// webEntry is a service entry that announces a rule, as JSON.
const webEntry = `[{"Node": {"Node": "n1", "Address": "127.0.0.1", "Datacenter": "dc1"}, "Checks": [],
"Service": {"ID": "web", "Service": "web", "Port": 80, "Tags": ["urlprefix-/"],
"Weights": {"Passing": 1, "Warning": 1}}}]`

// healthy is an agent with one service, web.
func healthy(t *testing.T) (*fake, *bench) {
	t.Helper()
	f := newFake(t, map[string]answer{
		leader:    {body: `"127.0.0.1:8300"`},
		listPath:  {index: 10, body: `{"consul": [], "web": ["urlprefix-/"]}`},
		metaPath:  {index: 10, body: "{}"},
		webPath:   {index: 10, body: webEntry},
		nodesPath: {index: 10, body: `[{"Node": "n1"}]`},
	})
	b := follow(t, conf(f.addr))
	b.awaitSynced()
	b.awaitThere("web")
	return f, b
}

// TestBackwards: an answer whose index fell is not applied; the next one, asked
// for without an index, is, whatever its index.
func TestBackwards(t *testing.T) {
	t.Parallel()
	for name, index := range map[string]uint64{"to one": 1, "to nothing": 0, "a little": 9} {
		t.Run(name, func(t *testing.T) {
			f, b := healthy(t)
			moved := strings.Replace(webEntry, `"Port": 80`, `"Port": 81`, 1)
			f.set(webPath+plain, answer{index: 9, body: moved})
			f.set(webPath, answer{index: index, body: "[]"})
			b.await("web", "is read again", func(in watcher.Instance) bool { return in.Address == "127.0.0.1:81" })
			b.neverGone("web")
			f.set(webPath+plain, answer{index: 3, body: "[]"})
			f.set(webPath, answer{index: 2, body: webEntry})
			b.awaitCount("web", 0)
		})
	}
}

// TestResetIsReported: operators see that an index went backwards.
func TestResetIsReported(t *testing.T) {
	f, b := healthy(t)
	f.set(webPath, answer{index: 3, body: webEntry})
	b.eventually("the reset of a service", func() bool { return b.resets == 1 })
	f.set(listPath, answer{index: 3, body: `{"web": ["urlprefix-/"]}`})
	b.eventually("the reset of the list", func() bool { return b.resets == 2 })
}

// TestListBackwards: the same for the lists.
func TestListBackwards(t *testing.T) {
	t.Parallel()
	f, b := healthy(t)
	f.set(listPath+plain, answer{index: 5, body: `{"web": ["urlprefix-/"], "new": ["urlprefix-/"]}`})
	f.set(listPath, answer{index: 3, body: `{"old": ["urlprefix-/"]}`})
	b.eventually("the new one is asked for", func() bool { return f.count("/v1/health/service/new") > 0 })
	if f.count("/v1/health/service/old") > 0 {
		t.Error("an old list was followed")
	}
}

// TestNoConnectionIsLeft: when Run and Probe are over, so are their connections.
func TestNoConnectionIsLeft(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(t *testing.T, addr string){
		"run": func(t *testing.T, addr string) {
			b := follow(t, conf(addr))
			b.awaitThere("web")
			b.eventually("the leader", func() bool { return b.last.Contact != "" })
			b.stop()
		},
		"probe": func(t *testing.T, addr string) {
			if _, err := Probe(t.Context(), conf(addr)); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := healthy(t)
			var open atomic.Int64
			s := httptest.NewUnstartedServer(f)
			s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				switch state {
				case http.StateNew:
					open.Add(1)
				case http.StateClosed, http.StateHijacked:
					open.Add(-1)
				}
			}
			s.Start()
			defer s.Close()
			use(t, s.Listener.Addr().String())
			consultest.Eventually(t, "no connection is left", func() bool { return open.Load() == 0 })
		})
	}
}

// TestListErrors: a list that fails, or names nothing any more, removes nothing.
func TestListErrors(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]answer{
		"an error":        {status: 500, body: "No cluster leader"},
		"too many":        {status: 429, body: "Your IP is issuing too many concurrent connections"},
		"no JSON":         {index: 11, body: "<html>"},
		"no services":     {index: 11, body: "{}"},
		"an older answer": {index: 1, body: "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			f, b := healthy(t)
			asked := f.count(listPath)
			f.set(listPath, a)
			f.set(metaPath, a)
			b.eventually("they are asked again", func() bool {
				return f.count(listPath) > asked+1 || a.index == 11 && f.count(listPath) > asked
			})
			f.set(webPath, answer{index: 12, body: strings.Replace(webEntry, `"Port": 80`, `"Port": 81`, 1)})
			b.await("web", "is still watched", func(in watcher.Instance) bool { return in.Address == "127.0.0.1:81" })
		})
	}
}

// TestServiceErrors: a service that cannot be read stays.
func TestServiceErrors(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]answer{
		"an error": {status: 500, body: "rpc error"},
		"too many": {status: 429, body: "Your IP is issuing too many concurrent connections"},
		"denied":   {status: 403, body: "Permission denied"},
		"no JSON":  {index: 11, body: "<html>"},
	} {
		t.Run(name, func(t *testing.T) {
			f, b := healthy(t)
			f.set(webPath, a)
			b.eventually("the failure", func() bool { return len(b.errs) > 0 })
			f.set(listPath, answer{index: 12, body: "{}"})
			b.eventually("several failures", func() bool { return f.count(webPath) > 4 })
			if in := b.of("web"); len(in) != 1 {
				t.Errorf("web is now %v", in)
			}
			f.set(webPath, answer{index: 13, body: "[]"})
			b.awaitCount("web", 0)
		})
	}
}

// TestUnreadServiceLeavesTheList: the Registry has never read the service, the
// Manager may know it from an earlier run; the list alone must not delete it.
func TestUnreadServiceLeavesTheList(t *testing.T) {
	f := newFake(t, map[string]answer{
		leader:   {body: `"127.0.0.1:8300"`},
		listPath: {index: 10, body: `{"web": ["urlprefix-/"]}`},
		webPath:  {status: 500, body: "rpc error"},
	})
	b := follow(t, conf(f.addr))
	b.awaitSynced()
	f.set(listPath, answer{index: 11, body: `{}`})
	asked := f.count(webPath)
	consultest.Eventually(t, "it is asked again, or dropped", func() bool {
		return f.count(webPath) > asked+2 || b.look(func() bool { return b.watches == 0 })
	})
	if b.look(func() bool { _, ok := b.services["web"]; return ok }) {
		t.Error("a service that was never read is said to be gone")
	}
}

// TestSyncNeedsEveryService: nothing is synced while a service has not answered; an
// error is an answer.
func TestSyncNeedsEveryService(t *testing.T) {
	t.Parallel()
	f := newFake(t, map[string]answer{
		leader:   {body: `"127.0.0.1:8300"`},
		listPath: {index: 10, body: `{"web": ["urlprefix-/"]}`},
		webPath:  {hang: true},
	})
	b := follow(t, conf(f.addr))
	b.eventually("web is asked for", func() bool { return f.count(webPath) > 0 && b.last.Contact != "" })
	if b.look(func() bool { return b.synced }) {
		t.Error("synced before web answered")
	}
	f.set(webPath, answer{status: 500})
	b.awaitSynced()
}

// TestOutageIsNotForgotten: a change of what is wanted says nothing of the
// registry's health.
func TestOutageIsNotForgotten(t *testing.T) {
	f, b := healthy(t)
	for _, path := range []string{leader, listPath, metaPath, webPath} {
		f.set(path, answer{status: 500, body: "No cluster leader"})
	}
	b.eventually("the failure", func() bool { return b.last.Err != nil })
	f.set("/v1/health/service/other", answer{hang: true})
	b.mu.Lock()
	b.answers = 0
	b.mu.Unlock()
	b.Want([]string{"other"})
	b.eventually("it is watched", func() bool { return b.watches == 2 })
	if b.look(func() bool { return b.answers > 0 }) {
		t.Error("a report without a failure, though nothing was reached")
	}
}

// TestRefused: the agent refuses a query, so that some services lose the query of
// their own. They are read again, and the end of theirs is no failure.
func TestRefused(t *testing.T) {
	t.Parallel()
	f := newFake(t, map[string]answer{leader: {body: `"127.0.0.1:8300"`}})
	names := map[string][]string{}
	path := func(name string) string { return "/v1/health/service/" + name }
	for i := range 40 {
		name := fmt.Sprintf("s%d", i)
		names[name] = []string{"urlprefix-/"}
		f.set(path(name), answer{index: 10, body: webEntry})
	}
	list, err := json.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	f.set(listPath, answer{index: 10, body: string(list)})
	asked := func() (n int) {
		for name := range names {
			n += f.count(path(name))
		}
		return n
	}
	b := follow(t, conf(f.addr))
	b.awaitSynced()
	consultest.Eventually(t, "each has its query", func() bool { return asked() == 2*len(names) })
	f.set(path("s0"), answer{status: 429})
	b.eventually("it is refused", func() bool { return b.errs["http_429"] > 0 })
	consultest.Eventually(t, "half of them are read again", func() bool { return asked() > 2*len(names)+len(names)/2 })
	b.stop()
	if b.cancelled {
		t.Errorf("failures: %v", b.errs)
	}
}

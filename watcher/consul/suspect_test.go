package consul

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/metrics"
	"usher/watcher"
	"usher/watcher/consul/consultest"
)

// journal is a Registry that runs, and each update that it has sent.
type journal struct {
	*Registry
	t   testing.TB
	log *lines

	mu      sync.Mutex
	updates []watcher.Update
}

// keepJournal runs a Registry until the test ends.
func keepJournal(t testing.TB, c config.Consul, change ...func(*Registry)) *journal {
	t.Helper()
	j := &journal{t: t, log: &lines{}}
	r, err := New(c, j.log.logger())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(r)
	}
	j.Registry = r
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan watcher.Update)
	done := make(chan error, 1)
	go func() {
		err := r.Run(ctx, out)
		close(out)
		done <- err
	}()
	taken := make(chan struct{})
	go func() {
		defer close(taken)
		for u := range out {
			j.mu.Lock()
			j.updates = append(j.updates, u)
			j.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-taken
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	return j
}

// find waits for an update, other than the first ones that are skipped, and returns it.
func (j *journal) find(what string, skip int, is func(u *watcher.Update) bool) (found watcher.Update) {
	j.t.Helper()
	consultest.Eventually(j.t, what, func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		i := slices.IndexFunc(j.updates[skip:], func(u watcher.Update) bool { return is(&u) })
		if i >= 0 {
			found = j.updates[skip+i]
		}
		return i >= 0
	})
	return found
}

// so is the number of updates so far.
func (j *journal) so() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.updates)
}

// awaitSynced waits until everything has been sent once.
func (j *journal) awaitSynced() {
	j.t.Helper()
	j.find("synced", 0, func(u *watcher.Update) bool { return u.Report != nil && u.Report.Synced })
}

// lines collects what is logged. Any goroutine may use it.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// count is the number of lines with a text.
func (l *lines) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// managed is a Manager with one Registry, guarded as by default, and what its catalogs
// held.
type managed struct {
	*watcher.Manager
	t   testing.TB
	log *lines

	mu sync.Mutex
	// fewest is the smallest number of instances of each service in any catalog since it
	// was there first.
	fewest map[string]int
	// last are the overrides of the last catalog.
	last *watcher.Overrides
}

// theGuard is the one of the default configuration.
func theGuard() *config.Guard {
	return &config.Guard{
		Enabled: true, ServiceShare: 0.5, CatalogShare: 0.5, Window: 10 * time.Second,
		MinEndpoints: 4, MinCatalog: 10,
	}
}

// manage runs a Manager until the test ends; with a snapshot it starts from that.
func manage(t testing.TB, c config.Consul, from *watcher.Snapshot, wanted ...string) *managed {
	t.Helper()
	m := &managed{t: t, log: &lines{}, fewest: map[string]int{}}
	m.Manager = watcher.NewManager(m.log.logger(), metrics.New("test", nil).Discovery)
	if from != nil {
		m.Restore(from)
	}
	m.Apply([]watcher.Source{{
		Name: "consul", Spec: "consul", Identity: "consul", Guard: theGuard(), StartTimeout: 10 * time.Second,
		New: func() (watcher.Discoverer, error) { return New(c, m.log.logger()) },
	}}, wanted)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			change, err := m.Next(ctx)
			if err != nil {
				return
			}
			m.take(change.Catalog)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		m.Close()
	})
	return m
}

func (m *managed) take(c *watcher.Catalog) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if all := c.Overrides(); len(all) > 0 {
		m.last = all[0]
	}
	now := map[string]int{}
	for _, s := range c.Services() {
		now[s.Service] = len(s.Instances)
	}
	for name, n := range m.fewest {
		m.fewest[name] = min(n, now[name])
	}
	for name, n := range now {
		if _, had := m.fewest[name]; !had {
			m.fewest[name] = n
		}
	}
}

// status is what is known of a service; zero when nothing is.
func (m *managed) status(service string) watcher.ServiceStatus {
	for _, s := range m.Services() {
		if s.Service == service {
			return s
		}
	}
	return watcher.ServiceStatus{}
}

// await waits until a service has so many listed and held instances.
func (m *managed) await(service string, listed, held int) {
	m.t.Helper()
	consultest.Eventually(m.t, fmt.Sprintf("%s: %d listed, %d held", service, listed, held), func() bool {
		s := m.status(service)
		return s.Listed == listed && s.Held == held
	})
}

// never fails if a catalog held fewer instances of a service than n.
func (m *managed) never(service string, n int) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fewest[service] < n {
		m.t.Errorf("%s had %d instances for a while, want never less than %d", service, m.fewest[service], n)
	}
}

// forget lets never look at the catalogs from now on.
func (m *managed) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fewest = map[string]int{}
	for _, s := range m.Services() {
		m.fewest[s.Service] = len(s.Instances)
	}
}

// overrides are those of the last catalog.
func (m *managed) overrides() *watcher.Overrides {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

// awaitFailure waits until the registry is known to fail, or to answer again.
func (m *managed) awaitFailure(failing bool) {
	m.t.Helper()
	consultest.Eventually(m.t, fmt.Sprintf("the registry fails: %v", failing), func() bool {
		return (m.Statuses()[0].Err != nil) == failing
	})
}

// awaitSynced waits until the registry has sent everything.
func (m *managed) awaitSynced() {
	m.t.Helper()
	consultest.Eventually(m.t, "synced", func() bool { return m.Statuses()[0].Synced })
}

// ownAndShared runs a test for services with queries of their own and for those that
// share one. Any server may answer.
func ownAndShared(t *testing.T, f func(t *testing.T, change func(*config.Consul))) {
	for name, watches := range map[string]int{"own": 64, "shared": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, func(c *config.Consul) { c.MaxWatches, c.MaxStale = watches, 30*time.Second })
		})
	}
}

// webFake is a fake with the service web, and one before it in the alphabet, which takes
// the only place for an own query where there is but one.
func webFake(t *testing.T) *fake {
	t.Helper()
	return newFake(t, map[string]answer{
		leader:               {body: `"127.0.0.1:8300"`},
		listPath:             {index: 10, body: `{"consul": [], "first": ["urlprefix-/1"], "web": ["urlprefix-/"]}`},
		metaPath:             {index: 10, body: "{}"},
		servicePath("first"): {index: 10, body: strings.ReplaceAll(webEntry, `"web"`, `"first"`)},
		webPath:              {index: 10, body: webEntry},
	})
}

// becomes makes web what queries of its own and shared ones alike are told at first, and
// wakes the shared ones; confirmed is what a leader says that knows that it is one.
func (f *fake) becomes(first, confirmed answer) {
	f.set(webPath+sure, confirmed)
	f.set(webPath+plain, first)
	f.set(webPath+stale, first)
	f.set(webPath, first)
	f.mu.Lock()
	list := f.answers[listPath]
	f.mu.Unlock()
	list.index++
	list.body = fmt.Sprintf(`{"first": ["urlprefix-/1"], "web": ["urlprefix-/", "v%d"]}`, list.index)
	f.set(listPath, list)
}

func at(port string) string { return strings.Replace(webEntry, `"Port": 80`, `"Port": `+port, 1) }

// TestEmptyIsReadAgain: that a service is empty is believed when the leader says so,
// too.
func TestEmptyIsReadAgain(t *testing.T) {
	t.Parallel()
	ownAndShared(t, func(t *testing.T, change func(*config.Consul)) {
		f := webFake(t)
		c := conf(f.addr)
		change(&c)
		b := follow(t, c)
		b.awaitThere("web")

		f.becomes(answer{index: 12, body: "[]"}, answer{index: 12, body: at("81")})
		b.await("web", "is as the leader says", func(in watcher.Instance) bool { return in.Address == "127.0.0.1:81" })
		b.neverGone("web")

		f.becomes(answer{index: 13, body: "[]"}, answer{status: 500, body: "No cluster leader"})
		b.eventually("the second read fails", func() bool { return b.errs["http_500"] > 1 })
		b.neverGone("web")
		if in := b.of("web"); len(in) != 1 {
			t.Errorf("web is now %+v", in)
		}

		f.becomes(answer{index: 14, body: "[]"}, answer{index: 14, body: "[]"})
		b.awaitCount("web", 0)
	})
}

// TestEmptyAtAnyIndex: an agent whose view was cut off says that there is nothing, with
// an index that fell or, when its view was reset while the query waited, with the very
// index that the query had.
func TestEmptyAtAnyIndex(t *testing.T) {
	t.Parallel()
	for _, index := range []uint64{1, 10, 11} {
		t.Run(fmt.Sprint(index), func(t *testing.T) {
			t.Parallel()
			f := webFake(t)
			m := manage(t, conf(f.addr), nil)
			m.await("web", 1, 0)
			m.awaitSynced()
			f.set(webPath+plain, answer{status: 500, body: "No cluster leader"})
			f.set(webPath, answer{index: index, body: "[]", over: true})
			asked := f.count(webPath)
			consultest.Eventually(t, "it is asked again", func() bool { return f.count(webPath) > asked+4 })
			m.await("web", 1, 0)
			m.never("web", 1)
		})
	}
}

// window is a way to an agent that makes the waits of queries short, and that can be
// shut for those on web that wait.
type window struct {
	addr string
	open chan struct{}

	mu sync.Mutex
	// empty counts the answers that say, with success and the index 1, that web has no
	// instance.
	empty int
}

// shortWait is what the window makes of the wait of a query.
const shortWait = "1s"

// look returns a window that is shut.
func look(t *testing.T, a *consultest.Agent) *window {
	t.Helper()
	w := &window{open: make(chan struct{})}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: a.Addr()})
	proxy.Transport, proxy.ModifyResponse = transport, w.count
	proxy.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Has("index") {
			q.Set("wait", shortWait)
			r.URL.RawQuery = q.Encode()
			if r.URL.Path == webPath {
				w.pass(r.Context())
			}
		}
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(transport.CloseIdleConnections)
	t.Cleanup(s.Close)
	w.addr = s.Listener.Addr().String()
	return w
}

// pass waits until the window is open.
func (w *window) pass(ctx context.Context) {
	select {
	case <-w.open:
	case <-ctx.Done():
	}
}

func (w *window) count(resp *http.Response) error {
	waited := resp.Request.URL.Query().Has("index") && resp.Request.URL.Path == webPath
	if !waited || resp.StatusCode != http.StatusOK || resp.Header.Get("X-Consul-Index") != "1" {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.empty++
	return nil
}

// TestCutOffAgent: a client agent that has lost its servers before the first query that
// waits says that there is nothing, with success. Nobody believes it.
func TestCutOffAgent(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t)
	a := consultest.Start(t, consultest.Join(server))
	a.Register(registration("web", "urlprefix-/"))
	w := look(t, a)
	m := manage(t, conf(w.addr), nil)
	m.await("web", 1, 0)
	m.awaitSynced()
	server.Pause()
	close(w.open)
	consultest.Eventually(t, "the agent says that there is nothing", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.empty > 0
	})
	m.awaitFailure(true)
	m.never("web", 1)
	server.Resume()
	a.Register(registration("new", "urlprefix-/new"))
	m.await("new", 1, 0)
	m.awaitFailure(false)
	m.await("web", 1, 0)
	m.never("web", 1)
}

// TestSuspect: an update tells what speaks against it.
func TestSuspect(t *testing.T) {
	t.Parallel()
	gone, earlier := answer{index: 14, body: "[]"}, answer{index: 3, body: "[]"}
	filtered := answer{
		index: 14, body: "[]", header: map[string]string{"X-Consul-Results-Filtered-By-ACLs": "true"},
	}
	for name, test := range map[string]struct {
		// before is what the agent says for a while, first.
		before           *answer
		first, confirmed answer
		want             string
	}{
		"nothing":                {first: gone, confirmed: gone},
		"an error before":        {&answer{status: 500}, gone, gone, "the agent had failed just before"},
		"an index that fell":     {nil, earlier, earlier, "the index went backwards"},
		"filtered":               {nil, gone, filtered, "the token may not see everything"},
		"filtered at first only": {nil, filtered, gone, "the token may not see everything"},
	} {
		t.Run(name, func(t *testing.T) {
			ownAndShared(t, func(t *testing.T, change func(*config.Consul)) {
				f := webFake(t)
				c := conf(f.addr)
				change(&c)
				j := keepJournal(t, c)
				j.awaitSynced()
				if test.before != nil {
					so := j.so()
					f.becomes(*test.before, *test.before)
					j.find("the failure", so, func(u *watcher.Update) bool {
						return u.Report != nil && u.Report.Partial
					})
				}
				f.becomes(test.first, test.confirmed)
				u := j.find("web is gone", 0, func(u *watcher.Update) bool {
					return u.Service == "web" && len(u.Instances) == 0 && !u.Unknown
				})
				if u.Suspect != test.want {
					t.Errorf("suspect: %q, want %q", u.Suspect, test.want)
				}
			})
		})
	}
}

// TestSuspectLeader: a leader that is lost or changes puts all answers in doubt.
func TestSuspectLeader(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ now, want string }{
		"changed": {`"127.0.0.2:8300"`, "the leader changed"},
		"lost":    {`""`, "the servers have no leader"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := webFake(t)
			j := keepJournal(t, conf(f.addr))
			j.find("the leader", 0, func(u *watcher.Update) bool { return u.Report != nil && u.Report.Contact != "" })
			f.set(leader, answer{body: test.now})
			u := j.find("a doubt", 0, func(u *watcher.Update) bool { return u.Report != nil && u.Report.Suspect != "" })
			if u.Report.Suspect != test.want {
				t.Errorf("suspect: %q, want %q", u.Report.Suspect, test.want)
			}
		})
	}
}

// TestSuspectList: a list that could not be read, or whose index fell, tells of an agent
// that may have lost its state: services that share a query would not notice.
func TestSuspectList(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		trouble answer
		want    string
	}{
		"an error":           {answer{status: 500}, "the agent had failed just before"},
		"an index that fell": {answer{index: 3, body: "{}"}, "the index went backwards"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := webFake(t)
			j := keepJournal(t, conf(f.addr))
			j.awaitSynced()
			asked := f.count(listPath)
			f.set(listPath+plain, answer{index: 4, body: `{"web": ["urlprefix-/"]}`})
			f.set(listPath, test.trouble)
			consultest.Eventually(t, "the trouble", func() bool { return f.count(listPath) > asked })
			f.set(listPath, answer{index: 4, body: `{"web": ["urlprefix-/"]}`})
			u := j.find("a doubt", 0, func(u *watcher.Update) bool { return u.Report != nil && u.Report.Suspect != "" })
			if u.Report.Suspect != test.want {
				t.Errorf("suspect: %q, want %q", u.Report.Suspect, test.want)
			}
		})
	}
}

// leastRules are the rights that a Registry needs.
const leastRules = `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }
key_prefix "usher/" { policy = "read" }`

// scatter registers n instances of a service on nodes of their own, at the ports from
// the given one on.
func scatter(a *consultest.Agent, service, node string, port, n int) {
	for i := range n {
		a.RegisterCatalog(api.CatalogRegistration{
			Node: fmt.Sprintf("%s-%d", node, i), Address: "127.0.0.9",
			Service: &api.AgentService{
				ID: service, Service: service, Port: port + i, Tags: []string{"urlprefix-/" + service},
			},
		})
	}
}

// TestTokenLosesRights: what a token may not see any more is not gone.
func TestTokenLosesRights(t *testing.T) {
	for name, test := range map[string]struct {
		rules string
		// listed are the instances of few and many that the token still sees.
		few, many int
	}{
		"of services": {`service_prefix "other" { policy = "read" } node_prefix "" { policy = "read" }`, 0, 0},
		"of a service": {
			`service_prefix "f" { policy = "read" } node_prefix "" { policy = "read" }`, 2, 0,
		},
		"of nodes": {`service_prefix "" { policy = "read" } node_prefix "other" { policy = "read" }`, 0, 0},
		"of some nodes": {
			`service_prefix "" { policy = "read" } node_prefix "a-" { policy = "read" }`, 2, 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := consultest.Start(t, consultest.ACL())
			scatter(a, "few", "a", 1000, 2)
			scatter(a, "many", "a", 2000, 2)
			scatter(a, "many", "b", 3000, 4)
			// A waiting query tells of lost rights when its wait is over.
			w := look(t, a)
			ownAndShared(t, func(t *testing.T, change func(*config.Consul)) {
				c := conf(w.addr)
				change(&c)
				c.Token = a.NewToken(leastRules)
				m := manage(t, c, nil)
				m.await("few", 2, 0)
				m.await("many", 6, 0)
				m.awaitSynced()
				a.SetRules(c.Token, test.rules)
				m.await("few", test.few, 2-test.few)
				m.await("many", test.many, 6-test.many)
				m.never("few", 2)
				m.never("many", 6)
				a.SetRules(c.Token, leastRules)
				m.await("few", 2, 0)
				m.await("many", 6, 0)
			})
		})
	}
}

// TestAgentRestartsEmpty: an agent that has lost its catalog is not believed, what is
// new is, and a hold ends with the registration of its instance.
func TestAgentRestartsEmpty(t *testing.T) {
	t.Parallel()
	ownAndShared(t, func(t *testing.T, change func(*config.Consul)) {
		a := consultest.Start(t)
		names := []string{"one", "two", "three"}
		numbered := func(name string, i int) api.AgentServiceRegistration {
			s := registration(name, "urlprefix-/"+name)
			s.ID, s.Port = fmt.Sprintf("%s-%d", name, i), 9000+10*slices.Index(names, name)+i
			return s
		}
		for _, name := range names {
			a.Register(numbered(name, 0))
			a.Register(numbered(name, 1))
		}
		c := conf(a.Addr())
		change(&c)
		m := manage(t, c, nil)
		for _, name := range names {
			m.await(name, 2, 0)
		}
		m.awaitSynced()
		a.RestartEmpty()
		for _, name := range names {
			m.await(name, 0, 2)
			m.never(name, 2)
		}
		s := registration("new", "urlprefix-/new")
		s.Port = 9999
		a.Register(s)
		m.await("new", 1, 0)
		a.Register(numbered("one", 0))
		m.await("one", 1, 1)
		a.Register(numbered("one", 1))
		m.await("one", 2, 0)
		m.await("two", 0, 2)
		m.never("one", 2)
		m.never("two", 2)
	})
}

// sortedKeys are the keys of a map in order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

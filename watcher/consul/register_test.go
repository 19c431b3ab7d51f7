package consul

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/watcher"
	"usher/watcher/consul/consultest"
)

// leastRegister is all that registering usher needs.
const leastRegister = `service "usher" { policy = "write" }`

// selfConf registers the service usher at the agent at addr.
func selfConf(addr string) config.Consul {
	c := conf(addr)
	c.Register = config.Register{
		Name: "usher", Tags: []string{"edge"}, Meta: map[string]string{"team": "traffic"},
		TTL: 3 * time.Second, DeregisterAfter: 2 * time.Minute,
	}
	return c
}

var thisUsher = Self{ID: "usher-1", Address: "127.0.0.1", Port: 9999, Meta: map[string]string{"version": "1"}}

// logged is a log that can be looked at while it is written.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *logged) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

// count is the number of records that hold the text.
func (r *logged) count(text string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(r.buf.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func (r *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

// running runs f until stop is called or the test ends; stop waits for its end.
func running(t *testing.T, f func(ctx context.Context)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// registers makes a Registration and runs it.
func registers(t *testing.T, c config.Consul, s Self) (r *Registration, log *logged, stop func()) {
	t.Helper()
	log = &logged{}
	r, err := NewRegistration(c, s, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	return r, log, running(t, r.Run)
}

// listedAs is a service in the catalog, nil when it is not there.
func listedAs(t *testing.T, a *consultest.Agent, name string) *api.ServiceEntry {
	t.Helper()
	list, _, err := a.Client().Health().Service(name, "", false, nil)
	if err != nil {
		t.Log(err) // the agent may be starting
		return nil
	}
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// awaitListed waits until a service is in the catalog and as it should be.
func awaitListed(
	t *testing.T, a *consultest.Agent, name, what string, is func(e *api.ServiceEntry) bool,
) (e *api.ServiceEntry) {
	t.Helper()
	consultest.Eventually(t, name+" "+what, func() bool {
		e = listedAs(t, a, name)
		return e != nil && is(e)
	})
	return e
}

func awaitGone(t *testing.T, a *consultest.Agent, name string) {
	t.Helper()
	consultest.Eventually(t, name+" is gone", func() bool { return listedAs(t, a, name) == nil })
}

// checkOf finds a service's check by the end of its ID.
func checkOf(e *api.ServiceEntry, end string) *api.HealthCheck {
	for _, c := range e.Checks {
		if strings.HasSuffix(c.CheckID, end) {
			return c
		}
	}
	return &api.HealthCheck{}
}

func isPassing(e *api.ServiceEntry) bool { return e.Checks.AggregatedStatus() == api.HealthPassing }

func inMaintenance(e *api.ServiceEntry) bool { return e.Checks.AggregatedStatus() == api.HealthMaint }

// TestRegistration: the service is in the catalog as it should be, with a token that
// may write this service and nothing else, and leaves in two steps.
func TestRegistration(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.ACL())
	asked := make(chan string, 1)
	ready := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.URL.Path:
		default:
		}
	}))
	defer ready.Close()
	c, s := selfConf(a.Addr()), thisUsher
	c.Token = a.NewToken(leastRegister)
	s.CheckURL = ready.URL + "/readyz"
	s.Ready = func() (bool, string) { return true, "all listeners serve" }
	r, log, stop := registers(t, c, s)

	e := awaitListed(t, a, "usher", "has its heartbeat", func(e *api.ServiceEntry) bool {
		return checkOf(e, ":heartbeat").Status == api.HealthPassing && checkOf(e, ":ready").Status == api.HealthPassing
	})
	if got := e.Service; got.ID != "usher-1" || got.Address != "127.0.0.1" || got.Port != 9999 ||
		!slices.Equal(got.Tags, []string{"edge"}) || got.Meta["team"] != "traffic" || got.Meta["version"] != "1" {
		t.Errorf("registered as %+v", got)
	}
	if beat, ready := checkOf(e, ":heartbeat"), checkOf(e, ":ready"); beat.Type != "ttl" || ready.Type != "http" {
		t.Errorf("the checks are %+v and %+v", beat, ready)
	}
	select {
	case path := <-asked:
		if path != "/readyz" {
			t.Errorf("the agent asked %s", path)
		}
	case <-time.After(consultest.Patience):
		t.Error("the agent never asked for usher's health")
	}

	if err := r.Maintenance(t.Context(), "it restarts"); err != nil {
		t.Fatal(err)
	}
	awaitListed(t, a, "usher", "is in maintenance", inMaintenance)
	if err := r.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitGone(t, a, "usher")
	stop()
	if log.count("level=WARN") > 0 || log.count("registration works") != 1 {
		t.Errorf("logged: %s", &log.buf)
	}
}

// TestDefinition: the file goes before what usher knows of itself.
func TestDefinition(t *testing.T) {
	c, s := selfConf("127.0.0.1:1"), thisUsher
	s.CheckURL, s.Meta = "http://127.0.0.1:1/readyz", map[string]string{"team": "nobody", "version": "1"}
	made := func(t *testing.T) *Registration {
		t.Helper()
		r, err := NewRegistration(c, s, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := made(t)
	if got := r.service; got.Address != "127.0.0.1" || got.Port != 9999 || got.Meta["team"] != "traffic" ||
		got.Meta["version"] != "1" || s.Meta["team"] != "nobody" {
		t.Errorf("registers %+v", got)
	}
	checks := r.checks()
	if len(checks) != 2 || checks[0].TTL != "3s" || checks[0].Status != api.HealthPassing ||
		checks[0].DeregisterCriticalServiceAfter != "2m0s" || checks[1].DeregisterCriticalServiceAfter != "" ||
		checks[1].HTTP != s.CheckURL || checks[1].Interval != "10s" || checks[1].Timeout != "2s" {
		t.Errorf("the checks are %+v, %+v", checks[0], checks[1])
	}

	c.Register.Address, c.Register.Port, c.Register.DeregisterAfter = "10.0.0.1", 80, 0
	c.Register.CheckURL = "http://10.0.0.1:81/"
	s.Ready = func() (bool, string) { return false, "starting" }
	r = made(t)
	if r.service.Address != "10.0.0.1" || r.service.Port != 80 {
		t.Errorf("registers %+v", r.service)
	}
	checks = r.checks()
	if checks[1].HTTP != "http://10.0.0.1:81/" || checks[0].DeregisterCriticalServiceAfter != "" ||
		checks[0].Status != api.HealthCritical {
		t.Errorf("the checks are %+v, %+v", checks[0], checks[1])
	}

	c.Register.CheckURL, s.CheckURL, s.ID = "", "", ""
	if r = made(t); len(r.checks()) != 1 || r.service.ID != "usher" {
		t.Errorf("registers %+v with %d checks", r.service, len(r.checks()))
	}
	for _, spoil := range []func(*config.Register){
		func(r *config.Register) { r.Name = "" }, func(r *config.Register) { r.TTL = 0 },
	} {
		c := selfConf("127.0.0.1:1")
		spoil(&c.Register)
		if _, err := NewRegistration(c, s, slog.New(slog.DiscardHandler)); !errors.Is(err, watcher.ErrInvalid) {
			t.Errorf("%+v: %v", c.Register, err)
		}
	}
}

// TestReadiness: the heartbeat tells it.
func TestReadiness(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t)
	var ready atomic.Bool
	s := thisUsher
	s.Ready = func() (bool, string) {
		if ready.Load() {
			return true, "ready"
		}
		return false, "no table yet"
	}
	registers(t, selfConf(a.Addr()), s)
	is := func(status, text string) {
		t.Helper()
		awaitListed(t, a, "usher", "is "+status, func(e *api.ServiceEntry) bool {
			c := checkOf(e, ":heartbeat")
			return c.Status == status && (text == "" || c.Output == text)
		})
	}
	is(api.HealthCritical, "") // the text comes with the next change of the status
	ready.Store(true)
	is(api.HealthPassing, "ready")
	ready.Store(false)
	is(api.HealthCritical, "no table yet")
}

// TestForgotten: an agent that lost the registration gets it again.
func TestForgotten(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*consultest.Agent){
		"taken out": func(a *consultest.Agent) { a.Deregister("usher-1") },
		"its check is gone": func(a *consultest.Agent) {
			_ = a.Client().Agent().CheckDeregister("service:usher-1:heartbeat")
		},
		"restarted empty": (*consultest.Agent).RestartEmpty,
		"restarted":       (*consultest.Agent).Restart,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := consultest.Start(t)
			_, log, _ := registers(t, selfConf(a.Addr()), thisUsher)
			awaitListed(t, a, "usher", "passes", isPassing)
			consultest.Eventually(t, "it knows that", func() bool { return log.count("registration works") == 1 })
			lose(a)
			if name != "restarted" {
				consultest.Eventually(t, "it notices", func() bool { return log.count("registration works now") > 0 })
			}
			awaitListed(t, a, "usher", "passes again", func(e *api.ServiceEntry) bool {
				return isPassing(e) && checkOf(e, ":heartbeat").Status == api.HealthPassing
			})
		})
	}
}

// TestNotListed: the heartbeat arrives, and yet the agent does not list the service.
func TestNotListed(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	f.answers = map[string]answer{"/v1/agent/service/usher-1": {status: http.StatusNotFound}}
	_, log, _ := registers(t, selfConf(f.addr), thisUsher)
	consultest.Eventually(t, "registered again", func() bool { return f.count("/v1/agent/service/register") > 2 })
	if n := log.count("level=WARN"); n != 1 {
		t.Errorf("%d warnings: %s", n, &log.buf)
	}
	f.set("/v1/agent/service/usher-1", answer{body: "{}"})
	consultest.Eventually(t, "it works", func() bool { return log.count("works now") == 1 })
}

// counting is an agent behind a proxy that counts the requests by path.
type counting struct {
	addr string
	mu   sync.Mutex
	n    map[string]int
}

func countRequests(t *testing.T, a *consultest.Agent) *counting {
	t.Helper()
	c := &counting{n: map[string]int{}}
	proxy := &httputil.ReverseProxy{
		Transport: &http.Transport{DisableKeepAlives: true},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: a.Addr()})
		},
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.n[r.URL.Path]++
		c.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	c.addr = s.Listener.Addr().String()
	return c
}

func (c *counting) count(path string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[path]
}

const (
	registerPath = "/v1/agent/service/register"
	beatPath     = "/v1/agent/check/update/service:usher-1:heartbeat"
)

// TestMaintenanceStays: usher goes on beating and registers no more, also when it is
// taken out by somebody else.
func TestMaintenanceStays(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t)
	c := countRequests(t, a)
	r, log, _ := registers(t, selfConf(c.addr), thisUsher)
	awaitListed(t, a, "usher", "passes", isPassing)
	if err := r.Maintenance(t.Context(), "it restarts"); err != nil {
		t.Fatal(err)
	}
	registered := c.count(registerPath)
	e := awaitListed(t, a, "usher", "beats on", func(e *api.ServiceEntry) bool {
		return checkOf(e, ":heartbeat").Output == "draining: it restarts"
	})
	if !inMaintenance(e) || checkOf(e, ":heartbeat").Status != api.HealthCritical {
		t.Errorf("the checks are %+v", e.Checks)
	}
	beats := c.count(beatPath)
	a.Deregister("usher-1")
	consultest.Eventually(t, "it notices", func() bool { return c.count(beatPath) > beats })
	letPass(t, 2*selfConf("").Register.TTL/3)
	if c.count(registerPath) != registered || listedAs(t, a, "usher") != nil {
		t.Error("a draining usher registered again")
	}
	for what, step := range map[string]func() error{
		"maintenance":    func() error { return r.Maintenance(t.Context(), "again") },
		"deregistration": func() error { return r.Deregister(t.Context()) },
	} {
		if err := step(); err != nil {
			t.Errorf("%s of a service that is out already: %v", what, err)
		}
	}
	if log.count("level=WARN") > 0 {
		t.Errorf("logged: %s", &log.buf)
	}
}

// TestDrainEndsTheTries: usher drains before it could register, and does not once it
// could.
func TestDrainEndsTheTries(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	f.answers = map[string]answer{registerPath: {status: http.StatusInternalServerError}}
	c := selfConf(f.addr)
	r, log, _ := registers(t, c, thisUsher)
	consultest.Eventually(t, "it tries", func() bool { return f.count(registerPath) > 1 })
	if err := r.Maintenance(t.Context(), "it restarts"); err != nil {
		t.Fatal(err)
	}
	tries := f.count(registerPath)
	f.set(registerPath, answer{})
	letPass(t, 2*c.Register.TTL/3)
	if n := f.count(registerPath); n != tries || log.count("works") > 0 {
		t.Errorf("%d more tries, logged %s", n-tries, &log.buf)
	}
}

// TestLeftInMaintenance: a registration replaces what an earlier one of the same ID
// left behind, its maintenance too.
func TestLeftInMaintenance(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t)
	r, _, stop := registers(t, selfConf(a.Addr()), thisUsher)
	awaitListed(t, a, "usher", "passes", isPassing)
	if err := r.Maintenance(t.Context(), "it restarts"); err != nil {
		t.Fatal(err)
	}
	stop() // without its deregistration
	awaitListed(t, a, "usher", "is in maintenance", inMaintenance)
	registers(t, selfConf(a.Addr()), thisUsher)
	awaitListed(t, a, "usher", "passes again", isPassing)
}

// TestDrainWaitsForRegistration: a drain that begins while a registration is under way
// comes after it, also when Run is told to end meanwhile.
func TestDrainWaitsForRegistration(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var order []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	arrived, answer := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == registerPath {
			close(arrived)
			select {
			case <-answer:
			case <-r.Context().Done():
				note("cut short")
			}
		}
		note(r.URL.Path)
	}))
	defer s.Close()
	r, err := NewRegistration(selfConf(s.Listener.Addr().String()), thisUsher, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var both sync.WaitGroup
	both.Go(func() { r.Run(ctx) })
	<-arrived
	var failed error
	both.Go(func() { failed = r.Deregister(context.Background()) })
	consultest.Eventually(t, "it leaves", func() bool { return r.leaving.Load() != nil })
	cancel()
	letPass(t, 100*time.Millisecond) // in which the request would be cut short
	close(answer)
	both.Wait()
	want := []string{registerPath, "/v1/agent/service/deregister/usher-1"}
	if failed != nil || !slices.Equal(order, want) {
		t.Errorf("got %v, %v, want %v", order, failed, want)
	}
}

// TestDrainOfAFrozenAgent ends with its context.
func TestDrainOfAFrozenAgent(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t)
	r, _, stop := registers(t, selfConf(a.Addr()), thisUsher)
	awaitListed(t, a, "usher", "passes", isPassing)
	a.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Maintenance(ctx, "it restarts"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("maintenance: %v", err)
	}
	stop()
	if err := r.Deregister(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("deregistration: %v", err)
	}
	a.Resume()
}

// TestWithoutRights: the failure is logged once and tried again, until it works.
func TestWithoutRights(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.ACL())
	proxy := countRequests(t, a)
	c := selfConf(proxy.addr)
	c.Token = a.NewToken(`service "usher" { policy = "read" } service "ushers" { policy = "write" }`)
	_, log, _ := registers(t, c, thisUsher)
	consultest.Eventually(t, "it tries on", func() bool { return proxy.count(registerPath) > 3 })
	if log.count("level=WARN") != 1 || log.count("http_403") != 1 || listedAs(t, a, "usher") != nil {
		t.Errorf("logged: %s", &log.buf)
	}
	changeRules(t, a, c.Token, leastRegister)
	awaitListed(t, a, "usher", "passes", isPassing)
	consultest.Eventually(t, "the end of the failures", func() bool { return log.count("works now") == 1 })
	if n := log.count("level=WARN"); n != 1 {
		t.Errorf("%d warnings: %s", n, &log.buf)
	}
}

// changeRules changes the rules of a token.
func changeRules(t *testing.T, a *consultest.Agent, secret, rules string) {
	t.Helper()
	acl := a.Client().ACL()
	token, _, err := acl.TokenReadSelf(&api.QueryOptions{Token: secret})
	if err != nil {
		t.Fatal(err)
	}
	policy, _, err := acl.PolicyRead(token.Policies[0].ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	policy.Rules = rules
	if _, _, err := acl.PolicyUpdate(policy, nil); err != nil {
		t.Fatal(err)
	}
}

// TestAttempts: one record for a row of failures, one for its end, and pauses that grow.
func TestAttempts(t *testing.T) {
	log := &logged{}
	a := attempts{log: log.logger(), what: "it"}
	for row := 1; row <= 3; row++ {
		last := a.failed(errNoLeader)
		if last != watcher.FirstPause {
			t.Errorf("the first pause is %v", last)
		}
		for range 100 {
			next := a.failed(errNoLeader)
			if next < watcher.FirstPause || next > min(3*last, longestPause) {
				t.Fatalf("a pause of %v after %v", next, last)
			}
			last = next
		}
		a.succeeded()
		a.succeeded()
		if log.count("it failed") != row || log.count("it works now") != row || log.count("it works") != row {
			t.Fatalf("after row %d: %s", row, &log.buf)
		}
	}
}

package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/watcher/consul/consultest"
)

// patience is how long a test waits for what must come: a passing one never waits so
// long, on whatever machine.
const patience = time.Minute

// lowRate is the load, in requests a second, of tests that run beside others.
const lowRate = 100

// stage is a usher beside a Consul, and a service with instances.
type stage struct {
	t     *testing.T
	agent *consultest.Agent
	u     *usher
	shop  []*backend
}

// newStage starts an agent, n instances of the service shop at shop.test, and a usher
// with more in its configuration.
func newStage(t *testing.T, n int, more string, opts ...consultest.Option) *stage {
	t.Helper()
	agent := consultest.Start(t, opts...)
	return newStageAt(t, agent, agent.Addr(), n, more)
}

// newStageAt is newStage beside an agent that usher reaches at another address.
func newStageAt(t *testing.T, agent *consultest.Agent, addr string, n int, more string) *stage {
	t.Helper()
	s := &stage{t: t, agent: agent}
	s.shop = s.add("shop", n)
	s.u = start(t, withConsul(addr, more))
	s.serve("shop.test", s.shop)
	return s
}

// add starts n instances of shop and registers them; their names begin with prefix.
func (s *stage) add(prefix string, n int) (list []*backend) {
	s.t.Helper()
	for i := range n {
		list = append(list, newBackend(s.t, fmt.Sprintf("%s-%d", prefix, i), nil))
	}
	s.register(list)
	return list
}

// register registers instances of shop. An agent remembers over its restart the state
// of a check that was set.
func (s *stage) register(list []*backend) {
	s.t.Helper()
	for _, b := range list {
		register(s.agent, "shop", b, "shop.test")
		setCheck(s.t, s.agent, b, api.HealthPassing)
	}
}

// serve waits until these instances, and only they, answer for the host.
func (s *stage) serve(host string, list []*backend) {
	s.t.Helper()
	s.u.servedBy(host, names(list)...)
}

func names(list []*backend) (out []string) {
	for _, b := range list {
		out = append(out, b.name)
	}
	return out
}

// load starts the steady load on shop.
func (s *stage) load() *load {
	s.t.Helper()
	return startLoad(s.t, s.u.web+"/", "shop.test", lowRate)
}

// servedBy waits until the instances of these names, and only they, answer for host.
func (u *usher) servedBy(host string, want ...string) {
	u.t.Helper()
	slices.Sort(want)
	var last []string
	defer func() {
		if u.t.Failed() {
			u.t.Logf("%s was last served by %q", host, last)
		}
	}()
	eventually(u.t, patience, fmt.Sprintf("%s is served by %q", host, want), func() bool {
		seen := map[string]bool{}
		for range 8 * len(want) {
			code, body := get(u.t, u.web+"/", host)
			if code != http.StatusOK {
				body = fmt.Sprintf("%d %s", code, body)
			}
			seen[body] = true
		}
		last = last[:0]
		for name := range seen {
			last = append(last, name)
		}
		slices.Sort(last)
		return slices.Equal(last, want)
	})
}

// details is what /readyz?verbose says.
func (u *usher) details() string {
	u.t.Helper()
	_, body := get(u.t, u.admin+"/readyz?verbose", "")
	return body
}

// waitDetails waits until /readyz?verbose, which must say that usher is ready, holds
// a part.
func (u *usher) waitDetails(part string) {
	u.t.Helper()
	last := ""
	defer func() {
		if u.t.Failed() {
			u.t.Logf("/readyz?verbose says: %s", last)
		}
	}()
	eventually(u.t, patience, "/readyz?verbose: "+part, func() bool {
		code, body := get(u.t, u.admin+"/readyz?verbose", "")
		last = body
		if code != http.StatusOK {
			u.t.Fatalf("/readyz: %d", code)
		}
		return strings.Contains(body, part)
	})
}

// waitMetric waits until a metric has a value.
func (u *usher) waitMetric(name string, want float64, parts ...string) {
	u.t.Helper()
	last := 0.0
	defer func() {
		if u.t.Failed() {
			u.t.Logf("%s is %v", name, last)
		}
	}()
	eventually(u.t, patience, fmt.Sprintf("%s %v is %v", name, parts, want), func() bool {
		last = u.metric(name, parts...)
		return last == want
	})
}

// waitMetricAbove waits until a metric is above a value.
func (u *usher) waitMetricAbove(name string, low float64, parts ...string) {
	u.t.Helper()
	eventually(u.t, patience, fmt.Sprintf("%s %v is above %v", name, parts, low), func() bool {
		return u.metric(name, parts...) > low
	})
}

// stale waits until usher says in all places that the registry does not answer.
func (u *usher) stale() {
	u.t.Helper()
	u.waitMetric("usher_discovery_stale", 1)
	u.waitMetric("usher_discovery_up", 0)
	u.waitDetails("stale: ")
	u.waitLog("registry failed; what it said last stays")
}

// fresh waits until usher says in all places that the registry answers.
func (u *usher) fresh() {
	u.t.Helper()
	u.waitMetric("usher_discovery_stale", 0)
	u.waitMetric("usher_discovery_up", 1)
	eventually(u.t, patience, "/readyz?verbose says nothing of stale", func() bool {
		return !strings.Contains(u.details(), "stale: ")
	})
	u.waitLog("registry answers again")
}

// holding waits until usher says in all places that it holds n instances of shop.
func (u *usher) holding(n int) {
	u.t.Helper()
	u.waitMetric("usher_discovery_held_endpoints", float64(n))
	var holds []service
	eventually(u.t, patience, fmt.Sprintf("the API tells of %d held instances", n), func() bool {
		holds = nil
		if code := u.api(http.MethodGet, "holds", &holds); code != http.StatusOK {
			u.t.Fatalf("holds: %d", code)
		}
		sum := 0
		for _, s := range holds {
			sum += s.Hold.Instances
		}
		return sum == n
	})
	switch said := u.details(); {
	case n == 0 && strings.Contains(said, "holding"):
		u.t.Errorf("/readyz?verbose still says: %s", said)
	case n > 0 && !strings.Contains(said, fmt.Sprintf("holding %d instances", n)):
		u.t.Errorf("/readyz?verbose does not tell of %d held instances: %s", n, said)
	}
	if n > 0 && !u.hasLog("instances vanished implausibly") {
		u.t.Error("the log does not tell of the hold")
	}
}

// service is what the API tells of one, as far as the tests look.
type service struct {
	Name, Registry, Reason string
	Routed                 bool
	Confirmed              time.Time
	Age                    float64 `json:"age_seconds"`
	Instances              []struct {
		ID, Address, Status string
		Held                bool
	}
	Hold *struct {
		Instances, Quorum int
		Reason            string
		Since             time.Time
	}
}

// api makes a request of the admin API, reads the JSON it answers with into v unless
// that is nil, and returns the status.
func (u *usher) api(method, path string, v any, fields ...string) int {
	u.t.Helper()
	req, err := http.NewRequest(method, u.admin+"/api/v1/"+path, nil)
	if err != nil {
		u.t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		u.t.Fatal(err)
	}
	defer resp.Body.Close()
	if v == nil {
		return resp.StatusCode
	}
	if kind := resp.Header.Get("Content-Type"); kind != "application/json" {
		u.t.Errorf("%s %s: %s %s", method, path, resp.Status, kind)
	}
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		u.t.Errorf("%s %s: %s: %v", method, path, resp.Status, err)
	}
	return resp.StatusCode
}

// fromEnv is a duration of the environment, or else the one that suits the suite.
func fromEnv(t *testing.T, name string, short time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return short
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return d
}

// relay is a double of the way between usher and its registry: it forwards to a real
// agent, or answers 500, and can change the agent behind the same address.
type relay struct {
	server *httptest.Server

	mu     sync.Mutex
	target string
	broken bool
	// changed is closed, and made anew, when the requests under way must be asked again.
	changed chan struct{}
	// asked are the queries that the agent behind it has had.
	asked map[string]bool
}

func newRelay(t *testing.T, agent *consultest.Agent) *relay {
	t.Helper()
	r := &relay{changed: make(chan struct{})}
	r.to(agent)
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	r.server = httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(p *httputil.ProxyRequest) { p.Out.URL.Scheme = "http" }, // relayed knows where
		Transport: relayed{r, tr},
	})
	t.Cleanup(func() {
		r.server.CloseClientConnections()
		r.server.Close()
		tr.CloseIdleConnections()
	})
	return r
}

func (r *relay) addr() string { return strings.TrimPrefix(r.server.URL, "http://") }

// to puts another agent behind the address, or the same one anew. The queries under way
// are asked again; the first one of each kind has no index, so that it is answered at
// once, as by a client agent that lost its servers.
func (r *relay) to(agent *consultest.Agent) {
	r.set(func() { r.target, r.asked = agent.Addr(), map[string]bool{} })
}

// fail begins to answer 500, the queries under way included; heal ends that.
func (r *relay) fail() { r.set(func() { r.broken = true }) }

func (r *relay) heal() { r.set(func() { r.broken = false }) }

func (r *relay) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	close(r.changed)
	r.changed = make(chan struct{})
}

// state is what holds for a query now: whether it fails, which agent it goes to, whether
// that one is asked it for the first time, and what ends it.
func (r *relay) state(query string) (broken bool, target string, first bool, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first = !r.asked[query]
	r.asked[query] = true
	return r.broken, r.target, first, r.changed
}

// relayed is a relay as the transport of its proxy.
type relayed struct {
	*relay
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (r relayed) RoundTrip(req *http.Request) (*http.Response, error) {
	for {
		query := req.URL.Query()
		broken, target, first, changed := r.state(req.URL.Path + "?" + query.Get("filter"))
		if broken {
			return &http.Response{
				StatusCode: http.StatusInternalServerError, Status: "500 Internal Server Error",
				Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
				Body: http.NoBody, Request: req,
			}, nil
		}
		if first {
			query.Del("index")
			req.URL.RawQuery = query.Encode()
		}
		resp, again, err := r.try(req, target, changed)
		if !again {
			return resp, err
		}
	}
}

// try sends a request to an agent; again says that the relay changed meanwhile.
func (r relayed) try(
	req *http.Request, target string, changed <-chan struct{},
) (resp *http.Response, again bool, err error) {
	ctx, cancel := context.WithCancel(req.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	out := req.Clone(ctx)
	out.URL.Host = target
	resp, err = r.next.RoundTrip(out)
	if err == nil {
		var body []byte
		body, err = io.ReadAll(resp.Body) // the answer is whole before it goes on
		_ = resp.Body.Close()
		resp.Body = io.NopCloser(bytes.NewReader(body))
	}
	again = err != nil && ctx.Err() != nil && req.Context().Err() == nil
	cancel()
	<-stopped
	return resp, again, err
}

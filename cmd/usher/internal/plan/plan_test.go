package plan

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"usher/cmd/usher/internal/api"
	"usher/config"
	"usher/proxy/proxytest"
	"usher/routetable"
	"usher/routetable/balance"
	"usher/watcher"
)

// world is a usher whose tables are drawn, and its services.
type world struct {
	t       *testing.T
	r       *rand.Rand
	u       *proxytest.Usher
	client  *http.Client
	version uint64
	// addresses are those of the services s0, s1 and so on; the last has no instance
	// that may be asked, and is the only such: which of two it is nobody could see.
	addresses []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, r: rand.New(rand.NewPCG(11, 12)), u: proxytest.Start(t, proxytest.Options{})}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	w.client = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for i := range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			fmt.Fprint(rw, "s", i, " ", r.Host, r.RequestURI)
		})}
		go func() { _ = s.Serve(ln) }()
		t.Cleanup(func() { _ = s.Close() })
		w.addresses = append(w.addresses, ln.Addr().String())
	}
	w.addresses = append(w.addresses, "")
	return w
}

func (w *world) one(words ...string) string { return words[w.r.IntN(len(words))] }

// route draws a route of the configuration.
func (w *world) route(i int) config.Route {
	r := config.Route{Name: fmt.Sprint("r", i), Priority: w.r.IntN(2), Service: fmt.Sprint("s", w.r.IntN(4))}
	m := &r.Match
	m.Hosts = [][]string{nil, {"a.test"}, {"*.test"}, {"b.test", "a.test"}, {"*"}}[w.r.IntN(5)]
	m.Path, m.PathType = w.one("/", "/x", "/x/y"), w.one("prefix", "prefix", "exact", "iprefix", "glob", "regex")
	if w.r.IntN(4) == 0 {
		m.Methods = []string{w.one("GET", "PUT")}
	}
	if w.r.IntN(4) == 0 {
		m.Headers = map[string]string{"X-A": w.one("1", "2")}
	}
	if w.r.IntN(6) == 0 {
		m.Listeners = []string{w.one("web", "other")}
	}
	if w.r.IntN(6) == 0 {
		m.Query = map[string]string{"q": "1"}
	}
	switch w.r.IntN(8) {
	case 0:
		to := "http://" + w.one("a.test", "$host") + w.one("$path", "/x")
		r.Service, r.Redirect = "", &config.Redirect{Code: 302, To: to}
	case 1:
		r.Service, r.Respond = "", &config.Respond{Status: 200, Body: w.one("hello", "bye")}
	case 2:
		r.StripPrefix = "/x"
	case 3:
		r.Rewrite = &config.PathRewrite{Path: "x", To: "zz"}
	}
	return r
}

// catalog draws what the services announce; each has one instance.
func (w *world) catalog() *watcher.Catalog {
	w.version++
	var services []*watcher.Service
	for i, address := range w.addresses {
		in := watcher.Instance{ID: "i", Address: address, Weight: 1, Created: uint64(i + 1)}
		if address == "" {
			in.Address, in.Status = "127.0.0.1:1", watcher.Critical
		}
		for range w.r.IntN(4) {
			text := w.one("a.test/", "b.test/x", "/", "*.test/x/y", "c.test/") +
				w.one("", "", " strip=/x", " host=h.test", " redirect=301,http://a.test$path", " weight=x",
					" allow=ip:127.0.0.1")
			in.Announcements = append(in.Announcements, watcher.Announcement{
				Origin: watcher.FromTag, Where: text, Text: text,
			})
		}
		services = append(services, &watcher.Service{
			Key: watcher.Key{Registry: "r", Service: fmt.Sprint("s", i)}, Instances: []watcher.Instance{in},
		})
	}
	return watcher.NewCatalog(w.version, services...)
}

// configuration draws one, from another one if there is one.
func (w *world) configuration(before *Running) *Running {
	r := &Running{
		SharedRoutes: false, Listeners: []Listener{{Name: "web", Protocol: "http"}},
		Defaults: config.Policy{
			Balance: "round_robin", ConnectTimeout: proxytest.Patience, Timeout: proxytest.Patience,
		},
	}
	for i := range w.r.IntN(8) {
		if before != nil && i < len(before.Routes) && w.r.IntN(3) > 0 {
			r.Routes = append(r.Routes, before.Routes[i])
		} else {
			r.Routes = append(r.Routes, w.route(i))
		}
	}
	return r
}

// serve puts a table of the configuration in force, as a usher would.
func (w *world) serve(catalog *watcher.Catalog, r *Running) {
	rules := r.Rules()
	rules.Balancers = balance.All()
	t := routetable.Build(catalog, rules, w.u.Proxy.Table())
	w.u.Health.Adopt(t)
	w.u.Proxy.Publish(t)
}

// requests are all that a test sends.
func (w *world) requests() (out []api.SampledRequest) {
	for _, host := range []string{"a.test", "b.test", "c.test", "d.test:80"} {
		for _, target := range []string{"/", "/x", "/X/y?q=1", "/x/y/x"} {
			for _, value := range []string{"", "1"} {
				r := api.SampledRequest{Listener: "web", Method: w.one("GET", "PUT"), Host: host, Target: target}
				if value != "" {
					r.Headers = map[string][]string{"X-A": {value}}
				}
				out = append(out, r)
			}
		}
	}
	return out
}

// answered is what came of a request: who answered, and what it was asked for.
func (w *world) answered(r *api.SampledRequest) string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), r.Method, "http://"+w.u.Addr()+r.Target, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Host = r.Host
	for name, values := range r.Headers {
		req.Header[name] = values
	}
	resp, err := w.client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	reason := resp.Header.Get("X-Usher-Reason")
	if resp.StatusCode >= 400 { // the text of the answer may name the route
		body = nil
	}
	return fmt.Sprintf("%d %s %s %s", resp.StatusCode, reason, resp.Header.Get("Location"), body)
}

// For drawn pairs of configurations over drawn services: a request is among those that
// move if and only if the data plane answers it otherwise with the second.
func TestMovedAreThoseAnsweredOtherwise(t *testing.T) {
	rounds := 150
	if testing.Short() {
		rounds = 20
	}
	w := newWorld(t)
	moved, stayed := 0, 0
	for round := range rounds {
		catalog, running := w.catalog(), w.configuration(nil)
		next := w.configuration(running)
		requests := w.requests()
		w.serve(catalog, running)
		before := routetable.Build(catalog, running.Rules(), routetable.Remember(w.u.Proxy.Table().Memory()))
		after := routetable.Build(catalog, next.Rules(), before)
		p := Compare(running, next, before, after, requests)
		was := make([]string, len(requests))
		for i := range requests {
			was[i] = w.answered(&requests[i])
		}
		w.serve(catalog, next)
		for i := range requests {
			r := &requests[i]
			at := slices.IndexFunc(p.Moved, func(m api.Moved) bool {
				return m.Request.Host == r.Host && m.Request.Target == r.Target && m.Request.Method == r.Method &&
					fmt.Sprint(m.Request.Headers) == fmt.Sprint(r.Headers)
			})
			is := w.answered(r)
			if (at >= 0) != (was[i] != is) {
				from := newSide(before, running).leads(newRequest(r))
				to := newSide(after, next).leads(newRequest(r))
				t.Fatalf("round %d: %+v moves by the plan: %t (%+v → %+v), was answered\n%s\nand then\n%s\n"+
					"by %s and %s", round, *r, at >= 0, *from, *to, was[i], is, configured(running), configured(next))
			}
			if at >= 0 {
				moved++
			} else {
				stayed++
			}
		}
	}
	if moved < 4*rounds || stayed < 4*rounds {
		t.Errorf("%d requests moved, %d stayed", moved, stayed)
	}
}

func configured(r *Running) string {
	var lines []string
	for _, route := range r.Routes {
		lines = append(lines, fmt.Sprint(config.Values(route)))
	}
	return strings.Join(lines, "\n")
}

// What the running usher tells is read as it was told, and holds no secret.
func TestRunningIsToldWithoutSecrets(t *testing.T) {
	cfg := &config.Config{
		Files: []string{"/etc/usher/usher.yaml"}, Hash: "h", SharedRoutes: true,
		Listeners: []config.Listener{{Name: "web", Address: ":80", RedirectHTTPS: &config.RedirectHTTPS{Code: 301}}},
		Registries: []config.Registry{
			{Name: "consul", Consul: &config.Consul{Token: "s3cret"}},
			{Name: "file", File: &config.File{Path: "/etc/usher/services.yaml"}},
		},
		Routes: []config.Route{{
			Name: "r", Match: config.Match{Headers: map[string]string{"X-Api-Key": "s3cret"}},
			RequestHeaders: config.HeaderEdits{Set: map[string]string{"Authorization": "s3cret", "X-Ok": "fine"}},
			Respond:        &config.Respond{Headers: map[string]string{"Set-Cookie": "s3cret"}},
			Override:       config.Override{Timeout: new(proxytest.Patience)},
			Pos:            config.Pos{File: "usher.yaml", Line: 3, Column: 5},
		}},
		Services: map[string]config.Service{"s": {Policy: config.Policy{Sticky: config.Sticky{Secret: "s3cret"}}}},
	}
	cfg.Defaults.Upstream.TLS.PEM.Key = "s3cret"
	told := NewRunning(cfg, "v1")
	data, err := told.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "s3cret") {
		t.Errorf("a secret is told:\n%s", data)
	}
	own := cfg.Routes[0]
	if own.RequestHeaders.Set["Authorization"] != "s3cret" || own.Respond.Headers["Set-Cookie"] != "s3cret" {
		t.Error("the configuration itself was changed")
	}
	read, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := read.Encode()
	if err != nil || string(again) != string(data) {
		t.Errorf("%v: read as\n%s\nwas\n%s", err, again, data)
	}
	if !slices.Contains(read.Registries["file"], config.Value{Key: "path", Text: "services.yaml"}) {
		t.Errorf("a path is told from another folder on: %v", read.Registries["file"])
	}
	if _, err := Decode([]byte(`{"Routes": [], "Novelty": 1}`)); err == nil {
		t.Error("what a newer usher says is not refused")
	}
}

// Shares of a split are no other destination, another service in it is one.
func TestSplitsMove(t *testing.T) {
	split := func(weights ...float64) *Running {
		r := config.Route{Name: "r"}
		for i, weight := range weights {
			r.Split = append(r.Split, config.Arm{Service: fmt.Sprint("s", i), Weight: weight})
		}
		return &Running{
			Routes: []config.Route{r}, Listeners: []Listener{{Name: "web"}}, SharedRoutes: true,
			Defaults: config.Policy{Balance: "random"},
		}
	}
	catalog := watcher.NewCatalog(1, &watcher.Service{
		Key:       watcher.Key{Registry: "r", Service: "s0"},
		Instances: []watcher.Instance{{ID: "i", Address: "h:1", Weight: 1}},
	})
	requests := []api.SampledRequest{
		{Listener: "web", Method: "GET", Host: "h", Target: "/"}, {Listener: "gone", Target: "/"},
	}
	for name, c := range map[string]struct {
		from, to *Running
		moved    int
	}{
		"the same":          {split(1, 1), split(1, 1), 0},
		"other shares":      {split(9, 1), split(1, 9), 0},
		"an arm less":       {split(1, 1), split(1, 0), 1},
		"an arm more":       {split(1), split(1, 1), 1},
		"a listener is new": {split(1), withListener(split(1), "gone"), 1},
	} {
		before := routetable.Build(catalog, c.from.Rules(), nil)
		p := Compare(c.from, c.to, before, routetable.Build(catalog, c.to.Rules(), before), requests)
		if p.MovedCount != c.moved || p.Replayed != 2 {
			t.Errorf("%s: %d of %d moved: %+v", name, p.MovedCount, p.Replayed, p.Moved)
		}
	}
}

func withListener(r *Running, name string) *Running {
	r.Listeners = append(r.Listeners, Listener{Name: name})
	return r
}

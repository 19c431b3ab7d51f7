package main_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/consul/api"

	usherapi "usher/cmd/usher/internal/api"
	"usher/proxy/upstream/upstreamtest"
)

// overview asks for the overview.
func (u *usher) overview() (o usherapi.Overview) {
	u.t.Helper()
	if code := u.api(http.MethodGet, "overview", &o); code != http.StatusOK {
		u.t.Fatalf("overview: %d", code)
	}
	return o
}

// waitEvent waits for an event of a kind whose message holds all parts.
func (u *usher) waitEvent(kind string, parts ...string) (found usherapi.Event) {
	u.t.Helper()
	var list []usherapi.Event
	defer func() {
		if u.t.Failed() {
			u.t.Logf("events: %+v", list)
		}
	}()
	eventually(u.t, patience, fmt.Sprintf("an event of %s: %q", kind, parts), func() bool {
		list = nil
		u.api(http.MethodGet, "events", &list)
		return slices.ContainsFunc(list, func(e usherapi.Event) bool {
			found = e
			lacks := func(part string) bool { return !strings.Contains(e.Message, part) }
			return e.Kind == kind && !slices.ContainsFunc(parts, lacks)
		})
	})
	return found
}

// The overview tells what is, and why not all of it is served.
func TestOverview(t *testing.T) {
	t.Parallel()
	b := newBackend(t, "b", nil)
	u := launch(t, withFile+`
telemetry: {address: "127.0.0.1:0"}
routes: [{name: over, match: {hosts: [s.test]}, service: s}]
`)
	writeFile(t, u.dir+"/services.yaml", fmt.Sprintf(`services:
  - {name: s, routes: ["s.test/"], instances: [{address: %q}, {address: "127.0.0.1:1", status: maintenance}]}
  - {name: bad, routes: ["bad[.test/"], instances: [{address: "127.0.0.1:2"}]}
  - {name: also-bad, routes: ["bad[.test/"], instances: [{address: "127.0.0.1:2"}]}
  - {name: silent, routes: [], instances: [{address: "127.0.0.1:3"}]}
`, b.address()))
	u.waitLog(`"msg":"services"`)
	u.waitStatus("s.test", http.StatusOK)
	u.waitStatus("none.test", http.StatusNotFound)
	o := u.overview()
	if !o.Ready || o.Draining || o.NotReady != "" || o.Generation == 0 || o.Swapped.IsZero() || o.Pinned != nil ||
		o.Now.Before(o.Swapped) || o.Swapped.Before(o.Started) || o.Version == "" {
		t.Errorf("%+v", o)
	}
	if o.Config.File != u.conf || o.Config.Hash == "" || o.Config.Refused != nil {
		t.Errorf("config: %+v", o.Config)
	}
	if len(o.Listeners) != 3 || "http://"+o.Listeners[0].Address != u.web ||
		"http://"+o.Listeners[1].Address != u.admin {
		t.Errorf("listeners: %+v", o.Listeners)
	}
	if o.Services.Seen != 4 || o.Services.Routed != 1 || o.Routes != 1 || o.Refused != 2 || o.Conflicts != 1 {
		t.Errorf("services: %+v, %d routes, %d refused, %d conflicts", o.Services, o.Routes, o.Refused, o.Conflicts)
	}
	skipped := 0
	for _, s := range o.Services.Skipped {
		skipped += s.Count
		if s.Reason == "" || s.Count == 2 && !slices.Equal(s.Examples, []string{"also-bad@file", "bad@file"}) {
			t.Errorf("skipped: %+v", s)
		}
	}
	if skipped != 3 || o.Services.Skipped[0].Count != 2 {
		t.Errorf("skipped: %+v", o.Services.Skipped)
	}
	st := o.Instances.States
	if o.Instances.Total != 5 || st["healthy"] != 1 || st["maintenance"] != 1 || st["unrouted"] != 3 {
		t.Errorf("instances: %+v", o.Instances)
	}
	last := o.Totals.Durations[len(o.Totals.Durations)-1]
	if tt := o.Totals; tt.Requests < 2 || tt.Codes["2xx"] == 0 || tt.Errors["no_route"] == 0 || tt.BytesSent == 0 ||
		last.Count != tt.Requests || last.Seconds != 0 {
		t.Errorf("totals: %+v", tt)
	}
	u.waitEvent("refused", "bad@file", "bad[.test/")
	u.write(withFile + "nonsense: 1\n")
	u.waitLog("configuration refused")
	eventually(t, patience, "the refusal is told", func() bool {
		c := u.overview().Config
		return len(c.Refused) == 1 && c.RefusedAt != nil && c.Hash == o.Config.Hash
	})
	u.waitEvent("reload", "refused", "nonsense")
}

// What goes on at a service is told by its instances, and its figures are its own.
func TestServiceFigures(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	b := newBackend(t, "b", func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
	})
	u := startWithFile(t, b, `routes: [{name: more, match: {hosts: [more.test]}, service: s}]`)
	done := make(chan struct{})
	go func() {
		defer close(done)
		get(t, u.web+"/slow", "more.test")
	}()
	var list []usherapi.Service
	eventually(t, patience, "a request is in flight", func() bool {
		list = nil
		code := u.api(http.MethodGet, "services/s", &list)
		return code == http.StatusOK && list[0].Instances[0].InFlight == 1
	})
	s := list[0]
	if s.Totals == nil || s.Totals.Requests == 0 || s.Totals.InFlight != 1 ||
		!slices.Equal(s.Routes, []string{"more", "s.test/"}) {
		t.Errorf("%+v %+v", s, s.Totals)
	}
	close(release)
	<-done
	var routes usherapi.Routes
	u.api(http.MethodGet, "routes", &routes)
	if r := routes.Routes[0]; r.Action != "to s" || r.Usable != 1 || r.Endpoints != 1 {
		t.Errorf("%+v", r)
	}
	eventually(t, patience, "the traffic is remembered", func() bool {
		var traffic usherapi.Traffic
		u.api(http.MethodGet, "traffic", &traffic)
		return slices.ContainsFunc(traffic.Points, func(p usherapi.Point) bool { return p.Requests > 0 && p.P99 > 0 })
	})
}

// A reload by the API is that of SIGHUP, and says what came of it.
func TestReloadByAPI(t *testing.T) {
	t.Parallel()
	u := startWithFile(t, newBackend(t, "b", nil), "")
	before := u.overview().Config.Hash
	u.write(withFile + "routes: [{name: own, match: {hosts: [own.test]}, respond: {status: 204}}]\n")
	var state usherapi.ConfigState
	code := u.api(http.MethodPost, "reload", &state)
	if code != http.StatusOK || state.Hash == before || state.Refused != nil {
		t.Errorf("%d %+v", code, state)
	}
	u.waitStatus("own.test", http.StatusNoContent)
	u.waitEvent("reload", "reloaded", state.Hash)
	u.write(withFile + "a: 1\nb: 2\n")
	var no usherapi.ConfigState
	code = u.api(http.MethodPost, "reload", &no)
	if code != http.StatusUnprocessableEntity || no.Hash != state.Hash || len(no.Refused) != 2 || no.RefusedAt == nil ||
		!strings.Contains(no.Refused[0], "usher.yaml:") {
		t.Errorf("%d %+v", code, no)
	}
	// The answer comes though the reload moves the listener that it goes over.
	u.write(strings.Replace(withFile, `admin: {address: "127.0.0.1:0"}`, `admin: {address: "localhost:0"}`, 1))
	if code := u.api(http.MethodPost, "reload", &state); code != http.StatusOK {
		t.Errorf("moving the listener: %d %+v", code, state)
	}
}

// A drained usher is unready and serves on; undrained it is as before; and a signal stops it
// whatever it is.
func TestDrainByAPI(t *testing.T) {
	t.Parallel()
	u := startWithFile(t, newBackend(t, "b", nil), "")
	closes := func() bool {
		t.Helper()
		req, _ := http.NewRequest(http.MethodGet, u.web+"/", nil)
		req.Host = "s.test"
		tr := &http.Transport{}
		defer tr.CloseIdleConnections()
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s", resp.Status)
		}
		return resp.Close
	}
	for range 2 {
		for range 2 { // asking twice is asking once
			if code := u.api(http.MethodPost, "drain", nil); code != http.StatusOK {
				t.Fatalf("drain: %d", code)
			}
		}
		code, body := get(t, u.admin+"/readyz", "")
		o := u.overview()
		if code != 503 || strings.TrimSpace(body) != "draining" || !closes() || !o.Draining || o.Ready {
			t.Errorf("drained: %d %s, closes: %v, %+v", code, body, closes(), o)
		}
		u.waitMetric("usher_ready", 0)
		if code := u.api(http.MethodPost, "undrain", nil); code != http.StatusOK {
			t.Fatalf("undrain: %d", code)
		}
		code, _ = get(t, u.admin+"/readyz", "")
		if o := u.overview(); code != 200 || closes() || o.Draining || !o.Ready {
			t.Errorf("undrained: %d, closes: %v, %+v", code, closes(), o)
		}
		u.waitMetric("usher_ready", 1)
	}
	u.waitEvent("drain", "undrained")
	u.api(http.MethodPost, "drain", nil)
	u.signal(syscall.SIGTERM)
	if code := u.wait(patience); code != 0 {
		t.Errorf("it ended with %d", code)
	}
}

// While usher stops nothing is changed any more, and streams end with it.
func TestAPIWhileStopping(t *testing.T) {
	t.Parallel()
	u := startWithFile(t, newBackend(t, "b", nil), "defaults: {drain_delay: 2s}\n")
	req, _ := http.NewRequest(http.MethodGet, u.admin+"/api/v1/events", nil)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	u.signal(syscall.SIGTERM)
	u.waitLog(`"msg":"draining"`)
	for _, what := range []string{"drain", "undrain", "reload"} {
		if code := u.api(http.MethodPost, what, nil); code != http.StatusConflict {
			t.Errorf("%s: %d", what, code)
		}
	}
	if o := u.overview(); !o.Draining || o.Ready {
		t.Errorf("%+v", o)
	}
	stopped := false
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		stopped = stopped || strings.Contains(lines.Text(), "draining to stop")
	}
	if code := u.wait(patience); code != 0 || !stopped {
		t.Errorf("it ended with %d, and told of it: %v", code, stopped)
	}
}

// A client that waits for a service sees its instances come, be ejected and go, as usher
// does; and so does Prometheus.
func TestDiscoveryThroughUsher(t *testing.T) {
	t.Parallel()
	s := newStage(t, 3, "")
	tag := ""
	var c usherapi.Catalog
	poll := func() (usable, listed int) {
		t.Helper()
		req, _ := http.NewRequest(http.MethodGet, s.u.admin+"/api/v1/catalog?service=shop&wait=30s", nil)
		if tag != "" {
			req.Header.Set("If-None-Match", tag)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusNotModified {
			c = usherapi.Catalog{}
			if err := json.NewDecoder(resp.Body).Decode(&c); err != nil || resp.Header.Get("ETag") == tag {
				t.Fatalf("%s %v %v", resp.Status, resp.Header, err)
			}
			tag = resp.Header.Get("ETag")
		}
		for _, s := range c.Services {
			for _, in := range s.Instances {
				listed++
				if in.Usable {
					usable++
				}
			}
		}
		return usable, listed
	}
	until := func(what string, wantUsable, wantListed int) {
		t.Helper()
		eventually(t, patience, what, func() bool {
			usable, listed := poll()
			return usable == wantUsable && listed == wantListed
		})
	}
	until("all are usable", 3, 3)
	load := s.load() // what meets nobody comes back
	s.shop[0].stop()
	until("one that refuses connections is not usable", 2, 3)
	s.u.waitEvent("health", "shop-0", "ejected")
	setCheck(t, s.agent, s.shop[1], api.HealthCritical)
	until("one whose check is critical is not usable", 1, 3)
	s.u.waitEvent("health", "shop-1", "critical")
	more := s.add("more", 1)
	until("a new one is usable", 2, 4)
	load.mustBeClean(1)
	var groups []usherapi.TargetGroup
	s.u.api(http.MethodGet, "http_sd?service=shop", &groups)
	if len(groups) != 4 || !slices.ContainsFunc(groups, func(g usherapi.TargetGroup) bool {
		return g.Targets[0] == more[0].address() && g.Labels["__meta_usher_usable"] == "true"
	}) {
		t.Errorf("targets: %+v", groups)
	}
}

// Prometheus' own discovery reads what usher offers.
func TestPrometheusDiscovers(t *testing.T) {
	t.Parallel()
	promtool := os.Getenv("USHER_TEST_PROMTOOL")
	if promtool == "" {
		promtool, _ = exec.LookPath("promtool")
	}
	if promtool == "" {
		promtool, _ = filepath.Abs("../../deploy/tools/bin/promtool")
	}
	if _, err := os.Stat(promtool); err != nil {
		t.Skip("no promtool: run make promtool")
	}
	b := newBackend(t, "b", nil)
	token := filepath.Join(t.TempDir(), "token")
	writeFile(t, token, "0123456789abcdef\n")
	u := launch(t, strings.Replace(withFile, "127.0.0.1:0\"}\nreg", "127.0.0.1:0\", token_file: "+token+"}\nreg", 1))
	writeFile(t, u.dir+"/services.yaml", fmt.Sprintf(
		"services: [{name: s, routes: [s.test/], instances: [{address: %q, meta: {team: a b}}]}]\n", b.address()))
	u.waitLog(`"msg":"services"`)
	u.waitStatus("s.test", http.StatusOK)
	conf := filepath.Join(t.TempDir(), "prometheus.yml")
	writeFile(t, conf, fmt.Sprintf(`
scrape_configs:
  - job_name: services
    http_sd_configs: [{url: "%s/api/v1/http_sd", authorization: {credentials_file: %q}}]
    relabel_configs: [{source_labels: [__meta_usher_meta_team], target_label: team}]
`, u.admin, token))
	said, err := exec.Command(promtool, "check", "service-discovery", "--timeout=2s", conf, "services").Output()
	var found []struct{ Labels map[string]string }
	if err != nil || json.Unmarshal(said, &found) != nil || len(found) != 1 {
		t.Fatalf("%v %s", err, said)
	}
	if l := found[0].Labels; l["team"] != "a b" || l["__address__"] != b.address() {
		t.Errorf("%v", l)
	}
}

// The token opens the admin listener, at once after a reload, and stands nowhere that usher
// writes to.
func TestTokenStaysSecret(t *testing.T) {
	t.Parallel()
	const token, next, consulToken = "the-first-admin-token", "the-second-admin-token", "a-token-of-consul"
	conf := func(token, format string) string {
		return fmt.Sprintf(`
listeners: [{name: web, address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0", token: %s}
log: {level: debug, format: %s}
registries:
  - {type: file, path: services.yaml, start_timeout: 5s}
  - {type: consul, address: "127.0.0.1:1", token: %s, start_timeout: 1ms, register: {name: usher}}
defaults: {sticky: {cookie: c, secret: %s}}
`, token, format, consulToken, consulToken)
	}
	dir := t.TempDir()
	u := &usher{t: t, dir: dir, conf: filepath.Join(dir, "usher.yaml"), done: make(chan struct{})}
	u.write(conf(token, "json"))
	u.run("run", "--config", u.conf) // launch would say by a flag how to log
	writeFile(t, u.dir+"/services.yaml", "services: []\n")
	u.waitLog(`"msg":"services"`)
	bearer := func(token string) []string { return []string{"Authorization", "Bearer " + token} }
	if code := u.api(http.MethodGet, "overview", nil); code != http.StatusUnauthorized {
		t.Errorf("without a token: %d", code)
	}
	if code := u.api(http.MethodGet, "overview", nil, bearer(token)...); code != http.StatusOK {
		t.Errorf("with the token: %d", code)
	}
	u.write(conf(next, "text"))
	eventually(t, patience, "the token is another one", func() bool {
		return u.api(http.MethodGet, "overview", nil, bearer(token)...) == http.StatusUnauthorized
	})
	said := strings.Join(u.logged(), "\n")
	for _, path := range []string{"config", "overview", "events", "registries", "openapi.json", "../../metrics"} {
		var answer json.RawMessage
		req, _ := http.NewRequest(http.MethodGet, u.admin+"/api/v1/"+path, nil)
		req.Header.Set("Authorization", "Bearer "+next)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer, _ = io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, resp.Status)
		}
		said += "\n" + path + ": " + string(answer)
	}
	u.write(conf(next, "text") + "nonsense: 1\n")
	u.waitLog("configuration refused")
	_, out, errs := command(t, "check", "--config", u.conf)
	said += "\n" + strings.Join(u.logged(), "\n") + out + errs
	if !strings.Contains(said, "log.format changes at the next start") {
		t.Error("the change of the log's format was not told")
	}
	for _, secret := range []string{token, next, consulToken} {
		if i := strings.Index(said, secret); i >= 0 {
			t.Errorf("%s is told: %.300s", secret, said[max(0, i-200):])
		}
	}
}

// Who reaches the listener from elsewhere is warned of, by check and at the start.
func TestOpenAdminIsWarnedOf(t *testing.T) {
	t.Parallel()
	conf := strings.Replace(withFile, `admin: {address: "127.0.0.1:0"}`, `admin: {address: ":0"}`, 1)
	path := t.TempDir() + "/usher.yaml"
	writeFile(t, path, conf)
	writeFile(t, filepath.Dir(path)+"/services.yaml", "services: []\n")
	code, _, errs := command(t, "check", "--config", path)
	if code != 0 || !strings.Contains(errs, "there is no token") {
		t.Errorf("check: %d %s", code, errs)
	}
	u := launch(t, conf)
	writeFile(t, u.dir+"/services.yaml", "services: []\n")
	u.waitLog("there is no token")
}

// The admin listener may be a socket in a file, for the commands too.
func TestAdminSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.sock")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}) // of one that was killed
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	u := launch(t, strings.Replace(withFile, "127.0.0.1:0\"}\nreg", "unix://"+path+"\"}\nreg", 1))
	writeFile(t, u.dir+"/services.yaml",
		"services: [{name: s, routes: [s.test/], instances: [{address: \"127.0.0.1:1\"}]}]\n")
	u.waitLog(`"msg":"admin listening","address":"unix://` + path)
	u.waitLog(`"msg":"services"`)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	code, out, errs := command(t, "routes", "--admin", "unix://"+path)
	if code != 0 || !strings.Contains(out, "s.test") {
		t.Errorf("routes: %d %s %s", code, out, errs)
	}
	c := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	defer c.CloseIdleConnections()
	resp, err := c.Get("http://usher/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("readyz: %s", resp.Status)
	}
	u.signal(syscall.SIGTERM)
	u.wait(patience)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// What is held is told, and that it no longer is.
func TestEventsOfHolds(t *testing.T) {
	t.Parallel()
	s := newStage(t, 4, "")
	s.agent.RestartEmpty()
	s.u.holding(4)
	if e := s.u.waitEvent("hold", "shop@consul", "4 instances are held"); e.Level != "warn" || e.Service != "shop" {
		t.Errorf("%+v", e)
	}
	s.u.api(http.MethodPost, "holds/shop/release", nil)
	s.u.waitEvent("hold", "4 held instances released")
}

// What listeners show is listed, and told of when it changes.
func TestCertificatesByAPI(t *testing.T) {
	t.Parallel()
	ca, dir := upstreamtest.NewAuthority(t), t.TempDir()
	pair, cert, key := ca.Issue("a.test")
	writeFile(t, dir+"/a.pem", cert+key)
	u := start(t, fmt.Sprintf(`
listeners:
  - {name: web, address: "127.0.0.1:0"}
  - {name: secure, address: "127.0.0.2:0", protocol: https, tls: {certificate_dirs: [%s], self_signed: true}}
admin: {address: "127.0.0.1:0"}
registries: []
`, dir))
	certificates := func() (list []usherapi.Certificate) {
		t.Helper()
		if code := u.api(http.MethodGet, "certificates", &list); code != http.StatusOK {
			t.Fatalf("%d", code)
		}
		return list
	}
	list := certificates()
	if len(list) != 1 || !slices.Equal(list[0].Names, []string{"a.test"}) || list[0].Origin != dir+"/a.pem" ||
		!slices.Equal(list[0].Listeners, []string{"secure"}) || list[0].Serial != pair.Leaf.SerialNumber.Text(16) ||
		!list[0].NotAfter.Equal(pair.Leaf.NotAfter) || list[0].Issuer == "" || list[0].Problem != "" {
		t.Errorf("%+v", list)
	}
	u.waitEvent("certificate", "a.pem is in use, for a.test")
	u.handshake("secure", &tls.Config{ServerName: "made.test", InsecureSkipVerify: true})
	if list := certificates(); len(list) != 2 || list[1].Origin != "self-signed" || list[1].Names[0] != "made.test" {
		t.Errorf("%+v", list)
	}
	writeFile(t, dir+"/a.pem", "nothing")
	u.waitEvent("certificate", "a.pem is refused")
	if list := certificates(); list[0].Problem == "" || list[0].Names[0] != "a.test" {
		t.Errorf("%+v", list)
	}
}

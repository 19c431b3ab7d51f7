package main_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// withFile is the configuration of a usher whose services are in services.yaml.
const withFile = `
listeners: [{name: web, address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
registries: [{type: file, path: services.yaml, start_timeout: 5s}]
`

// startWithFile starts a usher with one service that b is the instance of.
func startWithFile(t *testing.T, b *backend, more string) *usher {
	t.Helper()
	u := launch(t, withFile+more)
	writeFile(t, u.dir+"/services.yaml", fmt.Sprintf(
		"services: [{name: s, routes: [\"s.test/\"], instances: [{address: %q}]}]\n", b.address()))
	u.waitLog(`"msg":"services"`)
	u.waitStatus("s.test", 200)
	return u
}

// command runs usher to its end and returns its exit code and output.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

const threeMistakes = `
listeners: [{name: web, adress: "127.0.0.1:0"}]
log: {level: loud}
services:
  shop: {timeout: 5}
`

// A configuration with three mistakes: three positioned messages, exit 3, nothing
// started.
func TestThreeMistakes(t *testing.T) {
	path := t.TempDir() + "/usher.yaml"
	writeFile(t, path, threeMistakes)
	for _, name := range []string{"run", "check", "validate"} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := command(t, name, "--config", path)
			if code != 3 || stdout != "" {
				t.Errorf("exit %d, stdout %q", code, stdout)
			}
			lines := strings.Split(strings.TrimSpace(stderr), "\n")
			want := []string{path + ":2:", path + ":3:", path + ":5:"}
			if len(lines) != len(want) {
				t.Fatalf("%d lines:\n%s", len(lines), stderr)
			}
			for i := range want {
				if !strings.HasPrefix(lines[i], want[i]) {
					t.Errorf("line %d is %q, not at %s", i, lines[i], want[i])
				}
			}
			if !strings.Contains(lines[0], `did you mean "address"`) {
				t.Errorf("no suggestion in %q", lines[0])
			}
		})
	}
}

// The same file on a reload: the old routes keep serving, under load.
func TestBadReloadKeepsTheOldRoutes(t *testing.T) {
	for _, how := range []string{"file change", "SIGHUP"} {
		t.Run(how, func(t *testing.T) {
			u := startWithFile(t, newBackend(t, "b", nil), "")
			l := startLoad(t, u.web+"/", "s.test", 200)
			u.write(threeMistakes)
			if how == "SIGHUP" {
				u.signal(syscall.SIGHUP)
			}
			eventually(t, 10*time.Second, "refused", func() bool {
				return u.metric("usher_config_reloads_total", `result="failure"`) >= 1
			})
			if u.metric("usher_config_last_reload_successful") != 0 {
				t.Error("the last reload is said to have been taken")
			}
			if !u.hasLog(`did you mean \"address\"`) {
				t.Error("the log does not say what is wrong")
			}
			u.write(withFile + "routes: [{name: more, match: {hosts: [more.test]}, service: s}]\n")
			u.waitStatus("more.test", 200)
			l.mustBeClean(5)
			if u.metric("usher_config_last_reload_successful") != 1 {
				t.Error("the good configuration is not said to be taken")
			}
		})
	}
}

// 200 requests of 2 s are in flight when SIGTERM comes: all are answered, and usher
// exits with 0 in less than 3 s.
func TestRequestsInFlightFinish(t *testing.T) {
	const n = 200
	var arrived sync.WaitGroup
	arrived.Add(n)
	b := newBackend(t, "slow", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived.Done()
			pause(2 * time.Second)
		}
		fmt.Fprint(w, "done")
	})
	u := startWithFile(t, b, "")
	client := &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
	failures := make(chan string, n)
	var asking sync.WaitGroup
	for range n {
		asking.Go(func() {
			req, _ := http.NewRequest(http.MethodPost, u.web+"/slow", nil)
			req.Host = "s.test"
			resp, err := client.Do(req)
			if err != nil {
				failures <- err.Error()
				return
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "done" || !resp.Close {
				failures <- fmt.Sprintf("%s %q %v close=%v", resp.Status, body, err, resp.Close)
			}
		})
	}
	arrived.Wait()
	begin := time.Now()
	u.signal(syscall.SIGTERM)
	code := u.wait(10 * time.Second)
	took := time.Since(begin)
	asking.Wait()
	close(failures)
	for f := range failures {
		t.Errorf("a request failed: %s", f)
	}
	if code != 0 || took > 3*time.Second {
		t.Errorf("exit %d after %s", code, took)
	}
}

// A second signal cuts what is left and exits with 4.
func TestForcedQuit(t *testing.T) {
	arrived := make(chan struct{})
	release := make(chan struct{})
	b := newBackend(t, "hang", func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			close(arrived)
			<-release
		}
	})
	defer close(release)
	u := startWithFile(t, b, "")
	var asking sync.WaitGroup
	asking.Go(func() {
		req, _ := http.NewRequest(http.MethodGet, u.web+"/hang", nil)
		req.Host = "s.test"
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
		}
	})
	<-arrived
	u.signal(syscall.SIGTERM)
	u.waitLog("draining")
	u.signal(syscall.SIGTERM)
	if code := u.wait(5 * time.Second); code != 4 {
		t.Errorf("exit %d", code)
	}
	asking.Wait()
}

// The telemetry listener shows the read-only part.
func TestTelemetry(t *testing.T) {
	u := startWithFile(t, newBackend(t, "b", nil), `telemetry: {address: "127.0.0.1:0"}`)
	address := ""
	for _, l := range u.logged() {
		var rec struct{ Msg, Address string }
		if json.Unmarshal([]byte(l), &rec) == nil && rec.Msg == "telemetry listening" {
			address = rec.Address
		}
	}
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		if code, _ := get(t, "http://"+address+path, ""); code != 200 {
			t.Errorf("%s: %d", path, code)
		}
	}
}

// The runtime's profiles are there while they are asked for, and on the admin listener
// alone.
func TestProfiles(t *testing.T) {
	u := startWithFile(t, newBackend(t, "b", nil), "")
	const path = "/debug/pprof/goroutine?debug=1"
	if code, _ := get(t, u.admin+path, ""); code != 404 {
		t.Errorf("%d before anybody asked for them", code)
	}
	u.write(strings.Replace(withFile, "admin: {", "admin: {pprof: true, ", 1))
	eventually(t, 10*time.Second, "profiles", func() bool {
		code, body := get(t, u.admin+path, "")
		return code == 200 && strings.HasPrefix(body, "goroutine profile:")
	})
}

// Listeners come and go with the configuration; the others' connections stay.
func TestReloadListeners(t *testing.T) {
	u := startWithFile(t, newBackend(t, "b", nil), "")
	l := startLoad(t, u.web+"/", "s.test", 200)
	u.write(strings.Replace(withFile, "listeners: [", `listeners: [{name: two, address: "localhost:0"}, `, 1))
	eventually(t, 10*time.Second, "reloaded", func() bool {
		return u.metric("usher_config_reloads_total", `result="success"`) == 1
	})
	u.write(withFile)
	eventually(t, 10*time.Second, "reloaded", func() bool {
		return u.metric("usher_config_reloads_total", `result="success"`) == 2
	})
	l.mustBeClean(20)
}

// The demonstration: an answer on /, and a backend that dies unnoticed.
func TestDev(t *testing.T) {
	u := &usher{t: t, dir: t.TempDir(), done: make(chan struct{})}
	var tour lockedBuffer
	u.runWithOutput(&tour, "dev", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0",
		"--admin", "127.0.0.1:0", "--log-format", "json")
	u.waitLog(`"msg":"services"`)
	if code, body := get(t, u.web+"/", ""); code != 200 || !strings.Contains(body, "hello from backend-") {
		t.Fatalf("%d %s", code, body)
	}
	l := startLoad(t, u.web+"/", "", 500)
	pause(500 * time.Millisecond)
	die := ""
	for _, word := range strings.Fields(tour.String()) {
		if strings.HasSuffix(word, "/die") {
			die = word
		}
	}
	resp, err := http.Post(die, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	pause(2 * time.Second)
	l.mustBeClean(1000)
	for _, part := range []string{"curl " + u.web, u.admin + "/metrics"} {
		if !strings.Contains(tour.String(), part) {
			t.Errorf("the tour does not show %s:\n%s", part, tour.String())
		}
	}
	secure := ""
	for _, word := range strings.Fields(tour.String()) {
		if strings.HasPrefix(word, "https://") {
			secure = word
		}
	}
	// Nobody vouches for the certificate.
	client := &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	defer client.CloseIdleConnections()
	resp, err = client.Get(secure)
	if err != nil {
		t.Fatalf("over TLS, by the tour: %v\n%s", err, tour.String())
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		t.Errorf("over TLS: %s %s", resp.Proto, resp.Status)
	}
	client.CloseIdleConnections()
	u.signal(syscall.SIGINT)
	if code := u.wait(10 * time.Second); code != 0 {
		t.Errorf("exit %d", code)
	}
}

// What scripts rely on.
func TestCommandLine(t *testing.T) {
	good := t.TempDir() + "/good.yaml"
	writeFile(t, good, "log: {level: info}\n")
	alone := t.TempDir() + "/alone.yaml"
	writeFile(t, alone, "defaults: {sticky: {cookie: srv}}\n")
	for _, c := range []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"version", []string{"version"}, 0, "usher ", ""},
		{"version as JSON", []string{"version", "--json"}, 0, `"go":"go1.`, ""},
		{"completion", []string{"completion", "bash"}, 0, "__start_usher", ""},
		{"help", []string{"--help"}, 0, "completion", ""},
		{"check", []string{"check", "--config", good}, 0, "ok: 1 listeners", ""},
		{"check warns", []string{"check", "--config", alone}, 0, "ok: ", "warning: defaults: sticky has no secret"},
		{"unknown command", []string{"rnu"}, 2, "", "unknown command"},
		{"unknown flag", []string{"run", "--lsten", "x"}, 2, "", "unknown flag"},
		{"argument", []string{"run", "x"}, 2, "", "unknown command"},
		{"bad flag value", []string{"run", "--listen", "nowhere"}, 3, "", "--listen"},
		{"no such file", []string{"run", "--config", "/does/not/exist.yaml"}, 3, "", "exist.yaml"},
		{"live check of a dead agent", []string{"check", "--live", "--consul", "127.0.0.1:1"}, 1, "", "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := command(t, c.args...)
			if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
				t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
			}
		})
	}
}

// A configuration of which one address cannot be bound is refused whole: what it
// would have moved stays where it was.
func TestUnusableAddressMovesNothing(t *testing.T) {
	taken := newBackend(t, "taken", nil)
	first, second := newBackend(t, "first", nil), newBackend(t, "second", nil)
	_, _ = first.ln.Close(), second.ln.Close() // two ports that were free just now
	conf := strings.Replace(withFile, `admin: {address: "127.0.0.1:0"}`, "admin: {address: %q}", 1)
	u := launch(t, fmt.Sprintf(conf, first.address()))
	writeFile(t, u.dir+"/services.yaml", "services: []\n")
	u.waitLog(`"msg":"services"`)
	u.write(fmt.Sprintf(conf, second.address()) + fmt.Sprintf("telemetry: {address: %q}\n", taken.address()))
	u.waitLog("configuration refused")
	if code, _ := get(t, "http://"+first.address()+"/livez", ""); code != 200 {
		t.Errorf("the admin listener is gone: %d", code)
	}
	if u.metric("usher_config_reloads_total", `result="failure"`) != 1 {
		t.Error("the reload is not counted as refused")
	}
}

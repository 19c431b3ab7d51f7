package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"usher/cmd/usher/internal/api"
)

// cliCatalog has a service that is well, one whose endpoint is not there, one that
// announces nothing usable, and a conflict with the configuration's route.
const cliCatalog = `
services:
  - {name: orders, routes: ["shop.test/orders"], instances: [{id: o1, address: %q}]}
  - {name: cart, routes: ["*.cart.test/"], instances: [{address: "127.0.0.1:1"}]}
  - {name: broken, routes: ["broken.test/ allow=ip:nonsense"], instances: [{address: "127.0.0.1:1"}]}
`

const cliRoutes = `
routes: [{name: fixed, match: {hosts: [shop.test], path: /orders, methods: [GET]}, service: orders, priority: 1}]
`

// startForCLI starts a usher that the commands of the tests ask.
func startForCLI(t *testing.T, more string) *usher {
	t.Helper()
	b := newBackend(t, "o1", nil)
	u := launch(t, withFile+cliRoutes+more)
	writeFile(t, u.dir+"/services.yaml", fmt.Sprintf(cliCatalog, b.address()))
	u.waitLog(`"msg":"services"`)
	u.waitStatus("shop.test", 404) // the listener is there; no rule has the root
	return u
}

// ask runs a command that asks u and fails the test unless it exits as wanted.
func (u *usher) ask(want int, args ...string) (stdout, stderr string) {
	u.t.Helper()
	args = append(args, "--admin", strings.TrimPrefix(u.admin, "http://"))
	code, stdout, stderr := command(u.t.(*testing.T), args...)
	if code != want {
		u.t.Fatalf("usher %v exits with %d, want %d:\n%s%s", args, code, want, stdout, stderr)
	}
	return stdout, stderr
}

func mustContain(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s: no %q in\n%s", what, p, text)
		}
	}
}

func mustLack(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if strings.Contains(text, p) {
			t.Errorf("%s: %q is in\n%s", what, p, text)
		}
	}
}

func TestRoutesCommand(t *testing.T) {
	u := startForCLI(t, "")
	out, _ := u.ask(0, "routes")
	mustContain(t, "routes", out, "HOST", "shop.test", "/orders", "*.cart.test", "cart", "Refused (1)", "nonsense")
	mustLack(t, "routes", out, "\x1b")
	out, _ = u.ask(0, "routes", "a.cart.test")
	mustContain(t, "by a host", out, "*.cart.test")
	mustLack(t, "by a host", out, "shop.test", "Refused")
	out, _ = u.ask(0, "routes", "shop.test", "/ord")
	mustContain(t, "by host and path", out, "/orders")
	mustLack(t, "by host and path", out, "cart.test")
	out, _ = u.ask(0, "routes", "--color=always", "orders")
	mustContain(t, "in colour", out, "\x1b[2mHOST")
	out, stderr := u.ask(0, "routes", "nothing-of-that")
	mustContain(t, "none fits", stderr, "routes is of that")
	mustLack(t, "none fits", out, "HOST")
	out, _ = u.ask(0, "routes", "cart", "--json")
	var got api.Routes
	err := json.Unmarshal([]byte(out), &got)
	if err != nil || len(got.Routes) != 1 || got.Routes[0].Services[0] != "cart" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestServicesCommand(t *testing.T) {
	u := startForCLI(t, "")
	out, _ := u.ask(0, "services")
	mustContain(t, "services", out, "SERVICE", "orders", "routed", "1 healthy", "broken", "not routed")
	out, _ = u.ask(0, "services", "orders")
	mustContain(t, "one service", out, "orders@file", "o1", "healthy", "WEIGHT")
	out, _ = u.ask(0, "services", "orders@file", "--json")
	var got []api.Service
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got) != 1 || got[0].Instances[0].ID != "orders/o1" {
		t.Errorf("got %+v, %v", got, err)
	}
	_, stderr := u.ask(1, "services", "ordres")
	mustContain(t, "a misspelt one", stderr, `no service "ordres", did you mean "orders"?`)
	_, stderr = u.ask(1, "services", "zzz")
	mustContain(t, "an unknown one", stderr, `no service "zzz", expected one of broken, cart, orders`)
	_, stderr = u.ask(2, "services", "a", "b")
	mustContain(t, "two of them", stderr, "accepts at most 1 arg")
}

func TestHoldsCommand(t *testing.T) {
	u := startForCLI(t, "")
	out, stderr := u.ask(0, "holds")
	if out != "" || !strings.Contains(stderr, "nothing is held") {
		t.Errorf("got %q and %q", out, stderr)
	}
	if out, _ = u.ask(0, "holds", "--json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("got %q", out)
	}
	_, stderr = u.ask(0, "holds", "release", "orders")
	mustContain(t, "nothing to release", stderr, "nothing of orders was held")
	_, stderr = u.ask(1, "holds", "release", "ordrs")
	mustContain(t, "a misspelt one", stderr, `did you mean "orders"?`)
}

func TestHealthcheckCommand(t *testing.T) {
	u := startForCLI(t, "defaults: {drain_delay: 20s}\n")
	u.ask(0, "healthcheck")
	u.ask(0, "healthcheck", "--ready")
	u.signal(syscall.SIGTERM)
	u.waitLog(`"msg":"stopping"`)
	eventually(t, patience, "it is not ready", func() bool {
		code, _ := get(t, u.admin+"/readyz", "")
		return code == http.StatusServiceUnavailable
	})
	u.ask(0, "healthcheck")
	_, stderr := u.ask(1, "healthcheck", "--ready")
	mustContain(t, "not ready", stderr, "/readyz: 503", "drain")
	out, _ := u.ask(1, "healthcheck", "--ready", "--json")
	mustContain(t, "as JSON", out, `"ok": false`)
}

func TestNobodyAnswers(t *testing.T) {
	for _, args := range [][]string{
		{"routes"},
		{"services"},
		{"services", "x"},
		{"holds"},
		{"events"},
		{"events", "-f"},
		{"reload"},
		{"drain"},
		{"healthcheck"},
	} {
		code, out, stderr := command(t, append(args, "--admin", "127.0.0.1:1")...)
		if code != 1 || out != "" || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: exit %d, %q, %q", args, code, out, stderr)
		}
		mustContain(t, fmt.Sprint(args), stderr, "no usher answers at 127.0.0.1:1: is it running? --admin")
	}
	code, _, stderr := command(t, "routes", "--color", "pink")
	if code != 2 || !strings.Contains(stderr, "auto, always, never") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

func TestServiceCompletion(t *testing.T) {
	u := startForCLI(t, "")
	for _, args := range [][]string{{"services", ""}, {"holds", "release", ""}} {
		cmd := exec.Command(binary, append([]string{"__complete"}, args...)...)
		cmd.Env = append(cmd.Environ(), "USHER_ADMIN="+strings.TrimPrefix(u.admin, "http://"))
		out, err := cmd.Output()
		if err != nil || !strings.HasPrefix(string(out), "broken\ncart\norders\n") {
			t.Errorf("%v: got %q, %v", args, out, err)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, out, stderr := command(t, "completion", shell); code != 0 || !strings.Contains(out, "usher") {
			t.Errorf("%s: exit %d, %s", shell, code, stderr)
		}
	}
	code, out, _ := command(t, "__complete", "services", "--admin", "127.0.0.1:1", "")
	if code != 0 || !strings.HasPrefix(out, ":4") {
		t.Errorf("without a usher: exit %d, %q", code, out)
	}
}

// fakeAdmin is a double of an admin listener.
func fakeAdmin(t *testing.T, serve map[string]http.HandlerFunc) string {
	t.Helper()
	mux := http.NewServeMux()
	for pattern, h := range serve {
		mux.HandleFunc(pattern, h)
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func answerJSON(status int, v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
}

// TestHostileNames: what a registry calls its services does not reach the terminal as it
// stands.
func TestHostileNames(t *testing.T) {
	evil := "evil\x1b[2J\x07"
	admin := fakeAdmin(t, map[string]http.HandlerFunc{
		"GET /api/v1/services": answerJSON(200, []api.Service{{Name: evil, Registry: evil, Reason: evil}}),
		"GET /api/v1/routes": answerJSON(200, api.Routes{
			Routes:    []api.Route{{Hosts: []string{evil}, Path: "/" + evil, Services: []string{evil}, Owner: evil}},
			Refused:   []api.Refusal{{Where: evil, Reason: evil}},
			Conflicts: []api.Conflict{{Match: evil, Winner: evil, Loser: evil}},
		}),
		"GET /api/v1/events":       answerJSON(200, []api.Event{{Kind: evil, Message: evil}}),
		"GET /api/v1/holds":        answerJSON(200, []api.Service{{Name: evil, Hold: &api.Hold{Reason: evil}}}),
		"GET /api/v1/services/{n}": answerJSON(500, api.Error{Error: evil}),
		"GET /livez":               func(w http.ResponseWriter, _ *http.Request) { http.Error(w, evil, 500) },
	})
	for _, args := range [][]string{
		{"services"}, {"routes"}, {"events"}, {"holds"}, {"services", "x"}, {"healthcheck"},
	} {
		_, out, stderr := command(t, append(args, "--admin", admin)...)
		mustContain(t, args[0], out+stderr, "evil?[2J?")
		mustLack(t, args[0], out+stderr, "\x1b", "\x07")
	}
}

func TestTokenIsSent(t *testing.T) {
	token := t.TempDir() + "/token"
	writeFile(t, token, "s3cret\n")
	admin := fakeAdmin(t, map[string]http.HandlerFunc{
		"/": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer s3cret" {
				answerJSON(401, api.Error{Error: "no token"})(w, r)
				return
			}
			answerJSON(200, []api.Service{})(w, r)
		},
	})
	code, _, stderr := command(t, "services", "--admin", admin)
	if code != 1 || !strings.Contains(stderr, "--admin-token-file") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	for _, args := range [][]string{{"services"}, {"healthcheck"}} {
		code, _, stderr := command(t, append(args, "--admin", admin, "--admin-token-file", token)...)
		if code != 0 {
			t.Errorf("%v: exit %d, %s", args, code, stderr)
		}
	}
}

// TestFollowOverLostConnections: events go on where they stopped, and Ctrl-C ends them well.
func TestFollowOverLostConnections(t *testing.T) {
	asked := make(chan string, 10)
	admin := fakeAdmin(t, map[string]http.HandlerFunc{
		"GET /api/v1/events": func(w http.ResponseWriter, r *http.Request) {
			asked <- r.Header.Get("Accept") + " " + r.Header.Get("Last-Event-Id")
			send := func(id int) {
				data, _ := json.Marshal(api.Event{ID: uint64(id), Kind: "reload", Message: fmt.Sprint("event ", id)})
				fmt.Fprintf(w, ": a comment\nid: %d\nevent: reload\ndata: %s\n\n", id, data)
				_ = http.NewResponseController(w).Flush()
			}
			if r.Header.Get("Last-Event-Id") == "" {
				send(1)
				send(2)
				return // the connection is lost
			}
			send(2)
			send(3)
			<-r.Context().Done()
		},
	})
	var out lockedBuffer
	cmd := exec.Command(binary, "events", "--follow", "--admin", admin)
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	eventually(t, patience, "three events", func() bool { return strings.Contains(out.String(), "event 3") })
	if got := strings.Count(out.String(), "\n"); got != 3 {
		t.Errorf("got %d lines:\n%s", got, out.String())
	}
	if first, second := <-asked, <-asked; first != "text/event-stream " || second != "text/event-stream 2" {
		t.Errorf("asked for %q, then %q", first, second)
	}
	_ = cmd.Process.Signal(syscall.SIGINT)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
}

func TestReloadRefused(t *testing.T) {
	refused := api.ConfigState{File: "usher.yaml", Refused: []string{"usher.yaml:3:5: unknown key \"x\""}}
	admin := fakeAdmin(t, map[string]http.HandlerFunc{
		"POST /api/v1/reload": answerJSON(http.StatusUnprocessableEntity, refused),
		"POST /api/v1/drain":  answerJSON(200, struct{}{}),
	})
	code, out, stderr := command(t, "reload", "--admin", admin)
	if code != 3 || out != "" {
		t.Errorf("exit %d, %q", code, out)
	}
	mustContain(t, "refused", stderr, "usher.yaml:3:5", "was refused")
	if code, out, _ := command(t, "drain", "--admin", admin); code != 0 || !strings.Contains(out, "draining") {
		t.Errorf("exit %d, %q", code, out)
	}
}

func TestSchemaCommand(t *testing.T) {
	for file, args := range map[string][]string{
		"usher": {"schema"}, "services": {"schema", "--catalog"},
	} {
		want, err := os.ReadFile("../../docs/reference/" + file + ".schema.json")
		if err != nil {
			t.Fatal(err)
		}
		if code, out, stderr := command(t, args...); code != 0 || out != string(want) {
			t.Errorf("%v: exit %d, %d bytes of %d, %s", args, code, len(out), len(want), stderr)
		}
	}
}

package main_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"usher/cmd/usher/internal/api"
)

// TestReloadCommand: a reload that is asked for is done, and one that is refused says why.
func TestReloadCommand(t *testing.T) {
	u := startForCLI(t, "")
	out, _ := u.ask(0, "reload")
	mustContain(t, "reload", out, "reloaded "+u.conf)
	u.write(withFile + cliRoutes + "log: {levle: debug}\n")
	_, stderr := u.ask(3, "reload")
	mustContain(t, "refused", stderr, u.conf+":", `unknown key "levle", did you mean "level"?`, "was refused")
	out, _ = u.ask(3, "reload", "--json")
	var state api.ConfigState
	if err := json.Unmarshal([]byte(out), &state); err != nil || len(state.Refused) != 1 {
		t.Errorf("got %+v, %v", state, err)
	}
	out, _ = u.ask(0, "events")
	mustContain(t, "events", out, "reload", "generation")
}

// TestDrainCommand: usher is unready and serves on, until that is taken back.
func TestDrainCommand(t *testing.T) {
	u := startForCLI(t, "")
	out, _ := u.ask(0, "drain")
	mustContain(t, "drain", out, "draining")
	u.ask(0, "healthcheck")
	u.ask(1, "healthcheck", "--ready")
	if code, _ := get(t, u.web+"/orders", "shop.test"); code != http.StatusOK {
		t.Errorf("got %d", code)
	}
	out, _ = u.ask(0, "undrain", "--json")
	mustContain(t, "undrain", out, `"draining":false`)
	u.ask(0, "healthcheck", "--ready")
}

// TestFollowARunningUsher: what happens there is told as it happens.
func TestFollowARunningUsher(t *testing.T) {
	u := startForCLI(t, "")
	var out lockedBuffer
	cmd := exec.Command(binary, "events", "-f", "--admin", strings.TrimPrefix(u.admin, "http://"))
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	eventually(t, patience, "what was", func() bool { return strings.Contains(out.String(), "generation") })
	u.ask(0, "drain")
	eventually(t, patience, "what is", func() bool { return strings.Contains(out.String(), "drain") })
	_ = cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestConfigOfTheRunningUsher: it is what the file says, with the file's lines.
func TestConfigOfTheRunningUsher(t *testing.T) {
	u := startForCLI(t, "defaults: {timeout: 7s}\n")
	out, _ := u.ask(0, "config", "--origins", "--given")
	for _, want := range [][]string{
		{"routes[0].name", "fixed", u.conf + ":6:17"},
		{"defaults.timeout", "7s", u.conf + ":7:21"},
		{"log.format", "json", "flag --log-format"},
	} {
		if !hasLine(out, want...) {
			t.Errorf("no line %q in\n%s", want, out)
		}
	}
}

// TestTopOfARunningUsher: under traffic, in a terminal, the service and its rate are there.
func TestTopOfARunningUsher(t *testing.T) {
	u := startForCLI(t, "")
	l := startLoad(t, u.web+"/orders", "shop.test", lowRate)
	outside, inside, err := pty.Open()
	if err != nil {
		t.Skip(err)
	}
	defer outside.Close()
	defer inside.Close()
	if err := pty.Setsize(outside, &pty.Winsize{Rows: 40, Cols: 120}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "top", "--admin", u.admin, "-i", "300ms", "--color=never")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inside, inside, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	var seen lockedBuffer
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := outside.Read(buf)
			if err != nil {
				return
			}
			_, _ = seen.Write(buf[:n])
		}
	}()
	for _, what := range []string{"ready", "orders", "1 healthy", "cart", "2xx", "file"} {
		eventually(t, patience, what, func() bool { return strings.Contains(seen.String(), what) })
	}
	eventually(t, patience, "orders has no error", func() bool { return strings.Contains(seen.String(), "0.0%") })
	mustLack(t, "without colours", seen.String(), "\x1b[31m", "\x1b[32m", "\x1b[2m")
	l.mustBeClean(10)
	_, _ = outside.WriteString("q")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	out, _ := u.ask(0, "top", "--once", "-i", "100ms")
	mustContain(t, "once", out, "orders", "no_route")
}

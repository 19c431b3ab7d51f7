package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"usher/cmd/usher/internal/api"
)

// busyAdmin is a double of a usher with traffic.
func busyAdmin(t *testing.T) string {
	t.Helper()
	begin := time.Now()
	var asked atomic.Uint64
	return fakeAdmin(t, map[string]http.HandlerFunc{
		"GET /api/v1/overview": func(w http.ResponseWriter, r *http.Request) {
			n := asked.Add(1) * 100
			answerJSON(200, api.Overview{
				Version: "test", Started: begin, Now: time.Now(), Swapped: begin, Ready: true, Generation: n,
				Registries: []api.Registry{{Name: "consul", State: "fresh", Synced: true}},
				Totals: api.Totals{
					Requests: n, Codes: map[string]uint64{"2xx": n}, Errors: map[string]uint64{"no_route": n / 10},
					Durations: []api.Bucket{{Seconds: 0.01, Count: n}, {Count: n}},
				},
			})(w, r)
		},
		"GET /api/v1/services": answerJSON(200, []api.Service{
			{Name: "orders", Routed: true, Instances: []api.Instance{{Health: &api.Health{State: "healthy"}}}},
			{Name: "cart", Routed: true, Instances: []api.Instance{{Health: &api.Health{State: "ejected"}}}},
		}),
		"GET /metrics": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "usher_requests_total{service=\"orders\",code=\"200\"} %d\n", asked.Load()*100)
		},
	})
}

// TestTopInATerminal: it shows live figures in a real pseudo-terminal, follows its size, and
// gives it back as it was.
func TestTopInATerminal(t *testing.T) {
	for name, quit := range map[string]func(*os.File, *exec.Cmd){
		"q":       func(keys *os.File, _ *exec.Cmd) { _, _ = keys.WriteString("q") },
		"ctrl-c":  func(keys *os.File, _ *exec.Cmd) { _, _ = keys.WriteString("\x03") },
		"SIGTERM": func(_ *os.File, cmd *exec.Cmd) { _ = cmd.Process.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) { topInATerminal(t, quit) })
	}
}

func topInATerminal(t *testing.T, quit func(*os.File, *exec.Cmd)) {
	t.Helper()
	outside, inside, err := pty.Open()
	if err != nil {
		t.Skip(err)
	}
	defer outside.Close()
	defer inside.Close()
	if err := pty.Setsize(outside, &pty.Winsize{Rows: 30, Cols: 100}); err != nil {
		t.Fatal(err)
	}
	before, err := unix.IoctlGetTermios(int(inside.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "top", "--admin", busyAdmin(t), "--interval", "100ms")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inside, inside, inside
	cmd.Env = append(cmd.Environ(), "TERM=xterm-256color", "NO_COLOR=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
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
	wait := func(what string) {
		t.Helper()
		eventually(t, patience, what, func() bool { return strings.Contains(seen.String(), what) })
	}
	wait("orders")
	wait("1 ejected")
	wait("no_route")
	wait("PER SECOND ▾")
	wait("█") // the history, once there are two figures
	_, _ = outside.WriteString("\t")
	wait("5XX ▾")
	_, _ = outside.WriteString("p")
	wait(" paused ")
	length := len(seen.String())
	if err := pty.Setsize(outside, &pty.Winsize{Rows: 12, Cols: 40}); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "it is drawn anew", func() bool {
		return strings.Contains(seen.String()[length:], "\x1b[2J")
	})
	quit(outside, cmd)
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends with %v\n%s", err, seen.String())
	}
	wait("\x1b[?25h\x1b[?1049l")
	after, err := unix.IoctlGetTermios(int(inside.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("before %+v, after %+v, %v", before, after, err)
	}
}

func TestTopWithoutATerminal(t *testing.T) {
	admin := busyAdmin(t)
	code, out, stderr := command(t, "top", "--once", "--interval", "100ms", "--admin", admin)
	if code != 0 {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	mustContain(t, "once", out, "usher test", "ready", "orders", "1 healthy", "no_route", "consul")
	mustLack(t, "once", out, "\x1b", "▾ quit")
	code, out, _ = command(t, "top", "--once", "--json", "--interval", "100ms", "--admin", admin)
	var got struct {
		Requests float64 `json:"requests_per_second"`
		Services []struct {
			Name     string  `json:"name"`
			Requests float64 `json:"requests_per_second"`
		} `json:"services"`
	}
	err := json.Unmarshal([]byte(out), &got)
	if code != 0 || err != nil || got.Requests <= 0 || len(got.Services) != 2 || got.Services[0].Name != "orders" ||
		got.Services[0].Requests <= 0 {
		t.Errorf("exit %d, %v, %s", code, err, out)
	}
	var many lockedBuffer
	cmd := exec.Command(binary, "top", "--interval", "100ms", "--admin", admin)
	cmd.Stdout = &many
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	eventually(t, patience, "three snapshots", func() bool { return strings.Count(many.String(), "usher test") >= 3 })
	_ = cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	code, _, stderr = command(t, "top", "--admin", "127.0.0.1:1")
	if code != 1 || !strings.Contains(stderr, "no usher") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

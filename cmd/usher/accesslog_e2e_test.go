package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// withAccessLog is a usher with one service, of a file registry, and an access log.
const withAccessLog = `
listeners: [{name: web, address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
registries: [{type: file, path: services.yaml}]
access_log: {output: %s, flush_interval: 50ms%s}
`

// startLogging starts a usher whose access log goes to output, in front of an instance.
func startLogging(t *testing.T, output string) *usher {
	t.Helper()
	b := newBackend(t, "one", nil)
	u := launch(t, fmt.Sprintf(withAccessLog, output, ""))
	writeFile(t, u.dir+"/services.yaml",
		fmt.Sprintf("services: [{name: one, routes: [/], instances: [{address: %q}]}]\n", b.address()))
	u.waitLog(`"msg":"services"`)
	u.waitStatus("a", 200)
	return u
}

// entries are those of log files, each of which must be whole.
func entries(t *testing.T, pattern string) (n int) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no file %s (%v)", pattern, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var e map[string]any
			if err := json.Unmarshal([]byte(line), &e); err != nil || !strings.HasSuffix(line, "\n") {
				t.Fatalf("%s: %q: %v", f, line, err)
			}
			n++
		}
	}
	return n
}

// TestAccessLogRotation rotates the log of a running usher under load, as logrotate does:
// moved away, then SIGUSR1. Every request has its line, and no line is torn. At the end what
// is not written yet is.
func TestAccessLogRotation(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	u := startLogging(t, "access.log")
	before := u.metric("usher_requests_total")
	l := startLoad(t, u.web+"/", "a", 4*lowRate)
	path := filepath.Join(u.dir, "access.log")
	for i := range 5 {
		least := u.metric("usher_requests_total") + 50
		eventually(t, patience, "some more requests", func() bool { return u.metric("usher_requests_total") >= least })
		if err := os.Rename(path, fmt.Sprintf("%s.%d", path, i)); err != nil {
			t.Fatal(err)
		}
		u.signal(syscall.SIGUSR1)
		eventually(t, patience, "a new file", func() bool {
			_, err := os.Stat(path)
			return err == nil
		})
	}
	l.mustBeClean(300)
	u.waitMetric("usher_requests_total", before+float64(l.sent))
	if n := u.metric("usher_access_log_dropped_total"); n != 0 {
		t.Errorf("%v dropped", n)
	}
	served := int(u.metric("usher_requests_total"))
	u.signal(syscall.SIGTERM)
	if code := u.wait(patience); code != 0 {
		t.Errorf("exit %d", code)
	}
	if n := entries(t, path+"*"); n != served {
		t.Errorf("%d lines for %d requests", n, served)
	}
}

// TestAccessLogReload: the log changes with the configuration, and one that cannot be opened
// refuses it.
func TestAccessLogReload(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	u := startLogging(t, "first.log")
	first, second := filepath.Join(u.dir, "first.log"), filepath.Join(u.dir, "second.log")
	u.write(fmt.Sprintf(withAccessLog, "/does/not/exist/access.log", ""))
	u.waitLog("configuration refused")
	u.status("refused")
	u.write(fmt.Sprintf(withAccessLog, "second.log", `, template: "{\"host\":\"$host\"}"`))
	u.waitLog("configuration reloaded")
	u.status("second")
	eventually(t, patience, "the second log has its line", func() bool {
		b, err := os.ReadFile(second)
		return err == nil && string(b) == "{\"host\":\"second\"}\n"
	})
	b, _ := os.ReadFile(first)
	if text := string(b); !strings.Contains(text, `"host":"refused"`) || strings.Contains(text, "second") {
		t.Errorf("the first log: %s", text)
	}
}

// TestAccessLogStuck: a log that goes nowhere, a full disk and a FIFO that nobody reads,
// costs no request anything but its line, which is counted; nor does it hold up the end.
func TestAccessLogStuck(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	for name, output := range map[string]func(t *testing.T) string{
		"full disk": func(*testing.T) string { return "/dev/full" },
		"fifo": func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "fifo")
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := startLogging(t, output(t)+", buffer_size: 256KiB")
			l := startLoad(t, u.web+"/"+strings.Repeat("x", 4000), "a", 4*lowRate)
			u.waitMetricAbove("usher_access_log_dropped_total", 0)
			l.mustBeClean(300)
			if !u.hasLog("the access log cannot be written") {
				t.Error("nobody is told")
			}
			u.signal(syscall.SIGTERM)
			if code := u.wait(patience); code != 0 {
				t.Errorf("exit %d", code)
			}
		})
	}
}

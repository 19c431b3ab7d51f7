// Package browsertest plays scripts of deploy/tools/browser in a real Chromium, for tests
// of the dashboard. A script asks the test to do things in between, such as to stop a
// backend, and waits until they are done.
package browsertest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// patience is how long a script may take: a passing one never takes so long.
const patience = 10 * time.Minute

// Deeds are what a script may ask of its test, by name. The argument is the script's.
type Deeds map[string]func(arg string) error

// Play plays a case of the script dashboard.mjs against the dashboard at url, and fails the
// test when the script does. Its screenshots are kept in a folder that it logs.
func Play(t *testing.T, url, name string, deeds Deeds) {
	t.Helper()
	folder := tools(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t, "node"), "dashboard.mjs", url, name, pictures(t))
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "CHROMIUM="+program(t, "chromium"))
	cmd.Stderr = &log{t: t}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	serve(t, out, in, deeds)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// serve does what the script asks for, line by line; other lines are for the reader.
func serve(t *testing.T, out io.Reader, in io.Writer, deeds Deeds) {
	t.Helper()
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		asked, isAsked := strings.CutPrefix(lines.Text(), "DO ")
		if !isAsked {
			t.Log(lines.Text())
			continue
		}
		var q struct{ Do, Arg string }
		answer := "ok"
		if err := json.Unmarshal([]byte(asked), &q); err != nil {
			answer = err.Error()
		} else if deed := deeds[q.Do]; deed == nil {
			answer = fmt.Sprintf("the test cannot %q", q.Do)
		} else if err := deed(q.Arg); err != nil {
			answer = err.Error()
		}
		_, _ = fmt.Fprintln(in, strings.ReplaceAll(answer, "\n", " ")) // the script's end tells
	}
}

// tools is the folder of the scripts, with what npm ci puts into it.
func tools(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("it needs Chromium and what make e2e gets")
	}
	_, self, _, _ := runtime.Caller(0)
	folder := filepath.Join(filepath.Dir(self), "..", "..", "..", "..", "deploy", "tools", "browser")
	if _, err := os.Stat(filepath.Join(folder, "node_modules")); err != nil {
		t.Fatalf("%v: make e2e gets it", err)
	}
	return folder
}

func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: make deps installs it", err)
	}
	return path
}

// pictures is the folder that screenshots are kept in: a test's own below
// $USHER_TEST_SCREENSHOTS, else the artifacts of the test (go test -artifacts).
func pictures(t *testing.T) string {
	t.Helper()
	folder := os.Getenv("USHER_TEST_SCREENSHOTS")
	if folder == "" {
		folder = t.ArtifactDir()
	}
	folder = filepath.Join(folder, strings.ReplaceAll(t.Name(), "/", "-"))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Logf("screenshots are in %s", folder)
	return folder
}

// log writes what a script complains of to the test's log.
type log struct{ t *testing.T }

func (l *log) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

package promtest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// patience is how long the programs may take to answer.
const patience = 30 * time.Second

// program is one that runs, with its output in a file.
type program struct {
	output string
	done   chan struct{}
}

// startProgram starts a program that ends with the test.
func startProgram(t testing.TB, output, path string, args ...string) *program {
	t.Helper()
	p := &program{output: output, done: make(chan struct{})}
	out, err := os.Create(output)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	// Not the test's context: that one ends before the test's cleanup does.
	cmd := exec.CommandContext(context.Background(), path, args...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = out, out, endWithTest()
	started := make(chan error, 1)
	go func() {
		// Linux ends the child with the thread that started it: keep that one.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is killed in the end
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("the log of %s:\n%s", filepath.Base(path), p.log())
		}
	})
	return p
}

func (p *program) log() string {
	text, err := os.ReadFile(p.output)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// promtool finds the program.
func promtool(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs promtool")
	}
	if path := os.Getenv("USHER_TEST_PROMTOOL"); path != "" {
		return path
	}
	path := filepath.Join(Root(t), "deploy", "tools", "bin", "promtool")
	if _, err := os.Stat(path); err != nil {
		t.Fatal("no promtool: run make promtool")
	}
	return path
}

// Root is the folder that usher's source is in.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	t.Fatal("no go.mod above the test: ", err)
	return ""
}

// Promtool runs promtool with an input and returns all that it said; ok is false when it
// has found something wrong.
func Promtool(t testing.TB, input string, args ...string) (said string, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, promtool(t), args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

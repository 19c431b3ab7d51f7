package acmetest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// program is one that runs, with its output in a file.
type program struct {
	name, output string
	cmd          *exec.Cmd
	done         chan struct{}
}

// startProgram starts a program that ends with the test.
func startProgram(t testing.TB, dir, path string, args ...string) *program {
	t.Helper()
	p := &program{name: filepath.Base(path), done: make(chan struct{})}
	p.output = filepath.Join(dir, p.name+".log")
	out, err := os.Create(p.output)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	// Not the test's context: that one ends before the test's cleanup does.
	p.cmd = exec.CommandContext(context.Background(), path, args...)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = out, out, endWithTest()
	p.cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0")
	started := make(chan error, 1)
	go func() {
		// Linux ends the child with the thread that started it: keep that one.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // it is killed in the end
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("the log of %s:\n%s", p.name, p.log())
		}
	})
	return p
}

func (p *program) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

func (p *program) log() string {
	text, err := os.ReadFile(p.output)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

package consultest

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// logLines is how much of an agent's log a failed test shows.
const logLines = 150

// process is an agent that runs. err may be read when done is closed.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// startProcess runs the program with its output appended to a file.
func startProcess(binary string, args []string, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	// Not the test's context: that one ends before the test's cleanup does.
	cmd := exec.CommandContext(context.Background(), binary, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = endWithTest()
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// Linux ends the child with the thread that started it: keep that one.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	return p, <-started
}

func (a *Agent) logTail(lines int) string {
	text, err := os.ReadFile(a.logFile())
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func (a *Agent) logHas(text string) bool { return strings.Contains(a.logTail(logLines), text) }

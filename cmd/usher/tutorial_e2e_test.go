package main_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// step is one block of commands of the tutorial, and what its output holds in the end.
type step struct{ script, expect string }

// TestTutorial does what docs/tutorial.md says, in one shell, at ports of its own.
func TestTutorial(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(root + "/docs/tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	sh := newShell(t)
	for _, s := range steps(t, elsewhere(t, string(page))) {
		if strings.HasPrefix(s.script, "go build") {
			continue // the usher of the tests is there
		}
		sh.do(s)
	}
}

// steps are the blocks of a page.
func steps(t *testing.T, page string) (out []step) {
	t.Helper()
	block := regexp.MustCompile("(?ms)(?:^<!-- expect: ([^\n]*) -->\n)?^```sh\n(.*?)^```$")
	for _, m := range block.FindAllStringSubmatch(page, -1) {
		out = append(out, step{m[2], m[1]})
	}
	if len(out) < 20 {
		t.Fatalf("only %d blocks were found", len(out))
	}
	return out
}

// elsewhere puts free ports of an address of the test's own in the place of those of the page.
func elsewhere(t *testing.T, page string) string {
	t.Helper()
	pairs := []string{
		"127.0.0.1", testHost, "consul agent -dev", "consul agent -dev -client=" + testHost + " -bind=" + testHost +
			" -http-port=$CONSUL_PORT -dns-port=-1 -grpc-port=-1 -grpc-tls-port=-1 -server-port=" + freePort(t) +
			" -serf-lan-port=" + freePort(t) + " -serf-wan-port=" + freePort(t),
		"9900", "$ADMIN_PORT",
	}
	for _, port := range []string{"8080", "9001", "9002", "9003"} {
		pairs = append(pairs, port, freePort(t))
	}
	return strings.NewReplacer(pairs...).Replace(page)
}

// testHost is where freeAddress is.
const testHost = "127.0.0.3"

// freePort is a port of loopback that nobody listens at.
func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// shell is a bash in a folder of its own, which ends with everything it has started.
type shell struct {
	t      *testing.T
	in     *os.File
	out    string
	blocks int
}

func newShell(t *testing.T) *shell {
	t.Helper()
	consul := program(t, os.Getenv("USHER_TEST_CONSUL"))
	dir := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(dir, "usher")); err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, out: filepath.Join(dir, "output")}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.in = w
	port, admin := freePort(t), freePort(t)
	cmd := exec.Command("bash")
	cmd.Dir, cmd.Stdin = dir, r
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(consul)+":"+os.Getenv("PATH"), "NO_COLOR=1",
		"CONSUL_PORT="+port, "CONSUL_HTTP_ADDR="+testHost+":"+port,
		"ADMIN_PORT="+admin, "USHER_ADMIN="+testHost+":"+admin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	t.Cleanup(func() {
		_, _ = fmt.Fprintln(w, "kill -9 $(jobs -p); exit")
		_ = w.Close()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the shell said:\n%s", said.String())
		}
	})
	return s
}

// do runs a block: once, or until its output is as expected.
func (s *shell) do(b step) {
	s.t.Helper()
	var output string
	eventually(s.t, patience, "the output has "+b.expect+" after\n"+b.script, func() bool {
		s.blocks++
		mark := fmt.Sprintf("%s.%d", s.out, s.blocks)
		if _, err := fmt.Fprintf(s.in, "{ %s\n} > %s 2>&1\nmv %s %s.done\n", b.script, mark, mark, mark); err != nil {
			s.t.Fatalf("the shell has ended: %v", err)
		}
		eventually(s.t, patience, "the end of\n"+b.script, func() bool {
			data, err := os.ReadFile(mark + ".done")
			output = string(data)
			return err == nil
		})
		return b.expect == "" || strings.Contains(strings.Join(strings.Fields(output), " "), b.expect)
	})
	s.t.Logf("$ %s%s", b.script, output)
}

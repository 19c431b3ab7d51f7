package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is the usher under test, built once by TestMain.
var binary string

func TestMain(m *testing.M) {
	if does := os.Getenv(workerEnv); does != "" {
		os.Exit(work(does))
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "usher-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		binary = filepath.Join(dir, "usher")
		build := exec.Command("go", "build", "-buildvcs=false", "-pgo=off", "-o", binary, ".")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			return 1
		}
		return m.Run()
	}())
}

// usher is a running process.
type usher struct {
	t    testing.TB
	cmd  *exec.Cmd
	dir  string
	conf string
	// web and admin are the base URLs, known once it listens.
	web, admin string
	done       chan struct{}
	code       int

	mu  sync.Mutex
	log []string
}

// start runs usher with a configuration, whose listeners should have port 0, and
// waits until it serves. $ADMIN in it is replaced by a free address.
func start(t testing.TB, conf string) *usher {
	t.Helper()
	u := launch(t, conf)
	u.waitLog(`"msg":"services"`)
	return u
}

// launch is start without the waiting.
func launch(t testing.TB, conf string, args ...string) *usher {
	t.Helper()
	dir := t.TempDir()
	u := &usher{t: t, dir: dir, conf: filepath.Join(dir, "usher.yaml"), done: make(chan struct{})}
	u.write(conf)
	u.run(append([]string{"run", "--config", u.conf, "--log-format", "json"}, args...)...)
	return u
}

// write replaces the configuration file, in one step.
func (u *usher) write(conf string) {
	u.t.Helper()
	next := u.conf + ".next"
	if err := os.WriteFile(next, []byte(conf), 0o600); err != nil {
		u.t.Fatal(err)
	}
	if err := os.Rename(next, u.conf); err != nil {
		u.t.Fatal(err)
	}
}

func (u *usher) run(args ...string) {
	u.t.Helper()
	u.runWithOutput(nil, args...)
}

// runWithOutput is run with stdout to out.
func (u *usher) runWithOutput(out io.Writer, args ...string) {
	u.t.Helper()
	u.cmd = exec.Command(binary, args...)
	if out != nil {
		u.cmd.Stdout = out
	}
	u.cmd.Dir = u.dir
	stderr, err := u.cmd.StderrPipe()
	if err != nil {
		u.t.Fatal(err)
	}
	if err := u.cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	go u.follow(stderr)
	u.t.Cleanup(u.end)
}

// follow collects the log and learns the addresses from it.
func (u *usher) follow(r io.Reader) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line := s.Text()
		var rec struct{ Msg, Listener, Address string }
		_ = json.Unmarshal([]byte(line), &rec)
		u.mu.Lock()
		u.log = append(u.log, line)
		switch {
		case rec.Msg == "listening" && rec.Listener == "web":
			u.web = "http://" + rec.Address
		case rec.Msg == "admin listening":
			u.admin = "http://" + rec.Address
		}
		u.mu.Unlock()
	}
	err := u.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		u.code = exit.ExitCode()
	}
	close(u.done)
}

// end stops the process if it still runs and shows its log if the test failed.
func (u *usher) end() {
	select {
	case <-u.done:
	default:
		_ = u.cmd.Process.Kill()
		<-u.done
	}
	if u.t.Failed() {
		u.t.Logf("usher's log:\n%s", strings.Join(u.logged(), "\n"))
	}
}

// lockedBuffer holds what a process writes while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (u *usher) logged() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.log...)
}

func (u *usher) hasLog(part string) bool {
	for _, l := range u.logged() {
		if strings.Contains(l, part) {
			return true
		}
	}
	return false
}

func (u *usher) waitLog(part string) {
	u.t.Helper()
	eventually(u.t, 30*time.Second, "log: "+part, func() bool {
		select {
		case <-u.done:
			u.t.Fatalf("usher ended with %d before it logged %s:\n%s", u.code, part, strings.Join(u.logged(), "\n"))
		default:
		}
		return u.hasLog(part)
	})
}

func (u *usher) signal(s syscall.Signal) {
	u.t.Helper()
	if err := u.cmd.Process.Signal(s); err != nil {
		u.t.Fatal(err)
	}
}

// wait waits for the end and returns the exit code.
func (u *usher) wait(limit time.Duration) int {
	u.t.Helper()
	select {
	case <-u.done:
		return u.code
	case <-time.After(limit):
		u.t.Fatalf("usher still runs after %s", limit)
		return -1
	}
}

// metric returns the sum of the samples of a metric whose labels contain all of
// parts.
func (u *usher) metric(name string, parts ...string) float64 {
	u.t.Helper()
	_, body := get(u.t, u.admin+"/metrics", "")
	line := regexp.MustCompile(`(?m)^` + name + `(\{[^\n]*\})? (\S+)$`)
	sum := 0.0
lines:
	for _, m := range line.FindAllStringSubmatch(body, -1) {
		for _, p := range parts {
			if !strings.Contains(m[1], p) {
				continue lines
			}
		}
		v, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			u.t.Fatal(err)
		}
		sum += v
	}
	return sum
}

// status asks usher for a host's root and returns status and reason.
func (u *usher) status(host string) (int, string) {
	u.t.Helper()
	req, err := http.NewRequestWithContext(u.t.Context(), http.MethodGet, u.web+"/", nil)
	if err != nil {
		u.t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("X-Usher-Reason")
}

func (u *usher) waitStatus(host string, want int) {
	u.t.Helper()
	eventually(u.t, 15*time.Second, fmt.Sprintf("%s answers %d", host, want), func() bool {
		got, _ := u.status(host)
		return got == want
	})
}

func get(t testing.TB, url, host string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// eventually waits until ok, which is asked every few milliseconds.
func eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	end := time.NewTimer(limit)
	defer end.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// pause lets a load run for a while.
func pause(d time.Duration) { <-time.After(d) }

// backend is one instance of a service.
type backend struct {
	name   string
	port   int
	server *http.Server
	ln     net.Listener
}

// newBackend starts an instance on a free port; it answers with its name.
func newBackend(t testing.TB, name string, handler http.HandlerFunc) *backend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if handler == nil {
		handler = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) }
	}
	b := &backend{
		name: name, ln: ln, port: ln.Addr().(*net.TCPAddr).Port,
		server: &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second},
	}
	go func() { _ = b.server.Serve(ln) }()
	t.Cleanup(func() { _ = b.server.Close() })
	return b
}

func (b *backend) address() string { return "127.0.0.1:" + strconv.Itoa(b.port) }

// stop ends the instance as a well-behaved server does: what runs is finished.
func (b *backend) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = b.server.Shutdown(ctx)
}

// load is a steady stream of requests.
type load struct {
	t      testing.TB
	stop   chan struct{}
	done   sync.WaitGroup
	mu     sync.Mutex
	sent   int
	failed []string
	by     map[string]int
}

// startLoad asks url for host at the given rate until stopped. Anything but 200 is
// a failure. The client keeps its connections, as browsers and services do.
func startLoad(t testing.TB, url, host string, rate int) *load {
	t.Helper()
	l := &load{t: t, stop: make(chan struct{}), by: map[string]int{}}
	tr := &http.Transport{MaxIdleConnsPerHost: 256, MaxConnsPerHost: 256}
	client := &http.Client{Transport: tr, Timeout: 20 * time.Second}
	turns := make(chan struct{}, rate)
	l.done.Go(func() { l.pace(turns, rate) })
	const workers = 64
	for range workers {
		l.done.Go(func() {
			for range turns {
				l.ask(client, url, host)
			}
		})
	}
	t.Cleanup(func() {
		l.finish()
		tr.CloseIdleConnections()
	})
	return l
}

// pace hands out turns at the rate, whatever the answers take.
func (l *load) pace(turns chan<- struct{}, rate int) {
	defer close(turns)
	begin := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for given := 0; ; {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		for due := int(time.Since(begin).Seconds() * float64(rate)); given < due; given++ {
			select {
			case turns <- struct{}{}:
			case <-l.stop:
				return
			}
		}
	}
}

func (l *load) ask(client *http.Client, url, host string) {
	req, _ := http.NewRequest(http.MethodGet, url, nil)
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		l.note("", err.Error())
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		l.note("", "body: "+err.Error())
	case resp.StatusCode != http.StatusOK:
		l.note("", resp.Status+" "+resp.Header.Get("X-Usher-Reason"))
	default:
		l.note(string(bytes.TrimSpace(body)), "")
	}
}

func (l *load) note(by, failure string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	if failure != "" {
		l.failed = append(l.failed, failure)
		return
	}
	l.by[by]++
}

// finish stops the load and waits for the last answers.
func (l *load) finish() {
	l.mu.Lock()
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.mu.Unlock()
	l.done.Wait()
}

// mustBeClean stops the load once at least so many requests were sent, and fails the
// test if one of them failed.
func (l *load) mustBeClean(least int) {
	l.t.Helper()
	eventually(l.t, patience, "enough requests were sent", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.sent >= least
	})
	l.finish()
	if len(l.failed) > 0 {
		l.t.Errorf("%d of %d requests failed, such as: %s", len(l.failed), l.sent, l.failed[0])
	}
	l.t.Logf("%d requests, %d failed, by instance: %v", l.sent, len(l.failed), l.by)
}

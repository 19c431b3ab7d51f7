package consultest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	// attempts is how often Start tries other ports when one was taken.
	attempts = 5
	// startLimit bounds the wait for a leader, stopLimit that for an orderly end.
	startLimit = 60 * time.Second
	stopLimit  = 15 * time.Second
	// requestLimit bounds each request of the helpers, which a paused agent would
	// hang.
	requestLimit = 15 * time.Second
)

// Agent is one Consul agent. Its methods are for the test's goroutine, except
// those that only return a value, and Client's client.
type Agent struct {
	t      testing.TB
	binary string
	dir    string
	opts   options
	ports  ports
	tls    *tlsFiles
	// proc is the running agent, nil while it is stopped.
	proc *process

	client    *api.Client
	transport *http.Transport
}

// Start starts an agent and waits until it can be used.
func Start(t testing.TB, opts ...Option) *Agent {
	t.Helper()
	a := newAgent(t, opts)
	for attempt := 1; ; attempt++ {
		a.ports = freePorts(t)
		a.connect()
		err := a.launch()
		if err == nil {
			return a
		}
		if attempt == attempts || !a.logHas(addressInUse) {
			t.Fatalf("consul %s: %v", a.opts.name, err)
		}
		a.wipe()
	}
}

const addressInUse = "address already in use"

// newAgent makes an agent that has no ports yet and does not run.
func newAgent(t testing.TB, opts []Option) *Agent {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real Consul")
	}
	a := &Agent{t: t, binary: binary(t), dir: t.TempDir(), opts: newOptions(opts)}
	t.Cleanup(a.end)
	if a.opts.tls {
		a.tls = a.makeTLS()
	}
	return a
}

// binary finds the Consul program.
func binary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("USHER_TEST_CONSUL"); path != "" {
		return path
	}
	if path, err := exec.LookPath("consul"); err == nil {
		return path
	}
	dir, err := os.Getwd()
	for err == nil && dir != filepath.Dir(dir) {
		if _, e := os.Stat(filepath.Join(dir, "go.mod")); e == nil {
			path := filepath.Join(dir, "deploy", "tools", "bin", "consul")
			if _, e := os.Stat(path); e == nil {
				return path
			}
			break
		}
		dir = filepath.Dir(dir)
	}
	t.Fatal("no consul: run make consul")
	return ""
}

// Name is the agent's node name, unique among the tests.
func (a *Agent) Name() string { return a.opts.name }

// Datacenter is the agent's datacenter.
func (a *Agent) Datacenter() string { return a.opts.datacenter }

// Addr is host:port of the agent's plain HTTP API.
func (a *Agent) Addr() string { return a.ports.addr(a.ports.http) }

// TLSAddr is host:port of the agent's HTTPS API. It needs [TLS].
func (a *Agent) TLSAddr() string { return a.ports.addr(a.ports.https) }

// CAFile is the file of the authority that signed the agent's certificate. It
// needs [TLS].
func (a *Agent) CAFile() string { return a.tls.ca }

// Token is the token that may do everything, empty without [ACL].
func (a *Agent) Token() string { return a.opts.token }

// Client returns a client of the agent's plain HTTP API, with [Agent.Token]. It
// may be used from any goroutine.
func (a *Agent) Client() *api.Client { return a.client }

// connect makes the client for the ports at hand.
func (a *Agent) connect() {
	a.t.Helper()
	if a.transport != nil {
		a.transport.CloseIdleConnections()
	}
	a.transport = &http.Transport{MaxIdleConnsPerHost: 64}
	// The environment must not decide which agent a test speaks to.
	client, err := api.NewClient(&api.Config{
		Address: a.Addr(), Scheme: "http", Token: a.opts.token,
		HttpClient: &http.Client{Transport: a.transport},
	})
	if err != nil {
		a.t.Fatal(err)
	}
	a.client = client
}

// launch starts the process and waits until it is ready.
func (a *Agent) launch() error {
	if err := a.begin(); err != nil {
		return err
	}
	return a.await(a.ready)
}

// begin starts the process.
func (a *Agent) begin() error {
	args, err := a.writeConfig()
	if err != nil {
		return err
	}
	a.proc, err = startProcess(a.binary, args, a.logFile())
	return err
}

// await waits until the running agent is as it has to be, and ends it if that takes
// too long.
func (a *Agent) await(condition func(ctx context.Context) error) error {
	err := a.poll(condition)
	if err != nil {
		a.signal(syscall.SIGKILL)
		a.awaitEnd(stopLimit)
	}
	return err
}

func (a *Agent) poll(condition func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	var last error
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-a.proc.done:
			return fmt.Errorf("ended while it started: %w", a.proc.err)
		case <-ctx.Done():
			return fmt.Errorf("not ready within %s: %w", startLimit, last)
		case <-ticker.C:
		}
	}
}

// answers says that the agent answers. It asks for the name: the port may be another
// one's agent by now.
func (a *Agent) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	var self struct{ Config struct{ NodeName string } }
	if _, err := a.client.Raw().Query("/v1/agent/self", &self, query(ctx)); err != nil {
		return err
	}
	if self.Config.NodeName != a.opts.name {
		return fmt.Errorf("the agent at %s is %q", a.Addr(), self.Config.NodeName)
	}
	return nil
}

// up says that the agent answers, were it with a refusal: without a leader it knows no
// token.
func (a *Agent) up(ctx context.Context) error {
	var refusal api.StatusError
	err := a.answers(ctx)
	if errors.As(err, &refusal) {
		return nil
	}
	return err
}

// ready says that the agent knows a leader, and the catalog its node.
func (a *Agent) ready(ctx context.Context) error {
	if err := a.answers(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	query := query(ctx)
	leader, err := a.client.Status().LeaderWithQueryOptions(query)
	if err != nil {
		return err
	}
	checks, _, err := a.client.Health().Node(a.opts.name, query)
	if err != nil {
		return err
	}
	if leader == "" || !slices.ContainsFunc(checks, aliveNode) {
		return fmt.Errorf("leader %q, %d checks on the node", leader, len(checks))
	}
	return nil
}

// aliveNode finds the check that gossip makes of a node.
func aliveNode(c *api.HealthCheck) bool {
	return c.CheckID == "serfHealth" && c.Status == api.HealthPassing
}

// Stop ends the agent in an orderly way (SIGTERM) and waits for it. It does not
// leave its cluster and keeps its data.
func (a *Agent) Stop() {
	a.t.Helper()
	a.stop(syscall.SIGTERM)
}

// Kill ends the agent at once (SIGKILL) and waits for it; its data stay.
func (a *Agent) Kill() {
	a.t.Helper()
	a.stop(syscall.SIGKILL)
}

func (a *Agent) stop(sig syscall.Signal) {
	a.t.Helper()
	if a.proc == nil {
		return
	}
	a.signal(sig)
	a.signal(syscall.SIGCONT) // a paused one would not notice
	if !a.awaitEnd(stopLimit) {
		a.signal(syscall.SIGKILL)
		a.awaitEnd(stopLimit)
		a.t.Errorf("consul %s did not end within %s of %v", a.opts.name, stopLimit, sig)
	}
}

// Restart starts the agent again, with the same ports and data, after stopping it
// if it runs. It returns when the agent can be used.
func (a *Agent) Restart() {
	a.t.Helper()
	a.Stop()
	a.relaunch(a.ready)
}

// RestartAlone is Restart without the wait for a leader: for a server whose cluster is
// away. It returns when the agent answers.
func (a *Agent) RestartAlone() {
	a.t.Helper()
	a.Stop()
	a.relaunch(a.up)
}

// RestartEmpty is Restart with the data lost: the same ports, an empty catalog.
func (a *Agent) RestartEmpty() {
	a.t.Helper()
	a.Kill()
	a.wipe()
	a.relaunch(a.ready)
}

// relaunch starts the agent on the ports it had and waits for the condition. Another
// process may hold one of the ports for a moment.
func (a *Agent) relaunch(condition func(ctx context.Context) error) {
	a.t.Helper()
	for attempt := 1; ; attempt++ {
		err := a.begin()
		if err == nil {
			err = a.await(condition)
		}
		if err == nil {
			return
		}
		if attempt == attempts || !strings.Contains(a.logTail(5), addressInUse) {
			a.t.Fatalf("consul %s, again: %v", a.opts.name, err)
		}
	}
}

// Pause freezes the agent (SIGSTOP): connections to it open, and nothing answers.
func (a *Agent) Pause() {
	a.t.Helper()
	a.mustSignal(syscall.SIGSTOP)
}

// Resume ends a Pause.
func (a *Agent) Resume() {
	a.t.Helper()
	a.mustSignal(syscall.SIGCONT)
}

func (a *Agent) mustSignal(sig syscall.Signal) {
	a.t.Helper()
	if a.proc == nil {
		a.t.Fatalf("consul %s does not run", a.opts.name)
	}
	if err := a.proc.cmd.Process.Signal(sig); err != nil {
		a.t.Fatalf("consul %s: %v", a.opts.name, err)
	}
}

// signal sends sig; that the process has ended already is no failure.
func (a *Agent) signal(sig syscall.Signal) {
	if err := a.proc.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		a.t.Logf("consul %s: %v", a.opts.name, err)
	}
}

// awaitEnd waits for the process and forgets it.
func (a *Agent) awaitEnd(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-a.proc.done:
		a.proc = nil
		return true
	case <-timer.C:
		return false
	}
}

// end cleans up behind the test.
func (a *Agent) end() {
	if a.proc != nil {
		a.signal(syscall.SIGKILL)
		a.awaitEnd(stopLimit)
	}
	if a.transport != nil {
		a.transport.CloseIdleConnections()
	}
	if a.t.Failed() {
		a.t.Logf("the last lines of consul %s (%s):\n%s", a.opts.name, a.Addr(), a.logTail(logLines))
	}
}

// wipe removes the agent's data.
func (a *Agent) wipe() {
	if err := os.RemoveAll(a.dataDir()); err != nil {
		a.t.Errorf("consul %s: %v", a.opts.name, err)
	}
}

package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"usher/config"
	"usher/proxy/proxytest"
)

// refused returns how many connections a listener has refused for each reason.
func refused(t *testing.T, u *proxytest.Usher, listener string) string {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(u.Proxy)
	families, err := r.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "usher_connections_refused_total" {
		t.Fatalf("got %v (%v)", families, err)
	}
	var out []string
	for _, m := range families[0].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if n := m.GetCounter().GetValue(); labels["listener"] == listener && n > 0 {
			out = append(out, fmt.Sprintf("%s %v", labels["reason"], n))
		}
	}
	return strings.Join(out, ", ")
}

// served opens a connection that has been served a request.
func served(t *testing.T, address string) *proxytest.Client {
	t.Helper()
	c := proxytest.Dial(t, address)
	if r := c.Get("/"); r.StatusCode != 200 {
		t.Fatalf("got %d", r.StatusCode)
	}
	return c
}

// The connections of all listeners are counted together, and those of one that was
// replaced go on counting.
func TestLimitOverAllListeners(t *testing.T) {
	t.Parallel()
	origin := proxytest.Answering(t, proxytest.OK)
	web, api := config.Listener{Name: "web"}, config.Listener{Name: "api"}
	web.Address, api.Address = free(t), free(t)
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{web, api}, Services: proxytest.Origins(origin.Addr),
	})
	u.Proxy.Limit(config.Limits{MaxConnections: 2})
	first := served(t, web.Address)
	served(t, api.Address)
	proxytest.Dial(t, web.Address).Closed()
	proxytest.Dial(t, api.Address).Closed()
	web.MaxBodySize = 1000
	u.Listen(web, api)
	proxytest.Dial(t, web.Address).Closed()
	if got := refused(t, u, "web"); got != "total 2" {
		t.Errorf("web refused %q", got)
	}
	if got := refused(t, u, "api"); got != "total 1" {
		t.Errorf("api refused %q", got)
	}
	first.Close()
	open := u.Metrics.Downstream.Listener("web").Open
	proxytest.Eventually(t, "the first one is gone", func() bool { return open.Value() == 0 })
	served(t, api.Address)
	u.Proxy.Limit(config.Limits{MaxConnections: 3})
	served(t, web.Address)
}

// free is an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func TestLimitPerListenerAndClient(t *testing.T) {
	t.Parallel()
	origin := proxytest.Answering(t, proxytest.OK)
	for _, tc := range []struct {
		name     string
		listener config.Listener
		want     string
	}{
		{"listener", config.Listener{MaxConnections: 2}, "listener 1"},
		{"client", config.Listener{MaxConnectionsPerClient: 2}, "client 1"},
		{
			"a trusted proxy stands for many",
			config.Listener{MaxConnectionsPerClient: 2, TrustedProxies: []string{"127.0.0.1"}},
			"",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			u := proxytest.Start(t, proxytest.Options{
				Listeners: []config.Listener{tc.listener}, Services: proxytest.Origins(origin.Addr),
			})
			first := served(t, u.Addr())
			served(t, u.Addr())
			if tc.want == "" {
				served(t, u.Addr())
			} else {
				u.Dial().Closed()
				first.Close()
				open := u.Metrics.Downstream.Listener("web").Open
				proxytest.Eventually(t, "the first one is gone", func() bool { return open.Value() == 1 })
				served(t, u.Addr())
			}
			if got := refused(t, u, "web"); got != tc.want {
				t.Errorf("refused %q, want %q", got, tc.want)
			}
		})
	}
}

// A connection that says nothing is kept by the kernel when the listener defers, and
// accepted when it does not. Connections are accepted in their order: one that is
// served proves that those before it have been, or are deferred.
func TestDeferAccept(t *testing.T) {
	t.Parallel()
	origin := proxytest.Answering(t, proxytest.OK)
	l := config.Listener{Address: free(t), DeferAccept: true}
	u := proxytest.Start(t, proxytest.Options{
		Listeners: []config.Listener{l}, Services: proxytest.Origins(origin.Addr),
	})
	accepted := u.Metrics.Downstream.Listener("web").Connections
	silent := u.Dial()
	served(t, u.Addr())
	if n := accepted.Value(); n != 1 {
		t.Errorf("%d accepted, want only the one that spoke", n)
	}
	if r := silent.Get("/"); r.StatusCode != 200 {
		t.Errorf("got %d", r.StatusCode)
	}
	l.DeferAccept = false
	u.Listen(l)
	u.Dial()
	served(t, u.Addr())
	if n := accepted.Value(); n != 4 {
		t.Errorf("%d accepted without defer_accept, want 4", n)
	}
}

// inChild is set in the environment of a test that runs in a process of its own.
const inChild = "USHER_TEST_CHILD"

// child runs the test alone in another process that a shell becomes after the commands,
// which end in && or are empty, and returns its output, line by line, and its input.
func child(t *testing.T, env, commands string) (lines *bufio.Scanner, in io.WriteCloser) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*proxytest.Patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "sh", "-c", commands+`exec "$0" "$@"`, os.Args[0],
		"-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), inChild+"="+env)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	var failed bytes.Buffer
	cmd.Stderr = &failed
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		rest, _ := io.ReadAll(out)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the child failed: %v\n%s%s", err, rest, failed.String())
		}
	})
	return bufio.NewScanner(out), in
}

// expect reads the child's output up to a line that begins with the word, and returns
// what stands behind it.
func expect(t *testing.T, lines *bufio.Scanner, word string) string {
	t.Helper()
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), word+" "); ok {
			return rest
		}
		t.Log("child: ", lines.Text())
	}
	t.Fatalf("the child ended without %q", word)
	return ""
}

// The soft limit on descriptors is raised to the hard one, less one at most: the Go
// runtime does it.
func TestDescriptorLimitIsRaised(t *testing.T) {
	if os.Getenv(inChild) != "" {
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(os.Stdout, "limit %d of %d\n", limit.Cur, limit.Max)
		return
	}
	t.Parallel()
	lines, _ := child(t, "1", "ulimit -Sn 200 && ")
	var soft, hard uint64
	if _, err := fmt.Sscanf(expect(t, lines, "limit"), "%d of %d", &soft, &hard); err != nil {
		t.Fatal(err)
	}
	if hard <= 200 || soft < hard-1 {
		t.Errorf("the soft limit is %d, the hard one %d", soft, hard)
	}
}

// Without a limit of its own usher takes three quarters of the descriptors that are
// left.
func TestLimitFromDescriptors(t *testing.T) {
	if origin := os.Getenv(inChild); origin != "" {
		u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin)})
		fmt.Fprintln(os.Stdout, "serving", u.Addr())
		_, _ = io.Copy(io.Discard, os.Stdin)
		fmt.Fprintln(os.Stdout, "refused", refused(t, u, "web"))
		return
	}
	t.Parallel()
	origin := proxytest.Answering(t, proxytest.OK)
	lines, in := child(t, origin.Addr, "ulimit -n 60 && ")
	address := expect(t, lines, "serving")
	var closed int
	for range 50 {
		c := proxytest.Dial(t, address)
		if _, err := io.WriteString(c, get+"\r\n"); err != nil {
			closed++
		} else if r, err := c.TryBegin("GET"); err != nil {
			closed++
		} else if r.StatusCode != 200 {
			t.Errorf("got %d", r.StatusCode)
		}
	}
	in.Close()
	if got := expect(t, lines, "refused"); closed < 10 || closed > 30 || got != fmt.Sprintf("total %d", closed) {
		t.Errorf("%d of 50 were closed, counted: %s", closed, got)
	}
}

// A flood that takes every descriptor ends nothing: usher waits, and serves again when
// it is over.
func TestFewDescriptors(t *testing.T) {
	if origin := os.Getenv(inChild); origin != "" {
		serveWithFew(t, origin)
		return
	}
	t.Parallel()
	origin := proxytest.Answering(t, proxytest.OK)
	lines, in := child(t, origin.Addr, "")
	address := expect(t, lines, "serving")
	for range 3 {
		flood := make([]*proxytest.Client, floodSize)
		for i := range flood {
			flood[i] = proxytest.Dial(t, address)
		}
		_, _ = io.WriteString(in, "full?\n")
		expect(t, lines, "full")
		for _, c := range flood {
			c.Close()
		}
		_, _ = io.WriteString(in, "again?\n")
		expect(t, lines, "again")
		c := proxytest.Dial(t, address)
		if r := c.Get("/"); r.StatusCode != 200 {
			t.Errorf("after the flood: got %d", r.StatusCode)
		}
		c.Close()
	}
}

// floodSize is how many connections a flood of TestFewDescriptors is.
const floodSize = 60

// serveWithFew serves with thirty descriptors, and answers what the parent asks.
func serveWithFew(t *testing.T, origin string) {
	t.Helper()
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(origin)})
	u.Proxy.Limit(config.Limits{MaxConnections: 1000}) // so that the descriptors end first
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 30, Max: 30}); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(os.Stdout, "serving", u.Addr())
	web := u.Metrics.Downstream.Listener("web")
	var came uint64 // and went, until the flood is over
	for asked := bufio.NewScanner(os.Stdin); asked.Scan(); {
		switch asked.Text() {
		case "full?":
			came += floodSize
			proxytest.Eventually(t, "no descriptor is left", func() bool { return errors.Is(spare(), unix.EMFILE) })
			fmt.Fprintln(os.Stdout, "full now")
		case "again?":
			// Those that waited to be accepted take descriptors, too.
			proxytest.Eventually(t, "the flood is over", func() bool {
				return web.Connections.Value() >= came && web.Open.Value() == 0 && spare() == nil
			})
			came++ // the client that asks then
			fmt.Fprintln(os.Stdout, "again now")
		}
	}
}

// spare says what keeps the process from opening another descriptor.
func spare() error {
	f, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	return f.Close()
}

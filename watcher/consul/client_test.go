package consul

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/watcher"
	"usher/watcher/consul/consultest"
)

// connected is a connection for one test, and its changes of the agent.
type connected struct {
	*connection
	t *testing.T

	mu    sync.Mutex
	moves []string
}

func connectFor(t *testing.T, c config.Consul) *connected {
	t.Helper()
	b := &connected{t: t}
	conn, err := connect(c, slog.New(slog.DiscardHandler), func(from, to, _ string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.moves = append(b.moves, from+">"+to)
	})
	if err != nil {
		t.Fatal(err)
	}
	b.connection = conn
	t.Cleanup(conn.transport.CloseIdleConnections)
	return b
}

// speaksTo checks which agent answers, and what changes there were so far.
func (b *connected) speaksTo(a *consultest.Agent, moves ...string) {
	b.t.Helper()
	self, err := b.client.Agent().Self()
	if err != nil {
		b.t.Fatal(err)
	}
	if got := self["Config"]["NodeName"]; got != a.Name() {
		b.t.Errorf("%v answers, want %s", got, a.Name())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.moves, moves) {
		b.t.Errorf("moves %q, want %q", b.moves, moves)
	}
}

// TestFailover: of two real agents the first is killed and comes back.
func TestFailover(t *testing.T) {
	t.Parallel()
	first, second := consultest.Start(t), consultest.Start(t)
	one, two := first.Addr(), "http://"+second.Addr()
	b := connectFor(t, config.Consul{Addresses: []string{one, two}})
	b.speaksTo(first)
	there, back := one+">"+two, two+">"+one

	first.Kill()
	consultest.Eventually(t, "a connection that was open fails", func() bool {
		_, err := b.client.Status().Leader()
		return err == nil
	})
	b.speaksTo(second, there)
	b.agents.tryFirst(t.Context())
	b.speaksTo(second, there)
	first.Restart()
	b.speaksTo(second, there)
	b.agents.tryFirst(t.Context())
	b.speaksTo(first, there, back)

	// A frozen agent takes connections; the probe of the leader finds out.
	query, sent := make(chan error, 1), make(chan struct{})
	_, meta, err := b.client.Catalog().Services(nil)
	if err != nil {
		t.Fatal(err)
	}
	first.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), consultest.Patience)
	defer cancel()
	go func() {
		opts := &api.QueryOptions{WaitIndex: meta.LastIndex, WaitTime: wait}
		_, _, err := b.client.Catalog().Services(opts.WithContext(onceSent(ctx, func() { close(sent) })))
		query <- err
	}()
	<-sent
	if !b.agents.failed(ctx, b.agents.current(), "timeout") {
		t.Fatal("the frozen agent is not given up")
	}
	b.speaksTo(second, there, back, there)
	if err := <-query; !errors.Is(err, errMoved) {
		t.Errorf("the query at the frozen agent ended with %v", err)
	}
	first.Resume()
}

// onceSent calls f when a request made with the context was sent.
func onceSent(ctx context.Context, f func()) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { f() },
	})
}

// TestFailoverOfARegistry: a client agent dies, its server takes over; nothing is
// lost, and changes go on.
func TestFailoverOfARegistry(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t)
	client := consultest.Start(t, consultest.Join(server))
	server.Register(registration("web", "urlprefix-/"))
	c := conf("")
	c.Addresses = []string{client.Addr(), server.Addr()}
	b := follow(t, c)
	b.awaitThere("web")
	b.awaitSynced()
	client.Kill()
	server.Critical("web")
	b.await("web", "is critical", func(in watcher.Instance) bool { return in.Status == watcher.Critical })
	server.Register(registration("new", "urlprefix-/new"))
	b.awaitThere("new")
	if b.look(func() bool { return b.emptied["web"] > 0 }) {
		t.Error("web was said to be gone")
	}
}

// TestSchemes: agents behind TLS, behind a Unix socket and in the clear, in one list.
// What speaks no TLS, or shows a certificate of another authority, is passed over.
func TestSchemes(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	a := consultest.Start(t, consultest.TLS(),
		consultest.Config(fmt.Sprintf("addresses { http = %q }", "127.0.0.1 unix://"+socket)))
	stranger := consultest.Start(t, consultest.TLS())
	plain, secure, unix := a.Addr(), "https://"+a.TLSAddr(), "unix://"+socket
	for name, list := range map[string][]string{
		"plain":            {plain},
		"unix":             {unix},
		"tls":              {secure},
		"no TLS there":     {"https://" + plain, secure},
		"not trusted":      {"https://" + stranger.TLSAddr(), secure},
		"no socket there":  {unix + "2", unix},
		"from one to all":  {unix + "2", "127.0.0.1:1", "https://" + stranger.TLSAddr(), unix},
		"TLS, then plain":  {"https://" + stranger.TLSAddr(), plain},
		"plain, in a list": {plain, secure, unix},
	} {
		t.Run(name, func(t *testing.T) {
			b := connectFor(t, config.Consul{
				Address: "127.0.0.1:1", Addresses: list, TLS: config.ConsulTLS{CAFile: a.CAFile()},
			})
			last := list[len(list)-1]
			var moves []string
			if name != "plain, in a list" && len(list) > 1 {
				moves = []string{list[0] + ">" + last}
			} else {
				last = list[0]
			}
			b.speaksTo(a, moves...)
			if got := b.agents.current(); got != last {
				t.Errorf("the current one is %s, want %s", got, last)
			}
		})
	}
}

// TestProbeFindsAnAgent: the check before a start takes the same list.
func TestProbeFindsAnAgent(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.ACL())
	found, err := Probe(t.Context(), config.Consul{
		Addresses: []string{"127.0.0.1:1", a.Addr()}, Token: a.Token(), TagPrefix: "urlprefix-",
	})
	if err != nil || found.Leader == "" || found.Services != 1 {
		t.Errorf("found %+v, %v", found, err)
	}
}

// TestMultiplexed: two hundred queries wait at a TLS agent on a few connections, over
// HTTP/2.
func TestMultiplexed(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.TLS())
	c := config.Consul{Address: "https://" + a.TLSAddr(), TLS: config.ConsulTLS{CAFile: a.CAFile()}}
	b := connectFor(t, c)
	var open atomic.Int64
	dial := b.transport.DialTLSContext
	b.transport.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err == nil {
			open.Add(1)
		}
		return conn, err
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://consul/v1/status/leader", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := b.agents.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Fatalf("the agent answers over %s", resp.Proto)
	}

	const queries = 200
	_, meta, err := b.client.Catalog().Services(nil)
	if err != nil {
		t.Fatal(err)
	}
	var sent atomic.Int64
	woken := make(chan error, queries)
	for range queries {
		first := onceSent(t.Context(), func() { sent.Add(1) })
		go func() { woken <- awaitService(first, b.client, "web", meta.LastIndex) }()
	}
	consultest.Eventually(t, "all are sent", func() bool { return sent.Load() >= queries })
	if got := len(woken); got > 0 {
		t.Errorf("%d queries do not wait: %v", got, <-woken)
	}
	a.Register(registration("web"))
	for range queries {
		if err := <-woken; err != nil {
			t.Error(err)
		}
	}
	if n := open.Load(); n > 4 {
		t.Errorf("%d connections for %d queries", n, queries)
	}
}

// awaitService repeats a blocking query until the catalog has the service.
func awaitService(ctx context.Context, client *api.Client, name string, index uint64) error {
	for {
		opts := (&api.QueryOptions{WaitIndex: index, WaitTime: wait}).WithContext(ctx)
		services, meta, err := client.Catalog().Services(opts)
		if err != nil || services[name] != nil {
			return err
		}
		index = meta.LastIndex
	}
}

func TestIsMultiplexed(t *testing.T) {
	for _, test := range []struct {
		c    config.Consul
		want bool
	}{
		{config.Consul{Address: "https://a"}, true},
		{config.Consul{Address: "a"}, false},
		{config.Consul{Address: "unix:///a"}, false},
		{config.Consul{Address: "https://a", Addresses: []string{"a"}}, false},
		{config.Consul{Address: "a", Addresses: []string{"https://a", "https://b"}}, true},
		{config.Consul{Addresses: []string{"https://a", "http://b"}}, false},
	} {
		if got := multiplexed(test.c); got != test.want {
			t.Errorf("%q %q: got %v", test.c.Address, test.c.Addresses, got)
		}
	}
}

// TestEnvironment: what the environment says of Consul's own clients is the
// configuration's to read, not the client's.
func TestEnvironment(t *testing.T) {
	t.Setenv("CONSUL_HTTP_TOKEN", "theirs")
	t.Setenv("CONSUL_HTTP_TOKEN_FILE", filepath.Join(t.TempDir(), "nowhere"))
	t.Setenv("CONSUL_HTTP_ADDR", "127.0.0.1:1")
	t.Setenv("CONSUL_HTTP_SSL", "true")
	var sent []string
	f := newFake(t, map[string]answer{leader: {body: `"127.0.0.1:8300"`}})
	b := connectFor(t, config.Consul{Address: f.addr, Token: "ours"})
	next := b.agents.next
	b.agents.next = trip(func(r *http.Request) (*http.Response, error) {
		sent = r.Header.Values("X-Consul-Token")
		return next.RoundTrip(r)
	})
	if _, err := b.client.Status().Leader(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(sent, []string{"ours"}) {
		t.Errorf("sent %q", sent)
	}
}

package resolve_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/watcher"
	"usher/watcher/consul"
	"usher/watcher/consul/consultest"
	"usher/watcher/file"
	"usher/watcher/resolve"
)

// patience bounds every wait; a passing test never waits so long.
const patience = 30 * time.Second

// follow runs a discoverer until the test ends, and returns what it sends.
func follow(t *testing.T, d watcher.Discoverer) <-chan watcher.Update {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, ended := make(chan watcher.Update), make(chan error, 1)
	go func() { ended <- d.Run(ctx, out) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	return out
}

// await waits until a service has these addresses.
func await(t *testing.T, out <-chan watcher.Update, service string, want ...string) {
	t.Helper()
	deadline := time.After(patience)
	var last []string
	for {
		select {
		case u := <-out:
			if u.Service != service || u.Unknown {
				continue
			}
			last = nil
			for _, in := range u.Instances {
				last = append(last, in.Address)
			}
			if slices.Sort(last); slices.Equal(last, want) {
				return
			}
		case <-deadline:
			t.Fatalf("not within %s: %q; it has %q", patience, want, last)
		}
	}
}

// agentWithDNS starts an agent whose DNS has an address of its own, so that no port
// must be free.
func agentWithDNS(t *testing.T) (a *consultest.Agent, dns string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has all of 127.0.0.0/8 on loopback")
	}
	host := fmt.Sprintf("127.53.%d.%d", os.Getpid()>>8&255, os.Getpid()&255)
	a = consultest.Start(t, consultest.Config(fmt.Sprintf("addresses { dns = %q }\nports { dns = 8600 }", host)))
	return a, net.JoinHostPort(host, "8600")
}

// TestConsul follows a service whose address is the name of another one, with Consul
// as the registry and as the DNS server.
func TestConsul(t *testing.T) {
	a, dns := agentWithDNS(t)
	backend := api.AgentServiceRegistration{ID: "b1", Name: "backend", Address: "10.0.0.1", Port: 1}
	a.Register(backend)
	a.Register(api.AgentServiceRegistration{
		Name: "web", Address: "backend.service.consul", Port: 8080, Tags: []string{"urlprefix-/web"},
	})
	r, err := consul.New(config.Consul{
		Address: a.Addr(), TagPrefix: "urlprefix-", MaxWatches: 64,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	out := follow(t, resolve.Wrap(r, resolve.Options{Servers: []string{dns}, MinTTL: 100 * time.Millisecond}))
	await(t, out, "web", "10.0.0.1:8080")
	backend.ID, backend.Address = "b2", "fd00::2"
	a.Register(backend)
	await(t, out, "web", "10.0.0.1:8080", "[fd00::2]:8080")
	a.Deregister("b1")
	await(t, out, "web", "[fd00::2]:8080")
}

// TestFile follows a catalog file with a name that the hosts file knows.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services.yaml")
	err := os.WriteFile(path, []byte(`
services:
- name: web
  instances:
  - {id: a, address: "localhost:8080"}
  - {id: b, address: "10.0.0.2:8080"}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"10.0.0.2:8080"}
	known, err := net.DefaultResolver.LookupHost(t.Context(), "localhost")
	if err != nil {
		t.Skip("this machine does not know localhost")
	}
	for _, ip := range known {
		want = append(want, net.JoinHostPort(ip, "8080"))
	}
	slices.Sort(want)
	out := follow(t, resolve.Wrap(file.New(path, config.Options{}, slog.New(slog.DiscardHandler)), resolve.Options{}))
	await(t, out, "web", slices.Compact(want)...)
}

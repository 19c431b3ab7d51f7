package consul

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"

	"usher/config"
	"usher/watcher/consul/consultest"
)

// kept is what WatchKeys told last.
type kept struct {
	t testing.TB

	mu    sync.Mutex
	calls int
	last  map[string][]byte
}

// keepKeys watches a prefix until the test ends.
func keepKeys(t testing.TB, c config.Consul, prefix string) *kept {
	t.Helper()
	k := &kept{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- WatchKeys(ctx, c, prefix, slog.New(slog.DiscardHandler), func(values map[string][]byte) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.calls++
			k.last = values
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return k
}

// text writes what was told last as key=value; nothing was told: -.
func (k *kept) text() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.calls == 0 {
		return []string{"-"}
	}
	out := []string{}
	for _, key := range slices.Sorted(maps.Keys(k.last)) {
		out = append(out, key+"="+string(k.last[key]))
	}
	return out
}

func (k *kept) await(want ...string) {
	k.t.Helper()
	consultest.Eventually(k.t, fmt.Sprintf("told of %q", want), func() bool {
		return slices.Equal(k.text(), want)
	})
}

func TestWatchKeys(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t)
	a.Put("certs/a", "1")
	a.Put("other/a", "x")
	k := keepKeys(t, conf(a.Addr()), "certs/")
	none := keepKeys(t, conf(a.Addr()), "nothing/")
	k.await("a=1")
	none.await()
	a.Put("certs/team/b", "2")
	k.await("a=1", "team/b=2")
	a.Put("certs/a", "3")
	k.await("a=3", "team/b=2")
	a.Delete("certs/team/b")
	k.await("a=3")
	// An agent that is away takes nothing, and what it says after is believed.
	a.Stop()
	a.Restart()
	a.Put("certs/c", "4")
	k.await("a=3", "c=4")
	a.Delete("certs/a")
	a.Delete("certs/c")
	k.await()
	none.await()
}

// A token that may no longer read the keys does not make them go.
func TestWatchKeysRights(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.ACL())
	a.Put("certs/a", "1")
	a.Put("certs/b", "2")
	token := a.NewToken(`key_prefix "certs/" { policy = "read" }`)
	c := conf(a.Addr())
	c.Token = token
	k := keepKeys(t, c, "certs/")
	k.await("a=1", "b=2")
	a.SetRules(token, `key_prefix "certs/a" { policy = "read" }`)
	a.Put("certs/a", "3")
	k.await("a=3", "b=2")
	a.SetRules(token, `key_prefix "certs/" { policy = "read" }`)
	a.Delete("certs/b")
	k.await("a=3")
}

func TestWatchKeysInvalid(t *testing.T) {
	t.Parallel()
	got := func(map[string][]byte) { t.Error("called") }
	log := slog.New(slog.DiscardHandler)
	if err := WatchKeys(context.Background(), conf("ftp://x"), "certs/", log, got); err == nil {
		t.Error("no error")
	}
}

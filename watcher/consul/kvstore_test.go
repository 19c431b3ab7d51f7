package consul

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"usher/config"
	"usher/watcher/consul/consultest"
)

// kvOf returns a folder of an agent's store.
func kvOf(t *testing.T, agent *consultest.Agent, token string) *KV {
	t.Helper()
	kv, err := NewKV(config.Consul{Address: agent.Addr(), Token: token}, "shared/", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kv.Close)
	return kv
}

func TestKV(t *testing.T) {
	agent := consultest.Start(t)
	kv, ctx := kvOf(t, agent, ""), t.Context()
	if _, err := kv.Get(ctx, "a/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("get nothing: %v", err)
	}
	for _, key := range []string{"a/b", "a/c/d", "ab"} {
		if err := kv.Put(ctx, key, []byte("value of "+key)); err != nil {
			t.Fatal(err)
		}
	}
	agent.Put("outside", "x")
	if got, err := kv.Get(ctx, "a/c/d"); err != nil || string(got) != "value of a/c/d" {
		t.Errorf("get: %q, %v", got, err)
	}
	wantKeys := func(prefix string, want ...string) {
		t.Helper()
		if got, err := kv.Keys(ctx, prefix); err != nil || !slices.Equal(got, want) {
			t.Errorf("keys %q: %q, %v; want %q", prefix, got, err, want)
		}
	}
	wantKeys("", "a/b", "a/c/d", "ab")
	wantKeys("a/", "a/b", "a/c/d")
	wantKeys("none/")
	if err := kv.Delete(ctx, "a"); err != nil {
		t.Error(err)
	}
	wantKeys("", "ab")
	if err := kv.Delete(ctx, "a"); err != nil {
		t.Errorf("delete nothing: %v", err)
	}
	if err := kv.Put(ctx, "large", make([]byte, maxValue+1)); !errors.Is(err, errTooLarge) {
		t.Errorf("put too much: %v", err)
	}
	if err := kv.Put(ctx, "large", make([]byte, maxValue)); err != nil {
		t.Errorf("put as much as may be: %v", err)
	}
}

// TestKVLockExcludes: of many who want a lock one at a time has it.
func TestKVLockExcludes(t *testing.T) {
	agent := consultest.Start(t)
	var holding, had atomic.Int32
	var running sync.WaitGroup
	for range 6 {
		kv := kvOf(t, agent, "")
		running.Go(func() {
			release, _, err := kv.Lock(t.Context(), "locks/x", true)
			if err != nil {
				t.Error(err)
				return
			}
			if holding.Add(1) != 1 {
				t.Error("two have the lock")
			}
			if again, _, err := kv.Lock(t.Context(), "locks/x", false); again != nil || err != nil {
				t.Errorf("a held lock was acquired: %v", err)
			}
			had.Add(1)
			holding.Add(-1)
			if err := release(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	if had.Load() != 6 {
		t.Errorf("%d of 6 had the lock", had.Load())
	}
	if keys, err := kvOf(t, agent, "").Keys(t.Context(), ""); err != nil || len(keys) > 0 {
		t.Errorf("left behind: %q, %v", keys, err)
	}
	sessions, _, err := agent.Client().Session().List(nil)
	if err != nil || len(sessions) > 0 {
		t.Errorf("left behind: %d sessions, %v", len(sessions), err)
	}
}

// TestKVLockWaitEnds: a wait ends with its context.
func TestKVLockWaitEnds(t *testing.T) {
	kv := kvOf(t, consultest.Start(t), "")
	release, lost, err := kv.Lock(t.Context(), "x", true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, _, err := kv.Lock(ctx, "x", true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a deadline", err)
	}
	select {
	case <-lost:
		t.Error("the lock counts as lost")
	default:
	}
	if err := release(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestKVLockLost: whoever loses a lock is told, and others get it.
func TestKVLockLost(t *testing.T) {
	agent := consultest.Start(t, consultest.Config(`session_ttl_min = "1s"`))
	kv := kvOf(t, agent, "")
	kv.ttl = 2 * time.Second
	release, lost, err := kv.Lock(t.Context(), "x", true)
	if err != nil {
		t.Fatal(err)
	}
	sessions, _, err := agent.Client().Session().List(nil)
	if err != nil || len(sessions) != 1 {
		t.Fatalf("%d sessions, %v", len(sessions), err)
	}
	if _, err := agent.Client().Session().Destroy(sessions[0].ID, nil); err != nil {
		t.Fatal(err)
	}
	next, _, err := kv.Lock(t.Context(), "x", true)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-lost:
	case <-time.After(2 * kv.ttl):
		t.Error("nobody was told")
	}
	if err := release(t.Context()); err != nil {
		t.Errorf("release a lost lock: %v", err)
	}
	if again, _, err := kv.Lock(t.Context(), "x", false); again != nil || err != nil {
		t.Errorf("the release took the lock from somebody else: %v", err)
	}
	if err := next(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestKVLockOfTheDead: a lock whose holder vanished becomes free.
func TestKVLockOfTheDead(t *testing.T) {
	agent := consultest.Start(t, consultest.Config(`session_ttl_min = "1s"`))
	kv := kvOf(t, agent, "")
	kv.ttl = time.Second
	dead := &lock{kv: kv, key: "shared/x"}
	if err := dead.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := dead.try(t.Context()); err != nil || !got {
		t.Fatal(got, err)
	}
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	release, _, err := kvOf(t, agent, "").Lock(ctx, "x", true)
	if err != nil {
		t.Fatalf("after %s: %v", time.Since(begin), err)
	}
	t.Logf("free after %s", time.Since(begin))
	if err := release(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestKVRights: the policy that the documentation names is enough, and less is not.
func TestKVRights(t *testing.T) {
	agent := consultest.Start(t, consultest.ACL())
	rules := fmt.Sprintf(`key_prefix "shared/" { policy = "write" } session %q { policy = "write" }`, agent.Name())
	kv, ctx := kvOf(t, agent, agent.NewToken(rules)), t.Context()
	if err := kv.Put(ctx, "a", []byte("x")); err != nil {
		t.Error(err)
	}
	release, _, err := kv.Lock(ctx, "x", true)
	if err != nil {
		t.Fatal(err)
	}
	if err := release(ctx); err != nil {
		t.Error(err)
	}
	if err := kv.Delete(ctx, "a"); err != nil {
		t.Error(err)
	}
	less := kvOf(t, agent, agent.NewToken(`key_prefix "shared/" { policy = "read" }`))
	if err := less.Put(ctx, "a", nil); !isDenied(err) {
		t.Errorf("put without the right: %v", err)
	}
	if _, _, err := less.Lock(ctx, "x", true); !isDenied(err) {
		t.Errorf("lock without the right: %v", err)
	}
}

package acme_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"usher/proxy/acme"
	"usher/watcher/consul/consultest"
)

// stores runs a test with each kind of Store, as several ushers have it.
func stores(t *testing.T, test func(t *testing.T, open func(t *testing.T) acme.Store)) {
	t.Run("files", func(t *testing.T) {
		folder := t.TempDir()
		test(t, func(*testing.T) acme.Store { return acme.Files(folder) })
	})
	t.Run("consul", func(t *testing.T) {
		agent := consultest.Start(t)
		test(t, func(t *testing.T) acme.Store { return sharedBy(t, agent) })
	})
}

// TestStoreValues: what certmagic asks of a Storage.
func TestStoreValues(t *testing.T) {
	stores(t, func(t *testing.T, open func(*testing.T) acme.Store) {
		ctx, one, two := t.Context(), open(t), open(t)
		if _, err := one.Load(ctx, "a/b"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("load nothing: %v", err)
		}
		if _, err := one.Stat(ctx, "a/b"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat nothing: %v", err)
		}
		if _, err := one.List(ctx, "a", false); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("list nothing: %v", err)
		}
		value := bytes.Repeat([]byte{0, 255, '\n'}, 10_000)
		for _, key := range []string{"a/b/c.crt", "a/b/c.key", "a/d", "ab"} {
			if err := one.Store(ctx, key, value); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := two.Load(ctx, "a/b/c.key"); err != nil || !bytes.Equal(got, value) {
			t.Errorf("load: %d bytes, %v", len(got), err)
		}
		if err := one.Store(ctx, "a/d", []byte("new")); err != nil {
			t.Error(err)
		}
		if got, err := two.Load(ctx, "a/d"); err != nil || string(got) != "new" {
			t.Errorf("load what was replaced: %q, %v", got, err)
		}
		info, err := two.Stat(ctx, "a/d")
		if err != nil || info.Size != 3 || !info.IsTerminal || info.Key != "a/d" {
			t.Errorf("stat: %+v, %v", info, err)
		}
		if info, err := two.Stat(ctx, "a/b"); err != nil || info.IsTerminal {
			t.Errorf("stat a folder: %+v, %v", info, err)
		}
		for key, want := range map[string]bool{"a": true, "a/b": true, "a/b/c.key": true, "a/b/c": false, "b": false} {
			if one.Exists(ctx, key) != want {
				t.Errorf("%q exists: %v", key, !want)
			}
		}
		list := func(path string, recursive bool, want ...string) {
			t.Helper()
			got, err := two.List(ctx, path, recursive)
			slices.Sort(got)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("list %q: %q, %v; want %q", path, got, err, want)
			}
		}
		list("a", false, "a/b", "a/d")
		list("a", true, "a/b", "a/b/c.crt", "a/b/c.key", "a/d")
		list("a/b", false, "a/b/c.crt", "a/b/c.key")
		for range 2 {
			if err := one.Delete(ctx, "a"); err != nil {
				t.Error(err)
			}
		}
		if two.Exists(ctx, "a/d") || !two.Exists(ctx, "ab") {
			t.Error("delete takes what it should not, or leaves what it should")
		}
	})
}

// TestStoreLocks: of all who want a lock, in one process or in several, one at a time has
// it.
func TestStoreLocks(t *testing.T) {
	stores(t, func(t *testing.T, open func(*testing.T) acme.Store) {
		ctx := t.Context()
		shared := open(t)
		var holding, had atomic.Int32
		var running sync.WaitGroup
		for i := range 6 {
			s := shared
			if i%2 == 0 {
				s = open(t)
			}
			running.Go(func() {
				if err := s.Lock(ctx, "issue_cert_*.example.com"); err != nil {
					t.Error(err)
					return
				}
				if holding.Add(1) != 1 {
					t.Error("two have the lock")
				}
				if ok, err := s.TryLock(ctx, "issue_cert_*.example.com"); ok || err != nil {
					t.Errorf("a lock that is held: %v, %v", ok, err)
				}
				had.Add(1)
				holding.Add(-1)
				if err := s.Unlock(ctx, "issue_cert_*.example.com"); err != nil {
					t.Error(err)
				}
			})
		}
		running.Wait()
		if had.Load() != 6 {
			t.Errorf("%d had the lock", had.Load())
		}
		if ok, err := shared.TryLock(ctx, "x"); !ok || err != nil {
			t.Fatalf("a free lock: %v, %v", ok, err)
		}
		limited, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		if err := open(t).Lock(limited, "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the wait did not end with its context: %v", err)
		}
		if err := shared.Unlock(ctx, "x"); err != nil {
			t.Error(err)
		}
		if err := shared.Unlock(ctx, "x"); err == nil {
			t.Error("a lock that nobody holds was released")
		}
	})
}

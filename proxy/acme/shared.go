package acme

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/certmagic"
)

// KV is a key-value store with locks that ushers on several machines share. Its methods
// are called from any goroutine and end soon after ctx does.
type KV interface {
	// Get returns a value; fs.ErrNotExist when there is none.
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key string, value []byte) error
	// Delete deletes the key and all below it; what does not exist is no error.
	Delete(ctx context.Context, key string) error
	// Keys returns the keys that begin with prefix.
	Keys(ctx context.Context, prefix string) ([]string, error)
	// Lock acquires a lock. With wait it waits for it; without, release is nil when
	// somebody else holds it. lost is closed when the lock is lost; release must be called
	// all the same.
	Lock(ctx context.Context, key string, wait bool) (
		release func(context.Context) error, lost <-chan struct{}, err error)
}

// Shared returns the Store in a KV. Whoever can read it has the private keys.
func Shared(kv KV) Store { return &shared{kv: kv, held: map[string]*hold{}} }

type shared struct {
	kv KV

	mu   sync.Mutex
	held map[string]*hold
}

// hold is a lock that is held.
type hold struct {
	release func(context.Context) error
	// done ends the watch for its loss; watching waits for that.
	done     chan struct{}
	watching sync.WaitGroup
}

// Store implements certmagic.Storage.
func (s *shared) Store(ctx context.Context, key string, value []byte) error {
	return s.kv.Put(ctx, key, value)
}

// Load implements certmagic.Storage.
func (s *shared) Load(ctx context.Context, key string) ([]byte, error) { return s.kv.Get(ctx, key) }

// Delete implements certmagic.Storage.
func (s *shared) Delete(ctx context.Context, key string) error { return s.kv.Delete(ctx, key) }

// Exists implements certmagic.Storage.
func (s *shared) Exists(ctx context.Context, key string) bool {
	_, err := s.Stat(ctx, key)
	return err == nil
}

// Stat implements certmagic.Storage.
func (s *shared) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	value, err := s.kv.Get(ctx, key)
	if err == nil {
		return certmagic.KeyInfo{Key: key, Size: int64(len(value)), IsTerminal: true}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return certmagic.KeyInfo{}, err
	}
	below, listing := s.kv.Keys(ctx, key+"/")
	if listing != nil {
		return certmagic.KeyInfo{}, listing
	}
	if len(below) == 0 {
		return certmagic.KeyInfo{}, err
	}
	return certmagic.KeyInfo{Key: key}, nil
}

// List implements certmagic.Storage, as certmagic's files do: with folders.
func (s *shared) List(ctx context.Context, path string, recursive bool) ([]string, error) {
	prefix := strings.Trim(path, "/")
	if prefix != "" {
		prefix += "/"
	}
	keys, err := s.kv.Keys(ctx, prefix)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 && prefix != "" {
		return nil, fmt.Errorf("list %q: %w", path, fs.ErrNotExist)
	}
	var out []string
	for _, key := range keys {
		rest := key[len(prefix):]
		for i := range len(rest) {
			if rest[i] == '/' {
				out = append(out, prefix+rest[:i])
				if !recursive {
					break
				}
			}
		}
		if recursive || !strings.Contains(rest, "/") {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// Lock implements certmagic.Locker. When the lock is lost the attempt that ctx belongs to
// ends.
func (s *shared) Lock(ctx context.Context, name string) error {
	ok, err := s.lock(ctx, name, true)
	if err == nil && !ok {
		err = fmt.Errorf("lock %q: %w", name, errNotHeld)
	}
	return err
}

// TryLock implements certmagic.TryLocker.
func (s *shared) TryLock(ctx context.Context, name string) (bool, error) {
	return s.lock(ctx, name, false)
}

var errLost = errors.New("the lock was lost")

func (s *shared) lock(ctx context.Context, name string, wait bool) (bool, error) {
	release, lost, err := s.kv.Lock(ctx, lockKey(name), wait)
	if err != nil || release == nil {
		return false, err
	}
	h := &hold{release: release, done: make(chan struct{})}
	try := attemptOf(ctx)
	h.watching.Go(func() {
		select {
		case <-lost:
			try.stop(fmt.Errorf("%q: %w", name, errLost))
		case <-h.done:
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[name] = h
	return true, nil
}

// Unlock implements certmagic.Locker.
func (s *shared) Unlock(ctx context.Context, name string) error {
	s.mu.Lock()
	h := s.held[name]
	delete(s.held, name)
	s.mu.Unlock()
	if h == nil {
		return fmt.Errorf("unlock %q: %w", name, errNotHeld)
	}
	close(h.done)
	h.watching.Wait()
	return h.release(ctx)
}

func lockKey(name string) string { return "locks/" + certmagic.StorageKeys.Safe(name) }

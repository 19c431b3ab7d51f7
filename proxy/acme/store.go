package acme

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"golang.org/x/sys/unix"
)

// Store keeps accounts, keys and certificates for all ushers that have the same one, and
// has locks that one of them holds at a time.
type Store interface {
	certmagic.Storage
	certmagic.TryLocker
}

// Files returns the Store in a folder, which is made when it is first written to. Only
// its owner may read what is in there.
func Files(folder string) Store {
	return &files{FileStorage: certmagic.FileStorage{Path: folder}, held: map[string]*os.File{}}
}

// lockPoll is how often a lock that others hold is tried.
const lockPoll = 100 * time.Millisecond

// files is a Store of files. Its locks are the kernel's, instead of certmagic's files that
// a goroutine of nobody keeps fresh: they end with the process, and hold on a file system
// shared by several machines if that has locks.
type files struct {
	certmagic.FileStorage

	mu   sync.Mutex
	held map[string]*os.File
}

// Lock implements certmagic.Locker.
func (f *files) Lock(ctx context.Context, name string) error {
	for {
		ok, err := f.TryLock(ctx, name)
		if err != nil || ok {
			return err
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// TryLock implements certmagic.TryLocker.
func (f *files) TryLock(ctx context.Context, name string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	folder := filepath.Join(f.Path, "locks")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return false, err
	}
	path := filepath.Join(folder, certmagic.StorageKeys.Safe(name)+".lock")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return false, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		_ = file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return false, nil
		}
		return false, fmt.Errorf("lock %s: %w", path, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held[name] = file
	return true, nil
}

// Unlock implements certmagic.Locker. The file stays: who waits for it has it open.
func (f *files) Unlock(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	file := f.held[name]
	if file == nil {
		return fmt.Errorf("unlock %q: %w", name, errNotHeld)
	}
	delete(f.held, name)
	return file.Close()
}

var errNotHeld = errors.New("the lock is not held")

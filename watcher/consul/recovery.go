package consul

import (
	"context"
	"sync"
	"time"
)

// recovery tells any number of waiters that the registry answers again. The zero value
// is ready; any goroutine may use it.
type recovery struct {
	mu sync.Mutex
	// c is closed by the next tell; nil while nobody waits.
	c chan struct{}
}

// tell ends every sleep under way.
func (r *recovery) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.c != nil {
		close(r.c)
		r.c = nil
	}
}

// next is closed by the next tell; nil, which nothing closes, for a nil r.
func (r *recovery) next() <-chan struct{} {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.c == nil {
		r.c = make(chan struct{})
	}
	return r.c
}

// sleep waits for d, or for the next tell. It returns false when ctx ended.
func (r *recovery) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.next():
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

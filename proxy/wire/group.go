package wire

import (
	"sync"
	"time"
)

// Group is the connections that a server has, so that a shutdown finds them and can wait for
// them. The zero value is open and empty; its methods may be called from any goroutine, and
// what is handed to them is called with the group locked: it must not call the group.
type Group[C comparable] struct {
	// Idle, if not nil, is called when nobody is left: as the last one goes, and as somebody
	// who would wait finds nobody. It is set before the first Add.
	Idle func()

	mu      sync.Mutex
	members map[C]struct{}
	closed  bool
	// gone is closed when nobody is left; nil: nobody waits for that.
	gone chan struct{}
}

// Add takes c in and calls joined before anybody else comes or goes. Once the group is
// closed it does neither, and is false.
func (g *Group[C]) Add(c C, joined func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	if g.members == nil {
		g.members = map[C]struct{}{}
	}
	g.members[c] = struct{}{}
	joined()
	return true
}

// Remove lets c go.
func (g *Group[C]) Remove(c C) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.members, c)
	g.tell()
}

// tell tells who waits when nobody is left. The caller holds g.mu.
func (g *Group[C]) tell() {
	if len(g.members) > 0 {
		return
	}
	if g.Idle != nil {
		g.Idle()
	}
	if g.gone != nil {
		close(g.gone)
		g.gone = nil
	}
}

// Close has nobody taken in any more.
func (g *Group[C]) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// Each calls f with everybody, and returns their number.
func (g *Group[C]) Each(f func(C)) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.members {
		f(c)
	}
	return len(g.members)
}

// Gone returns a channel that is closed as soon as nobody is left.
func (g *Group[C]) Gone() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone == nil {
		g.gone = make(chan struct{})
	}
	gone := g.gone
	g.tell()
	return gone
}

// Awaited says whether somebody waits for the last one to go.
func (g *Group[C]) Awaited() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.gone != nil
}

// CutUntil calls cut until gone is closed: what is cut may begin another wait just then.
func CutUntil(gone <-chan struct{}, cut func()) {
	again := time.NewTicker(Tick)
	defer again.Stop()
	for {
		cut()
		select {
		case <-gone:
			return
		case <-again.C:
		}
	}
}

package certs

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long files must be quiet before they are read, so that a certificate and
// its key are read together; patience is the longest that a folder that is never quiet is
// waited for.
const (
	settle   = 100 * time.Millisecond
	patience = time.Second
	// pollShare bounds what looking through very many files costs: one part in as many.
	pollShare = 200
)

// watch has the system tell of changes in folders. One that cannot be watched is left to
// polling.
func (m *Manager) watch(folders []string) {
	if m.notify == nil {
		return
	}
	for _, dir := range folders {
		_ = m.notify.Add(dir)
	}
}

// watchFiles reads what changed until ctx ends.
func (m *Manager) watchFiles(ctx context.Context) {
	poll := time.NewTimer(m.poll)
	defer poll.Stop()
	var quiet <-chan time.Time // nil: nothing happened
	var deadline time.Time
	for {
		select {
		case e := <-m.events():
			if e.Op == fsnotify.Chmod {
				continue
			}
			if quiet == nil {
				deadline = time.Now().Add(patience)
			}
			quiet = time.After(min(settle, max(0, time.Until(deadline))))
		case _, open := <-m.overflows():
			if open {
				quiet, deadline = time.After(settle), time.Now().Add(patience)
			}
		case <-quiet:
			quiet = nil
			m.readFiles()
		case <-poll.C:
			begin := time.Now()
			m.readFiles()
			poll.Reset(max(m.poll, pollShare*time.Since(begin)))
		case <-ctx.Done():
			return
		}
	}
}

func (m *Manager) events() <-chan fsnotify.Event {
	if m.notify == nil {
		return nil
	}
	return m.notify.Events
}

// overflows are the system's errors; the one that matters is that it lost events, which
// means: look.
func (m *Manager) overflows() <-chan error {
	if m.notify == nil {
		return nil
	}
	return m.notify.Errors
}

// readFiles reads every source of files again.
func (m *Manager) readFiles() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchAgain()
	changed := false
	for p, s := range m.sources {
		if p.kind != keys && s.read(time.Now()) {
			changed = true
		}
	}
	if changed {
		m.publish()
	}
}

// watchAgain makes the system watch the folders that matter now and no others: one may have
// come, or have been replaced by another of its name.
func (m *Manager) watchAgain() {
	if m.notify == nil {
		return
	}
	needed := map[string]bool{}
	for p := range m.sources {
		if p.kind != keys {
			for _, dir := range p.folders() {
				needed[dir] = true
			}
		}
	}
	m.watch(slices.Collect(maps.Keys(needed)))
	for _, dir := range m.notify.WatchList() {
		if !needed[dir] {
			_ = m.notify.Remove(dir) // it may be gone by itself
		}
	}
}

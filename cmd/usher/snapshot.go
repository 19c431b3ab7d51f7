package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"time"

	"usher/config"
	"usher/routetable"
	"usher/watcher"
)

const (
	// snapshotPause is the least time between two writes of the snapshot; writing it
	// takes at most a part in snapshotShare of the time.
	snapshotPause = time.Second
	snapshotShare = 20
	// snapshotEvery is when it is written though nothing changed: it tells how fresh
	// what it holds was.
	snapshotEvery = 5 * time.Minute
)

// restore reads the snapshot, if one is kept, for the start.
func (a *app) restore(cfg *config.Config) {
	if cfg.StateDir == "" {
		return
	}
	s, err := watcher.ReadSnapshot(cfg.StateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var memory routetable.Memory
	if err == nil && len(s.Memory) > 0 {
		err = json.Unmarshal(s.Memory, &memory)
	}
	if err != nil {
		a.log.Warn("the snapshot is not used", "err", err)
		return
	}
	a.manager.Restore(s)
	a.remembered = routetable.Remember(memory)
}

// keepSnapshot writes the snapshot after changes, now and then at least, and at the
// end.
func (a *app) keepSnapshot() {
	defer a.writeSnapshot()
	timer := time.NewTimer(snapshotEvery)
	defer timer.Stop()
	for {
		select {
		case <-a.published:
		case <-timer.C:
		case <-a.ctx.Done():
			return
		}
		if !watcher.Sleep(a.ctx, snapshotPause) {
			return
		}
		begin := time.Now()
		a.writeSnapshot()
		if !watcher.Sleep(a.ctx, snapshotShare*time.Since(begin)) {
			return
		}
		timer.Reset(snapshotEvery)
	}
}

// writeSnapshot writes what is known, unless some of it is held.
func (a *app) writeSnapshot() {
	dir := a.config.Load().StateDir
	if dir == "" {
		return
	}
	s, ok := a.manager.Snapshot()
	if !ok {
		return
	}
	memory, err := json.Marshal(a.proxy.Table().Memory())
	if err == nil {
		s.Memory = memory
		err = watcher.WriteSnapshot(dir, s)
	}
	if err != nil && !a.snapshotFailed {
		a.log.Error("the snapshot cannot be written", "dir", dir, "err", err)
	}
	a.snapshotFailed = err != nil
}

package proxy

import (
	"context"
	"runtime"
	"runtime/debug"
	"time"
)

// When many connections have been parked, what their goroutines needed is garbage that
// the runtime would keep for minutes.
const (
	trimPause = 250 * time.Millisecond
	// trimAfter is how many parked connections are worth it, trimEvery how often at most.
	trimAfter = 1000
	trimEvery = 30 * time.Second
)

// trim gives memory back to the system after a mass parking, when no more are being
// parked, until ctx ends.
func (p *Proxy) trim(ctx context.Context) {
	t := time.NewTicker(trimPause)
	defer t.Stop()
	var trimmed, seen int64
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			parked := p.core.Parked.Load()
			if parked == seen && parked-trimmed >= trimAfter && now.Sub(last) >= trimEvery {
				trimmed, last = parked, now
				runtime.GC() // what lies in pools outlives one collection
				debug.FreeOSMemory()
			}
			seen = parked
		}
	}
}

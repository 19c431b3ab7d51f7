package watcher_test

import (
	"testing"
	"time"

	"usher/watcher"
)

// Each change of what is held is told of once, with the reason while there is one.
func TestOnHold(t *testing.T) {
	var told []watcher.HoldChange
	play(t, guardConf(), append([]act{func(s *scene) {
		s.OnHold(func(c watcher.HoldChange) { told = append(told, c) })
	}}, held(releases("web@r", 3), after(time.Second))...)...)
	key := watcher.Key{Registry: "r", Service: "web"}
	if len(told) != 2 || told[0].Key != key || told[0].Before != 0 || told[0].Held != 3 || told[0].Reason == "" ||
		told[1] != (watcher.HoldChange{Key: key, Before: 3}) {
		t.Errorf("told %+v", told)
	}
}

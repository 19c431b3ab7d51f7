package watcher_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"usher/watcher"
)

// The bounds of the pause before a failed discoverer runs again.
const (
	leastPause = 100 * time.Millisecond
	mostPause  = 10 * time.Second
)

// TestRestart: a discoverer that fails is run again, each time after a pause of
// decorrelated jitter.
func TestRestart(t *testing.T) {
	never := func(context.Context, chan<- watcher.Update) error { return errDown }
	for name, make := range map[string]func() (watcher.Discoverer, error){
		"its run fails":     func() (watcher.Discoverer, error) { return runFunc(never), nil },
		"it cannot be made": func() (watcher.Discoverer, error) { return nil, watcher.ErrInvalid },
		"its run ends":      func() (watcher.Discoverer, error) { return runFunc(returnNil), nil },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				var tries []time.Time
				b.Apply([]watcher.Source{{Name: "a", New: func() (watcher.Discoverer, error) {
					tries = append(tries, time.Now())
					return make()
				}}}, nil)
				<-time.After(10 * time.Minute)
				synctest.Wait()
				b.Close()
				if err := decorrelated(tries); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func returnNil(context.Context, chan<- watcher.Update) error { return nil }

// decorrelated checks that each pause is within the bounds and three times the one
// before.
func decorrelated(tries []time.Time) error {
	if len(tries) < 60 {
		return fmt.Errorf("%d tries in ten minutes", len(tries))
	}
	last, longest := time.Duration(0), time.Duration(0)
	for i := 1; i < len(tries); i++ {
		pause := tries[i].Sub(tries[i-1])
		if pause < leastPause || pause > mostPause || i > 1 && pause > 3*last {
			return fmt.Errorf("pause %d is %v, after %v", i, pause, last)
		}
		last, longest = pause, max(longest, pause)
	}
	if longest < mostPause/2 {
		return fmt.Errorf("the longest pause is %v: they do not grow", longest)
	}
	return nil
}

// runFunc is a Discoverer double that is a function.
type runFunc func(ctx context.Context, out chan<- watcher.Update) error

// Run implements watcher.Discoverer.
func (f runFunc) Run(ctx context.Context, out chan<- watcher.Update) error { return f(ctx, out) }

// TestRestartAfterALongRun: the pause is the least one again.
func TestRestartAfterALongRun(t *testing.T) {
	inBubble(t, func(b *bench) {
		d := newDouble()
		b.Apply([]watcher.Source{d.source("a", 1)}, nil)
		for range 20 {
			b.fail(d, errDown)
			<-time.After(mostPause)
		}
		<-time.After(mostPause + time.Second)
		b.fail(d, errDown)
		end := time.Now()
		<-time.After(mostPause)
		runs := d.started()
		if pause := runs[len(runs)-1].Sub(end); pause != leastPause {
			t.Errorf("paused %v, want %v", pause, leastPause)
		}
	})
}

// TestCloseWhilePausing: a pause does not delay the end.
func TestCloseWhilePausing(t *testing.T) {
	inBubble(t, func(b *bench) {
		d := newDouble()
		b.Apply([]watcher.Source{d.source("a", 1)}, nil)
		for range 20 {
			<-time.After(mostPause)
			b.fail(d, errDown)
		}
		begin := time.Now()
		b.Close()
		if took := time.Since(begin); took != 0 {
			t.Errorf("Close took %v", took)
		}
	})
}

// TestNewRun: what a run does not send again goes when it is synced, not before.
func TestNewRun(t *testing.T) {
	inBubble(t, func(b *bench) {
		d := newDouble()
		b.Apply([]watcher.Source{d.source("a", 1)}, nil)
		b.send(d, update("gone", "1=a:1"), update("same", "1=a:1"), update("web", "1=a:1"), synced())
		b.want("gone@a 1=a:1", "same@a 1=a:1", "web@a 1=a:1")

		b.fail(d, errDown)
		b.send(d, update("web", "1=a:2")) // waits for the new run
		b.want("gone@a 1=a:1", "same@a 1=a:1", "web@a 1=a:2")
		b.fail(d, errDown)
		b.send(d, failed(errDown))
		b.wantNothing()
		b.send(d, update("same", "1=a:1"), update("web", "1=a:2"))
		b.wantNothing()
		b.send(d, synced())
		b.want("same@a 1=a:1", "web@a 1=a:2")
		b.send(d, synced())
		b.wantNothing()
	})
}

package wire_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"usher/proxy/wire"
)

// alarm counts its expirations and notes when the first came.
type alarm struct {
	wire.Watch
	sweeper *wire.Sweeper
	n       atomic.Int32
	at      atomic.Int64
}

func (a *alarm) Expire() {
	a.n.Add(1)
	a.at.Store(a.sweeper.Now())
}

// sweeping runs f beside a running Sweeper, on a clock of its own.
func sweeping(t *testing.T, f func(t *testing.T, s *wire.Sweeper, add func() *alarm)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := wire.NewSweeper()
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.Run(ctx) })
		f(t, s, func() *alarm {
			a := &alarm{sweeper: s}
			s.Add(&a.Watch, a)
			return a
		})
		cancel()
		running.Wait()
	})
}

// after lets time pass on the test's clock.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestSweeperExpires(t *testing.T) {
	sweeping(t, func(t *testing.T, s *wire.Sweeper, add func() *alarm) {
		for _, d := range []time.Duration{1, wire.Tick, time.Second, time.Second + 1} {
			a := add()
			at := s.Now() + int64(d)
			a.Arm(at)
			after(d - 1)
			if a.n.Load() != 0 || a.Fired() {
				t.Errorf("%v: expired too early", d)
			}
			after(wire.Tick + 1)
			if a.n.Load() != 1 || !a.Fired() {
				t.Errorf("%v: expired %d times, want once", d, a.n.Load())
			}
			if late := a.at.Load() - at; late < 0 || late > int64(wire.Tick) {
				t.Errorf("%v: expired %v late", d, time.Duration(late))
			}
			after(time.Minute)
			if a.n.Load() != 1 {
				t.Errorf("%v: expired again", d)
			}
			s.Remove(&a.Watch)
		}
	})
}

func TestSweeperRearms(t *testing.T) {
	sweeping(t, func(t *testing.T, s *wire.Sweeper, add func() *alarm) {
		a, b, c := add(), add(), add()
		for range 100 {
			a.Arm(s.Now() + int64(time.Second)) // pushed on and on
			after(900 * time.Millisecond)
		}
		b.Arm(s.Now() + int64(time.Second))
		b.Arm(0)
		c.Arm(0)
		a.Arm(0)
		after(time.Hour)
		for i, w := range []*alarm{a, b, c} {
			if w.n.Load() != 0 || w.Fired() {
				t.Errorf("watch %d expired unarmed", i)
			}
		}
		a.Arm(1) // in the past
		after(wire.Tick)
		if a.n.Load() != 1 {
			t.Error("a deadline in the past was not enforced")
		}
		a.Arm(s.Now() + int64(time.Second))
		if !a.Fired() {
			t.Error("arming undid what has fired")
		}
		a.Arm(0)
		after(time.Minute)
		if a.n.Load() != 1 || !a.Fired() {
			t.Error("disarming undid what has fired, or it fired again")
		}
		for _, w := range []*alarm{a, b, c} {
			s.Remove(&w.Watch)
		}
	})
}

func TestSweeperRemoves(t *testing.T) {
	sweeping(t, func(t *testing.T, s *wire.Sweeper, add func() *alarm) {
		alarms := make([]*alarm, 100)
		for i := range alarms {
			alarms[i] = add()
			alarms[i].Arm(s.Now() + int64(time.Second))
		}
		for i, a := range alarms {
			if i%3 == 0 {
				s.Remove(&a.Watch)
			}
		}
		after(2 * time.Second)
		for i, a := range alarms {
			want := int32(1)
			if i%3 == 0 {
				want = 0
			} else {
				s.Remove(&a.Watch)
			}
			if got := a.n.Load(); got != want {
				t.Errorf("watch %d expired %d times, want %d", i, got, want)
			}
		}
		a := add() // the places are free again
		a.Arm(1)
		after(wire.Tick)
		if a.n.Load() != 1 {
			t.Error("a watch added later did not expire")
		}
	})
}

// Owners arm, remove and add while the sweeper sweeps.
func TestSweeperConcurrently(t *testing.T) {
	s := wire.NewSweeper()
	ctx, cancel := context.WithCancel(t.Context())
	var sweepers, owners sync.WaitGroup
	sweepers.Go(func() { s.Run(ctx) })
	for range 8 {
		owners.Go(func() {
			for i := range 2000 {
				a := &alarm{sweeper: s}
				s.Add(&a.Watch, a)
				a.Arm(s.Now() + int64(i%3) - 1)
				a.Arm(0)
				a.Arm(s.Now() + int64(time.Hour))
				s.Remove(&a.Watch)
				if a.n.Load() > 1 {
					t.Error("expired twice")
				}
			}
		})
	}
	owners.Wait()
	cancel()
	sweepers.Wait()
}

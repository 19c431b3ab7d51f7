package wire

import (
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// sleeper counts how often it was woken.
type sleeper struct {
	n    atomic.Int32
	woke chan struct{}
}

func newSleeper() *sleeper { return &sleeper{woke: make(chan struct{}, 16)} }

func (s *sleeper) Wake() {
	s.n.Add(1)
	s.woke <- struct{}{}
}

func (s *sleeper) await(t *testing.T) {
	t.Helper()
	select {
	case <-s.woke:
	case <-time.After(10 * time.Second):
		t.Fatal("not woken")
	}
}

// pair returns two ends of a TCP connection, and a function that has the first one
// sleep.
func pair(t *testing.T, p *Poller) (far *net.TCPConn, sleep func(s Sleeper, again bool) Place) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	raw, err := a.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return b.(*net.TCPConn), func(s Sleeper, again bool) (at Place) {
		t.Helper()
		var failed error
		err := raw.Control(func(fd uintptr) { at, failed = p.Sleep(int(fd), s, again) })
		if err != nil || failed != nil {
			t.Fatal(err, failed)
		}
		return at
	}
}

func newPoller(t *testing.T) *Poller {
	t.Helper()
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestPollerWakes(t *testing.T) {
	for name, stir := range map[string]func(*net.TCPConn) error{
		"bytes":  func(c *net.TCPConn) error { _, err := c.Write([]byte("x")); return err },
		"end":    (*net.TCPConn).CloseWrite,
		"closed": (*net.TCPConn).Close,
		"reset":  func(c *net.TCPConn) error { _ = c.SetLinger(0); return c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPoller(t)
			far, sleep := pair(t, p)
			s := newSleeper()
			sleep(s, false)
			if err := stir(far); err != nil {
				t.Fatal(err)
			}
			s.await(t)
		})
	}
}

// What is readable before it sleeps wakes at once; each sleep is good for one waking.
func TestPollerWakesOnce(t *testing.T) {
	p := newPoller(t)
	far, sleep := pair(t, p)
	if _, err := far.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	s := newSleeper()
	sleep(s, false)
	s.await(t)
	if _, err := far.Write([]byte("y")); err != nil {
		t.Fatal(err)
	}
	other, sleepOther := pair(t, p)
	o := newSleeper()
	sleepOther(o, false)
	if _, err := other.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	o.await(t) // by then the second write would have been seen
	if n := s.n.Load(); n != 1 {
		t.Errorf("woken %d times", n)
	}
	sleep(s, true)
	s.await(t)
}

func TestPollerForgets(t *testing.T) {
	p := newPoller(t)
	far, sleep := pair(t, p)
	s, next := newSleeper(), newSleeper()
	at := sleep(s, false)
	p.Forget(at)
	other, sleepOther := pair(t, p)
	if again := sleepOther(next, false); again.slot != at.slot {
		t.Errorf("slot %d was not used again: %d", at.slot, again.slot)
	}
	p.Forget(at) // of the sleeper before
	if _, err := far.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	next.await(t)
	if s.n.Load() != 0 || next.n.Load() != 1 {
		t.Errorf("woken %d and %d times", s.n.Load(), next.n.Load())
	}
}

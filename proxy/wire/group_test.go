package wire_test

import (
	"sync"
	"testing"

	"usher/proxy/wire"
)

func none() {}

func gone(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestGroup(t *testing.T) {
	t.Parallel()
	idle := 0
	g := wire.Group[int]{Idle: func() { idle++ }}
	if !gone(g.Gone()) || idle != 1 {
		t.Error("an empty group is waited for")
	}
	if !g.Add(1, none) || !g.Add(2, none) {
		t.Fatal("an open group takes nobody in")
	}
	if g.Awaited() {
		t.Error("somebody waits")
	}
	one, two := g.Gone(), g.Gone()
	if !g.Awaited() {
		t.Error("nobody waits")
	}
	g.Remove(1)
	if gone(one) || idle != 1 {
		t.Error("the group is told empty with one left")
	}
	g.Remove(2)
	if !gone(one) || !gone(two) || idle != 2 {
		t.Error("the end of the last one is not told")
	}
	if !g.Add(3, none) || gone(g.Gone()) {
		t.Error("a group that was empty takes nobody in any more")
	}
	g.Close()
	if g.Add(4, func() { t.Error("joined a closed group") }) {
		t.Error("a closed group takes somebody in")
	}
	sum := 0
	if n := g.Each(func(c int) { sum += c }); n != 1 || sum != 3 {
		t.Errorf("%d members, sum %d", n, sum)
	}
}

// Whoever is in when the group closes is found, or was not taken in: nobody is missed.
func TestGroupCloses(t *testing.T) {
	t.Parallel()
	var g wire.Group[int]
	var all sync.WaitGroup
	in := make([]bool, 100)
	for i := range in {
		all.Go(func() { in[i] = g.Add(i, none) })
	}
	g.Close()
	found := g.Each(func(int) {})
	all.Wait()
	taken := 0
	for i := range in {
		if in[i] {
			taken++
			g.Remove(i)
		}
	}
	if found != taken {
		t.Errorf("%d were taken in, %d found", taken, found)
	}
	if !gone(g.Gone()) {
		t.Error("all are gone and it is not told")
	}
}

func TestCutUntil(t *testing.T) {
	t.Parallel()
	ch := make(chan struct{})
	cuts := 0
	wire.CutUntil(ch, func() {
		if cuts++; cuts == 3 {
			close(ch)
		}
	})
	if cuts != 3 {
		t.Errorf("cut %d times", cuts)
	}
}

package healthcheck

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"usher/routetable"
	"usher/watcher"
)

func TestViewFollowsTheRegistry(t *testing.T) {
	for name, c := range map[string]struct {
		instances []watcher.Instance
		usable    []string
		weights   []uint16
	}{
		"none":        {nil, nil, nil},
		"all passing": {up("a", "b"), []string{"a", "b"}, nil},
		"warning takes traffic": {
			[]watcher.Instance{in("a", watcher.Warning, 1), in("b", watcher.Passing, 1)}, []string{"a", "b"}, nil,
		},
		"critical and maintenance do not": {
			append(up("c"), in("d", watcher.Critical, 1), in("e", watcher.Maintenance, 1)),
			[]string{"c"},
			nil,
		},
		"all critical": {
			[]watcher.Instance{in("a", watcher.Critical, 1), in("b", watcher.Maintenance, 1)}, nil, nil,
		},
		"weights": {
			[]watcher.Instance{in("a", watcher.Passing, 2), in("b", watcher.Passing, 1), in("c", watcher.Critical, 9)},
			[]string{"a", "b"},
			[]uint16{65535, 32767},
		},
		"no weight": {
			[]watcher.Instance{in("a", watcher.Passing, 0), in("b", watcher.Passing, 1)}, []string{"b"}, nil,
		},
		"no weight at all": {[]watcher.Instance{in("a", watcher.Passing, 0)}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			// The views are there when Adopt returns, without Run.
			table := build(nil, c.instances, "also")
			New(slog.New(slog.DiscardHandler), nil).Adopt(table)
			for _, cluster := range table.Clusters() {
				got, weights := usableIn(cluster), cluster.View().Weights
				if !slices.Equal(got, c.usable) || !slices.Equal(weights, c.weights) {
					t.Errorf("%s: got %q %v, want %q %v", cluster.Name, got, weights, c.usable, c.weights)
				}
			}
		})
	}
}

func TestEjectionGrows(t *testing.T) {
	run(t, up("a", "b"), func(b *bench) {
		for i := range 7 {
			b.fail("a")
			b.usable("b")
			b.is("a", Ejected, true)
			b.advance(time.Until(b.of("a").EjectedUntil) - 1)
			b.usable("b")
			b.advance(1)
			b.usable("a", "b")
			b.is("a", Probation, false)
			if got := b.of("a"); got.Ejections != i+1 {
				t.Errorf("%d ejections, want %d", got.Ejections, i+1)
			}
			b.advance(time.Minute)
		}
		if n := strings.Count(b.logs.String(), "endpoint ejected"); n != 7 {
			t.Errorf("%d messages for 7 ejections:\n%s", n, b.logs)
		}
	})
}

// The time out is the base times the number of ejections, up to the cap.
func TestEjectionTimes(t *testing.T) {
	h := plain()
	h.Outlier.BaseTime, h.Outlier.MaxTime = 2*time.Second, 5*time.Second
	runWith(t, h, up("a", "b"), func(b *bench) {
		for _, want := range []time.Duration{2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second} {
			begin := time.Now()
			b.see("a", failed())
			if got := b.of("a").EjectedUntil.Sub(begin).Round(time.Millisecond * 50); got != want {
				t.Errorf("out for %s, want %s", got, want)
			}
			b.advance(10 * time.Second)
		}
	})
}

func TestEjectionIsLogged(t *testing.T) {
	run(t, up("a", "b"), func(b *bench) {
		b.see("a", failed())
		for _, want := range []string{
			"service=s", "instance=a", "address=a:80", "for=1s", "level=WARN", "reason=connect_failures",
		} {
			if !strings.Contains(b.logs.String(), want) {
				t.Errorf("no %s in %s", want, b.logs)
			}
		}
	})
}

// An answer ends the ejection of an endpoint that gave none, and time in service makes
// up for it.
func TestSuccessRestores(t *testing.T) {
	run(t, up("a", "b"), func(b *bench) {
		for range 3 {
			b.fail("a")
			b.advance(10 * time.Second)
		}
		b.fail("a")
		b.usable("b")
		b.advance(refreshPause)
		b.succeed("a")
		b.usable("a", "b")
		b.is("a", Healthy, false)
		for n := 4; n >= 0; n-- {
			if got := b.of("a").Ejections; got != n {
				t.Errorf("%d ejections count, want %d", got, n)
			}
			b.advance(decayTime)
		}
		b.fail("a")
		b.usable("b")
		b.advance(time.Second)
		b.usable("a", "b")
	})
}

// A success after the ejection has ended restores, too; a failure ejects at once, of
// whatever kind.
func TestProbation(t *testing.T) {
	for name, c := range map[string]struct {
		then  Outcome
		state State
	}{
		"a good answer":    {ok(), Healthy},
		"a bad answer":     {Outcome{Status: 500}, Ejected},
		"a failed connect": {failed(), Ejected},
		"a timeout":        {Outcome{Kind: TimedOut}, Ejected},
		"a broken answer":  {Outcome{Kind: Broken}, Ejected},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, up("a", "b"), func(b *bench) {
				b.see("a", failed())
				b.advance(time.Second)
				b.is("a", Probation, false)
				if got := b.shares()["a"]; got < 0.08 || got > 0.1 {
					t.Errorf("on probation it gets a share of %.2f", got)
				}
				b.see("a", c.then)
				b.is("a", c.state, c.state == Ejected)
			})
		})
	}
}

func TestObserveCostsNothing(t *testing.T) {
	m := New(slog.New(slog.DiscardHandler), nil)
	table := build(nil, up("a"))
	m.Adopt(table)
	<-m.wake
	e := table.Clusters()[0].Endpoints[0]
	if n := testing.AllocsPerRun(100, func() { m.Observe(e, ok()) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { m.Hanging(e, 1, time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations for a request that waits", n)
	}
	if len(m.wake) != 0 {
		t.Error("a success that changes nothing wakes Run")
	}
}

// A failure of an endpoint that is out already neither counts nor prolongs.
func TestFailureWhileOut(t *testing.T) {
	run(t, up("a", "b"), func(b *bench) {
		b.fail("a")
		b.advance(900 * time.Millisecond)
		b.fail("a")
		b.fail("a")
		b.usable("b")
		b.advance(100 * time.Millisecond)
		b.usable("a", "b")
		b.fail("a")
		b.advance(2*time.Second - 1)
		b.usable("b")
		b.advance(1)
		b.usable("a", "b")
	})
}

func TestConcurrentFailuresCountOnce(t *testing.T) {
	run(t, up("a", "b"), func(b *bench) {
		for i := range 5 {
			e := b.endpoint("a")
			var wait sync.WaitGroup
			for range 50 {
				wait.Go(func() { b.Observe(e, failed()) })
			}
			wait.Wait()
			b.advance(refreshPause)
			if got := b.of("a").Ejections; got != i+1 {
				t.Errorf("%d ejections, want %d", got, i+1)
			}
			b.advance(30 * time.Second)
		}
		if n := strings.Count(b.logs.String(), "endpoint ejected"); n != 5 {
			t.Errorf("%d messages for 5 ejections", n)
		}
	})
}

func TestEjectionNeverEmptiesACluster(t *testing.T) {
	instances := append(up("a", "b"), in("sick", watcher.Critical, 1), in("drained", watcher.Passing, 0))
	run(t, instances, func(b *bench) {
		b.fail("a")
		b.usable("b")
		b.advance(500 * time.Millisecond)
		b.fail("b")
		// All are tried, but none that the registry keeps out.
		b.usable("a", "b")
		b.advance(500 * time.Millisecond)
		b.usable("a")
		b.advance(500 * time.Millisecond)
		b.usable("a", "b")
	})
	run(t, up("a"), func(b *bench) {
		b.fail("a")
		b.usable("a")
	})
	weighted := []watcher.Instance{in("a", watcher.Passing, 3), in("b", watcher.Passing, 1)}
	run(t, weighted, func(b *bench) {
		b.fail("a")
		b.fail("b")
		b.usable("a", "b")
		if got := b.table.Clusters()[0].View().Weights; !slices.Equal(got, []uint16{65535, 21845}) {
			t.Errorf("weights %v", got)
		}
	})
}

// Ejections that overlap end each at its own time.
func TestEjectionsEndApart(t *testing.T) {
	run(t, up("a", "b", "c", "d"), func(b *bench) {
		b.see("a", failed())
		b.advance(time.Second)
		b.see("a", failed()) // for two seconds
		b.see("b", failed())
		b.advance(300 * time.Millisecond)
		b.see("c", failed())
		b.usable("d")
		b.advance(740 * time.Millisecond)
		b.usable("b", "d")
		b.advance(300 * time.Millisecond)
		b.usable("b", "c", "d")
		b.advance(700 * time.Millisecond)
		b.usable("a", "b", "c", "d")
	})
}

// The weights of those that remain are scaled anew.
func TestWeightsAfterEjection(t *testing.T) {
	instances := []watcher.Instance{
		in("a", watcher.Passing, 100), in("b", watcher.Passing, 2), in("c", watcher.Passing, 1),
	}
	run(t, instances, func(b *bench) {
		b.fail("a")
		b.usable("b", "c")
		if got := b.table.Clusters()[0].View().Weights; !slices.Equal(got, []uint16{65535, 32767}) {
			t.Errorf("weights %v", got)
		}
	})
}

func TestEjectionIsFromAllClusters(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.adopt(build(nil, up("a", "b"), "x", "y"))
		synctest.Wait()
		if len(b.table.Clusters()) < 2 {
			t.Fatal("one cluster")
		}
		b.fail("a")
		b.usable("b")
		b.advance(time.Second)
		b.usable("a", "b")
	})
}

func TestAdoptKeepsEjections(t *testing.T) {
	run(t, up("a", "b"), func(b *bench) {
		b.see("a", failed())
		old := b.table
		b.adopt(build(old, up("a", "b", "c")))
		// At once, not when Run has looked.
		b.usable("b", "c")
		b.advance(time.Second)
		b.usable("a", "b", "c")
		b.fail("a")
		b.advance(2*time.Second - 1)
		b.usable("b", "c")
		b.adopt(build(b.table, up("a", "b")))
		b.usable("b")
		b.advance(1)
		b.usable("a", "b")
		if got := usableIn(old.Clusters()[0]); !slices.Equal(got, []string{"b"}) {
			t.Errorf("the old table's view was changed after it left: %q", got)
		}
	})
}

// An instance at another address is another process.
func TestAdoptBeginsAfreshAtAnotherAddress(t *testing.T) {
	run(t, up("a", "b"), func(b *bench) {
		b.fail("a")
		moved := up("a", "b")
		moved[0].Address = "a:81"
		b.adopt(build(b.table, moved))
		b.usable("a", "b")
	})
}

// An ejection that ends between the build of a table and its adoption is over.
func TestAdoptLater(t *testing.T) {
	run(t, up("a", "b"), func(b *bench) {
		b.fail("a")
		table := build(b.table, up("a", "b"))
		b.advance(time.Second)
		b.adopt(table)
		b.usable("a", "b")
	})
}

// A view that is right stays: pickers may keep what they know of it.
func TestViewsAreNotReplacedInVain(t *testing.T) {
	run(t, up("a", "b"), func(b *bench) {
		v := b.table.Clusters()[0].View()
		b.poke()
		synctest.Wait()
		if b.table.Clusters()[0].View() != v {
			t.Error("the view was replaced by its like")
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	for name, prepare := range map[string]func(*Monitor){
		"without a table": func(*Monitor) {},
		"woken without a table": func(m *Monitor) {
			m.poke()
		},
		"with a table": func(m *Monitor) { m.Adopt(build(nil, up("a", "b"))) },
		"while one is out": func(m *Monitor) {
			table := build(nil, up("a", "b"))
			m.Adopt(table)
			m.Observe(table.Clusters()[0].Endpoints[0], failed())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := New(slog.New(slog.DiscardHandler), nil)
				prepare(m)
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					m.Run(ctx)
				}()
				synctest.Wait()
				cancel()
				synctest.Wait()
				select {
				case <-ended:
				default:
					t.Error("Run goes on")
				}
			})
		})
	}
}

// Requests report from many goroutines while tables come and go; for -race.
func TestConcurrently(t *testing.T) {
	m := New(slog.New(slog.DiscardHandler), nil)
	table := build(nil, up("a", "b", "c"))
	m.Adopt(table)
	ctx, cancel := context.WithCancel(t.Context())
	var running, requests sync.WaitGroup
	running.Go(func() { m.Run(ctx) })
	for g := range 4 {
		requests.Go(func() {
			c := table.Clusters()[0]
			for i := range 2_000 {
				at, err := c.Picker.Pick(c.View(), &routetable.PickInfo{})
				if err != nil {
					t.Error(err)
					return
				}
				if (i+g)%3 == 0 {
					m.Observe(c.Endpoints[at], failed())
				} else {
					m.Observe(c.Endpoints[at], ok())
				}
			}
		})
	}
	last := table
	for i := range 50 {
		last = build(last, up("a", "b", "c", fmt.Sprint(i)))
		m.Adopt(last)
	}
	requests.Wait()
	cancel()
	running.Wait()
	if len(last.Clusters()[0].View().Usable) == 0 {
		t.Error("the cluster is empty")
	}
}

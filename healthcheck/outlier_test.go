package healthcheck

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"usher/watcher"
)

// repeated is an outcome n times.
func repeated(o Outcome, n int) []Outcome {
	out := make([]Outcome, n)
	for i := range out {
		out[i] = o
	}
	return out
}

// between is a and b in turn, n times.
func between(a, b Outcome, n int) (out []Outcome) {
	for range n {
		out = append(out, a, b)
	}
	return out
}

// Each count ejects when it is reached, and not before; a good answer begins it again.
func TestConsecutive(t *testing.T) {
	bad := Outcome{Status: 500}
	gateway := Outcome{Status: 503}
	broken := Outcome{Kind: Broken}
	late := Outcome{Kind: TimedOut}
	began := Outcome{Kind: Began, Status: 200}
	for name, c := range map[string]struct {
		outcomes []Outcome
		out      bool
		cause    string
	}{
		"4 × 500":                    {repeated(bad, 4), false, ""},
		"5 × 500":                    {repeated(bad, 5), true, "5xx"},
		"4 × 500, 200, 4 × 500":      {append(append(repeated(bad, 4), ok()), repeated(bad, 4)...), false, ""},
		"404s are the client's":      {repeated(Outcome{Status: 404}, 50), false, ""},
		"4 × 503":                    {repeated(gateway, 4), false, ""},
		"5 × 503":                    {repeated(gateway, 5), true, "gateway"},
		"5 broken":                   {repeated(broken, 5), true, "gateway"},
		"3 broken, 2 × 502":          {append(repeated(broken, 3), gateway, gateway), true, "gateway"},
		"4 × 503, 500, 3 × 503":      {append(append(repeated(gateway, 4), bad), repeated(gateway, 3)...), true, "5xx"},
		"a timeout":                  {repeated(late, 1), false, ""},
		"two timeouts":               {repeated(late, 2), true, "timeouts"},
		"a timeout, 200, a timeout":  {[]Outcome{late, ok(), late}, false, ""},
		"a timeout, 500, a timeout":  {[]Outcome{late, bad, late}, false, ""},
		"a connect":                  {[]Outcome{failed()}, true, "connect"},
		"a connect, then an answer":  {[]Outcome{failed(), ok()}, false, ""},
		"an answer, then no connect": {[]Outcome{ok(), failed()}, true, "connect"},
		"5 × begun, then 500":        {between(began, bad, 5), true, "5xx"},
		"4 × begun, then 500":        {between(began, bad, 4), false, ""},
		"a timeout, begun, another":  {[]Outcome{late, began, late}, false, ""},
		"a connect, then begun":      {[]Outcome{failed(), began}, false, ""},
		"begun says nothing else":    {repeated(began, 300), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, up("a", "b", "c"), func(b *bench) {
				b.see("b", c.outcomes...)
				if !c.out {
					b.usable("a", "b", "c")
					return
				}
				b.usable("a", "c")
				b.is("b", Ejected, true)
				if cause := b.of("b").Cause; !strings.Contains(cause, c.cause) {
					t.Errorf("the cause is %q", cause)
				}
			})
		})
	}
}

// A count of 0 is never reached, and without outlier detection nothing ejects.
func TestConsecutiveOff(t *testing.T) {
	h := plain()
	h.Outlier.Consecutive5xx, h.Outlier.ConsecutiveGatewayErrors = 0, 0
	h.Outlier.Timeouts, h.Outlier.ConnectFailures = 0, 0
	off := plain()
	off.Outlier.Enabled = false
	for range 2 {
		runWith(t, h, up("a", "b"), func(b *bench) {
			for _, o := range []Outcome{failed(), {Kind: Broken}, {Kind: TimedOut}, {Status: 503}} {
				b.see("a", repeated(o, 300)...)
			}
			b.usable("a", "b")
		})
		h = off
	}
}

// What answered badly serves its time: a good answer of an older request is no pardon.
func TestBadAnswersServeTheirTime(t *testing.T) {
	run(t, up("a", "b", "c"), func(b *bench) {
		b.see("a", repeated(Outcome{Status: 500}, 5)...)
		b.see("a", ok())
		b.usable("b", "c")
		b.advance(time.Second)
		b.is("a", Probation, false)
		b.see("a", ok())
		b.is("a", Healthy, false)
	})
}

// No more than the share is out, the first come; the dead are not counted as a choice.
func TestMaxEjectedShare(t *testing.T) {
	h := plain()
	h.Outlier.MaxEjectedShare = 0.3
	five := repeated(Outcome{Status: 500}, 5)
	list := up("a", "b", "c", "d", "e", "f", "g")
	runWith(t, h, list, func(b *bench) {
		for _, id := range []string{"a", "b", "c", "d"} {
			b.see(id, five...)
		}
		b.usable("c", "d", "e", "f", "g")
		b.see("e", failed())
		b.usable("c", "d", "f", "g")
		b.advance(time.Second)
		b.see("a", ok())
		b.see("b", ok())
		b.see("e", ok())
		// The evidence against c goes on, and now there is room.
		b.see("c", five...)
		b.usable("a", "b", "d", "e", "f", "g")
	})
	h.Outlier.MaxEjectedShare = 0.01
	runWith(t, h, up("a", "b"), func(b *bench) {
		b.see("a", five...)
		b.see("b", five...)
		b.usable("b") // one of two always may be out, and no more
	})
	runWith(t, h, up("a"), func(b *bench) {
		b.see("a", five...)
		b.is("a", Healthy, false) // nothing would be gained
	})
	h.Outlier.MaxEjectedShare = 0
	runWith(t, h, up("a", "b"), func(b *bench) {
		b.see("a", five...)
		b.usable("a", "b")
		b.see("a", failed())
		b.usable("b")
	})
}

// The only endpoint there is is tried though it is dead, and who waits for it waits on.
func TestTheLastOneIsNotOut(t *testing.T) {
	run(t, up("a"), func(b *bench) {
		b.see("a", failed())
		b.usable("a")
		b.is("a", Ejected, false)
		if !b.table.Clusters()[0].View().Panic {
			t.Error("the view does not say so")
		}
	})
}

// An endpoint that fails now and then, too rarely in a row, is found beside its peers.
func TestSuccessRate(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f"}
	for name, c := range map[string]struct {
		// bad are how many of a hundred answers of each fail.
		bad  map[string]int
		each int
		want State
	}{
		"a third of its answers":  {map[string]int{"a": 33}, 200, Ejected},
		"too few requests":        {map[string]int{"a": 33}, 60, Healthy},
		"all are as bad":          {map[string]int{"a": 33, "b": 33, "c": 33, "d": 33, "e": 33, "f": 33}, 200, Healthy},
		"a little worse than all": {map[string]int{"a": 3}, 200, Healthy},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, up(names...), func(b *bench) {
				for i := range c.each {
					for _, id := range names {
						o := ok()
						if i%100 < c.bad[id]*2 && i%2 == 0 { // never two in a row
							o = Outcome{Status: 500}
						}
						b.Observe(b.endpoint(id), o)
					}
				}
				b.advance(12 * time.Second)
				rep := b.of("a")
				if was := rep.Ejections > 0; was != (c.want == Ejected) {
					t.Errorf("%s: %s, %d ejections", rep.State, rep.Cause, rep.Ejections)
				}
				if c.want == Ejected && !strings.Contains(b.logs.String(), "67.0% of its answers are good") {
					t.Errorf("the log is %s", b.logs)
				}
			})
		})
	}
}

// One whose answers take twenty times as long is found, where that is wanted.
func TestLatency(t *testing.T) {
	h := plain()
	h.Outlier.Latency.Enabled = true
	for _, slow := range []time.Duration{20 * time.Millisecond, 3 * time.Millisecond} {
		runWith(t, h, up("a", "b", "c", "d"), func(b *bench) {
			for range 200 {
				for _, id := range []string{"a", "b", "c", "d"} {
					o := ok()
					if id == "b" {
						o.Took = slow
					}
					b.Observe(b.endpoint(id), o)
				}
			}
			b.advance(12 * time.Second)
			if was := b.of("b").Ejections > 0; was != (slow > 4*time.Millisecond) {
				t.Errorf("%s: %+v", slow, b.of("b"))
			}
			const why = "its answers take 20ms, its peers' 1ms"
			if slow > 4*time.Millisecond && !strings.Contains(b.logs.String(), why) {
				t.Errorf("the log is %s", b.logs)
			}
		})
	}
}

// An answer whose time is not known is neither a quick one nor a slow one.
func TestLatencyUnknown(t *testing.T) {
	h := plain()
	h.Outlier.Latency.Enabled = true
	runWith(t, h, up("a", "b", "c", "d"), func(b *bench) {
		for range 200 {
			for _, id := range []string{"a", "b", "c", "d"} {
				untimed := ok()
				untimed.Took = 0
				for range 9 {
					b.Observe(b.endpoint(id), untimed)
				}
				timed := ok()
				if id == "b" {
					timed.Took = 20 * time.Millisecond
				}
				b.Observe(b.endpoint(id), timed)
			}
		}
		b.advance(12 * time.Second)
		const why = "its answers take 20ms, its peers' 1ms"
		if b.of("b").Ejections == 0 || !strings.Contains(b.logs.String(), why) {
			t.Errorf("%+v, the log is %s", b.of("b"), b.logs)
		}
	})
}

// hang tells, as the sweeper does, of n requests that wait for an endpoint while d
// passes; the peers answer in the meantime as often as they take.
func (b *bench) hang(id string, n int, d time.Duration, peers map[string]time.Duration) {
	const tick = 50 * time.Millisecond
	begin := time.Now()
	for range int(d / tick) {
		b.advance(tick)
		for peer, took := range peers {
			if time.Since(begin) >= took {
				b.Observe(b.endpoint(peer), Outcome{Status: 200, Took: took})
			}
		}
		if waited := time.Since(begin); waited > 200*time.Millisecond {
			for i := range n {
				b.Hanging(b.endpoint(id), int64(1000+i), waited)
			}
		}
	}
	synctest.Wait()
}

// An endpoint that answers nothing while its peers answer is taken out, within two
// seconds; one of a service that takes long everywhere is not.
func TestStall(t *testing.T) {
	fast := map[string]time.Duration{"b": 2 * time.Millisecond, "c": 3 * time.Millisecond}
	slow := map[string]time.Duration{"b": 5 * time.Second}
	one := map[string]time.Duration{"b": time.Millisecond}
	for name, c := range map[string]struct {
		waiting int
		lasts   time.Duration
		peers   map[string]time.Duration
		want    State
	}{
		"stopped":                          {20, 1400 * time.Millisecond, fast, Ejected},
		"three are enough":                 {3, 1400 * time.Millisecond, fast, Ejected},
		"two are not":                      {2, 10 * time.Second, fast, Healthy},
		"not yet":                          {20, 900 * time.Millisecond, fast, Healthy},
		"no peer has answered":             {20, 10 * time.Second, nil, Healthy},
		"the peers take as long":           {20, 9 * time.Second, slow, Healthy},
		"twice as long as the peers":       {20, 11 * time.Second, slow, Ejected},
		"the one peer of two that answers": {20, 2 * time.Second, one, Ejected},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, up("a", "b", "c"), func(b *bench) {
				b.hang("a", c.waiting, c.lasts, c.peers)
				b.advance(refreshPause)
				b.is("a", c.want, c.want == Ejected)
			})
		})
	}
}

// Where all have stopped none is taken out: there is nowhere better.
func TestAllStall(t *testing.T) {
	run(t, up("a", "b", "c"), func(b *bench) {
		for _, id := range []string{"a", "b", "c"} {
			b.see(id, ok())
		}
		for i := range 200 {
			b.advance(50 * time.Millisecond)
			for _, id := range []string{"a", "b", "c"} {
				for n := range 10 {
					b.Hanging(b.endpoint(id), int64(n+1), time.Duration(i)*50*time.Millisecond)
				}
			}
		}
		b.usable("a", "b", "c")
	})
}

// An answer ends a silence, however many requests go on waiting.
func TestSlowRequestsBesideFastOnes(t *testing.T) {
	run(t, up("a", "b", "c"), func(b *bench) {
		begin := time.Now()
		for range 200 {
			b.advance(50 * time.Millisecond)
			for n := range 10 {
				b.Hanging(b.endpoint("a"), int64(n+1), time.Since(begin))
			}
			for _, id := range []string{"a", "b", "c"} {
				b.Observe(b.endpoint(id), ok())
			}
		}
		b.usable("a", "b", "c")
	})
}

// A stalled endpoint that answers is back, and one that is stalled again goes at once.
func TestStallEnds(t *testing.T) {
	peers := map[string]time.Duration{"b": time.Millisecond, "c": time.Millisecond}
	run(t, up("a", "b", "c"), func(b *bench) {
		b.hang("a", 5, 1400*time.Millisecond, peers)
		b.is("a", Ejected, true)
		b.see("a", ok())
		b.is("a", Healthy, false)
		b.hang("a", 5, 1400*time.Millisecond, peers)
		b.is("a", Ejected, true)
		b.advance(3 * time.Second)
		b.is("a", Probation, false)
		b.hang("a", 1, 1400*time.Millisecond, peers)
		b.is("a", Ejected, true)
	})
}

// Below the healthy share all are tried, it is told once, and it ends by itself.
func TestPanic(t *testing.T) {
	h := plain()
	h.PanicThreshold = 0.5
	h.HealthCheck.Path = "/health"
	list := append(up("a", "b", "c", "d"), in("sick", watcher.Critical, 1))
	runWith(t, h, list, func(b *bench) {
		b.advance(6 * time.Second)
		for _, id := range []string{"a", "b"} {
			b.probe(id, "broken")
		}
		b.advance(20 * time.Second)
		b.usable("c", "d") // half is enough
		b.is("a", Unhealthy, true)
		b.probe("c", "broken")
		b.advance(20 * time.Second)
		b.usable("a", "b", "c", "d")
		b.is("a", Unhealthy, false) // it is tried: who waits, waits
		if v := b.table.Clusters()[0].View(); !v.Panic || !b.of("a").Panic {
			t.Error("nothing tells of it")
		}
		if s := b.standing()["s"]; s.Panicking != 1 || s.States["unhealthy"] != 3 || s.States["critical"] != 1 {
			t.Errorf("the metrics say %+v", s)
		}
		b.probe("c", "")
		b.advance(20 * time.Second)
		b.usable("c", "d")
		for _, text := range []string{"all are tried", "enough healthy endpoints again"} {
			if n := strings.Count(b.logs.String(), text); n != 1 {
				t.Errorf("%q is told %d times:\n%s", text, n, b.logs)
			}
		}
	})
}

// In a panic the dead are tried now and then, and do not drown the living.
func TestPanicSparesTheLiving(t *testing.T) {
	h := plain()
	h.PanicThreshold = 0.5
	runWith(t, h, up("a", "b", "c"), func(b *bench) {
		b.see("a", failed())
		b.see("b", failed())
		b.usable("a", "b", "c")
		if got := b.shares()["c"]; got < 0.8 || got > 0.86 {
			t.Errorf("the living one gets %.2f", got)
		}
	})
}

// Nobody whom the registry calls critical is tried, unless that is wanted.
func TestPanicAndTheRegistry(t *testing.T) {
	list := []watcher.Instance{in("a", watcher.Critical, 1), in("b", watcher.Maintenance, 1)}
	run(t, list, func(b *bench) { b.usable() })
	h := plain()
	h.PanicIncludesCritical = true
	runWith(t, h, list, func(b *bench) {
		b.usable("a")
		b.is("a", Critical, false)
		b.change(append(up("c"), list...))
		b.usable("c")
	})
}

// An answer and a failure right behind it are not one event: the failure counts.
func TestFailsAgainAtOnce(t *testing.T) {
	run(t, up("a", "b"), func(b *bench) {
		b.fail("a")
		b.usable("b")
		b.see("a", ok(), failed())
		b.usable("b")
		b.see("a", failed(), ok())
		b.usable("a", "b")
	})
}

// A new endpoint, and one that is back, begin with a tenth and grow; not so at the start,
// and not where nobody is grown.
func TestSlowStart(t *testing.T) {
	h := plain()
	h.SlowStart = 10 * time.Second
	near := func(t *testing.T, got, want float64) {
		t.Helper()
		if d := got - want; d < -0.02 || d > 0.02 {
			t.Errorf("the share is %.3f, want %.3f", got, want)
		}
	}
	runWith(t, h, up("a", "b"), func(b *bench) {
		near(t, b.shares()["a"], 0.5)
		b.is("a", Healthy, false)
		b.change(up("a", "b", "new"))
		near(t, b.shares()["new"], 0.1/2.1)
		b.is("new", SlowStart, false)
		b.advance(5 * time.Second)
		near(t, b.shares()["new"], 0.55/2.55)
		v := b.table.Clusters()[0].View()
		b.advance(6 * time.Second)
		near(t, b.shares()["new"], 1.0/3)
		b.is("new", Healthy, false)
		if v == b.table.Clusters()[0].View() {
			t.Error("the view is the same")
		}
		v = b.table.Clusters()[0].View()
		b.advance(time.Minute)
		if v != b.table.Clusters()[0].View() {
			t.Error("the view changes though nothing grows")
		}
		b.see("a", failed(), ok(), failed())
		b.advance(time.Second)
		b.see("a", ok())
		near(t, b.shares()["a"], 0.1/2.1)
	})
	runWith(t, h, nil, func(b *bench) {
		b.change(up("a", "b")) // all are new
		near(t, b.shares()["a"], 0.5)
		b.advance(5 * time.Second)
		b.change(up("a", "b", "c"))
		near(t, b.shares()["c"], 1.0/3)
	})
	critical := []watcher.Instance{in("a", watcher.Critical, 1), in("b", watcher.Passing, 1)}
	runWith(t, h, critical, func(b *bench) {
		b.change(up("a", "b")) // back by the registry's word
		near(t, b.shares()["a"], 0.1/1.1)
	})
}

// An endpoint that says so gets no new requests, and is asked again after a while.
func TestDrainHeader(t *testing.T) {
	run(t, up("a", "b"), func(b *bench) {
		draining := ok()
		draining.Draining = true
		b.see("a", draining)
		b.usable("b")
		b.is("a", Draining, false) // what runs there finishes there
		b.see("a", ok())           // an older request
		b.usable("b")
		b.advance(drainHold)
		b.is("a", Probation, false)
		b.see("a", draining)
		b.usable("b")
		b.advance(drainHold)
		b.see("a", ok())
		b.is("a", Healthy, false)
	})
}

// Consul's weight for warning eases an endpoint out: it arrives as the weight.
func TestWarningWeight(t *testing.T) {
	run(t, []watcher.Instance{in("a", watcher.Warning, 1), in("b", watcher.Passing, 9)}, func(b *bench) {
		b.is("a", Warning, false)
		if got := b.shares()["a"]; got < 0.09 || got > 0.11 {
			t.Errorf("it gets %.2f", got)
		}
	})
}

// Whatever happens, no more than half of those that answer are ejected, and never all are
// kept from requests.
func TestRandomEvidence(t *testing.T) {
	outcomes := []Outcome{ok(), ok(), {Status: 500}, {Status: 503}, {Kind: Broken}, {Kind: TimedOut}}
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		var ids []string
		for i := range 2 + r.IntN(8) {
			ids = append(ids, fmt.Sprint("i", i))
		}
		run(t, up(ids...), func(b *bench) {
			for range 300 {
				id := ids[r.IntN(len(ids))]
				b.see(id, repeated(outcomes[r.IntN(len(outcomes))], 1+r.IntN(6))...)
				if r.IntN(10) == 0 {
					b.advance(time.Duration(r.IntN(3000)) * time.Millisecond)
				}
				out := 0
				for _, id := range ids {
					if b.of(id).State == Ejected {
						out++
					}
				}
				if out > max(1, len(ids)/2) || len(b.table.Clusters()[0].View().Usable) == 0 {
					t.Fatalf("seed %d: %d of %d are out", seed, out, len(ids))
				}
			}
		})
	}
}

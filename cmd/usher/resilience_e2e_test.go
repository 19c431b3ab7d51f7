package main_test

import (
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Processes that die, stop, leave and come back, each under a steady load. What clients
// see of it is in docs/resilience.md.

// atMostOnce fails the test if a POST was begun twice.
func (f *fleet) atMostOnce(calls []*call) {
	f.t.Helper()
	begun := f.begun()
	posts := those(calls, func(c *call) bool { return c.method == http.MethodPost })
	for _, c := range posts {
		if n := begun[c.id]; n > 1 || c.ok() && n != 1 {
			f.t.Errorf("%s was executed %d times", c, n)
		}
	}
	if len(posts) == 0 {
		f.t.Error("there was no POST")
	}
}

// One of three is killed. With retries no GET fails; what cannot be repeated fails only
// where it was on its way to the one that died, and is never executed twice. Without
// retries requests find out that it is still dead, unless probes do.
func TestKilledUnderLoad(t *testing.T) {
	const probed = "health_check: {path: /health, interval: 300ms}"
	for _, c := range []struct {
		// out is what usher logs when it is out.
		name, conf, out string
		retries         bool
		// late is how many may fail that come when it is out: some at the end of each
		// ejection, of 250 that would be its share.
		late int
	}{
		{"with retries", "", "endpoint ejected", true, 0},
		{"without", "defaults: {retry: {attempts: 0}}\n", "endpoint ejected", false, 20},
		{
			"without, probed", "defaults: {retry: {attempts: 0}, " + probed + "}\n",
			"endpoint is down by its probes", false, 0,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3, c.conf, func(_ int, w *trade) { w.Delay = 50 * time.Millisecond })
			l := startTraffic(t, f.u.web, 300, 3)
			pause(1500 * time.Millisecond)
			f.workers[0].kill()
			f.u.waitLog(c.out)
			out := time.Now().Add(200 * time.Millisecond) // by then, on a busy machine
			pause(2500 * time.Millisecond)
			calls := l.end()
			f.atMostOnce(calls)
			if c.retries {
				mustAnswer(t, those(calls, func(k *call) bool { return k.method == http.MethodGet }), "GET")
			}
			began := len(f.unfinished("w0"))
			lost := those(calls, failed)
			late := those(lost, func(k *call) bool { return k.begun.After(out) })
			t.Logf("%d requests, it had begun %d, %d failed, %d of them came when it was out: %v",
				len(calls), began, len(lost), len(late), outcomes(calls))
			// It had begun some, others were on their way to it.
			if now := len(lost) - len(late); began == 0 || now > began+10 {
				t.Errorf("it had begun %d, and %d failed", began, now)
			}
			if len(late) > c.late {
				t.Errorf("%s came when it was out", late[0])
			}
		})
	}
}

// Each of three is killed in turn and started again at its port.
func TestRollingKills(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, "", nil)
	l := startTraffic(t, f.u.web, 400, 4)
	for _, w := range f.workers {
		pause(1200 * time.Millisecond)
		w.kill()
		pause(1400 * time.Millisecond)
		w.start()
	}
	for _, w := range f.workers {
		eventually(t, patience, w.Name+" serves again", func() bool { return w.stats().Ran > 0 })
	}
	calls := l.end()
	mustAnswer(t, those(calls, func(c *call) bool { return c.method == http.MethodGet }), "GET")
	f.atMostOnce(calls)
	t.Logf("%d requests, the slowest %s: %v", len(calls), slowest(calls, 0), outcomes(calls))
	if f.u.metric("usher_upstream_ejections_total", `reason="connect_failures"`) < 3 {
		t.Error("not each of the three was missed")
	}
}

// One of three is stopped for six seconds: it takes connections and answers nothing.
// Those who wait there move on when it is taken out, later ones do not come to it.
func TestStoppedUnderLoad(t *testing.T) {
	for _, c := range []struct {
		// out is what usher logs when it is out for good.
		name, conf, out string
		// most is how many requests may come to it while it is out.
		most int
	}{
		{
			"probed", "defaults: {slow_start: 1s, health_check: {path: /health, interval: 500ms}}\n",
			"endpoint is down by its probes", 0,
		},
		{"by evidence", "defaults: {slow_start: 1s}\n", `"reason":"stalled"`, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3, c.conf, nil)
			l := startTraffic(t, f.u.web, 300, 0)
			pause(1500 * time.Millisecond)
			w := f.workers[0]
			w.signal(syscall.SIGSTOP)
			stopped := time.Now()
			f.u.waitLog(c.out)
			out := time.Now()
			pause(time.Until(stopped.Add(6 * time.Second)))
			goesOn := time.Now()
			w.signal(syscall.SIGCONT)
			f.u.stands(w.Address, "healthy")
			before := w.stats().Ran
			eventually(t, patience, "it serves again", func() bool { return w.stats().Ran > before })
			calls := l.end()
			f.checkStop(calls, stopped, out, goesOn, c.most)
		})
	}
}

// checkStop looks at what became of requests while the first backend stood still, and
// was out for a part of this.
func (f *fleet) checkStop(calls []*call, stopped, out, goesOn time.Time, most int) {
	f.t.Helper()
	bad := those(calls, failed)
	if 1000*len(bad) > len(calls) {
		f.t.Errorf("%d of %d failed, such as %s", len(bad), len(calls), bad[0])
	}
	came := map[string]bool{} // to the one that was stopped, as it found when it went on
	for _, e := range f.entries() {
		came[e.id] = came[e.id] || e.name == "w0"
	}
	there := func(from time.Time) []*call {
		return those(calls, func(c *call) bool {
			return came[c.id] && c.begun.After(from) && c.begun.Before(goesOn)
		})
	}
	waited, saw := there(stopped), there(out.Add(100*time.Millisecond))
	f.t.Logf("%d requests, %d failed; out after %s; %d came to it while it was stopped, %d while it was out; "+
		"the slowest took %s, all but 1 %% %s", len(calls), len(bad), out.Sub(stopped).Round(time.Millisecond),
		len(waited), len(saw), slowest(calls, 0), slowest(calls, 0.01))
	if len(saw) > most {
		f.t.Errorf("%d requests came to it while it was out", len(saw))
	}
	stayed := those(calls, func(c *call) bool { return c.begun.Before(out) && c.begun.Add(c.took).After(goesOn) })
	if len(stayed) > 0 {
		f.t.Errorf("%d requests waited until it went on", len(stayed))
	}
	if f.u.metric("usher_upstream_retries_total", `reason="endpoint_out"`, `outcome="answered"`) < 1 {
		f.t.Error("no request is counted as moved on")
	}
}

// usher is told to stop with 200 requests of two seconds in flight.
func TestStopWithRequestsInFlight(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, "defaults: {drain_delay: 1500ms}\n", nil)
	f.u.waitStatus("s.test", http.StatusOK)
	const n = 200
	l := startTraffic(t, f.u.web+"/?ms=2000", 400, 2)
	working := func() (sum int64) {
		for _, w := range f.workers {
			sum += w.stats().Ran
		}
		return sum
	}
	eventually(t, patience, "200 are in flight", func() bool { return working() > n })
	f.u.signal(syscall.SIGTERM)
	begin := time.Now()
	eventually(t, patience, "it is not ready", func() bool {
		code, _ := get(t, f.u.admin+"/readyz", "")
		return code == http.StatusServiceUnavailable
	})
	red := time.Now()
	// The load balancer has not noticed yet.
	if code, reason := f.u.status("s.test"); code != http.StatusOK {
		t.Errorf("a request that came just after is answered %d %s", code, reason)
	}
	calls := l.end()
	if code := f.u.wait(10 * time.Second); code != 0 {
		t.Errorf("exit %d", code)
	}
	took := time.Since(begin)
	mustAnswer(t, calls, "in flight")
	open := those(calls, func(c *call) bool { return c.begun.Add(c.took).After(red) })
	for _, c := range open {
		if !c.closes && c.ok() {
			t.Errorf("%s does not end its connection", c)
		}
	}
	if len(open) < n {
		t.Errorf("only %d were in flight", len(open))
	}
	f.atMostOnce(calls)
	t.Logf("%d of %d were in flight, unready after %s, gone after %s", len(open), len(calls),
		red.Sub(begin).Round(time.Millisecond), took.Round(time.Millisecond))
}

// Four reloads that change how requests are balanced, timed, probed and limited.
func TestReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, "", nil)
	f.u.waitStatus("s.test", http.StatusOK)
	l := startTraffic(t, f.u.web, 500, 3)
	for i, conf := range []string{
		"defaults: {balance: round_robin, timeout: 20s}\n",
		"services: {s: {balance: ewma, health_check: {path: /health, interval: 200ms}}}\n",
		"services: {s: {balance: maglev, hash_key: path, max_requests: 5000, retry: {attempts: 1}}}\n" +
			"routes: [{name: also, match: {hosts: [also.test]}, service: s}]\n",
		"",
	} {
		pause(700 * time.Millisecond)
		f.u.write(withFile + conf)
		f.u.waitMetric("usher_config_reloads_total", float64(i+1), `result="success"`)
	}
	pause(700 * time.Millisecond)
	calls := l.end()
	mustAnswer(t, calls, "over four reloads")
	f.atMostOnce(calls)
	t.Logf("%d requests, the slowest %s: %v", len(calls), slowest(calls, 0), outcomes(calls))
}

// The registry calls every backend critical: nobody is asked, unless it is said that
// they may be.
func TestEverythingCritical(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, "", nil)
	f.u.waitStatus("s.test", http.StatusOK)
	ran := func() (sum int64) {
		for _, w := range f.workers {
			sum += w.stats().Ran
		}
		return sum
	}
	f.list(f.u, "critical")
	f.u.waitStatus("s.test", http.StatusServiceUnavailable)
	if _, reason := f.u.status("s.test"); reason != "no_healthy_endpoint" {
		t.Errorf("the reason is %q", reason)
	}
	f.u.waitMetric("usher_endpoints", 3, `state="critical"`)
	before := ran()
	calls := startFor(t, f.u.web, 200, time.Second)
	if n := ran() - before; n != 0 || len(those(calls, (*call).ok)) > 0 {
		t.Errorf("%d requests came to backends that are critical: %v", n, outcomes(calls))
	}
	f.u.write(withFile + "defaults: {panic_includes_critical: true}\n")
	f.u.waitStatus("s.test", http.StatusOK)
	calls = startFor(t, f.u.web, 200, time.Second)
	mustAnswer(t, calls, "with panic_includes_critical")
	f.u.waitMetric("usher_health_panic", 1, `service="s"`)
	f.list(f.u, "passing")
	f.u.waitMetric("usher_health_panic", 0, `service="s"`)
	mustAnswer(t, startFor(t, f.u.web, 200, time.Second), "when all are passing again")
}

// startFor is traffic of GETs for a while.
func startFor(t testing.TB, url string, rate int, d time.Duration) []*call {
	t.Helper()
	l := startTraffic(t, url, rate, 0)
	pause(d)
	return l.end()
}

// Two of three are down by their probes, though they serve: rather than drown the third,
// all are tried, and the metric, the log and the API say so.
func TestPanic(t *testing.T) {
	t.Parallel()
	const probed = "health_check: {path: /health, interval: 200ms, timeout: 5s}"
	f := newFleet(t, 3, "services: {s: {slow_start: 0s, "+probed+"}}\n", nil)
	f.u.waitStatus("s.test", http.StatusOK)
	l := startTraffic(t, f.u.web, 300, 3)
	down := func(n int) {
		f.u.waitMetric("usher_endpoints", float64(n), `service="s"`, `state="unhealthy"`)
	}
	f.workers[0].tell("sick")
	down(1)
	f.u.waitMetric("usher_health_panic", 0, `service="s"`)
	before := f.workers[0].stats().Ran
	mustAnswer(t, startFor(t, f.u.web, 200, 500*time.Millisecond), "with one down")
	if n := f.workers[0].stats().Ran - before; n > 0 {
		t.Errorf("%d requests came to the one that is down", n)
	}
	f.workers[1].tell("sick")
	down(2)
	f.u.waitMetric("usher_health_panic", 1, `service="s"`)
	if h, _ := f.u.healthOf(f.workers[2].Address); !h.Panic {
		t.Errorf("the API does not tell of the panic: %+v", h)
	}
	by := outcomes(startFor(t, f.u.web, 200, 1500*time.Millisecond))
	t.Logf("in panic: %v", by)
	for _, w := range f.workers {
		if by[w.Name] < 30 {
			t.Errorf("%s was tried %d times: %v", w.Name, by[w.Name], by)
		}
	}
	f.workers[0].tell("well")
	f.workers[1].tell("well")
	down(0)
	f.u.waitMetric("usher_health_panic", 0, `service="s"`)
	calls := l.end()
	mustAnswer(t, calls, "all along")
	f.atMostOnce(calls)
}

// At three times what the backends can do, they do what they can; the others are told
// to come again, and do not wait for it.
func TestOverload(t *testing.T) {
	t.Parallel()
	const slots, takes, rate = 4, 60 * time.Millisecond, 600
	f := newFleet(t, 3, "services: {s: {max_requests: 18}}\n", func(_ int, w *trade) {
		w.Slots, w.Delay = slots, takes
	})
	f.u.waitStatus("s.test", http.StatusOK)
	var before, after [3]stats
	l := startTraffic(t, f.u.web, rate, 0)
	pause(time.Second)
	begin := time.Now()
	for i, w := range f.workers {
		before[i] = w.stats()
	}
	pause(4 * time.Second)
	for i, w := range f.workers {
		after[i] = w.stats()
	}
	lasted := time.Since(begin)
	calls := l.end()
	busy, ran := time.Duration(0), int64(0)
	for i := range f.workers {
		busy += after[i].Busy - before[i].Busy
		ran += after[i].Ran - before[i].Ran
	}
	use := float64(busy) / float64(lasted) / (3 * slots)
	served, shed := those(calls, (*call).ok), those(calls, failed)
	t.Logf("%d requests, %d served, %d shed; the backends were busy %.1f %% of the time; "+
		"all but 1 %% were served within %s, shed within %s",
		len(calls), len(served), len(shed), 100*use, slowest(served, 0.01), slowest(shed, 0.01))
	if use < 0.8 { // 0.99 on a quiet machine
		t.Errorf("the backends were busy %.0f %% of the time, with %d requests", 100*use, ran)
	}
	for _, c := range shed {
		seconds, err := strconv.Atoi(c.retryAfter)
		if c.code != http.StatusServiceUnavailable || c.reason != "overloaded" || err != nil || seconds < 1 {
			t.Fatalf("%s, Retry-After: %q", c, c.retryAfter)
		}
	}
	if got, want := f.u.metric("usher_requests_shed_total", `limit="max_requests"`), float64(len(shed)); got != want {
		t.Errorf("%v are counted as shed, %v were", got, want)
	}
	began := f.begun()
	for _, c := range shed {
		if began[c.id] > 0 {
			t.Errorf("%s was begun", c)
		}
	}
	if len(shed) < len(calls)/2 {
		t.Errorf("only %d of %d were shed", len(shed), len(calls))
	}
}

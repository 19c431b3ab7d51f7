package main_test

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"
)

// Backends that are ill in one way or another, and a usher with and without its remedies.

// The four sick ones of ten, by their place.
const (
	answers500 = iota
	slow
	silent
	resets
)

func sicken(nth int, w *trade) {
	switch nth {
	case answers500:
		w.Fault = "500"
	case slow:
		w.Delay *= 20
	case silent:
		w.Fault = "hang"
	case resets:
		w.Fault = "reset"
	}
}

// Ten backends of which one answers 500 to everything, one is twenty times as slow, one
// takes requests and never answers, and one resets connections at random. A usher as it
// comes and one without retries and ejection stand in front of the same ten.
func TestFourSickOfTen(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 10, "defaults: {timeout: 3s}\n", sicken)
	bare := f.front("defaults: {timeout: 3s, retry: {attempts: 0}, outlier: {enabled: false}}\n", "passing")
	l, lBare := startTraffic(t, f.u.web, 200, 0), startTraffic(t, bare.web, 200, 0)
	pause(8 * time.Second)
	with, without := l.end(), lBare.end()
	for _, c := range []struct {
		name  string
		calls []*call
	}{{"with", with}, {"without", without}} {
		t.Logf("%s: %d of %d failed; half took %s, all but 1 %% %s, all %s: %v", c.name,
			len(those(c.calls, failed)), len(c.calls), slowest(c.calls, 0.5), slowest(c.calls, 0.01),
			slowest(c.calls, 0), outcomes(c.calls))
	}
	bad := those(with, failed)
	for _, c := range bad {
		if c.code != 500 || c.reason != "" {
			t.Errorf("%s, which is not an answer of the one that answers 500", c)
		}
	}
	// Five in a row, and one at the end of each ejection, which last 1, 2 and 3 s; each
	// time with those that were under way.
	if len(bad) > 20 {
		t.Errorf("%d failed, at most 20 are to be expected", len(bad))
	}
	if n := len(those(without, failed)); n < 5*len(bad) || n < 50 {
		t.Errorf("%d failed without ejection and retries, and %d with", n, len(bad))
	}
	for _, how := range []string{"5xx", "stalled"} {
		if f.u.metric("usher_upstream_ejections_total", `reason="`+how+`"`) < 1 {
			t.Errorf("nobody was ejected for %s", how)
		}
	}
	if n := bare.metric("usher_upstream_ejections_total"); n != 0 {
		t.Errorf("%v were ejected by a usher that ejects nobody", n)
	}
}

// All backends fail and come back, as dead processes or resetting every connection: they
// are tried little more often than they are asked, and all is well soon after.
func TestAllFailAndComeBack(t *testing.T) {
	for _, c := range []struct {
		name       string
		fail, heal func(w *worker)
	}{
		{"killed", (*worker).kill, (*worker).start},
		{"resetting", func(w *worker) { w.tell("sick") }, func(w *worker) { w.tell("well") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3, "", func(_ int, w *trade) { w.Fault = "moody" })
			l := startTraffic(t, f.u.web, 300, 0)
			pause(time.Second)
			begin := time.Now()
			for _, w := range f.workers {
				c.fail(w)
			}
			pause(4 * time.Second)
			c.heal(f.workers[0])
			back := time.Now()
			for _, w := range f.workers[1:] {
				c.heal(w)
			}
			lasted := time.Since(begin)
			pause(5 * time.Second)
			calls := l.end()
			f.noStorm(calls, lasted)
			recovered(t, calls, back)
		})
	}
}

// All backends are stopped for three seconds: there is nowhere to go, so everybody waits,
// nobody is blamed, and each request is executed once.
func TestAllStopped(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, "", nil)
	l := startTraffic(t, f.u.web, 200, 4)
	pause(time.Second)
	for _, w := range f.workers {
		w.signal(syscall.SIGSTOP)
	}
	pause(3 * time.Second)
	for _, w := range f.workers {
		w.signal(syscall.SIGCONT)
	}
	pause(time.Second)
	calls := l.end()
	mustAnswer(t, calls, "with all stopped")
	f.atMostOnce(calls)
	again := 0
	for _, n := range f.begun() {
		again += n - 1
	}
	t.Logf("%d requests, the slowest %s, %d were begun again", len(calls), slowest(calls, 0), again)
	if waited := those(calls, func(c *call) bool { return c.took > time.Second }); len(waited) < 200 {
		t.Errorf("only %d requests waited", len(waited))
	}
	if n := f.u.metric("usher_upstream_ejections_total"); n > 0 || again > 0 {
		t.Errorf("%v were ejected, %d requests begun again", n, again)
	}
}

// noStorm looks at the attempts: those that reached a backend, and connections that could
// not be made.
func (f *fleet) noStorm(calls []*call, lasted time.Duration) {
	f.t.Helper()
	begun := 0
	for _, n := range f.begun() {
		begun += n
	}
	attempts := float64(begun) + f.u.metric("usher_upstream_connect_errors_total")
	floor := 30 + 3*lasted.Seconds()
	f.t.Logf("%d requests, %d failed, %.0f attempts; %.0f retries, %.0f refused by the budget: %v", len(calls),
		len(those(calls, failed)), attempts, f.u.metric("usher_upstream_retries_total"),
		f.u.metric("usher_upstream_retry_budget_exhausted_total"), outcomes(calls))
	if most := 1.2*float64(len(calls)) + floor; attempts > most {
		f.t.Errorf("%.0f attempts, at most %.0f were to be expected", attempts, most)
	}
	if f.u.metric("usher_upstream_retry_budget_exhausted_total") < 1 {
		f.t.Error("the budget allowed everything: nothing is shown")
	}
}

// recovered fails the test if a request failed that began three seconds after the first
// backend was well.
func recovered(t testing.TB, calls []*call, back time.Time) {
	t.Helper()
	bad := those(calls, failed)
	if len(bad) == 0 {
		t.Fatal("no request failed while there was nobody")
	}
	last := bad[len(bad)-1].begun.Sub(back)
	t.Logf("the last that failed began %s after the first was back", last.Round(time.Millisecond))
	late := those(calls, func(c *call) bool { return c.begun.After(back.Add(3 * time.Second)) })
	mustAnswer(t, late, "three seconds after the first was back")
	if len(late) == 0 {
		t.Error("nothing was asked later")
	}
}

// unreachable is an address at which connecting takes for ever, as with a machine that
// lost its power: a listener whose queue is full.
func unreachable(t testing.TB) (address string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		err = syscall.Listen(fd, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address = fmt.Sprint("127.0.0.1:", name.(*syscall.SockaddrInet4).Port)
	for range 8 {
		nc, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = nc.Close() })
	}
	t.Fatal("a queue of none has no end")
	return ""
}

// One of three cannot be reached, as if it had lost its power. No request fails; those
// that try to connect to it wait for connect_timeout before they go on, and they are few.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, "defaults: {connect_timeout: 500ms}\n", nil)
	l := startTraffic(t, f.u.web, 300, 4)
	pause(time.Second)
	gone := &worker{t: t, trade: trade{Name: "gone", Address: unreachable(t)}}
	f.workers = append(f.workers, gone)
	f.list(f.u, "passing")
	f.u.waitLog("endpoint ejected")
	pause(7 * time.Second)
	calls := l.end()
	mustAnswer(t, calls, "with one unreachable")
	f.atMostOnce(calls)
	tried := f.u.metric("usher_upstream_connect_errors_total")
	ejections := f.u.metric("usher_upstream_ejections_total", `reason="connect_failures"`)
	t.Logf("%d requests, all but 1 %% took %s; %v tried to connect to it, %v ejections",
		len(calls), slowest(calls, 0.01), tried, ejections)
	if ejections < 2 {
		t.Error("it was not tried again")
	}
	if tried > 80 { // its share would be 700
		t.Errorf("%v requests tried to connect to it", tried)
	}
}

package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"usher/watcher"
)

// slow is an answer that comes after more than the deadline.
func slow(addrs ...string) page {
	return page{answer: answer{ttl: time.Minute, addrs: ips(addrs...)}, takes: 5 * time.Second}
}

func TestAddressesPassUntouched(t *testing.T) {
	inBubble(t, func(b *bench) {
		u := update("web", "10.0.0.1:80", "[fd00::1]:80", "no port", ":80", "unix:/run/web")
		u.Excused, u.Suspect = []string{"x"}, "why"
		first := &u.Instances[0]
		b.send(u, watcher.Update{Service: "gone"})
		got := b.want("without names", line(u), "gone")
		if &got[0].Instances[0] != first {
			b.t.Error("the instances were copied")
		}
		if !slices.Equal(got[0].Excused, u.Excused) || got[0].Suspect != "why" || !got[0].Since.Equal(u.Since) {
			b.t.Errorf("sent %+v", got[0])
		}
		if len(b.asked) > 0 {
			b.t.Errorf("asked for %v", b.asked)
		}
	})
}

func TestNamesBecomeAddresses(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.write("a.test", time.Minute, "10.0.0.1")
		b.write("b.test", time.Minute, "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2")
		b.send(update("web", "a.test:80", "10.9.9.9:80", "B.test:81"))
		b.want("all names are known",
			"web weba#10.0.0.1=10.0.0.1:80 webb=10.9.9.9:80 webc#10.0.0.2=10.0.0.2:81*0.25"+
				" webc#10.0.0.3=10.0.0.3:81*0.25 webc#fd00::1=[fd00::1]:81*0.25 webc#fd00::2=[fd00::2]:81*0.25")
	})
}

// TestTheRestStays: whatever else an instance or an update holds is passed on.
func TestTheRestStays(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.write("a.test", time.Minute, "10.0.0.1", "10.0.0.2")
		u := update("web", "a.test:80")
		in := watcher.Instance{
			ID: "a", Address: "a.test:80", Status: watcher.Warning, Cause: "c", Weight: 3, Created: 9,
			Announcements: []watcher.Announcement{{Where: "w", Text: "/x"}},
			Tags:          []string{"t"}, Meta: map[string]string{"k": "v"},
			Datacenter: "dc", Zone: "z", Tier: 2,
		}
		u.Instances[0] = in
		u.Suspect = "why"
		b.send(u)
		got := b.want("resolved", "web a#10.0.0.1=10.0.0.1:80*1.5 a#10.0.0.2=10.0.0.2:80*1.5")[0]
		for i, ip := range []string{"10.0.0.1", "10.0.0.2"} {
			want := in
			want.ID, want.Address, want.Weight = "a#"+ip, ip+":80", 1.5
			if text := fmt.Sprintf("%+v", want); text != fmt.Sprintf("%+v", got.Instances[i]) {
				b.t.Errorf("got  %+v\nwant %s", got.Instances[i], text)
			}
		}
		if got.Suspect != "why" || !got.Since.Equal(u.Since) {
			b.t.Errorf("sent %+v", got)
		}
	})
}

// TestReceiverOwns: the Manager sorts and appends to what it gets; what is sent
// later must not show it.
func TestReceiverOwns(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.write("a.test", time.Second, "10.0.0.1")
		b.send(update("web", "a.test:80", "10.9.9.9:80"))
		got := b.want("first", "web weba#10.0.0.1=10.0.0.1:80 webb=10.9.9.9:80")[0]
		clear(got.Instances)
		b.write("a.test", time.Second, "10.0.0.2")
		b.pass(2 * time.Second)
		b.want("second", "web weba#10.0.0.2=10.0.0.2:80 webb=10.9.9.9:80")
	})
}

func TestOneLookupForAll(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.set("a.test", page{answer: answer{ttl: 10 * time.Second, addrs: ips("10.0.0.1")}, takes: time.Second})
		b.send(update("x", "a.test:80", "a.test:81", "A.TEST:82"), update("y", "a.test:80"))
		b.pass(2 * time.Second)
		got := b.next()
		if len(got) != 2 {
			b.t.Fatalf("sent %v", got)
		}
		for range 1000 { // a flood of updates of fresh names
			b.send(update("x", "a.test:80"), update("y", "a.test:81"), update("z", "a.test:82"), update("z"))
		}
		b.pass(5 * time.Second)
		if n := b.count("a.test"); n != 1 {
			b.t.Errorf("%d lookups, want 1", n)
		}
		b.next()
		b.write("a.test", time.Minute, "10.0.0.2")
		b.pass(6 * time.Second)
		got = b.next()
		slices.SortFunc(got, func(a, b watcher.Update) int { return strings.Compare(a.Service, b.Service) })
		if len(got) != 2 || line(got[0]) != "x xa#10.0.0.2=10.0.0.2:80" || line(got[1]) != "y ya#10.0.0.2=10.0.0.2:81" {
			b.t.Errorf("a change sent %v", got)
		}
	})
}

func TestSlowNameDelaysItsServiceAlone(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.set("slow.test", slow("10.0.0.1"))
		b.write("fast.test", time.Minute, "10.0.0.2")
		b.send(update("slow", "slow.test:80", "fast.test:80"))
		b.send(update("fast", "fast.test:80"), update("plain", "10.0.0.3:80"))
		b.want("the others", "fast fasta#10.0.0.2=10.0.0.2:80", "plain plaina=10.0.0.3:80")
		b.pass(defaultDeadline - time.Millisecond)
		b.want("before the deadline")
		b.pass(time.Millisecond)
		b.want("at the deadline, by name", "slow slowa=slow.test:80 slowb#10.0.0.2=10.0.0.2:80")
		b.pass(4 * time.Second)
		got := b.want("when it answers", "slow slowa#10.0.0.1=10.0.0.1:80 slowb#10.0.0.2=10.0.0.2:80")
		if !slices.Contains(got[0].Excused, "slowa") {
			b.t.Errorf("excused %q: the name's own ID left without a loss", got[0].Excused)
		}
	})
}

func TestLaterUpdateReplacesWaiting(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.set("slow.test", slow("10.0.0.1"))
		b.send(update("web", "slow.test:80"))
		b.pass(time.Second)
		b.send(update("web", "slow.test:80", "slow.test:81")) // no more time for it
		b.pass(time.Second)
		b.want("the last one, at the first one's deadline", "web weba=slow.test:80 webb=slow.test:81")

		b.set("slower.test", slow("10.0.0.2"))
		b.send(update("web", "slower.test:80"))
		b.pass(time.Second)
		b.send(update("web", "10.0.0.9:80"))
		b.want("one that need not wait", "web weba=10.0.0.9:80")
		b.pass(time.Minute)
		b.want("nothing of the one it replaced")
	})
}

func TestServiceGoesWhileItWaits(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.set("slow.test", slow("10.0.0.1"))
		b.send(update("web", "slow.test:80"), report(watcher.Report{Synced: true}), watcher.Update{Service: "web"})
		b.want("it is gone, and waited for no more", "web", "!synced")
		b.pass(time.Hour)
		b.want("it stays gone")
		if n := b.count("slow.test"); n != 1 {
			b.t.Errorf("%d lookups of a name that nobody uses", n)
		}
	})
}

func TestUnknownPassesBesideWaiting(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.set("slow.test", slow("10.0.0.1"))
		b.send(update("web", "slow.test:80"), watcher.Update{Service: "web", Unknown: true})
		b.want("it could not be read", "web unknown")
		b.pass(3 * time.Second)
		b.want("what was read before", "web weba=slow.test:80")
	})
}

func TestSyncedWaitsForWhatCameBefore(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.set("slow.test", slow("10.0.0.1"))
		b.set("late.test", slow("10.0.0.2"))
		b.send(
			update("one", "slow.test:80"),
			report(watcher.Report{Synced: true, Answered: true, Alive: true, Contact: "c"}),
			report(watcher.Report{Err: errBroken, Reason: "broken"}),
		)
		b.want("all but that it is synced", "!alive!c", "!broken")
		b.pass(time.Second)
		b.send(update("two", "late.test:80"), update("three", "10.0.0.3:80"), report(watcher.Report{Synced: true}))
		b.want("what need not wait", "three threea=10.0.0.3:80")
		b.pass(time.Second)
		b.want("the first service, and its milestone", "one onea=slow.test:80", "!answered!synced")
		b.pass(time.Second)
		b.want("the second", "two twoa=late.test:80", "!synced")
	})
}

func TestReportOfDelayedUpdate(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.set("slow.test", slow("10.0.0.1"))
		u := with(update("web", "slow.test:80"), watcher.Report{Synced: true, Alive: true})
		u.Overrides = &watcher.Overrides{}
		rep := u.Report
		b.send(u, with(update("web", "slow.test:80"), watcher.Report{}), report(watcher.Report{Contact: "c"}))
		b.want("at once, in order", "overrides!alive", "", "!c")
		b.pass(3 * time.Second)
		b.want("then", "web weba=slow.test:80", "!synced")
		if !rep.Synced {
			b.t.Error("the discoverer's report was changed")
		}
	})
}

// TestSyncedInOrder: what ends the wait of a service says something of its own.
func TestSyncedInOrder(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.set("slow.test", slow("10.0.0.1"))
		b.send(update("web", "slow.test:80"), report(watcher.Report{Synced: true}))
		b.send(with(update("web", "10.0.0.9:80"), watcher.Report{Answered: true}))
		b.want("in order", "web weba=10.0.0.9:80", "!synced", "!answered")
	})
}

// TestReportOfPassingUpdate: a report stays with the update it came with when that
// does not wait, unless others do and it says that they were sent.
func TestReportOfPassingUpdate(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.write("a.test", time.Minute, "10.0.0.1")
		b.set("slow.test", slow("10.0.0.2"))
		b.send(update("a", "a.test:80"))
		b.send(with(update("a", "a.test:80"), watcher.Report{Synced: true, Contact: "c"}))
		b.send(update("b", "slow.test:80"))
		b.send(with(update("a", "a.test:80"), watcher.Report{Answered: true, Contact: "c"}))
		b.send(with(update("c", "10.0.0.3:80"), watcher.Report{Synced: true}))
		b.want("without b",
			"a aa#10.0.0.1=10.0.0.1:80", "a aa#10.0.0.1=10.0.0.1:80!synced!c",
			"a aa#10.0.0.1=10.0.0.1:80!c", "c ca=10.0.0.3:80")
		b.pass(3 * time.Second)
		b.want("then b", "b ba=slow.test:80", "!answered", "!synced")
	})
}

func TestTTL(t *testing.T) {
	for name, test := range map[string]struct{ ttl, want time.Duration }{
		"its own":     {10 * time.Second, 10 * time.Second},
		"too short":   {0, time.Second},
		"too long":    {time.Hour, time.Minute},
		"none":        {-1, time.Minute},
		"the longest": {time.Minute, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				b.write("a.test", test.ttl, "10.0.0.1")
				b.send(update("web", "a.test:80"))
				b.want("first", "web weba#10.0.0.1=10.0.0.1:80")
				b.pass(test.want - time.Millisecond)
				if n := b.count("a.test"); n != 1 {
					b.t.Fatalf("%d lookups before the TTL was over", n)
				}
				b.pass(time.Millisecond)
				if n := b.count("a.test"); n != 2 {
					b.t.Fatalf("%d lookups when the TTL was over, want 2", n)
				}
				b.want("an unchanged answer sends nothing")
				b.write("a.test", test.ttl, "10.0.0.1", "10.0.0.2")
				b.pass(test.want)
				got := b.want("a changed one does", "web weba#10.0.0.1=10.0.0.1:80*0.5 weba#10.0.0.2=10.0.0.2:80*0.5")
				if !got[0].Since.Equal(time.Now()) {
					b.t.Errorf("since %v, want when the answer came", got[0].Since)
				}
			})
		})
	}
}

func TestFailureKeepsLastGood(t *testing.T) {
	timeout := &net.DNSError{Err: "i/o timeout", IsTimeout: true}
	for name, test := range map[string]struct {
		err  error
		line string
	}{
		"timeout":      {timeout, "!dns_timeout!partial"},
		"no such host": {errNone, "!dns_failed!partial"},
		"any other":    {errBroken, "!dns_failed!partial"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				b.write("a.test", time.Second, "10.0.0.1")
				b.send(update("web", "a.test:80"))
				b.want("first", "web weba#10.0.0.1=10.0.0.1:80")
				b.set("a.test", page{answer: answer{err: test.err}})
				b.pass(time.Minute)
				got := b.want("one report for the row", test.line)[0]
				if err := got.Report.Err; !errors.Is(err, test.err) || !strings.Contains(err.Error(), "a.test") {
					b.t.Errorf("reported %v", err)
				}
				b.checkRetries("a.test")
				b.send(update("web", "a.test:80", "a.test:81"))
				b.want("an update uses what was good", "web weba#10.0.0.1=10.0.0.1:80 webb#10.0.0.1=10.0.0.1:81")
				b.write("a.test", time.Second, "10.0.0.1")
				b.pass(11 * time.Second)
				b.want("as before: nothing to send")
				b.set("a.test", page{answer: answer{err: test.err}})
				b.pass(2 * time.Second)
				b.want("another row, another report", test.line)
			})
		})
	}
}

// checkRetries checks the times between the lookups of a host that has failed for
// a minute, its first lookup aside.
func (b *bench) checkRetries(host string) {
	b.t.Helper()
	asked := b.times(host)[1:]
	if len(asked) < 6 {
		b.t.Errorf("%d lookups in a minute, want one at least every 10s", len(asked))
	}
	for i := range asked[1:] {
		if gap := asked[i+1].Sub(asked[i]); gap < watcher.FirstPause || gap > 10*time.Second+scanEvery {
			b.t.Errorf("%v between two retries", gap)
		}
	}
}

func TestNameThatNeverResolved(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.send(update("web", "a.test:80"))
		b.want("at once, by name", "!dns_failed!partial", "web weba=a.test:80")
		b.send(update("api", "a.test:80"))
		b.want("it was asked for: no wait", "api apia=a.test:80")
		b.write("a.test", time.Minute, "10.0.0.1")
		b.send(update("api"))
		b.next()
		b.pass(time.Second)
		b.want("when it appears", "web weba#10.0.0.1=10.0.0.1:80")
	})
}

// TestOneFamilyFails: an answer for IPv4 alone says nothing of IPv6.
func TestOneFamilyFails(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.write("a.test", time.Second, "10.0.0.1", "fd00::1")
		b.send(update("web", "a.test:80"))
		b.want("both", "web weba#10.0.0.1=10.0.0.1:80*0.5 weba#fd00::1=[fd00::1]:80*0.5")
		b.set("a.test", page{answer: answer{addrs: ips("10.0.0.2"), no6: true, ttl: time.Minute}})
		b.pass(time.Second)
		b.want("the other family stays", "!dns_failed!partial",
			"web weba#10.0.0.2=10.0.0.2:80*0.5 weba#fd00::1=[fd00::1]:80*0.5")
		b.set("a.test", page{answer: answer{addrs: ips("fd00::2"), no4: true, ttl: time.Minute}})
		b.pass(time.Second)
		b.want("the other way round", "web weba#10.0.0.2=10.0.0.2:80*0.5 weba#fd00::2=[fd00::2]:80*0.5")
		b.write("a.test", time.Minute, "fd00::2")
		b.pass(11 * time.Second)
		b.want("an answer that there is none", "web weba#fd00::2=[fd00::2]:80")
		b.set("a.test", page{answer: answer{addrs: ips("fd00::3"), no4: true, ttl: time.Minute}})
		b.pass(time.Minute)
		b.want("a family that it never had is no failure", "web weba#fd00::3=[fd00::3]:80")
	})
}

func TestForgotten(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.write("a.test", 10*time.Second, "10.0.0.1")
		b.send(update("web", "a.test:80"))
		b.send(watcher.Update{Service: "web"}, update("web", "a.test:80"))
		if n := b.count("a.test"); n != 1 {
			b.t.Errorf("%d lookups of a name that is fresh", n)
		}
		b.send(watcher.Update{Service: "web"})
		b.pass(time.Hour)
		if n := b.count("a.test"); n != 1 {
			b.t.Errorf("%d lookups of a name that nobody uses", n)
		}
		b.next()
		b.write("a.test", 10*time.Second, "10.0.0.2")
		b.send(update("web", "a.test:80"))
		b.want("it is asked for again", "web weba#10.0.0.2=10.0.0.2:80")
	})
}

// TestParallel: many names are looked up some at a time, and those that fail leave
// room for others.
func TestParallel(t *testing.T) {
	inBubble(t, func(b *bench) {
		dead := page{answer: answer{err: errBroken}, takes: 15 * time.Second}
		for i := range 50 {
			host := fmt.Sprintf("dead-%d.test", i)
			b.set(host, dead)
			b.send(update(host, host+":80"))
		}
		b.pass(5 * time.Minute)
		if n := b.most(); n != parallel {
			b.t.Errorf("%d lookups at a time, want %d", n, parallel)
		}
		b.next()
		b.pass(time.Minute)
		if n := b.most(); n != parallelRetries {
			b.t.Errorf("%d retries at a time, want %d", n, parallelRetries)
		}
		b.write("a.test", time.Minute, "10.0.0.1")
		b.send(update("web", "a.test:80"))
		b.want("a new name is not held up", "web weba#10.0.0.1=10.0.0.1:80")
	})
}

// TestQueuedNameNobodyUses: a name that is dropped before its turn is not asked for.
func TestQueuedNameNobodyUses(t *testing.T) {
	inBubble(t, func(b *bench) {
		for i := range parallel {
			host := fmt.Sprintf("slow-%d.test", i)
			b.set(host, slow("10.0.0.1"))
			b.send(update(host, host+":80"))
		}
		b.send(update("web", "a.test:80"), update("web", "10.0.0.9:80"))
		b.pass(time.Minute)
		if n := b.count("a.test"); n != 0 {
			b.t.Errorf("%d lookups", n)
		}
	})
}

func TestExcusedIDs(t *testing.T) {
	inBubble(t, func(b *bench) {
		excused := func(what string, u watcher.Update, want ...string) {
			b.t.Helper()
			b.send(u)
			got := b.next()
			ids := slices.Clone(got[len(got)-1].Excused)
			slices.Sort(ids)
			if !slices.Equal(ids, want) {
				b.t.Errorf("%s: excused %q, want %q", what, ids, want)
			}
		}
		b.write("a.test", time.Minute, "10.0.0.1", "10.0.0.2")
		b.write("b.test", time.Minute, "10.0.0.3")
		excused("plain", update("web", "10.0.0.9:80"))
		excused("it has a name now", update("web", "a.test:80"), "weba")
		excused("another name", update("web", "b.test:80"), "weba", "weba#10.0.0.1", "weba#10.0.0.2")
		off := watcher.Update{Service: "web", Excused: []string{"weba"}}
		excused("it takes no part", off, "weba", "weba#10.0.0.3")
		excused("it has a name again", update("web", "b.test:80"), "weba")
		excused("an address again", update("web", "10.0.0.9:80"), "weba#10.0.0.3")
		excused("and a name", update("web", "b.test:80"), "weba")
		excused("the registry's loss", watcher.Update{Service: "web"})
		excused("a name without addresses", update("web", "none.test:80"))
		excused("it keeps its ID", update("web", "10.0.0.9:80"))

		off.Excused = append(make([]string, 0, 8), "weba")
		excused("a name", update("web", "b.test:80"), "weba")
		excused("it takes no part", off, "weba", "weba#10.0.0.3")
		if more := off.Excused[:2]; more[1] != "" {
			b.t.Errorf("%q was written into the discoverer's list", more[1])
		}
	})
}

func TestInnerEnds(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.set("slow.test", slow("10.0.0.1"))
		b.send(update("web", "slow.test:80"), report(watcher.Report{Synced: true}))
		b.feed <- errBroken
		b.pass(time.Second)
		if len(b.ended) > 0 {
			b.t.Fatal("it ended with a service that waits")
		}
		b.pass(time.Second)
		b.want("what waited", "web weba=slow.test:80", "!synced")
		if err := <-b.ended; !errors.Is(err, errBroken) {
			b.t.Errorf("Run returned %v", err)
		}
	})
}

func TestShutdownWhileAllWaits(t *testing.T) {
	inBubble(t, func(b *bench) {
		for i := range 2 * parallel {
			host := fmt.Sprintf("slow-%d.test", i)
			b.set(host, slow("10.0.0.1"))
			b.send(update(host, host+":80"))
		}
		begin := time.Now()
		b.stop()
		if err := <-b.ended; !errors.Is(err, context.Canceled) {
			b.t.Errorf("Run returned %v", err)
		}
		if took := time.Since(begin); took > 0 {
			b.t.Errorf("it took %v", took)
		}
	})
}

// TestReceiverIsGone: nobody receives any more when ctx ends.
func TestReceiverIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		k := &book{pages: map[string]page{}, asked: map[string][]time.Time{}}
		d := &double{make(chan any)}
		ended := make(chan error, 1)
		go func() { ended <- wrap(d, Options{}.withDefaults(), k.lookup).Run(ctx, make(chan watcher.Update)) }()
		d.feed <- update("a", "10.0.0.1:80")
		d.feed <- update("b", "b.test:80")
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// wanting is a double that is a Wanter, too.
type wanting struct {
	double
	wanted []string
}

// Want implements watcher.Wanter.
func (w *wanting) Want(services []string) { w.wanted = services }

func TestWanter(t *testing.T) {
	if _, ok := Wrap(&double{}, Options{}).(watcher.Wanter); ok {
		t.Error("a Wanter without one inside")
	}
	w := &wanting{}
	outer, ok := Wrap(w, Options{}).(watcher.Wanter)
	if !ok {
		t.Fatal("no Wanter with one inside")
	}
	outer.Want([]string{"web"})
	if !slices.Equal(w.wanted, []string{"web"}) {
		t.Errorf("it wants %q", w.wanted)
	}
}

package resolve

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"usher/watcher"
)

// live is a wrapped double that runs with the real clock and a DNS server.
type live struct {
	*serverDouble
	feed chan any
	out  chan watcher.Update
}

// goLive runs a wrapped double until the test ends.
func goLive(t *testing.T, opts Options) *live {
	t.Helper()
	s := serve(t)
	d := &double{make(chan any)}
	opts.Servers = []string{s.addr}
	l := &live{s, d.feed, make(chan watcher.Update, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Wrap(d, opts).Run(ctx, l.out) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	return l
}

// next waits for what is sent next.
func (l *live) next() string {
	l.t.Helper()
	select {
	case u := <-l.out:
		return line(u)
	case <-time.After(patience):
		l.t.Fatalf("nothing was sent within %s", patience)
		return ""
	}
}

// reach waits until this is sent. What comes before it is of no interest: of the two
// questions of a lookup, one may be answered before the zone changes and one after.
func (l *live) reach(want string) {
	l.t.Helper()
	for got := l.next(); got != want; got = l.next() {
		l.t.Logf("before %q: %q", want, got)
	}
}

// TestOverDNS takes one name through its life, with a real server.
func TestOverDNS(t *testing.T) {
	l := goLive(t, Options{Deadline: patience, MinTTL: 20 * time.Millisecond})
	l.set("a.test", entry{addrs: []string{"10.0.0.1"}})
	l.feed <- update("web", "a.test:80")
	l.reach("web weba#10.0.0.1=10.0.0.1:80")
	eventually(t, "it is asked for again and again", func() bool { return l.count("udp a.test. A") > 3 })
	l.set("a.test", entry{addrs: []string{"10.0.0.1", "fd00::1"}, cut: true})
	l.reach("web weba#10.0.0.1=10.0.0.1:80*0.5 weba#fd00::1=[fd00::1]:80*0.5")
	const servfail = dnsmessage.RCodeServerFailure
	l.set("a.test", entry{fail4: servfail, fail6: servfail})
	l.reach("!dns_failed!partial")
	l.set("a.test", entry{addrs: []string{"10.0.0.2"}})
	l.reach("web weba#10.0.0.2=10.0.0.2:80")
	l.set("a.test", entry{addrs: []string{"10.0.0.3"}, ttl: 3600})
	l.reach("web weba#10.0.0.3=10.0.0.3:80")
	n := l.count("udp a.test. A")
	for range 100 {
		l.feed <- update("web", "a.test:80")
		if got := l.next(); got != "web weba#10.0.0.3=10.0.0.3:80" {
			t.Errorf("sent %q", got)
		}
	}
	if now := l.count("udp a.test. A"); now != n {
		t.Errorf("%d lookups of a name that is fresh", now-n)
	}
}

// TestSilentServer: who waits for a server that says nothing is sent by name, and
// nobody else waits.
func TestSilentServer(t *testing.T) {
	l := goLive(t, Options{Deadline: 100 * time.Millisecond, Timeout: 200 * time.Millisecond})
	l.set("silent.test", entry{silent: true})
	l.feed <- update("web", "silent.test:80")
	l.feed <- report(watcher.Report{Synced: true})
	// Whether the deadline or the timeout is noticed first does not matter here.
	got := []string{l.next(), l.next(), l.next()}
	got = slices.DeleteFunc(got, func(s string) bool { return s == "!dns_timeout!partial" })
	if !slices.Equal(got, []string{"web weba=silent.test:80", "!synced"}) {
		t.Errorf("sent %q beside the timeout", got)
	}
	l.set("silent.test", entry{addrs: []string{"10.0.0.1"}})
	l.reach("web weba#10.0.0.1=10.0.0.1:80")
}

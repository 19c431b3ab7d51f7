package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// patience bounds every wait; a passing test never waits so long.
const patience = 30 * time.Second

// asking returns a resolver that asks these servers.
func asking(servers ...string) *resolver { return &resolver{servers: servers, timeout: patience} }

func TestLookup(t *testing.T) {
	s := serve(t)
	const servfail, refused = dnsmessage.RCodeServerFailure, dnsmessage.RCodeRefused
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprintf("10.0.1.%d", i))
	}
	for name, test := range map[string]struct {
		entry entry
		want  answer
	}{
		"one":       {entry{addrs: []string{"10.0.0.1"}, ttl: 7}, answer{ttl: 7 * time.Second, addrs: ips("10.0.0.1")}},
		"no time":   {entry{addrs: []string{"10.0.0.1"}}, answer{ttl: 0, addrs: ips("10.0.0.1")}},
		"IPv6 only": {entry{addrs: []string{"fd00::1"}, ttl: 9}, answer{ttl: 9 * time.Second, addrs: ips("fd00::1")}},
		"sorted, each once": {
			entry{addrs: []string{"fd00::1", "10.0.0.2", "10.0.0.1", "10.0.0.2"}, ttl: 7},
			answer{ttl: 7 * time.Second, addrs: ips("10.0.0.1", "10.0.0.2", "fd00::1")},
		},
		"an alias for less": {
			entry{addrs: []string{"10.0.0.1"}, ttl: 60, alias: "b.test", aliasTTL: 5},
			answer{ttl: 5 * time.Second, addrs: ips("10.0.0.1")},
		},
		"an alias for more": {
			entry{addrs: []string{"10.0.0.1"}, ttl: 5, alias: "b.test", aliasTTL: 60},
			answer{ttl: 5 * time.Second, addrs: ips("10.0.0.1")},
		},
		"over TCP": {
			entry{addrs: many, ttl: 7, cut: true}, answer{ttl: 7 * time.Second, addrs: ips(many...)},
		},
		"over TCP, where one family fails": {
			entry{addrs: []string{"10.0.0.1", "fd00::1"}, ttl: 7, cut: true, fail6: servfail},
			answer{ttl: 7 * time.Second, addrs: ips("10.0.0.1"), no6: true},
		},
		"one family fails": {
			entry{addrs: []string{"10.0.0.1", "fd00::1"}, ttl: 7, fail6: servfail},
			answer{ttl: 7 * time.Second, addrs: ips("10.0.0.1"), no6: true},
		},
		"the other fails": {
			entry{addrs: []string{"10.0.0.1", "fd00::1"}, ttl: 7, fail4: refused},
			answer{ttl: 7 * time.Second, addrs: ips("fd00::1"), no4: true},
		},
		"a forged answer": {
			entry{addrs: []string{"10.0.0.1"}, ttl: 7, forged: true},
			answer{ttl: 7 * time.Second, addrs: ips("10.0.0.1")},
		},
		"blocked": {
			entry{addrs: []string{"0.0.0.0", "::", "224.0.0.1", "10.0.0.1"}, ttl: 7},
			answer{ttl: 7 * time.Second, addrs: ips("10.0.0.1")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s.set("a.test", test.entry)
			got := asking(s.addr).lookup(t.Context(), "a.test")
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestLookupFails(t *testing.T) {
	s := serve(t)
	s.set("servfail.test", entry{fail4: dnsmessage.RCodeServerFailure, fail6: dnsmessage.RCodeServerFailure})
	s.set("empty.test", entry{})
	s.set("blocked.test", entry{addrs: []string{"0.0.0.0"}})
	s.set("silent.test", entry{silent: true})
	for host, timeout := range map[string]bool{
		"servfail.test": false, "missing.test": false, "empty.test": false, "blocked.test": false, "silent.test": true,
		"not a name": false,
	} {
		t.Run(host, func(t *testing.T) {
			r := asking(s.addr)
			if timeout {
				r.timeout = 50 * time.Millisecond
			}
			got := r.lookup(t.Context(), host)
			dns, ok := errors.AsType[*net.DNSError](got.err)
			if !ok || dns.IsTimeout != timeout || dns.Name != host || len(got.addrs) > 0 {
				t.Errorf("got %+v", got)
			}
			if timeout && !strings.HasPrefix(dns.Err, "no answer within") {
				t.Errorf("the error is %v", dns)
			}
		})
	}
}

// TestLookupOverTCP checks what the table of TestLookup cannot tell: that TCP was
// used for what was cut, and for that alone.
func TestLookupOverTCP(t *testing.T) {
	s := serve(t)
	s.set("cut.test", entry{addrs: []string{"10.0.0.1"}, cut: true})
	s.set("whole.test", entry{addrs: []string{"10.0.0.1"}})
	for host, want := range map[string]int{"cut.test": 1, "whole.test": 0} {
		asking(s.addr).lookup(t.Context(), host)
		for _, kind := range []string{"A", "AAAA"} {
			if n := s.count("tcp " + host + ". " + kind); n != want {
				t.Errorf("%s %s: %d questions over TCP, want %d", host, kind, n, want)
			}
			if n := s.count("udp " + host + ". " + kind); n != 1 {
				t.Errorf("%s %s: %d questions over UDP, want 1", host, kind, n)
			}
		}
	}
}

// goesTimeout is how long Go's resolver waits for one server by itself.
const goesTimeout = 5 * time.Second

// TestLookupCancelled: a lookup ends with its context, though Go's resolver would
// wait for the server.
func TestLookupCancelled(t *testing.T) {
	s := serve(t)
	s.set("silent.test", entry{silent: true})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan answer, 1)
	go func() { ended <- asking(s.addr).lookup(ctx, "silent.test") }()
	eventually(t, "the server is asked", func() bool { return s.count("udp silent.test. A") > 0 })
	cancel()
	select {
	case got := <-ended:
		if got.err == nil {
			t.Errorf("got %+v", got)
		}
	case <-time.After(goesTimeout - 500*time.Millisecond):
		t.Error("it did not end before Go's resolver gave up by itself")
		<-ended
	}
	if got := asking(s.addr).lookup(ctx, "silent.test"); got.err == nil {
		t.Errorf("after the end: got %+v", got)
	}
}

func TestNextServer(t *testing.T) {
	good, bad := serve(t), serve(t)
	good.set("a.test", entry{addrs: []string{"10.0.0.1"}})
	const servfail = dnsmessage.RCodeServerFailure
	bad.set("a.test", entry{fail4: servfail, fail6: servfail})
	closed, err := net.ListenPacket("udp", "127.0.0.1:0") // nobody listens there
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, first := range map[string]string{
		"nobody there": closed.LocalAddr().String(), "no address": "nowhere", "a failing one": bad.addr,
	} {
		t.Run(name, func(t *testing.T) {
			r := asking(first, good.addr)
			for range 2 {
				got := r.lookup(t.Context(), "a.test")
				if got.err != nil || !slices.Equal(got.addrs, ips("10.0.0.1")) {
					t.Errorf("got %+v", got)
				}
			}
			if n := r.current.Load(); n != 1 {
				t.Errorf("the server asked next is %d", n)
			}
		})
	}
	// Both questions leave at once, and one failure is enough: the other may come too late
	// to be counted. The second lookup asks neither.
	a, aaaa := bad.count("udp a.test. A"), bad.count("udp a.test. AAAA")
	if a > 1 || aaaa > 1 || a+aaaa == 0 {
		t.Errorf("the failing server was asked %d times for A, %d for AAAA", a, aaaa)
	}
}

// TestHostsFile: what the hosts file knows is not asked for, and has no TTL.
func TestHostsFile(t *testing.T) {
	s := serve(t)
	got := asking(s.addr).lookup(t.Context(), "localhost")
	if got.err != nil || len(got.addrs) == 0 || got.ttl >= 0 || got.no4 || got.no6 {
		t.Errorf("got %+v", got)
	}
	if len(s.asked) > 0 {
		t.Errorf("asked %v", s.asked)
	}
}

func TestTidy(t *testing.T) {
	mapped := netip.MustParseAddr("::ffff:10.0.0.1")
	got := tidy([]netip.Addr{netip.IPv6Unspecified(), mapped, netip.MustParseAddr("10.0.0.1")})
	if !slices.Equal(got, ips("10.0.0.1")) {
		t.Errorf("got %v", got)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

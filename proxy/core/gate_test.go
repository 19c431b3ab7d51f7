package core_test

import (
	"net"
	"sync"
	"testing"

	"usher/config"
	"usher/metrics"
	"usher/proxy/core"
)

// listenerOf is a listener with these limits behind a gate.
func listenerOf(c config.Listener, gate *core.Gate) *core.Listener {
	m := metrics.New("test", nil)
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}
	return core.NewListener(c, local, m.Downstream.Listener(c.Name), gate)
}

// peerAt is the client at an address.
func peerAt(l *core.Listener, ip string) *core.Peer {
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}
	p := l.NewPeer(&net.TCPAddr{IP: net.ParseIP(ip), Port: 1234}, local)
	return &p
}

func TestGateCountsClients(t *testing.T) {
	for _, tc := range []struct {
		name, first, second string
		want                core.Refusal
	}{
		{"the same address", "192.0.2.1", "192.0.2.1", core.RefusedByClient},
		{"another address", "192.0.2.1", "192.0.2.2", core.Admitted},
		{"the same /64", "2001:db8::1", "2001:db8::ffff:1:2:3", core.RefusedByClient},
		{"another /64", "2001:db8::1", "2001:db8:0:1::1", core.Admitted},
		{"IPv4 in IPv6", "192.0.2.1", "::ffff:192.0.2.1", core.RefusedByClient},
		{"IPv4 in IPv6, another", "::ffff:192.0.2.1", "::ffff:192.0.2.2", core.Admitted},
		{"a trusted proxy", "10.0.0.1", "10.0.0.1", core.Admitted},
	} {
		t.Run(tc.name, func(t *testing.T) {
			gate := core.NewGate(core.NewLimits(0))
			l := listenerOf(config.Listener{MaxConnectionsPerClient: 1, TrustedProxies: []string{"10.0.0.0/8"}}, gate)
			first, second := peerAt(l, tc.first), peerAt(l, tc.second)
			if got := l.Enter(first); got != core.Admitted {
				t.Fatalf("the first one: %q", got)
			}
			if got := l.Enter(second); got != tc.want {
				t.Fatalf("the second one: got %q, want %q", got, tc.want)
			}
			if tc.want == core.Admitted {
				return
			}
			l.Leave(first)
			if got := l.Enter(second); got != core.Admitted {
				t.Errorf("once the first one has left: %q", got)
			}
		})
	}
}

// The limits are looked at from the widest to the narrowest, and what was refused is
// counted nowhere else.
func TestGateOrder(t *testing.T) {
	limits := core.NewLimits(3)
	a, b := core.NewGate(limits), core.NewGate(limits)
	la := listenerOf(config.Listener{Name: "a", MaxConnections: 2, MaxConnectionsPerClient: 1}, a)
	lb := listenerOf(config.Listener{Name: "b"}, b)
	enter := func(l *core.Listener, ip string, want core.Refusal) {
		t.Helper()
		if got := l.Enter(peerAt(l, ip)); got != want {
			t.Errorf("%s: got %q, want %q", ip, got, want)
		}
	}
	enter(la, "192.0.2.1", core.Admitted)
	enter(la, "192.0.2.1", core.RefusedByClient)
	enter(la, "192.0.2.2", core.Admitted)
	enter(la, "192.0.2.2", core.RefusedByListener)
	enter(lb, "192.0.2.1", core.Admitted)
	enter(lb, "192.0.2.1", core.RefusedByTotal)
	enter(la, "192.0.2.1", core.RefusedByTotal)
	limits.SetMax(0)
	enter(lb, "192.0.2.1", core.Admitted)
	if n := limits.Open(); n != 4 {
		t.Errorf("%d are counted, want 4", n)
	}
	for _, tc := range []struct {
		gate                    *core.Gate
		total, listener, client uint64
	}{{a, 1, 1, 1}, {b, 1, 0, 0}} {
		total, listener, client := tc.gate.Refused(core.RefusedByTotal), tc.gate.Refused(core.RefusedByListener),
			tc.gate.Refused(core.RefusedByClient)
		if total != tc.total || listener != tc.listener || client != tc.client {
			t.Errorf("refused: got %d, %d, %d, want %+v", total, listener, client, tc)
		}
	}
}

// Settings that change while connections are open leave no count behind.
func TestGateOutlivesSettings(t *testing.T) {
	gate := core.NewGate(core.NewLimits(0))
	without := listenerOf(config.Listener{}, gate)
	with := listenerOf(config.Listener{MaxConnections: 2, MaxConnectionsPerClient: 1}, gate)
	early := peerAt(without, "192.0.2.1")
	without.Enter(early)
	late := peerAt(with, "192.0.2.1")
	if got := with.Enter(late); got != core.Admitted {
		t.Fatalf("got %q: the early one was not counted by client", got)
	}
	if got := with.Enter(peerAt(with, "192.0.2.2")); got != core.RefusedByListener {
		t.Errorf("got %q: the early one is one of the listener's", got)
	}
	without.Leave(early)
	with.Leave(late)
	if got := with.Enter(peerAt(with, "192.0.2.1")); got != core.Admitted {
		t.Errorf("got %q after all have left", got)
	}
}

// However they come and go, no limit is passed and nothing is left.
func TestGateConcurrently(t *testing.T) {
	limits := core.NewLimits(5)
	gate := core.NewGate(limits)
	l := listenerOf(config.Listener{MaxConnections: 4, MaxConnectionsPerClient: 2}, gate)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			p := peerAt(l, []string{"192.0.2.1", "2001:db8::1"}[i%2])
			for range 2000 {
				if l.Enter(p) != core.Admitted {
					continue
				}
				if n := limits.Open(); n > 5 {
					t.Errorf("%d are open", n)
				}
				l.Leave(p)
			}
		})
	}
	all.Wait()
	if n := limits.Open(); n != 0 {
		t.Errorf("%d are left", n)
	}
	for range 2 {
		if got := l.Enter(peerAt(l, "192.0.2.1")); got != core.Admitted {
			t.Errorf("got %q", got)
		}
	}
}

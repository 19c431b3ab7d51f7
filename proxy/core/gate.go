package core

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Refusal is the limit that a client connection was closed for.
type Refusal uint8

// The refusals, in the order in which the limits are looked at.
const (
	Admitted Refusal = iota
	RefusedByTotal
	RefusedByListener
	RefusedByClient
	// RefusedByHeader is no limit: the PROXY header was missing or malformed, or late.
	RefusedByHeader
	refusalCount
)

// String returns the refusal's word in the metrics, empty for Admitted.
func (r Refusal) String() string {
	return [refusalCount]string{"", "total", "listener", "client", "proxy_header"}[r]
}

// Refusals returns all of them but Admitted.
func Refusals() []Refusal {
	return []Refusal{RefusedByTotal, RefusedByListener, RefusedByClient, RefusedByHeader}
}

// Limits counts the client connections of all listeners. Its methods may be called from
// any goroutine.
type Limits struct{ max, open atomic.Int64 }

// NewLimits returns Limits that count nothing yet; a maximum of 0 is no bound.
func NewLimits(maximum int) *Limits {
	l := &Limits{}
	l.SetMax(maximum)
	return l
}

// SetMax sets the bound for connections to come; 0 is none. Those that are open stay.
func (l *Limits) SetMax(maximum int) { l.max.Store(int64(maximum)) }

// Open is how many connections are counted.
func (l *Limits) Open() int { return int(l.open.Load()) }

// Gate counts the connections of one listener, whatever settings they began with. Its
// methods may be called from any goroutine. It is asked when a connection is accepted
// and told when it has ended, and not in between.
type Gate struct {
	limits  *Limits
	open    atomic.Int64
	refused [refusalCount]atomic.Uint64
	clients [16]clientShard
}

// clientShard counts the connections of some of the clients.
type clientShard struct {
	mu   sync.Mutex
	open map[netip.Addr]int
}

// NewGate returns the Gate of a listener without connections, which shares l with the
// others.
func NewGate(l *Limits) *Gate { return &Gate{limits: l} }

// Limits returns what the gate shares with those of other listeners.
func (g *Gate) Limits() *Limits { return g.limits }

// Refused is how many connections were refused for a reason.
func (g *Gate) Refused(r Refusal) uint64 { return g.refused[r].Load() }

// Take counts a connection of which nothing is known yet, or says which limit it is
// beyond. One that is Admitted either Enters with a Peer that is Taken, or is given up by
// Drop.
func (l *Listener) Take() Refusal {
	r := l.gate.take(l)
	if r != Admitted {
		l.gate.refused[r].Add(1)
	}
	return r
}

// Refuse counts a connection that was refused.
func (l *Listener) Refuse(r Refusal) { l.gate.refused[r].Add(1) }

// Drop ends what Take began.
func (l *Listener) Drop() {
	l.gate.open.Add(-1)
	l.gate.limits.open.Add(-1)
}

// Enter counts a connection of p, or says which of the listener's limits it is beyond.
// One that is Admitted must Leave.
func (l *Listener) Enter(p *Peer) Refusal {
	g := l.gate
	r := g.enter(l, p)
	if r != Admitted {
		g.refused[r].Add(1)
	}
	return r
}

func (g *Gate) enter(l *Listener, p *Peer) Refusal {
	if !p.Taken {
		if r := g.take(l); r != Admitted {
			return r
		}
	}
	if limit := l.MaxConnectionsPerClient; limit > 0 && !p.Trusted && !g.enterClient(p, limit) {
		l.Drop()
		return RefusedByClient
	}
	return Admitted
}

func (g *Gate) take(l *Listener) Refusal {
	if !addBelow(&g.limits.open, g.limits.max.Load()) {
		return RefusedByTotal
	}
	if !addBelow(&g.open, int64(l.MaxConnections)) {
		g.limits.open.Add(-1)
		return RefusedByListener
	}
	return Admitted
}

// Leave ends what Enter began with the same Peer.
func (l *Listener) Leave(p *Peer) {
	if p.counted {
		l.gate.leaveClient(p)
	}
	l.Drop()
}

// addBelow adds one to n unless it has reached the limit; 0 is no limit.
func addBelow(n *atomic.Int64, limit int64) bool {
	for {
		have := n.Load()
		if limit > 0 && have >= limit {
			return false
		}
		if n.CompareAndSwap(have, have+1) {
			return true
		}
	}
}

func (g *Gate) enterClient(p *Peer, limit int) bool {
	key := clientOf(p.Addr)
	s := g.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[key] >= limit {
		return false
	}
	if s.open == nil {
		s.open = map[netip.Addr]int{}
	}
	s.open[key]++
	p.counted = true
	return true
}

func (g *Gate) leaveClient(p *Peer) {
	p.counted = false
	key := clientOf(p.Addr)
	s := g.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[key]--; s.open[key] <= 0 {
		delete(s.open, key)
	}
}

// clientOf is what is counted as one client: an IPv4 address, or the /64 that an IPv6
// address is in, since that is what one subscriber is given.
func clientOf(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}

// shard spreads neighbouring addresses.
func (g *Gate) shard(a netip.Addr) *clientShard {
	b := a.As16()
	h := (binary.BigEndian.Uint64(b[:8]) ^ binary.BigEndian.Uint64(b[8:])) * 0x9e3779b97f4a7c15
	return &g.clients[h>>60]
}

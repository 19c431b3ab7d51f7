package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// resolver asks DNS as Go's own resolver does (hosts file, search list, retries, TCP
// for what UDP cuts), and looks at the messages that pass for what that one does not
// tell: the TTL, and which questions were not answered. Any goroutine may use it.
type resolver struct {
	servers []string
	timeout time.Duration
	// current is the one of servers to ask: the next one after one failed.
	current atomic.Int32
}

// lookup implements lookup. All it started has ended when it returns: Go's resolver
// leaves its exchange behind when its context ends, so that one is given no end, and
// its connections are closed instead.
func (r *resolver) lookup(ctx context.Context, host string) answer {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	t := &tap{resolver: r, ctx: ctx, open: map[net.Conn]bool{}, answered: map[string]families{}, ttl: -1}
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cut)
		t.close()
	})
	goes := &net.Resolver{PreferGo: true, Dial: t.dial}
	found, err := goes.LookupNetIP(context.WithoutCancel(ctx), "ip", host)
	if !stop() {
		<-cut
	}
	a := t.result()
	a.addrs = tidy(found)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		a.err = &net.DNSError{Err: fmt.Sprintf("no answer within %s", r.timeout), Name: host, IsTimeout: true}
	case err != nil:
		a.err = err
	case len(a.addrs) == 0:
		a.err = &net.DNSError{Err: "no usable address", Name: host, IsNotFound: true}
	}
	return a
}

// tidy returns the addresses that can be an instance's, sorted, each once, and IPv4
// ones as such. The unspecified address would be this machine: filters answer so for
// what they block.
func tidy(found []netip.Addr) []netip.Addr {
	addrs := make([]netip.Addr, 0, len(found))
	for _, ip := range found {
		if ip = ip.Unmap(); !ip.IsUnspecified() && !ip.IsMulticast() {
			addrs = append(addrs, ip)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// server returns the server to ask, and its number for skip.
func (r *resolver) server(system string) (address string, number int32) {
	if len(r.servers) == 0 {
		return system, 0
	}
	number = r.current.Load()
	return r.servers[number], number
}

// skip makes the server after the one of this number the current one. Of several
// exchanges that fail together only the first does.
func (r *resolver) skip(number int32) {
	if len(r.servers) > 0 {
		r.current.CompareAndSwap(number, (number+1)%int32(len(r.servers)))
	}
}

// families are the families of addresses for which a question was answered.
type families uint8

const (
	ipv4 families = 1 << iota
	ipv6
)

// tap opens the connections of one lookup and listens to what they carry.
type tap struct {
	*resolver
	ctx context.Context

	mu sync.Mutex
	// open are the connections in use; nil: the lookup is over.
	open map[net.Conn]bool
	// answered holds each name of the search list that was asked for, and which of the
	// two questions for it were answered.
	answered map[string]families
	// ttl is the least of the answers', negative while there is none.
	ttl time.Duration
}

// errOver is a lookup whose time is up.
var errOver = errors.New("the lookup is over")

// dial is the Dial of a net.Resolver, whose context has no end.
func (t *tap) dial(_ context.Context, network, address string) (net.Conn, error) {
	address, number := t.server(address)
	var d net.Dialer
	c, err := d.DialContext(t.ctx, network, address)
	if err != nil {
		t.skip(number)
		return nil, err
	}
	if !t.add(c) {
		c.Close()
		return nil, errOver
	}
	e := &exchange{tap: t, number: number}
	if udp, ok := c.(*net.UDPConn); ok {
		return &packetConn{udp, e}, nil
	}
	return &streamConn{c, e, nil}, nil
}

// add notes an open connection; it returns false when the lookup is over.
func (t *tap) add(c net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		return false
	}
	t.open[c] = true
	return true
}

// remove forgets a connection.
func (t *tap) remove(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, c)
}

// close ends the lookup: it closes the connections and lets no more be opened.
func (t *tap) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.open {
		c.Close()
	}
	t.open = nil
}

// asks notes that a question was asked.
func (t *tap) asks(q message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.answered[q.name]; !ok {
		t.answered[q.name] = 0
	}
}

// hears notes that a question was answered.
func (t *tap) hears(m message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answered[m.name] |= m.family
	if m.ttl >= 0 && (t.ttl < 0 || m.ttl < t.ttl) {
		t.ttl = m.ttl
	}
}

// result returns what was heard. Without questions, when the hosts file knew, that is
// nothing.
func (t *tap) result() answer {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := answer{ttl: t.ttl}
	for _, got := range t.answered {
		a.no4 = a.no4 || got&ipv4 == 0
		a.no6 = a.no6 || got&ipv6 == 0
	}
	return a
}

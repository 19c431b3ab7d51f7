package core

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"usher/config"
	"usher/metrics"
	"usher/metrics/accesslog"
)

// Listener is what the core knows of the listener a request came in by. It is
// immutable.
type Listener struct {
	config.Listener
	Metrics *metrics.Listener
	// Scheme and Port are what clients used: http or https, and the port in decimal.
	Scheme, Port string
	// HSTS is the Strict-Transport-Security line of every response's head, its end
	// included; nil: there is none.
	HSTS []byte

	// trusted are the proxies whose fields are believed, tellers those whose PROXY headers.
	// debuggers are the clients who may ask how their requests are routed.
	trusted, tellers, debuggers []netip.Prefix
	gate                        *Gate
}

// NewListener returns the Listener of a validated configuration, bound to addr. The
// gate is that of the socket, which several Listeners may have had.
func NewListener(c config.Listener, addr net.Addr, m *metrics.Listener, gate *Gate) *Listener {
	l := &Listener{Listener: c, Metrics: m, Scheme: "http", gate: gate}
	_, l.Port, _ = net.SplitHostPort(addr.String())
	if c.Protocol == "https" {
		l.Scheme = "https"
		if c.TLS.HSTS != nil {
			l.HSTS = []byte("Strict-Transport-Security: " + c.TLS.HSTS.Value() + "\r\n")
		}
	}
	if c.Port > 0 {
		l.Port = strconv.Itoa(c.Port)
	}
	l.tellers = prefixes(c.ProxyProtocol.From)
	l.trusted = prefixes(c.TrustedProxies)
	l.debuggers = prefixes(c.Debug.From)
	return l
}

// Tells says whether what a peer says in a PROXY header is believed.
func (l *Listener) Tells(peer net.Addr) bool {
	tcp, ok := peer.(*net.TCPAddr)
	if !ok {
		return false
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	return slices.ContainsFunc(l.tellers, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// prefixes reads addresses and ranges that the configuration has checked.
func prefixes(list []string) (out []netip.Prefix) {
	for _, t := range list {
		if p, err := parsePrefix(t); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// parsePrefix reads a CIDR or a single address.
func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		return netip.ParsePrefix(s)
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// HeaderDeadline is how long after begin a request's head must be complete.
func (l *Listener) HeaderDeadline(begin int64) int64 { return after(begin, l.HeaderTimeout) }

// IdleDeadline is how long after begin an idle connection is closed.
func (l *Listener) IdleDeadline(begin int64) int64 { return after(begin, l.KeepaliveTimeout) }

// after is begin plus d; a d of 0 is no deadline, which is 0 as well.
func after(begin int64, d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return begin + int64(d)
}

// Peer is the other end of a client connection.
type Peer struct {
	// IP is the address in text, Addr the same for comparison: IPv4 as such, and without
	// a zone. Addr is not valid for a connection that is not TCP.
	IP   []byte
	Addr netip.Addr
	// Remote is the address with its port, Local the one it connected to.
	Remote, Local net.Addr
	// Trusted says that its forwarding fields are believed.
	Trusted bool
	// Taken says that the connection was counted by Take.
	Taken bool
	// Identity tells endpoints who the client is by its certificate, where it showed one
	// and the listener wants that; without a name there is nothing to tell. See Identify.
	Identity Field

	// TLS is how it came, for the access log; nil: without, or there is no log here.
	TLS *accesslog.TLS

	// by is the address and port that the client connected to, where they are told.
	by string
	// counted says that the connection is one of its client's at the gate.
	counted bool
}

// NewPeer describes the client at addr, connected to the address local.
func (l *Listener) NewPeer(addr, local net.Addr) Peer {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return Peer{IP: []byte(addr.String()), Remote: addr, Local: local}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	p := Peer{IP: []byte(ip.String()), Addr: ip, Remote: addr, Local: local}
	if l.Forwarded {
		p.by = local.String()
	}
	for _, t := range l.trusted {
		p.Trusted = p.Trusted || t.Contains(ip)
	}
	return p
}

package tcp

import (
	"cmp"
	"errors"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"usher/config"
	"usher/metrics"
	"usher/proxy/core"
	"usher/proxy/preface"
	"usher/proxy/tunnel"
	"usher/proxy/upstream"
	"usher/proxy/wire"
	"usher/routetable"
)

// conn is one client connection. All but watch, peeks, ended and tunnel belongs to its
// goroutine.
type conn struct {
	server  *Server
	client  *wire.Client
	arrival *core.Arrival
	shard   metrics.Shard
	watch   wire.Watch
	// start is when it came, on the sweeper's clock.
	start int64
	// name is what its client asks for, where that decides.
	name []byte
	// peeks says that its first bytes are waited for; ended that it ends with that.
	peeks, ended atomic.Bool
	// tunnel is set for good once it is connected.
	tunnel atomic.Pointer[tunnel.Tunnel]
}

// past is a deadline that is over.
var past = time.Unix(1, 0) //nolint:gochecknoglobals // a constant

// Expire implements wire.Expirer: the connection is cut.
func (c *conn) Expire() {
	if t := c.tunnel.Load(); t != nil {
		t.Finish()
		return
	}
	c.ended.Store(true)
	_ = c.client.TCP.SetDeadline(past)
}

// Probe implements wire.Prober.
func (c *conn) Probe() {
	if t := c.tunnel.Load(); t != nil {
		t.Look(c.now())
	}
}

// closePeeking ends a connection whose first bytes are waited for. One that has begun to
// speak goes on unless late says that it has had its time.
func (c *conn) closePeeking(late bool) {
	if c.peeks.Load() && (late || !c.client.Heard.Load() && wire.Quiet(c.client.Raw)) {
		c.Expire()
	}
}

func (c *conn) now() int64 { return c.server.sweeper.Now() }

// exchanges are those that no connection uses: one needs one only until it is connected.
var exchanges = sync.Pool{New: func() any {
	x := &core.Exchange{}
	x.Init()
	return x
}}

func (c *conn) serve() {
	defer c.server.remove(c)
	defer func() { _ = c.client.TCP.Close() }() // nothing is left to lose
	defer c.recover()
	if to := c.open(); to != nil {
		c.carry(to)
	}
}

// recover keeps a fault in one connection from ending the process.
func (c *conn) recover() {
	if v := recover(); v != nil {
		c.server.log.Error("panic while carrying a connection", "panic", v, "stack", string(debug.Stack()))
	}
}

// open is the connection's way to an endpoint: nil when there was none, which is recorded,
// unless the client has said nothing at all.
func (c *conn) open() *connected {
	reason := c.peek()
	if reason != core.None && c.server.named && len(c.client.Early) == 0 {
		return nil
	}
	x, _ := exchanges.Get().(*core.Exchange)
	x.Reset()
	x.Listener, x.Peer, x.Shard, x.Start = c.server.listener, &c.arrival.Peer, c.shard, c.start
	x.Host = c.name
	fault := core.Internal // until it is known better: what was acquired is given back
	defer func() {
		if fault != core.None {
			c.server.core.End(x, fault.Status(), fault, c.now())
			c.refuse(fault)
		}
		x.Listener, x.Peer, x.Host = nil, nil, nil
		exchanges.Put(x)
	}()
	var up *upstream.Conn
	if reason == core.None {
		up, reason = c.connect(x)
	}
	if fault = reason; fault != core.None {
		return nil
	}
	return &connected{up: up, record: c.server.tunnels.OpenStream(x)}
}

// connected is a connection to an endpoint and what records it.
type connected struct {
	up     *upstream.Conn
	record *core.Tunnel
}

// peek finds out whom the client asks for, where that decides.
func (c *conn) peek() core.Reason {
	if !c.server.named {
		return core.None
	}
	name, err := preface.PeekHello(c.client)
	c.name = name
	_ = c.client.TCP.SetReadDeadline(time.Time{})
	c.peeks.Store(false)
	var ne net.Error
	switch {
	case c.ended.Load(): // looked at last: whoever set it has set a deadline behind that
		return core.ClientGone
	case err == nil:
		return core.None
	case errors.As(err, &ne) && ne.Timeout():
		return core.RequestTimeout
	case errors.Is(err, preface.ErrNotTLS), errors.Is(err, preface.ErrTooLong):
		return core.BadRequest
	default:
		return core.ClientGone
	}
}

// route finds where the connection goes.
func (c *conn) route(t *routetable.Table) *routetable.Route {
	l := c.server.listener
	if c.server.named {
		return t.MatchName(l.Name, l.Port, c.name)
	}
	return t.MatchPort(l.Name, l.Port)
}

// connect tries endpoints until one is connected to or the core gives up.
func (c *conn) connect(x *core.Exchange) (*upstream.Conn, core.Reason) {
	s := c.server
	table := s.core.Table()
	reason := s.core.BeginStream(x, table, c.route(table))
	for reason == core.None {
		var a *core.Attempt
		if a, reason = s.core.Next(x); reason != core.None {
			break
		}
		begin := c.now()
		up, err := dial(a)
		x.Upstream += c.now() - begin
		if err == nil {
			return up, core.None
		}
		var again bool
		if again, reason = s.core.Failed(x, err); !again {
			break
		}
		reason = c.pause(x.Pause())
	}
	return nil, reason
}

// dial connects to an endpoint, after a wait where it has all the connections it may have.
func dial(a *core.Attempt) (*upstream.Conn, *upstream.Error) {
	up, err := a.Pool.Get(true, a.Policy.ConnectTimeout)
	if err == nil || err.Kind != upstream.Full {
		return up, err
	}
	pending, err := a.Pool.Queue()
	if err != nil {
		return nil, err
	}
	return pending.Wait(cmp.Or(a.Policy.PendingTimeout, a.Policy.ConnectTimeout), a.Policy.ConnectTimeout)
}

// pause waits between two tries.
func (c *conn) pause(d time.Duration) core.Reason {
	if c.ended.Load() {
		return core.ClientGone
	}
	if d <= 0 {
		return core.None
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return core.None
	case <-c.server.cut.Done():
		return core.ClientGone
	}
}

// carry moves bytes until both sides have ended, and records that.
func (c *conn) carry(to *connected) {
	s := c.server
	o := tunnel.Options{
		Client: tunnel.Client(c.client.TCP, c.client.Raw), Endpoint: tunnel.Endpoint(to.up), Early: c.client.Early,
		Resets: true, Answered: to.record.Answered, Over: to.record.Over, Closing: &s.closing,
		Sweeper: s.sweeper, Log: s.log,
	}
	c.client.Early = nil
	if s.guards(c.client.TCP.RemoteAddr()) {
		o.Inspect = new(preface.Guard).Inspect
	}
	t := tunnel.New(o)
	c.tunnel.Store(t)
	c.watch.Wait(c.now())
	r := t.Run()
	to.up.Close()
	to.record.EndStream(r.Sent, r.Got, r.Reason, c.now())
}

// guards says whether a peer might forge a PROXY header: one that is not believed, where
// others are. What begins TLS is none.
func (s *Server) guards(peer net.Addr) bool {
	l := s.listener
	return l.Protocol == config.ProtocolTCP && len(l.ProxyProtocol.From) > 0 && !l.Tells(peer)
}

// refuse ends a connection that goes nowhere. A TLS client whose name nobody serves is told
// so; the others see a reset, which nobody takes for an empty answer.
func (c *conn) refuse(reason core.Reason) {
	tcp := c.client.TCP
	if !c.server.named || reason != core.NoRoute {
		_ = tcp.SetLinger(0) // a socket that is gone needs none
		return
	}
	if _, err := tcp.Write(preface.Alert()); err != nil || tcp.CloseWrite() != nil {
		return
	}
	// A socket closed with input unread is reset, which might overtake the alert.
	_ = tcp.SetReadDeadline(time.Now().Add(tunnel.Grace))
	_, _ = io.CopyN(io.Discard, tcp, lingerBytes)
}

// lingerBytes is how much a client that was refused may still send.
const lingerBytes = 64 << 10

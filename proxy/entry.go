package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"usher/metrics"
	"usher/proxy/certs"
	"usher/proxy/core"
	"usher/proxy/http1"
	"usher/proxy/http2"
	"usher/proxy/streams"
	"usher/proxy/tcp"
	"usher/proxy/wire"
)

// taker serves connections that were admitted.
type taker interface {
	server
	// Take makes the connection one of the server's, and returns what serves it in the
	// goroutine that calls it; nil: the server takes no more, and has closed it.
	Take(a *core.Arrival) (serve func())
}

// entry is the server of a listener whose connections must be listened to before it is
// known who serves them: it makes the TLS handshake, or looks for HTTP/2's preface, and
// hands the connection to the server of that protocol. Each connection has a goroutine from
// the start, which its server goes on with.
type entry struct {
	core     *core.Core
	listener *core.Listener
	log      *slog.Logger
	// tls is how the handshake is made, and failures counts those that come to nothing; nil:
	// there is none.
	tls          *tls.Config
	failures     *metrics.Handshakes
	http1, http2 taker
	// pass carries the connections whose name a route claims, as they are; nil: none is.
	pass *tcp.Server

	// arriving are the connections that no server has yet.
	arriving wire.Group[*arrival]
}

// protocols are what TLS clients may choose from, the best first. The last is that of ACME
// (RFC 8737), whose connections carry nothing.
var protocols = []string{"h2", "http/1.1", "acme-tls/1"}

// newEntry returns the entry of a listener.
func (p *Proxy) newEntry(l *core.Listener) *entry {
	e := &entry{
		core: p.core, listener: l, log: p.log,
		http1: http1.NewServer(p.core, l, p.log), http2: streams.NewServer(p.core, l, p.log),
	}
	if l.Protocol == "https" {
		e.tls, e.failures = p.certificates.Config(l.Name), p.handshakes.Handshakes(l.Name)
		e.tls.NextProtos = protocols
		if l.Passthrough {
			e.pass = tcp.NewServer(p.core, l, p.log)
		}
	}
	return e
}

// arrival is a connection on its way to a server.
type arrival struct {
	*core.Arrival
	// secure is TLS with it; nil: there is none.
	secure atomic.Pointer[wire.Secure]
	watch  wire.Watch
}

// begun says whether the client has said anything.
func (a *arrival) begun() bool {
	s := a.secure.Load()
	return a.Heard.Load() || s != nil && s.Heard()
}

// past is a deadline that is over.
var past = time.Unix(1, 0) //nolint:gochecknoglobals // a constant

// Expire implements wire.Expirer.
func (a *arrival) Expire() { _ = a.TCP.SetDeadline(past) }

// Serve implements server.
func (e *entry) Serve(c *wire.Client) {
	admitted := e.listener.Admit(c)
	if admitted == nil {
		return
	}
	a := &arrival{Arrival: admitted}
	if e.tls != nil && e.pass == nil {
		a.secure.Store(wire.NewSecure(c, e.tls))
	}
	if !e.add(a) {
		e.drop(a)
		return
	}
	go e.receive(a)
}

// receive finds out who serves a connection, and has it served.
func (e *entry) receive(a *arrival) {
	next := e.meet(a)
	if next == nil {
		e.remove(a)
		e.drop(a)
		return
	}
	serve := next.Take(a.Arrival) // before it is no longer one of the entry's: a shutdown misses none
	e.remove(a)
	if serve != nil {
		serve()
	}
}

// meet makes the handshake, and returns who serves the connection, nil: nobody.
func (e *entry) meet(a *arrival) (next taker) {
	defer func() {
		if v := recover(); v != nil {
			e.log.Error("panic while receiving a connection", "panic", v, "stack", string(debug.Stack()))
			next = nil
		}
	}()
	if e.tls == nil {
		return e.peek(a)
	}
	a.watch.Arm(e.listener.HeaderDeadline(e.core.Sweeper.Now()))
	if e.pass != nil {
		if e.claimed(a) {
			return e.pass
		}
		a.secure.Store(wire.NewSecure(a.Client, e.tls))
	}
	return e.shake(a, a.secure.Load())
}

// claimed says whether a route claims the name that the client asks for. What is no
// beginning of TLS the handshake will refuse, in its own words.
func (e *entry) claimed(a *arrival) bool {
	if yes, err := e.pass.Claims(a.Client); err != nil || !yes {
		return false
	}
	a.watch.Arm(0)
	return !a.watch.Fired()
}

// shake makes the handshake.
func (e *entry) shake(a *arrival, secure *wire.Secure) taker {
	if err := secure.Shake(); err != nil {
		e.failed(a, err)
		return nil
	}
	if a.watch.Arm(0); a.watch.Fired() {
		return nil
	}
	a.TLS = secure
	state := secure.ConnectionState()
	e.listener.Identify(&a.Peer, &state)
	switch state.NegotiatedProtocol {
	case "h2":
		return e.http2
	case "acme-tls/1":
		secure.Goodbye() // with it leaves what ends the handshake of TLS 1.2
		return nil
	default:
		return e.http1
	}
}

// peek reads until it is known whether the client begins with HTTP/2's preface (RFC 9113
// §3.4), whose first line no request of HTTP/1.1 has.
func (e *entry) peek(a *arrival) taker {
	a.watch.Arm(e.listener.IdleDeadline(e.core.Sweeper.Now()))
	if a.Heard.Load() {
		a.watch.Arm(e.listener.HeaderDeadline(e.core.Sweeper.Now()))
	}
	buf := make([]byte, max(len(http2.Preface), len(a.Early)))
	n := copy(buf, a.Early)
	for n < len(http2.Preface) && string(buf[:n]) == http2.Preface[:n] {
		m, err := a.TCP.Read(buf[n:])
		if err != nil {
			return nil
		}
		if n += m; !a.Heard.Swap(true) {
			a.watch.Arm(e.listener.HeaderDeadline(e.core.Sweeper.Now()))
		}
	}
	if a.watch.Arm(0); a.watch.Fired() {
		return nil
	}
	a.Early = buf[:n]
	if bytes.HasPrefix(a.Early, []byte(http2.Preface)) {
		return e.http2
	}
	return e.http1
}

// failed counts a handshake that came to nothing.
func (e *entry) failed(a *arrival, err error) {
	e.failures.Failed(certs.Failure(err))
	e.log.Debug("TLS handshake failed", "listener", e.listener.Name, "client", a.Remote.String(), "err", err)
}

func (e *entry) drop(a *arrival) {
	a.Leave()
	_ = a.TCP.Close()
}

func (e *entry) add(a *arrival) bool {
	return e.arriving.Add(a, func() { e.core.Sweeper.Add(&a.watch, a) })
}

func (e *entry) remove(a *arrival) {
	e.core.Sweeper.Remove(&a.watch)
	e.arriving.Remove(a)
}

// servers are those behind it.
func (e *entry) servers() []taker {
	if e.pass != nil {
		return []taker{e.http1, e.http2, e.pass}
	}
	return []taker{e.http1, e.http2}
}

// Drain implements server.
func (e *entry) Drain() {
	for _, s := range e.servers() {
		s.Drain()
	}
}

// arriveGrace is how long those that have begun to speak when a shutdown begins have to
// come in.
const arriveGrace = time.Second

// Shutdown implements server. A client that has begun to speak is served its first request
// still; one that has said nothing is not waited for.
func (e *entry) Shutdown(ctx context.Context) (cut int) {
	e.Drain()
	e.arriving.Close()
	e.arriving.Each(func(a *arrival) {
		if wire.Quiet(a.Raw) && !a.begun() {
			a.Expire()
		}
	})
	grace, cancel := context.WithTimeout(ctx, arriveGrace)
	defer cancel()
	cut += e.await(grace)
	for _, n := range e.shutAll(ctx) {
		cut += n
	}
	return cut
}

// shutAll shuts the servers down, all at once.
func (e *entry) shutAll(ctx context.Context) []int {
	servers := e.servers()
	counts := make([]int, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() { counts[i] = s.Shutdown(ctx) })
	}
	wg.Wait()
	return counts
}

// await waits until every connection has a server; when ctx ends it cuts those left and
// returns their number.
func (e *entry) await(ctx context.Context) (cut int) {
	done := e.arriving.Gone()
	select {
	case <-done:
		return 0
	case <-ctx.Done():
	}
	cut = e.arriving.Each((*arrival).Expire)
	<-done
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return 0 // none of them had asked for anything
	}
	return cut
}

// Finish implements server.
func (e *entry) Finish(ctx context.Context) {
	e.Drain()
	select {
	case <-e.arriving.Gone():
	case <-ctx.Done():
	}
	var wg sync.WaitGroup
	for _, s := range e.servers() {
		wg.Go(func() { s.Finish(ctx) })
	}
	wg.Wait()
}

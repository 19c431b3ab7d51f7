package core

import (
	"bytes"
	"crypto/tls"
	"net"
	"strings"

	"usher/config"
	"usher/metrics"
	"usher/metrics/accesslog"
)

// LogTo has what ends from now on logged to l; nil: nowhere. The log that was used before
// may be closed once it returns. Any goroutine may call it.
func (c *Core) LogTo(l *accesslog.Log) { c.accessLog.Store(l) }

// log adds a request that has ended to the log.
func (c *Core) log(l *accesslog.Log, x *Exchange, s *metrics.Sample, reason Reason) {
	if !l.Takes(s.Code, reason != None, s.Duration) {
		return
	}
	var e accesslog.Entry
	x.describe(&e)
	e.Response, e.Reason = x.noted, x.word
	e.Sent = x.Said
	c.add(l, &e, s, reason)
}

// add completes an entry and adds it.
func (c *Core) add(l *accesslog.Log, e *accesslog.Entry, s *metrics.Sample, reason Reason) {
	e.Shard, e.Status, e.Failed, e.GRPC = s.Shard, s.Code, reason != None, s.Call
	if reason != None {
		e.Reason = reason.String()
	}
	e.Duration, e.Received, e.Trace = s.Duration, s.Received, s.Trace
	e.Sent = max(s.Sent, e.Sent)
	for !l.Add(e) { // it was closed: another one is in its place, or none
		next := c.accessLog.Load()
		if next == nil || next == l {
			return
		}
		l = next
	}
}

// describe fills in what is known of the exchange, however it ends.
func (x *Exchange) describe(e *accesslog.Entry) {
	e.Start, e.Listener, e.Client, e.Peer = x.Start, x.Listener.Name, x.Peer.IP, x.Peer.IP
	if tcp, ok := x.Peer.Remote.(*net.TCPAddr); ok {
		e.PeerPort = tcp.Port
	}
	e.TLS, e.Upstream = x.Peer.TLS, duration(x.Upstream)
	if x.stream {
		x.describeStream(e)
	} else {
		x.describeRequest(e)
	}
	if x.table != nil {
		e.Generation = x.table.Version
	}
	if x.route == nil {
		return
	}
	e.Route = x.route.ID
	e.Attempts, e.Retries, e.Hedged = x.tries(), x.retrial.causes, x.retrial.hedged
	service := 0
	if x.endpoint >= 0 {
		at := x.cluster.Endpoints[x.endpoint]
		e.Endpoint, e.Address, service = at.ID, at.Address, at.ServiceIndex
	}
	if x.route.Respond == nil && x.route.Redirect == nil {
		e.Service = x.cluster.Services[service]
	}
}

func (x *Exchange) describeRequest(e *accesslog.Entry) {
	e.Method, e.Target, e.Host = x.Method, x.Target, x.Host
	e.Head, e.Protocol = x.Source.Text(), x.Source.Protocol()
	e.Client, e.Scheme = x.clientIP(), x.scheme()
	if x.Flags&identified != 0 {
		e.RequestID = x.head().Peek(RequestIDName)
	}
}

func (x *Exchange) describeStream(e *accesslog.Entry) {
	e.Protocol = x.Listener.Protocol
	if x.Listener.Protocol == config.ProtocolHTTPS {
		e.Protocol = config.ProtocolPassthrough
	}
	e.Host = x.Host
}

// remember returns what the log is told of a tunnel when it ends: the exchange is another
// one's then, and so are its buffers. nil: there is no log.
func (c *Core) remember(x *Exchange) *accesslog.Entry {
	l := c.accessLog.Load()
	if l == nil || !x.Listener.AccessLog {
		return nil
	}
	e := &accesslog.Entry{}
	x.describe(e)
	e.Head = l.KeepRequest(nil, e.Head)
	for _, b := range []*[]byte{&e.Client, &e.Method, &e.Target, &e.Host, &e.RequestID} {
		*b = bytes.Clone(*b)
	}
	return e
}

// log adds a tunnel that has ended to the log.
func (t *Tunnel) log(s *metrics.Sample, reason Reason) {
	c := t.owner.core
	if l := c.accessLog.Load(); l != nil && t.record != nil && l.Takes(s.Code, reason != None, s.Duration) {
		c.add(l, t.record, s, reason)
	}
}

// NoteResponse keeps what the log is told of the response, whose head is this text.
func (c *Core) NoteResponse(x *Exchange, head []byte) {
	if l := c.accessLog.Load(); l != nil && l.WantsResponse() {
		x.noted = l.KeepResponse(x.noted[:0], head)
	}
}

// describeTLS is what the log is told of a connection.
func describeTLS(s *tls.ConnectionState, forward string) *accesslog.TLS {
	t := &accesslog.TLS{
		Version: strings.Replace(tls.VersionName(s.Version), " ", "v", 1),
		Cipher:  tls.CipherSuiteName(s.CipherSuite), Name: s.ServerName,
	}
	if len(s.PeerCertificates) == 0 {
		return t
	}
	if forward == config.ForwardPEM { // that is no name
		forward = config.ForwardSubject
	}
	t.Identity = identityOf(s.PeerCertificates[0], forward)
	return t
}

package proxy

import "usher/metrics/accesslog"

// LogTo has requests and connections that end from now on logged to l; nil: nowhere. The
// log that was used before may be closed once it returns.
func (p *Proxy) LogTo(l *accesslog.Log) { p.core.LogTo(l) }

// Clock is the clock that an access log is to have: nanoseconds since the proxy was made.
func (p *Proxy) Clock() int64 { return p.core.Sweeper.Now() }

// Package proxy is usher's data plane: the listeners, and behind them the request
// core (proxy/core), the HTTP/1.1 side (proxy/http1) and the connections to the
// endpoints (proxy/upstream).
//
// Invariant: Publish stores one pointer. A request loads it once and sees one
// table from its start to its end.
//
// Goroutines: one accepts for each listener, one enforces deadlines, one closes
// idle upstream connections, and one serves each client connection. Close waits
// for all of them.
package proxy

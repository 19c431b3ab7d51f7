// Package proxy is usher's data plane: the listeners, and behind them what clients are
// spoken to with (proxy/http1), the way of a request to an endpoint and back
// (proxy/forward), connections that are carried as they are (proxy/tcp), what decides both
// (proxy/core), and the connections to the endpoints (proxy/upstream).
//
// Invariant: Publish stores one pointer. A request loads it once and sees one
// table from its start to its end.
//
// An https listener's connections pass an entry first, which makes the handshake.
//
// Goroutines: one accepts for each listener, one enforces deadlines, one closes
// idle upstream connections, and one serves each client connection. Close waits
// for all of them.
package proxy

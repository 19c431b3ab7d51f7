// Package http1 is usher's HTTP/1.1 side towards clients: its own connection loop
// over fasthttp's header codec.
//
// A connection has one goroutine while it is busy, and for a while after. It reads a
// request's head through the strict scanner of package wire, and has package forward carry
// the request out, whose Client it is. A request body that is chunked or does not fit the
// read buffer is sent by a second goroutine, so that an endpoint may answer before it has
// read all; it ends before the request does.
//
// Over TLS the loop is the same: records are read and written where bytes would be.
//
// A connection that is idle holds no buffer, and one that has been for a second is
// parked: it has no goroutine either, and a wire.Poller waits for it. One whose endpoint
// agreed to another protocol becomes a tunnel: a goroutine each way until both have
// ended.
//
// Deadlines are stored in the sweeper's watches; there is no system call for them.
// On the common path, a small request on a kept connection, there are no
// allocations.
package http1

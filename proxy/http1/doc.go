// Package http1 is usher's HTTP/1.1 side towards clients: its own connection loop
// over fasthttp's header codec.
//
// A connection has one goroutine. It reads a request's head through the strict
// scanner of package wire, hands it to the core, and carries out what the core
// decides: it sends the request to an endpoint, relays the response, or answers
// itself. A request body that does not fit the read buffer is sent by a second
// goroutine, so that an endpoint may answer before it has read all; it ends before
// the request does.
//
// Deadlines are stored in the sweeper's watches; there is no system call for them.
// On the common path, a small request on a kept connection, there are no
// allocations.
package http1

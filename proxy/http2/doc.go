// Package http2 is usher's HTTP/2 side towards clients (RFC 9113): frames in, frames out,
// and streams for a Handler. It knows nothing of routes or endpoints.
//
// A request is handed on as the text of an HTTP/1.1 head, and a response is taken as one:
// the core, and endpoints that speak HTTP/1.1, meet one form whatever the client spoke. What
// cannot be said in HTTP/1.1 without being read in two ways is refused here.
//
// A connection has two goroutines while it is busy. The reader parses frames out of its own
// buffer and never waits for anything but the client; the writer sends what has come
// together, all in one write. A stream's Handler runs in a goroutine taken from a pool. One
// mutex guards what they share; nobody waits, reads or writes while holding it.
//
// An idle connection is parked after a second: it has no goroutine and no buffer then, and a
// wire.Poller waits for it. What remains is what the protocol makes it remember: the
// windows, the client's settings, and the table of HPACK.
//
// Everything a client can make usher keep or do is bounded: streams, header bytes, bodies
// not read yet, answers not taken, resets, and frames that carry nothing.
package http2

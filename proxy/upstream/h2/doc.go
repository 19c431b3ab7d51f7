// Package h2 speaks HTTP/2 to an endpoint, by golang.org/x/net/http2's Framer and hpack.
//
// A [Session] is one connection, which many requests share; a [Stream] is one of those.
// Inside usher the head of a message travels as the text of HTTP/1.1, so that is what a
// Stream takes and what it gives: a request line and fields become HEADERS, and the frames
// of the response become a status line, fields, and a body with a Content-Length or in
// chunks, its trailers behind them. What RFC 9113 §8 calls malformed is an error, never a
// guess.
//
// Memory is bounded: what a stream has received and nobody has read by its window, what
// waits to be sent by outLimit. The window of the connection is given back as soon as
// bytes arrive, so that a response read slowly keeps no other one waiting.
//
// Goroutines: a Session has two of its own. One reads frames, and never waits for what is
// sent. The other sends what has gathered, in one write for as many streams as have
// something: a write that waits holds no lock. Both end with the connection; Done tells. A
// Stream belongs to the goroutine that got it; while that one reads another may write.
// Expire, Abort and Alive may be called from any goroutine.
package h2

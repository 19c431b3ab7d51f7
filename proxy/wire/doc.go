// Package wire holds what both sides of an HTTP/1.1 proxy need to read bytes
// safely: the strict scanner of a message's head, the decoder of chunked bodies,
// and the sweeper that enforces deadlines without a system call for each.
//
// The scanner decides what is a request and where it ends; it refuses what two
// parsers could understand in two ways (RFC 9112 and docs of its errors). Only
// what it passed reaches fasthttp's codec.
package wire

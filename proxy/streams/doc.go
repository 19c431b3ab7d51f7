// Package streams serves the streams of HTTP/2 connections: for each it is the Client of
// package forward, as http1 is for a connection of HTTP/1.1. Frames, windows and limits are
// package http2's.
//
// Goroutines: a stream has the one that package http2 calls Serve in, and a second one
// while its body is sent on as it comes.
package streams

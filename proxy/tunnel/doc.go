// Package tunnel moves bytes both ways between a client and an endpoint, until both have
// ended: what a connection is once its endpoint has agreed to another protocol, and what
// one of a tcp listener is from the start.
//
// What one side ends is ended towards the other. A tunnel that usher ends, because it was
// idle or its time is over, tells both sides so and waits a little for their own end.
//
// Goroutines: Run takes the caller's for what the client sends and a second one for what
// the endpoint sends, and waits for it. Neither sets a deadline: whoever owns the tunnel
// calls Look each tick of the sweeper. An idle tunnel holds no buffer.
package tunnel

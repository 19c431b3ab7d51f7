// Package forward carries a request to an endpoint and the response back, whatever wire
// the client's side is: it tries endpoints as the core says, sends heads and bodies,
// waits, gives up, and answers in usher's name where nothing came.
//
// Within usher a head travels as the text of HTTP/1.1. An adapter (http1, http2)
// translates at its wire: it hands a [Trip] the text of the request's head, and is, as its
// [Client], handed the text of the response's. Bodies pass as bytes; who frames them is
// whoever owns the wire.
//
// Goroutines: a Trip belongs to the goroutine that serves its request. A body that is
// streamed is sent by a second one, which ends before Forward returns, and so is a
// hedged try, for which [Forwarder.Wait] waits. What others may do to a Trip while it
// waits is its [Hold].
package forward

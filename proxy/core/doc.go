// Package core is what happens to a request whatever wire it came in by: the
// route is found, an endpoint picked, the head made ready for it, a failure
// turned into another try or an answer, and the end recorded.
//
// It never reads or writes a connection, and never waits. An adapter (http1) owns
// the wire and calls, for each request and from one goroutine at a time:
//
//	Begin            the table is loaded, once, and the route matched
//	Next             an endpoint is picked and acquired; Attempt says what to send
//	Own              what to answer, where Begin or Next returned Answered: no endpoint
//	                 is asked
//	Failed           the try came to nothing: go on with Next after the Pause, or answer
//	Unwanted         the response's status is to be tried again: the same
//	Answered         the endpoint's response head is there
//	End              everything is over, well or not
//
// Invariant: every endpoint that Next acquired is released, by Failed, Unwanted or End.
package core

package upstream

import (
	"errors"
	"fmt"
	"net"
)

// Kind is what went wrong with a try, as far as it decides what to do next.
type Kind uint8

// The kinds.
const (
	// Connect: no connection was made, so nothing was sent.
	Connect Kind = iota
	// Reset: the connection ended before a byte of the response.
	Reset
	// Timeout: no response header came in time.
	Timeout
	// Total: the time for the whole request is over.
	Total
	// Protocol: what came is not a response.
	Protocol
	// Partial: the connection ended after a part of the response.
	Partial
	// Body: the client's body could not be read to its end.
	Body
	// Full: all connections the endpoint may have are in use, so nothing was sent.
	Full
	// Out: the endpoint was taken out while its response was waited for.
	Out
	// Status: a response came, with a status that is retried.
	Status
	// Refused: the endpoint has said that it did not act upon the request.
	Refused
)

// String names the kind for messages.
func (k Kind) String() string {
	return [...]string{
		"cannot connect", "reset before a response", "no response in time", "total time over",
		"malformed response", "cut within the response", "request body cut",
		"no connection", "endpoint taken out", "status that is retried",
		"request refused",
	}[k]
}

// Error is a try that brought no whole response.
type Error struct {
	Kind Kind
	// Reused says that the connection had served requests before: it may have been
	// closed by an endpoint that is well.
	Reused bool
	Err    error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Kind, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Timeout says whether the cause is that time ran out.
func (e *Error) Timeout() bool {
	var ne net.Error
	return errors.As(e.Err, &ne) && ne.Timeout()
}

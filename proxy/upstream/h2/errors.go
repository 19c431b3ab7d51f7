package h2

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/net/http2"
)

// The errors that decide what becomes of a request. Each may be wrapped.
var (
	// ErrUnsent is a request that the session did not take, or that the endpoint has left
	// to another connection (GOAWAY). It was not acted upon.
	ErrUnsent = errors.New("the session takes no more requests")
	// ErrRefused is a request that the endpoint has refused (REFUSED_STREAM), which was not
	// acted upon either.
	ErrRefused = errors.New("the endpoint refused the stream")
	// ErrMalformed is what is no response, by RFC 9113 §8.
	ErrMalformed = errors.New("malformed HTTP/2 response")
	// ErrRequest is a request that cannot be sent by HTTP/2.
	ErrRequest = errors.New("request cannot be sent by HTTP/2")
	// ErrViolation is what ends a session whose endpoint breaks the protocol.
	ErrViolation = errors.New("HTTP/2 protocol error")
	// ErrSilent is a session whose endpoint does not answer to a PING.
	ErrSilent = errors.New("the endpoint is silent")
	// errHungUp is a connection that the endpoint has closed. It is no io.EOF: that would be
	// the end of a response.
	errHungUp = errors.New("the endpoint closed the connection")
	// errEnded is a stream that was given up by its owner.
	errEnded = errors.New("the stream was ended")
)

// ResetError is a stream that the endpoint has ended. It is an io.ErrUnexpectedEOF.
type ResetError struct{ Code http2.ErrCode }

// Error implements error.
func (e *ResetError) Error() string { return "the endpoint reset the stream: " + e.Code.String() }

// Unwrap makes it an end.
func (e *ResetError) Unwrap() error { return io.ErrUnexpectedEOF }

// lostError is a session that has ended under its streams. It is an io.ErrUnexpectedEOF.
type lostError struct{ err error }

func (e *lostError) Error() string   { return fmt.Sprintf("the session ended: %v", e.err) }
func (e *lostError) Unwrap() []error { return []error{e.err, io.ErrUnexpectedEOF} }

// violation is a session error and the code to tell the endpoint.
type violation struct {
	code http2.ErrCode
	why  string
}

func (v *violation) Error() string { return fmt.Sprintf("%v: %s (%s)", ErrViolation, v.why, v.code) }
func (v *violation) Unwrap() error { return ErrViolation }

func protocol(why string) error { return &violation{http2.ErrCodeProtocol, why} }
